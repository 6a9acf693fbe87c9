//! A training run: steps, limits, and being taken up again.
//!
//! Not a command: it draws nothing, prints nothing and reads no clock but its own. Invariant: the adapter after step n is
//! a function of model, recipe, examples and number of threads, however often the run was broken off in between.

mod heat;
mod limit;

pub use heat::Heat;
pub use limit::{Ending, Limits, Observer, Stop};

use crate::adapter::{AdapterError, Parent};
use crate::base::Base;
use crate::checkpoint::{self, CheckpointError, Header};
use crate::example::{self, Example, ExampleError};
use crate::gguf::{GgufError, hex};
use crate::head::Sums;
use crate::linear::Dropout;
use crate::lora::Lora;
use crate::memory::{self, Estimate, Sizes};
use crate::optimiser::Moments;
use crate::pass::{Batch, Pass};
use crate::plan;
use crate::recipe::{Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::time::Instant;
use thiserror::Error;

/// Why a run cannot begin or go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe cannot be run.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// An example cannot be used.
    #[error("example {index}: {source}")]
    Example {
        /// Which one, from 0.
        index: usize,
        /// Why.
        source: ExampleError,
    },
    /// There is nothing to learn from.
    #[error(
        "there are no examples; hint: look at the data set's split and at the recipe's [mix]: labelled requests give \
         samples to mix.none alone, and to nothing without pivots"
    )]
    NoExamples,
    /// It would take more memory than it may.
    #[error(
        "the run would take {estimate}, where {} MB are allowed; hint: lower micro_tokens, rank or the number of threads, \
         leave out the longest examples, or allow more",
        limit / 1_000_000
    )]
    Memory {
        /// The sum.
        estimate: Estimate,
        /// What is allowed.
        limit: u64,
    },
    /// The threads cannot be started.
    #[error("cannot start {n} threads: {reason}")]
    Threads {
        /// Threads asked for.
        n: usize,
        /// The system's words.
        reason: String,
    },
    /// The model file does not give what it promised.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A checkpoint cannot be written or taken up.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It cannot go on from this adapter.
    #[error(transparent)]
    Parent(#[from] AdapterError),
    /// The gradient is no number any more.
    #[error("the gradient of step {step} is {length}; hint: lower learning_rate")]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// The gradient's length.
        length: f64,
    },
}

/// How to run, as opposed to what.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Threads; the adapter's bytes may depend on their number.
    pub n_threads: usize,
    /// Most memory that the run's estimate may come to, in bytes. Layers keep their inner results as far as it
    /// reaches, which spares up to a third of the arithmetic.
    pub max_bytes: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { n_threads, max_bytes: Some(1_150_000_000) }
    }
}

/// What a step did: a row of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Steps done, this one too.
    pub step: u64,
    /// Steps of the whole run.
    pub n_steps: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// `swrd` + the recipe's cpo times `cpo`.
    pub loss: f64,
    /// Cross-entropy, as normalised by the recipe, in nats.
    pub swrd: f64,
    /// Contrast of pivots, as averaged by the recipe, in nats.
    pub cpo: f64,
    /// Learning rate.
    pub learning_rate: f32,
    /// Length of the gradient before it was shortened.
    pub gradient: f64,
    /// Tokens of the step, prompts too.
    pub n_tokens: u64,
    /// Tokens per second, of this step.
    pub tokens_per_s: f64,
    /// Seconds that the run has taken, over all its parts.
    pub elapsed_s: f64,
    /// Bytes that the process holds.
    pub resident_bytes: Option<u64>,
}

/// What a run is known by: two runs with the same one, on as many threads, end in the same adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// SHA-256 of the recipe's TOML.
    pub recipe_sha256: String,
    /// SHA-256 of the model file.
    pub base_sha256: String,
    /// SHA-256 over the examples.
    pub data_sha256: String,
    /// SHA-256 of the adapter file that it went on from; none for a run from nothing.
    #[serde(default)]
    pub parent_sha256: Option<String>,
}

/// Losses over a set of examples, as the recipe weighs them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Cross-entropy.
    pub swrd: f64,
    /// Contrast of pivots.
    pub cpo: f64,
}

/// A run.
#[derive(Debug)]
pub struct Trainer {
    base: Base,
    recipe: Recipe,
    examples: Vec<Example>,
    lora: Lora,
    grads: Vec<f32>,
    moments: Moments,
    pass: Pass,
    pool: rayon::ThreadPool,
    estimate: Estimate,
    /// Most rows of a batch, which memory was taken for.
    n_rows: usize,
    /// Steps of the epoch at hand.
    epoch: Option<(u64, Vec<Vec<usize>>)>,
    header: Header,
}

