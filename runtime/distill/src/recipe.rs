//! How to train: everything that decides what the adapter becomes, besides the model and the data.
//!
//! Not how fast or in how much memory: two runs of one recipe on one machine give the same bytes. Invariant: a recipe
//! that passed [`Recipe::check`] can be run on any model that fits in memory.

use crate::lora::Target;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Over what cross-entropy is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalisation {
    /// One mean over all learnt tokens of a step, as the method's code does.
    #[default]
    Tokens,
    /// Reasoning and answer each by their own length, then over examples, as the paper says.
    Parts,
}

/// Over what the contrast of pivots is averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// The pivots of each kind have a mean of their own, and the means are added: a rare kind weighs as much as others.
    #[default]
    Classes,
    /// One mean over all pivots of a step.
    Pivots,
}

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Rank of the adapter.
    pub rank: u32,
    /// The adapter weighs alpha / rank.
    pub alpha: f32,
    /// Share of the adapter's input that is dropped.
    pub dropout: f32,
    /// Which matrices are adapted.
    pub targets: Vec<Target>,
    /// Times that each example is seen.
    pub epochs: u32,
    /// Examples per step of the optimiser.
    pub batch: u32,
    /// Tokens that run through the model at a time; a step of more is run in parts.
    pub micro_tokens: u32,
    /// Highest learning rate.
    pub learning_rate: f32,
    /// Share of the steps over which the rate rises.
    pub warmup: f32,
    /// Decay of the adapter's weights, times the rate.
    pub weight_decay: f32,
    /// Memory of the mean gradient.
    pub beta1: f32,
    /// Memory of its square.
    pub beta2: f32,
    /// What keeps the division by the square's root sound.
    pub epsilon: f32,
    /// Longest gradient; longer ones are shortened to it.
    pub clip: f32,
    /// Over what cross-entropy is averaged.
    pub normalisation: Normalisation,
    /// What the contrast of pivots weighs beside cross-entropy; 0 leaves it out.
    pub cpo: f32,
    /// Over what the contrast is averaged.
    pub balance: Balance,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: Target::ALL.to_vec(),
            epochs: 2,
            batch: 8,
            micro_tokens: 1024,
            learning_rate: 1e-3,
            warmup: 0.03,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: 1.0,
            normalisation: Normalisation::Tokens,
            cpo: 1.0,
            balance: Balance::Classes,
            seed: 0,
        }
    }
}

/// Why a recipe cannot be run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A value is out of its range.
    #[error("{key} is {value}; hint: {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// The text is no recipe.
    #[error("cannot read the recipe: {0}")]
    Parse(#[from] toml::de::Error),
    /// The recipe cannot be written down.
    #[error("cannot write the recipe: {0}")]
    Write(#[from] toml::ser::Error),
}

impl Recipe {
    /// Checks all ranges.
    ///
    /// # Errors
    /// [`RecipeError::Range`], the first that is found.
    pub fn check(&self) -> Result<(), RecipeError> {
        let rule = |sound: bool, key, value: String, range| {
            if sound { Ok(()) } else { Err(RecipeError::Range { key, value, range }) }
        };
        let share = |x: f32| (0.0..1.0).contains(&x);
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        let mut targets = self.targets.clone();
        targets.sort_unstable();
        targets.dedup();
        let once = targets.len() == self.targets.len() && !targets.is_empty();
        rule((1..=1024).contains(&self.rank), "rank", self.rank.to_string(), "1 to 1024")?;
        rule(positive(self.alpha), "alpha", self.alpha.to_string(), "above 0")?;
        rule(share(self.dropout), "dropout", self.dropout.to_string(), "from 0 to below 1")?;
        rule(once, "targets", format!("{:?}", self.targets), "at least one, each once")?;
        rule((1..=10_000).contains(&self.epochs), "epochs", self.epochs.to_string(), "1 to 10000")?;
        rule((1..=65_536).contains(&self.batch), "batch", self.batch.to_string(), "1 to 65536")?;
        let micro = (1..=1 << 20).contains(&self.micro_tokens);
        rule(micro, "micro_tokens", self.micro_tokens.to_string(), "1 to 1048576")?;
        rule(positive(self.learning_rate), "learning_rate", self.learning_rate.to_string(), "above 0")?;
        rule(share(self.warmup), "warmup", self.warmup.to_string(), "from 0 to below 1")?;
        rule(not_negative(self.weight_decay), "weight_decay", self.weight_decay.to_string(), "0 or above")?;
        rule(share(self.beta1), "beta1", self.beta1.to_string(), "from 0 to below 1")?;
        rule(share(self.beta2), "beta2", self.beta2.to_string(), "from 0 to below 1")?;
        rule(positive(self.epsilon), "epsilon", self.epsilon.to_string(), "above 0")?;
        rule(positive(self.clip), "clip", self.clip.to_string(), "above 0")?;
        rule(not_negative(self.cpo), "cpo", self.cpo.to_string(), "0 or above")
    }

    /// Reads and checks TOML; keys that are left out have their defaults, unknown ones are refused.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The whole recipe as TOML.
    ///
    /// # Errors
    /// [`RecipeError::Write`].
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        Ok(toml::to_string(self)?)
    }

    /// The learning rate of a step, counted from 0: a linear rise, then half a cosine down.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounded on purpose")]
    pub(crate) fn rate(&self, step: u64, n_steps: u64) -> f32 {
        let (step, n_steps) = (step as f64, n_steps as f64);
        let rise = ((step + 1.0) / (f64::from(self.warmup) * n_steps + 1.0)).min(1.0);
        let fall = 0.5 * (1.0 + (std::f64::consts::PI * step / n_steps).cos());
        (f64::from(self.learning_rate) * rise * fall) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_survives_being_written_down() {
        let recipe = Recipe { rank: 4, cpo: 0.5, balance: Balance::Pivots, ..Recipe::default() };
        assert_eq!(Recipe::parse(&recipe.to_toml().unwrap()).unwrap(), recipe);
        assert_eq!(Recipe::parse("").unwrap(), Recipe::default());
    }

    #[test]
    fn a_recipe_that_cannot_be_run_is_refused_with_the_key() {
        for text in ["rank = 0", "dropout = 1.0", "targets = []", "targets = ['q', 'q']", "clip = nan"] {
            let error = Recipe::parse(text).unwrap_err().to_string();
            let key = text.split(' ').next().unwrap();
            assert!(error.starts_with(key) && error.contains("hint: "), "{error}");
        }
        assert!(Recipe::parse("ranks = 3").is_err());
    }

    #[test]
    fn the_rate_rises_and_falls_to_nearly_nothing() {
        let recipe = Recipe { warmup: 0.1, ..Recipe::default() };
        let rates: Vec<f32> = (0..100).map(|s| recipe.rate(s, 100)).collect();
        assert!(rates[0] < rates[5] && rates[5] < rates[10]);
        assert!(rates[10..].windows(2).all(|w| w[1] < w[0]));
        assert!(rates[99] < 1e-6 && rates.iter().all(|r| *r <= recipe.learning_rate));
    }
}
