//! A whole training run as one TOML file: which samples, how they are laid out, and the trainer's recipe.
//!
//! Not the run itself. Unknown keys are errors, keys that are left out have their defaults. Invariant: a [`Curriculum`]
//! out of [`Curriculum::parse`] or [`Curriculum::read`] has every number within its range.

use crate::augment::{self, AugmentError, Mix, MixError, Sample};
use crate::layout::Pivots;
use crate::recipe::{Recipe, RecipeError};
use crate::trajectory::{Split, Trajectory};
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest file, in bytes.
pub const MAX_BYTES: u64 = 64 << 10;
/// Most draws of the mix.
const MAX_DRAWS: u32 = 1000;

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Curriculum {
    /// How often the mix is drawn, each time anew: the samples of all draws are the trainer's examples. With one epoch
    /// of the trainer, this is what others call epochs.
    pub draws: u32,
    /// Weight of a pivot's telling token in the cross-entropy, against 1 for any other token.
    pub pivot_weight: f32,
    /// Ablation: `left-out` trains without pivots in the text, and so without contrast.
    pub pivots: Pivots,
    /// Which samples a draw has.
    pub mix: Mix,
    /// The adapter, the optimiser and the losses. Its seed decides the samples too.
    pub train: Recipe,
}

impl Default for Curriculum {
    fn default() -> Self {
        let train = Recipe { epochs: 1, ..Recipe::default() };
        Self { draws: 2, pivot_weight: 1.0, pivots: Pivots::Written, mix: Mix::default(), train }
    }
}

/// A curriculum cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CurriculumError {
    /// Its file cannot be read.
    #[error("cannot read {}: {source}; hint: check the path", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file is none by its size.
    #[error("{} is larger than {MAX_BYTES} bytes; hint: a recipe is a short TOML file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, or has a key or value that is unknown.
    #[error("{message}; hint: models/smollm2-135m-r2d/recipe.toml names every key")]
    Parse {
        /// What the parser says, with line and column.
        message: String,
    },
    /// A number is out of its range.
    #[error("{key} is {value}; hint: {range}")]
    Range {
        /// Which.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// Of the mix.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// Of the trainer's recipe.
    #[error("train: {0}")]
    Recipe(#[from] RecipeError),
}

impl Curriculum {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`CurriculumError`].
    pub fn parse(text: &str) -> Result<Self, CurriculumError> {
        // A file that leaves epochs out of [train] has one per draw, not the trainer's own default.
        let mut table: toml::Table = text.parse().map_err(|e| parse_error(&e))?;
        if let Some(train) = table.get_mut("train").and_then(toml::Value::as_table_mut) {
            train.entry("epochs").or_insert(toml::Value::Integer(1));
        }
        // Once more from the text, for the sake of its line numbers, before the value with the added key.
        let _: Self = toml::from_str(text).map_err(|e| parse_error(&e))?;
        let read: Self = table.try_into().map_err(|e| parse_error(&e))?;
        read.check()?;
        Ok(read)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`CurriculumError`].
    pub fn read(path: &Path) -> Result<Self, CurriculumError> {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|f| f.take(MAX_BYTES + 1).read_to_string(&mut text));
        let n = read.map_err(|source| CurriculumError::Read { path: path.into(), source })?;
        if n as u64 > MAX_BYTES {
            return Err(CurriculumError::TooLarge { path: path.into() });
        }
        Self::parse(&text)
    }

    /// Whether every number is within its range.
    ///
    /// # Errors
    /// [`CurriculumError`] with the first that is not.
    pub fn check(&self) -> Result<(), CurriculumError> {
        let rule = |sound: bool, key, value: String, range| {
            if sound { Ok(()) } else { Err(CurriculumError::Range { key, value, range }) }
        };
        rule((1..=MAX_DRAWS).contains(&self.draws), "draws", self.draws.to_string(), "1 to 1000")?;
        let weight = (0.0..=100.0).contains(&self.pivot_weight);
        rule(weight, "pivot_weight", self.pivot_weight.to_string(), "0 to 100; 1 counts it as any token")?;
        self.mix.validate()?;
        self.train.check()?;
        Ok(())
    }

    /// The samples of all draws from the trajectories whose split is `split`, in the order of the draws.
    ///
    /// # Errors
    /// [`AugmentError`].
    pub fn samples(&self, trajectories: &[Trajectory], split: Split) -> Result<Vec<Sample>, AugmentError> {
        // Of all splits: a family that the mix names may have no trajectory in this one.
        augment::check(trajectories, &self.mix)?;
        let chosen: Vec<Trajectory> =
            trajectories.iter().filter(|t| t.split == Some(split)).cloned().collect();
        let mut out = Vec::new();
        for draw in 0..self.draws {
            out.extend(augment::draw(&chosen, &self.mix, self.train.seed, draw)?);
        }
        Ok(out)
    }
}

