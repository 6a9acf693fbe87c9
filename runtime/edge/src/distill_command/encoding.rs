//! From files of trajectories to the examples of a model: checked, split, sampled, and cut by the model's own tokeniser.
//!
//! Training and what looks at training's rows go through here, so that both see the same ones. Not here: what a sample
//! is and how it is laid out (`r2d-distill`).

use crate::exit::UsageError;
use crate::output;
use crate::source::{Source, Use};
use anyhow::Context;
use r2d_distill::augment::Sample;
use r2d_distill::curriculum::Curriculum;
use r2d_distill::data;
use r2d_distill::example::Example;
use r2d_distill::layout::{self, Frame, Marks, Pivots};
use r2d_distill::trajectory::{self, Trajectory};
use r2d_engine::grammar::PivotStrings;
use r2d_engine::intake::Intake;
use r2d_engine::model::{Model, Token, Trust};
use std::collections::HashSet;
use std::path::PathBuf;

/// Share of the trajectories that is kept for validation where the data does not say.
const VAL_SHARE: f64 = 0.1;

/// All trajectories of `files`, each of them checked and there once, with a split that tells apart what is trained on and
/// what it is validated on.
pub(super) fn trajectories(files: &[PathBuf]) -> anyhow::Result<Vec<Trajectory>> {
    let mut all = Vec::new();
    for file in files {
        let read = trajectory::read(file).map_err(|e| UsageError(e.to_string()))?;
        for t in &read {
            trajectory::check(t).map_err(|fault| {
                let hint = "hint: `distill data check` lists all of them";
                UsageError(format!("{}: trajectory {}: {fault}; {hint}", file.display(), t.id))
            })?;
        }
        all.extend(read);
    }
    if all.iter().any(|t| t.split.is_none()) {
        data::assign_splits(&mut all, VAL_SHARE, 0)?;
    }
    check_together(&all)?;
    let n_repeated = data::drop_repeats_of_val(&mut all);
    if n_repeated > 0 {
        output::note(format!(
            "{n_repeated} trajectories are not trained on: they repeat a prompt of the val split"
        ));
    }
    Ok(all)
}

/// Whether each is there once, and each half of a pair with its other half in one split.
fn check_together(all: &[Trajectory]) -> Result<(), UsageError> {
    let mut ids = HashSet::new();
    if let Some(t) = all.iter().find(|t| !ids.insert(t.id.as_str())) {
        let hint = "hint: give each an id of its own, and each file once";
        return Err(UsageError(format!("two trajectories have the id {:?}; {hint}", t.id)));
    }
    match data::pair_faults(all).first() {
        Some(fault) => Err(UsageError(format!("{fault}; `distill data check` lists all of them"))),
        None => Ok(()),
    }
}

/// The file that is trained on, or that rows are made for.
pub(super) fn base_file(source: &Source) -> anyhow::Result<PathBuf> {
    match source {
        Source::Gguf { path, .. } => Ok(path.clone()),
        Source::Scripted { .. } => {
            Err(UsageError("a scripted model has no weights; hint: name a GGUF model".into()).into())
        }
    }
}

/// The examples of each set of samples, by the tokeniser of the model in `source`.
pub(super) fn encode<const N: usize>(
    source: Source,
    system: String,
    curriculum: &Curriculum,
    sets: [Vec<Sample>; N],
) -> anyhow::Result<[Vec<Example>; N]> {
    let pivots = match &source {
        Source::Gguf { pivots, .. } => pivots.clone(),
        Source::Scripted { .. } => PivotStrings::default(),
    };
    let encoding = Encoding { pivots, form: curriculum.pivots, weight: curriculum.pivot_weight, sets };
    source.open(system, encoding)
}

/// Samples that wait for the model's tokeniser.
struct Encoding<const N: usize> {
    pivots: PivotStrings,
    form: Pivots,
    weight: f32,
    sets: [Vec<Sample>; N],
}

impl<const N: usize> Use for Encoding<N> {
    type Output = [Vec<Example>; N];

    fn with<M: Model>(self, model: M, intake: Intake) -> anyhow::Result<[Vec<Example>; N]> {
        let template = &intake.template;
        let pivots = [&self.pivots.safe, &self.pivots.unsafe_, &self.pivots.rethink].map(String::as_str);
        let frame = Frame::new(&template.system, &template.user, &template.assistant, pivots)?;
        let id = |token: Token| u32::try_from(token.0);
        let opening: Result<Vec<u32>, _> = intake.grammar.opening.iter().map(|t| id(*t)).collect();
        let [safe, unsafe_, rethink] = intake.grammar.first;
        let marks = Marks {
            begin: model.begin().map(id).transpose()?,
            opening: opening?,
            first: [id(safe)?, id(unsafe_)?, id(rethink)?],
        };
        let mut tokens = Vec::new();
        let mut encode = |sample: &Sample| {
            let pieces = frame.layout(sample, self.form);
            // Without pivots the samples that are nothing else are not there.
            if pieces.is_empty() {
                return Ok(None);
            }
            layout::encode(&pieces, &marks, self.weight, |text, trust, out| {
                let trust = match trust {
                    layout::Trust::Ours => Trust::Ours,
                    layout::Trust::Outside => Trust::Outside,
                };
                tokens.clear();
                model.tokenize(text, trust, &mut tokens);
                // Ids of a vocabulary are never negative.
                out.extend(tokens.iter().filter_map(|t| u32::try_from(t.0).ok()));
            })
            .map(Some)
            .with_context(|| format!("sample {}", sample.id))
        };
        let mut out = [const { Vec::new() }; N];
        for (out, samples) in out.iter_mut().zip(&self.sets) {
            *out = samples.iter().filter_map(|s| encode(s).transpose()).collect::<anyhow::Result<_>>()?;
        }
        Ok(out)
    }
}