impl Trainer {
    /// Prepares a run: checks recipe, examples and memory, and takes that memory.
    ///
    /// # Errors
    /// [`TrainError`].
    pub fn new(
        base: Base,
        recipe: Recipe,
        examples: Vec<Example>,
        settings: Settings,
    ) -> Result<Self, TrainError> {
        recipe.check()?;
        if examples.is_empty() {
            return Err(TrainError::NoExamples);
        }
        let hyper = base.hyper();
        for (index, e) in examples.iter().enumerate() {
            e.check(hyper.n_vocab, hyper.n_ctx_train)
                .map_err(|source| TrainError::Example { index, source })?;
        }
        let lora = Lora::new(hyper, recipe.rank as usize, recipe.alpha, &recipe.targets, recipe.seed);
        let sizes = sizes(&examples, &recipe, settings.n_threads);
        let estimate = memory::estimate(&base, &lora, sizes, settings.max_bytes);
        if let Some(limit) = settings.max_bytes.filter(|limit| estimate.n_bytes() > *limit) {
            return Err(TrainError::Memory { estimate, limit });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.n_threads.max(1))
            .build()
            .map_err(|e| TrainError::Threads { n: settings.n_threads, reason: e.to_string() })?;
        let header = Header {
            recipe: hex(&Sha256::digest(recipe.to_toml()?)),
            base: base.sha256().to_owned(),
            data: example::digest(&examples),
            parent: None,
            position: 0,
            n_params: lora.n_params() as u64,
            n_tokens: 0,
            elapsed_s: 0.0,
        };
        let mut pass = Pass::new(&base, sizes.n_longest);
        pool.install(|| pass.reserve(&base, sizes.n_rows, estimate.n_inner));
        Ok(Self {
            pass,
            grads: vec![0.0; lora.n_params()],
            moments: Moments::new(lora.n_params()),
            epoch: None,
            base,
            recipe,
            examples,
            lora,
            pool,
            estimate,
            n_rows: sizes.n_rows,
            header,
        })
    }

    /// The memory that the run will take.
    #[must_use]
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// The model.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The recipe.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The adapter as it is now.
    #[must_use]
    pub fn lora(&self) -> &Lora {
        &self.lora
    }

    /// SHA-256 over the examples.
    #[must_use]
    pub fn data_sha256(&self) -> &str {
        &self.header.data
    }

