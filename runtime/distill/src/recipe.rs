//! A training run as data: which samples, which adapter, which optimiser, which losses.
//!
//! Not the run itself. Every key has a default, an unknown one is an error. Invariant: a [`Recipe`] out of
//! [`Recipe::parse`] or [`Recipe::read`] has every number within its range.

use crate::augment::{Mix, MixError};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest recipe file, in bytes.
pub const MAX_RECIPE_BYTES: u64 = 64 << 10;

/// A training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Decides samples, their order, the adapter's first values and dropout: the same seed, the same adapter.
    pub seed: u64,
    /// Which samples an epoch has.
    pub mix: Mix,
    /// The adapter.
    pub lora: Lora,
    /// How it moves.
    pub optimiser: Optimiser,
    /// What it is moved by.
    pub loss: Loss,
}

/// A weight matrix of a layer that gets an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Attention's query.
    Q,
    /// Attention's key.
    K,
    /// Attention's value.
    V,
    /// Attention's output.
    O,
    /// The feed-forward gate.
    Gate,
    /// The feed-forward way up.
    Up,
    /// The feed-forward way down.
    Down,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];
}

/// The adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rank of the two thin matrices.
    pub rank: u32,
    /// Scale: the product of the two is multiplied by alpha / rank.
    pub alpha: f64,
    /// Share of the adapter's inputs that are dropped in training.
    pub dropout: f64,
    /// Which matrices of each layer.
    pub targets: Vec<Target>,
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, dropout: 0.0, targets: Target::ALL.to_vec() }
    }
}

/// How the learning rate goes after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine, down to nothing.
    #[default]
    Cosine,
    /// A line, down to nothing.
    Linear,
    /// It stays.
    Constant,
}

/// AdamW and the length of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimiser {
    /// Highest learning rate.
    pub lr: f64,
    /// How it goes after warm-up.
    pub schedule: Schedule,
    /// Share of the steps in which it rises.
    pub warmup: f64,
    /// Longest gradient (L2 norm over the adapter); 0 does not clip.
    pub clip: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Keeps the division finite.
    pub epsilon: f64,
    /// Tokens of an optimiser step, prompts counted.
    pub batch_tokens: u32,
    /// How often the mix is drawn; each time anew.
    pub epochs: u32,
    /// Most optimiser steps, whatever the epochs; 0 for no bound.
    pub max_steps: u32,
}

impl Default for Optimiser {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            schedule: Schedule::Cosine,
            warmup: 0.03,
            clip: 1.0,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            batch_tokens: 2048,
            epochs: 2,
            max_steps: 0,
        }
    }
}

/// Over what the cross-entropy is a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// All learnt tokens together (the paper's code).
    #[default]
    Tokens,
    /// Reasoning and answer by themselves, then added (the paper).
    Parts,
}

/// The losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// Over what the cross-entropy is a mean.
    pub normalise: Normalise,
    /// Weight of the contrast between SAFE and UNSAFE at pivots.
    pub cpo: f64,
    /// Weight of a pivot's telling token in the cross-entropy, against 1 for any other.
    pub pivot: f64,
    /// Ablation: no contrast, whatever its weight.
    pub no_cpo: bool,
    /// Ablation: no pivots in the text at all, and so no contrast either.
    pub no_pivot: bool,
}

impl Default for Loss {
    fn default() -> Self {
        Self { normalise: Normalise::Tokens, cpo: 1.0, pivot: 1.0, no_cpo: false, no_pivot: false }
    }
}

/// A recipe cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Its file cannot be read.
    #[error("cannot read {}: {source}; hint: check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file is no recipe by its size.
    #[error("{} is larger than {MAX_RECIPE_BYTES} bytes; hint: a recipe is a short TOML file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, or has a key or value that is unknown.
    #[error("{message}; hint: the keys are documented in models/smollm2-135m-r2d/recipe.toml")]
    Parse {
        /// What the parser says, with line and column.
        message: String,
    },
    /// A number is out of its range.
    #[error("{key} = {value} is not {wanted}; hint: {hint}")]
    Range {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        wanted: &'static str,
        /// What is usual.
        hint: &'static str,
    },
    /// Of the mix.
    #[error(transparent)]
    Mix(#[from] MixError),
}

