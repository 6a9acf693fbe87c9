//! How many samples of which form are made, and how they vary: the recipe's `[mix]`.

use super::sample::Form;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The mix of an epoch. A share is how many samples each trajectory gives in the mean: 0.25 takes every fourth, and
/// after four epochs all had their turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// All steps, then the answer.
    pub full: f64,
    /// One step, then the answer.
    pub brief: f64,
    /// No step: the answer behind the bare request (a refusal behind its `[UNSAFE]`).
    pub direct: f64,
    /// The pivot on the bare request, nothing else.
    pub none: f64,
    /// The pivot behind the beginning of an answer, nothing else.
    pub probe: f64,
    /// Share of the samples that wear a dress; of the families that come dressed, none does.
    pub wrapped: f64,
    /// Whether the first step quotes the request's key words.
    pub quote: bool,
    /// Whether each form gets as many harmless as harmful samples: the scarcer label's are repeated.
    pub balance: bool,
    /// Share of the samples with the runtime's default system text.
    pub system_default: f64,
    /// Share of the samples without system text; the rest gets one of the others.
    pub system_none: f64,
    /// Factors on the shares by family of trajectories, such as `wrap = 2.0`; 1 for those not named.
    pub families: BTreeMap<String, f64>,
    /// Factors on the weights of dresses by their family, such as `encoding = 0.0`; 1 for those not named.
    pub wrappers: BTreeMap<String, f64>,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            full: 1.0,
            brief: 0.25,
            direct: 0.25,
            none: 1.0,
            probe: 0.25,
            wrapped: 0.3,
            quote: false,
            balance: true,
            system_default: 0.5,
            system_none: 0.15,
            families: BTreeMap::new(),
            wrappers: BTreeMap::new(),
        }
    }
}

/// The mix asks for what cannot be.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum MixError {
    /// A number is out of its range.
    #[error("mix.{key} = {value} is not between 0 and {max}; hint: {hint}")]
    Range {
        /// Which.
        key: String,
        /// What it is.
        value: f64,
        /// Most.
        max: f64,
        /// What it is for.
        hint: &'static str,
    },
    /// No form has a share.
    #[error("the mix makes no samples (all shares are 0); hint: set mix.full = 1.0")]
    Nothing,
    /// A family is not in the data, or no family of dresses.
    #[error("mix.{table} names {name:?}, which is not there; hint: there are {known}")]
    UnknownFamily {
        /// `families` or `wrappers`.
        table: &'static str,
        /// What it names.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Most samples of one form that a trajectory gives in an epoch.
const MAX_SHARE: f64 = 8.0;

impl Mix {
    /// The share of `form`.
    #[must_use]
    pub fn share(&self, form: Form) -> f64 {
        match form {
            Form::Full => self.full,
            Form::Brief => self.brief,
            Form::Direct => self.direct,
            Form::None => self.none,
            Form::Probe => self.probe,
        }
    }

    /// Whether every number is within its range.
    ///
    /// # Errors
    /// [`MixError`] with the first that is not.
    pub fn validate(&self) -> Result<(), MixError> {
        let range = |key: String, value: f64, max: f64, hint| {
            if (0.0..=max).contains(&value) { Ok(()) } else { Err(MixError::Range { key, value, max, hint }) }
        };
        for form in Form::ALL {
            let hint = "a share is how many samples a trajectory gives";
            range(form.word().into(), self.share(form), MAX_SHARE, hint)?;
        }
        range("wrapped".into(), self.wrapped, 1.0, "it is a share of the samples")?;
        range("system_default".into(), self.system_default, 1.0, "it is a share of the samples")?;
        let rest = 1.0 - self.system_default;
        range("system_none".into(), self.system_none, rest, "with system_default it is at most 1")?;
        for (table, factors) in [("families", &self.families), ("wrappers", &self.wrappers)] {
            for (name, &factor) in factors {
                range(format!("{table}.{name}"), factor, MAX_SHARE, "a factor, 1 leaves things as they are")?;
            }
        }
        if Form::ALL.iter().all(|&form| self.share(form) == 0.0) {
            return Err(MixError::Nothing);
        }
        Ok(())
    }

    /// Whether the data has every family that the mix names, and the table of dresses has its own.
    ///
    /// # Errors
    /// [`MixError::UnknownFamily`] with the first that is not there.
    pub(super) fn check_names(&self, data: BTreeSet<&str>, dresses: BTreeSet<&str>) -> Result<(), MixError> {
        let named = [("families", &self.families, data), ("wrappers", &self.wrappers, dresses)];
        for (table, factors, there) in named {
            if let Some(name) = factors.keys().find(|name| !there.contains(name.as_str())) {
                let known = there.into_iter().collect::<Vec<_>>().join(", ");
                return Err(MixError::UnknownFamily { table, name: name.clone(), known });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused_with_their_key() {
        assert_eq!(Mix::default().validate(), Ok(()));
        let with = |change: fn(&mut Mix)| {
            let mut mix = Mix::default();
            change(&mut mix);
            mix.validate().unwrap_err().to_string()
        };
        assert!(with(|m| m.full = -1.0).contains("mix.full = -1"));
        assert!(with(|m| m.probe = f64::NAN).contains("mix.probe = NaN"));
        assert!(with(|m| m.none = f64::INFINITY).contains("mix.none = inf"));
        assert!(with(|m| m.wrapped = 1.5).contains("mix.wrapped = 1.5"));
        assert!(with(|m| m.system_none = 0.6).contains("mix.system_none = 0.6"));
        assert!(
            with(|m| m.families = BTreeMap::from([("wrap".into(), 9.0)])).contains("mix.families.wrap = 9")
        );
        let none = Mix { full: 0.0, brief: 0.0, direct: 0.0, none: 0.0, probe: 0.0, ..Mix::default() };
        assert_eq!(none.validate(), Err(MixError::Nothing));
    }
}