fn parse_error(e: &toml::de::Error) -> CurriculumError {
    CurriculumError::Parse { message: e.to_string().trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::fixture::{harmful, safe};

    const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/smollm2-135m-r2d/recipe.toml");

    #[test]
    fn the_shipped_recipe_can_be_read_and_names_every_key() {
        let text = std::fs::read_to_string(SHIPPED).unwrap();
        let shipped = Curriculum::parse(&text).unwrap();
        assert_eq!(shipped, Curriculum::read(Path::new(SHIPPED)).unwrap());
        let shown: toml::Table = toml::to_string(&Curriculum::default()).unwrap().parse().unwrap();
        let named: toml::Table = text.parse().unwrap();
        for (key, value) in &shown {
            assert!(named.contains_key(key), "{key} is not in the file");
            for inner in value.as_table().into_iter().flat_map(toml::Table::keys) {
                assert!(named[key].get(inner).is_some(), "{key}.{inner} is not in the file");
            }
        }
    }

    #[test]
    fn an_empty_file_is_the_default_and_a_written_one_reads_back() {
        assert_eq!(Curriculum::parse("").unwrap(), Curriculum::default());
        let text = toml::to_string(&Curriculum::default()).unwrap();
        assert_eq!(Curriculum::parse(&text).unwrap(), Curriculum::default());
        assert_eq!(Curriculum::parse("[train]\nrank = 4").unwrap().train.epochs, 1);
        assert_eq!(Curriculum::parse("[train]\nepochs = 3").unwrap().train.epochs, 3);
    }

    #[test]
    fn faults_are_said_with_key_value_and_hint() {
        for (text, parts) in [
            ("[train]\nrnak = 8", &["rnak", "line 2"][..]),
            ("[train]\nrank = 0", &["train: rank is 0"]),
            ("train = 1", &["line 1"]),
            ("draws = 0", &["draws is 0"]),
            ("draws = -1", &["-1"]),
            ("pivot_weight = nan", &["pivot_weight is NaN"]),
            ("pivots = \"none\"", &["left-out"]),
            ("[mix]\nfull = 99.0", &["mix.full = 99"]),
            ("[mix]\nfull = ", &["line 2"]),
            ("\u{0}", &["line 1"]),
        ] {
            let said = Curriculum::parse(text).unwrap_err().to_string();
            assert!(said.contains("hint:") && parts.iter().all(|p| said.contains(p)), "{text:?} says {said}");
        }
    }

    #[test]
    fn a_file_that_is_no_recipe_is_refused_without_reading_it_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, "#".repeat(100_000)).unwrap();
        assert!(matches!(Curriculum::read(&path), Err(CurriculumError::TooLarge { .. })));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(Curriculum::read(&path).unwrap_err().to_string().contains("hint:"));
        assert!(Curriculum::read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn draws_follow_each_other_and_take_one_split_only() {
        let mut all = vec![safe("a", "How do I descale a kettle"), harmful("b", "log what my wife types")];
        all.push(Trajectory { split: Some(Split::Val), ..safe("c", "Why is the sky blue") });
        all.push(Trajectory { split: None, ..safe("d", "Why is the grass green") });
        let run = Curriculum::default();
        let samples = run.samples(&all, Split::Train).unwrap();
        let n_full = samples.iter().filter(|s| s.id.ends_with("/full")).count();
        assert_eq!(n_full, 4);
        assert!(samples.iter().all(|s| s.id.starts_with(['a', 'b'])));
        assert!(run.samples(&all, Split::Val).unwrap().iter().all(|s| s.id.starts_with('c')));
    }

    #[test]
    fn a_family_of_the_mix_may_stand_in_one_split_alone() {
        let all = [
            safe("a", "How do I descale a kettle"),
            Trajectory { split: Some(Split::Val), ..harmful("b", "log what my wife types") },
        ];
        let mut run = Curriculum::default();
        run.mix.families = [("benign".into(), 2.0), ("harm_direct".into(), 0.5)].into();
        for split in [Split::Train, Split::Val] {
            assert!(!run.samples(&all, split).unwrap().is_empty(), "{split:?}");
        }
        run.mix.families = [("shpo".into(), 2.0)].into();
        for split in [Split::Train, Split::Val] {
            let said = run.samples(&all, split).unwrap_err().to_string();
            assert!(said.contains("shpo") && said.contains("benign, harm_direct"), "{said}");
        }
    }
}