impl Recipe {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let parsed = toml::from_str(text);
        let recipe: Self = parsed.map_err(|e: toml::de::Error| RecipeError::Parse { message: e.to_string().trim().into() })?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|f| f.take(MAX_RECIPE_BYTES + 1).read_to_string(&mut text));
        let n = read.map_err(|source| RecipeError::Read { path: path.into(), source })?;
        if n as u64 > MAX_RECIPE_BYTES {
            return Err(RecipeError::TooLarge { path: path.into() });
        }
        Self::parse(&text)
    }

    /// Whether every number is within its range.
    ///
    /// # Errors
    /// [`RecipeError::Range`] or [`RecipeError::Mix`] with the first that is not.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.mix.validate()?;
        let Self { lora, optimiser: o, loss, .. } = self;
        let range = |key, value: f64, fits: bool, wanted, hint| {
            if fits { Ok(()) } else { Err(RecipeError::Range { key, value: value.to_string(), wanted, hint }) }
        };
        let positive = |v: f64, max: f64| v > 0.0 && v <= max;
        let within = |v: f64, max: f64| (0.0..=max).contains(&v);
        let below_one = |v: f64| (0.0..1.0).contains(&v);
        let rank = f64::from(lora.rank);
        range("lora.rank", rank, (1..=256).contains(&lora.rank), "from 1 to 256", "16 is usual")?;
        range("lora.alpha", lora.alpha, positive(lora.alpha, 4096.0), "above 0 and at most 4096", "twice the rank is usual")?;
        range("lora.dropout", lora.dropout, below_one(lora.dropout), "from 0 to below 1", "0 to 0.1 is usual")?;
        let mut targets = lora.targets.clone();
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() || targets.len() != lora.targets.len() {
            return Err(RecipeError::Range {
                key: "lora.targets",
                value: format!("{:?}", lora.targets).to_lowercase(),
                wanted: "a list of different matrices",
                hint: "any of \"q\", \"k\", \"v\", \"o\", \"gate\", \"up\", \"down\"",
            });
        }
        range("optimiser.lr", o.lr, positive(o.lr, 1.0), "above 0 and at most 1", "1e-4 to 1e-3 is usual")?;
        range("optimiser.warmup", o.warmup, within(o.warmup, 1.0), "from 0 to 1", "it is a share of the steps, 0.03 is usual")?;
        range("optimiser.clip", o.clip, within(o.clip, 1e6), "0 or a positive length", "1.0 is usual, 0 does not clip")?;
        range("optimiser.weight_decay", o.weight_decay, within(o.weight_decay, 1.0), "from 0 to 1", "0 to 0.1 is usual")?;
        range("optimiser.beta1", o.beta1, below_one(o.beta1), "from 0 to below 1", "0.9 is usual")?;
        range("optimiser.beta2", o.beta2, below_one(o.beta2), "from 0 to below 1", "0.999 is usual")?;
        range("optimiser.epsilon", o.epsilon, positive(o.epsilon, 1e-2), "above 0 and at most 0.01", "1e-8 is usual")?;
        let batch = (64..=1 << 20).contains(&o.batch_tokens);
        range("optimiser.batch_tokens", o.batch_tokens.into(), batch, "from 64 to 1048576", "2048 is usual")?;
        range("optimiser.epochs", o.epochs.into(), (1..=1000).contains(&o.epochs), "from 1 to 1000", "2 to 4 are usual")?;
        range("loss.cpo", loss.cpo, within(loss.cpo, 100.0), "from 0 to 100", "1.0 is the paper's")?;
        range("loss.pivot", loss.pivot, within(loss.pivot, 100.0), "from 0 to 100", "1.0 counts it as any token")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_recipe_can_be_read_and_names_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/smollm2-135m-r2d/recipe.toml");
        let text = std::fs::read_to_string(path).unwrap();
        let recipe = Recipe::parse(&text).unwrap();
        assert_eq!(recipe, Recipe::read(Path::new(path)).unwrap());
        assert_eq!((recipe.lora.rank, recipe.lora.targets.len()), (16, 7));
        let shown: toml::Table = toml::to_string(&Recipe::default()).unwrap().parse().unwrap();
        let shipped: toml::Table = text.parse().unwrap();
        for (table, keys) in &shown {
            for key in keys.as_table().into_iter().flat_map(toml::Table::keys) {
                assert!(shipped[table].get(key).is_some(), "{table}.{key} is not documented");
            }
        }
    }

    #[test]
    fn an_empty_recipe_is_the_default_and_a_written_one_reads_back() {
        assert_eq!(Recipe::parse("").unwrap(), Recipe::default());
        let text = toml::to_string(&Recipe::default()).unwrap();
        assert_eq!(Recipe::parse(&text).unwrap(), Recipe::default());
    }

    #[test]
    fn faults_are_said_with_key_value_and_hint() {
        for (text, parts) in [
            ("[lora]\nrnak = 8", &["rnak", "line 2"][..]),
            ("[lora]\nrank = 0", &["lora.rank = 0"]),
            ("[lora]\ntargets = []", &["lora.targets = []"]),
            ("[lora]\ntargets = [\"q\", \"q\"]", &["[q, q]"]),
            ("[lora]\ntargets = [\"w\"]", &["`w`"]),
            ("[lora]\ndropout = 1.0", &["lora.dropout = 1"]),
            ("[optimiser]\nlr = 0.0", &["optimiser.lr = 0"]),
            ("[optimiser]\nlr = nan", &["optimiser.lr = NaN"]),
            ("[optimiser]\nepsilon = -inf", &["optimiser.epsilon = -inf"]),
            ("[optimiser]\nbatch_tokens = 8", &["optimiser.batch_tokens = 8"]),
            ("[optimiser]\nepochs = 0", &["optimiser.epochs = 0"]),
            ("[loss]\ncpo = -1.0", &["loss.cpo = -1"]),
            ("[loss]\nnormalise = \"rows\"", &["rows"]),
            ("[mix]\nfull = 99.0", &["mix.full = 99"]),
            ("seed = -1", &["-1"]),
            ("seed = ", &["line 1"]),
        ] {
            let said = Recipe::parse(text).unwrap_err().to_string();
            assert!(said.contains("hint:") && parts.iter().all(|p| said.contains(p)), "{text:?} says {said}");
        }
    }

    #[test]
    fn a_file_that_is_no_recipe_is_refused_without_reading_it_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, "#".repeat(100_000)).unwrap();
        assert!(matches!(Recipe::read(&path), Err(RecipeError::TooLarge { .. })));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(Recipe::read(&path).unwrap_err().to_string().contains("hint:"));
        assert!(Recipe::read(&folder.path().join("none")).is_err());
    }
}