    /// What this run is known by.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let Header { recipe, base, data, parent, .. } = &self.header;
        Identity {
            recipe_sha256: recipe.clone(),
            base_sha256: base.clone(),
            data_sha256: data.clone(),
            parent_sha256: parent.clone(),
        }
    }

    /// Begins the run anew from the values of an adapter file, with an optimiser that remembers nothing.
    ///
    /// The file's SHA-256 is from then on part of what the run is known by, so this comes before [`Self::resume`].
    ///
    /// # Errors
    /// [`TrainError::Parent`] when the adapter is of another base, rank, α or set of targets; the run is then as it was.
    pub fn start_from(&mut self, adapter: &Path) -> Result<(), TrainError> {
        let parent = Parent::open(adapter, self.base.sha256(), &self.lora)?;
        parent.copy_into(&mut self.lora.params)?;
        self.moments.mean.fill(0.0);
        self.moments.square.fill(0.0);
        let parent = Some(parent.sha256());
        self.header = Header { parent, position: 0, n_tokens: 0, elapsed_s: 0.0, ..self.header.clone() };
        Ok(())
    }

    /// Steps that are done.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.header.position
    }

    /// Steps of the whole run.
    #[must_use]
    pub fn n_steps(&self) -> u64 {
        plan::steps_per_epoch(self.examples.len(), &self.recipe) * u64::from(self.recipe.epochs)
    }

    /// One step of the optimiser; none when the run is done.
    ///
    /// # Errors
    /// [`TrainError`]; the adapter is then as it was before the step.
    pub fn step(&mut self) -> Result<Option<Row>, TrainError> {
        let (step, n_steps) = (self.header.position, self.n_steps());
        if step >= n_steps {
            return Ok(None);
        }
        let began = Instant::now();
        let per_epoch = plan::steps_per_epoch(self.examples.len(), &self.recipe);
        let epoch = step / per_epoch;
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            self.epoch = Some((epoch, plan::epoch(&self.examples, &self.recipe, epoch)));
        }
        let at = usize::try_from(step % per_epoch).unwrap_or(0);
        let Self { base, recipe, examples, lora, grads, moments, pass, pool, .. } = self;
        let order = self.epoch.as_ref().and_then(|(_, steps)| steps.get(at)).map_or(&[][..], Vec::as_slice);
        let batch: Vec<&Example> = order.iter().map(|&i| &examples[i]).collect();
        let n_tokens: usize = batch.iter().map(|e| e.tokens.len()).sum();
        let rate = recipe.rate(step, n_steps);
        let (sums, gradient) = pool.install(|| {
            grads.fill(0.0);
            let mut sums = Sums::default();
            for (i, micro) in plan::micros(&batch, recipe).iter().enumerate() {
                let dropout = (recipe.dropout > 0.0).then_some(Dropout {
                    rate: recipe.dropout,
                    seed: recipe.seed,
                    step,
                    micro: i as u64,
                });
                let batch = Batch { lora: Some(lora), dropout, pack: &micro.pack, rows: &micro.rows };
                let part = pass.train(base, &batch, grads)?;
                sums.swrd += part.swrd;
                sums.cpo += part.cpo;
            }
            let gradient = moments.step(&mut lora.params, grads, step, rate, recipe);
            Ok::<_, GgufError>((sums, gradient))
        })?;
        if !gradient.is_finite() {
            return Err(TrainError::Diverged { step: step + 1, length: gradient });
        }
        let seconds = began.elapsed().as_secs_f64();
        self.header.position += 1;
        self.header.n_tokens += n_tokens as u64;
        self.header.elapsed_s += seconds;
        #[expect(clippy::cast_precision_loss, reason = "a step has few tokens")]
        Ok(Some(Row {
            step: step + 1,
            n_steps,
            epoch,
            loss: sums.swrd + sums.cpo,
            swrd: sums.swrd,
            cpo: unweighted(sums.cpo, &self.recipe),
            learning_rate: rate,
            gradient,
            n_tokens: n_tokens as u64,
            tokens_per_s: n_tokens as f64 / seconds.max(1e-9),
            elapsed_s: self.header.elapsed_s,
            resident_bytes: memory::resident().map(|(now, _)| now),
        }))
    }

    /// The losses of other examples under the adapter as it is now, all of them weighed as one step.
    ///
    /// # Errors
    /// [`TrainError::Example`] and [`TrainError::Gguf`].
    pub fn evaluate(&mut self, examples: &[Example]) -> Result<Losses, TrainError> {
        let hyper = self.base.hyper();
        for (index, e) in examples.iter().enumerate() {
            e.check(hyper.n_vocab, hyper.n_ctx_train)
                .map_err(|source| TrainError::Example { index, source })?;
        }
        let all: Vec<&Example> = examples.iter().collect();
        let Self { base, recipe, lora, pass, pool, n_rows, .. } = self;
        // In the memory that was taken, unless an example by itself is longer.
        let micro_tokens = recipe.micro_tokens.min(u32::try_from(*n_rows).unwrap_or(u32::MAX));
        let recipe = &Recipe { micro_tokens, ..recipe.clone() };
        pass.reach(base, examples.iter().map(|e| e.tokens.len()).max().unwrap_or(0));
        let sums = pool.install(|| {
            let mut sums = Sums::default();
            for micro in plan::micros(&all, recipe) {
                let batch = Batch { lora: Some(lora), dropout: None, pack: &micro.pack, rows: &micro.rows };
                let part = pass.losses(base, &batch)?;
                sums.swrd += part.swrd;
                sums.cpo += part.cpo;
            }
            Ok::<_, GgufError>(sums)
        })?;
        Ok(Losses { swrd: sums.swrd, cpo: unweighted(sums.cpo, recipe) })
    }

    /// Writes a checkpoint, whole or not at all.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let lists = [&self.lora.params[..], &self.moments.mean, &self.moments.square];
        checkpoint::write(path, &self.header, lists)
    }

    /// Goes on where a checkpoint of this run was written.
    ///
    /// # Errors
    /// [`CheckpointError`], when it is damaged or of another recipe, model, data set or parent; the run is then as it was.
    pub fn resume(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let lists = [&mut self.lora.params[..], &mut self.moments.mean, &mut self.moments.square];
        self.header = checkpoint::read(path, &self.header, lists)?;
        Ok(())
    }
}

/// Which examples each step of an epoch takes, both counted from 0.
#[must_use]
pub fn order(examples: &[Example], recipe: &Recipe, epoch: u64) -> Vec<Vec<usize>> {
    plan::epoch(examples, recipe, epoch)
}

fn unweighted(cpo: f64, recipe: &Recipe) -> f64 {
    if recipe.cpo > 0.0 { cpo / f64::from(recipe.cpo) } else { 0.0 }
}

fn sizes(examples: &[Example], recipe: &Recipe, n_threads: usize) -> Sizes {
    let lengths = || examples.iter().map(|e| e.tokens.len());
    let plan::Extent { n_rows, n_common_rows } = plan::extent(examples, recipe);
    let (n_longest, n_tokens) = (lengths().max().unwrap_or(0), lengths().sum());
    Sizes { n_rows, n_common_rows, n_longest, n_tokens, n_threads: n_threads.max(1) }
}

#[cfg(test)]
mod tests;
