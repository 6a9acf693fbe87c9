//! Which adapter is in force on which base, and what was before: the content of `active.toml`.
//!
//! Pure data, no files. Invariant: what was before has a bounded length, and putting the same adapter in force twice
//! changes nothing.

use super::NONE;
use serde::{Deserialize, Serialize};

/// How far one can go back.
const MAX_PREVIOUS: usize = 16;

/// The choices for all bases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choices {
    #[serde(default)]
    base: Vec<Choice>,
}

/// The choice for one base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// SHA-256 of the base.
    sha256: String,
    /// Name of the adapter, or `none`.
    active: String,
    /// What was in force before, the latest last.
    #[serde(default)]
    previous: Vec<String>,
    /// The adapter that the service took out of force last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refused>,
}

/// Why an adapter was taken out of force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// What was wrong.
    pub reason: String,
}

impl Choices {
    pub(super) fn of(&self, base: &str) -> Option<&Choice> {
        self.base.iter().find(|c| c.sha256 == base)
    }

    /// The choice for `base`; a new one begins with what is in force without it.
    pub(super) fn entry(&mut self, base: &str, in_force: Option<&str>) -> &mut Choice {
        let at = self.base.iter().position(|c| c.sha256 == base).unwrap_or_else(|| {
            self.base.push(Choice {
                sha256: base.to_owned(),
                active: in_force.unwrap_or(NONE).to_owned(),
                previous: Vec::new(),
                refused: None,
            });
            self.base.len() - 1
        });
        &mut self.base[at]
    }

    pub(super) fn is_in_force(&self, name: &str) -> bool {
        self.base.iter().any(|c| c.active == name)
    }

    /// Drops `name` from what one can go back to.
    pub(super) fn forget(&mut self, name: &str) {
        for choice in &mut self.base {
            choice.previous.retain(|n| n != name);
        }
    }
}

impl Choice {
    pub(super) fn in_force(&self) -> Option<&str> {
        (self.active != NONE).then_some(self.active.as_str())
    }

    pub(super) fn put(&mut self, name: &str) {
        self.refused = None;
        if self.active == name {
            return;
        }
        self.previous.push(std::mem::replace(&mut self.active, name.to_owned()));
        if self.previous.len() > MAX_PREVIOUS {
            self.previous.remove(0);
        }
    }

    pub(super) fn back(&mut self) -> Result<(), ()> {
        self.active = self.previous.pop().ok_or(())?;
        Ok(())
    }

    pub(super) fn refuse(&mut self, refused: Refused) {
        if self.active == refused.name && self.back().is_err() {
            self.active = NONE.to_owned();
        }
        self.refused = Some(refused);
    }
}
