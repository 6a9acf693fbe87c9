//! What can go wrong between an adapter's name and an adapter in force.

use crate::models::ModelsError;
use r2d_distill::adapter::AdapterError;
use std::path::PathBuf;

/// Why an adapter could not be listed, taken in, put in force or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptersError {
    /// The store's own fault, or its file's.
    #[error(transparent)]
    Store(#[from] ModelsError),
    /// The file is no adapter, or one for another base.
    #[error(transparent)]
    File(#[from] AdapterError),
    /// Nobody knows the name.
    #[error("unknown adapter `{name}`; hint: `r2d-edge adapters list` shows those that are here")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The name means something else.
    #[error(
        "`{name}` cannot be an adapter's name: it has a meaning of its own; hint: choose another with --name"
    )]
    Reserved {
        /// The name.
        name: String,
    },
    /// The name belongs to another file.
    #[error(
        "another adapter is called `{name}`; hint: choose another name with --name, or `adapters rm {name}` first"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// The name belongs to an adapter of the program.
    #[error("the adapter `{name}` ships with the program; hint: choose another name with --name")]
    TakenByShipped {
        /// The name.
        name: String,
    },
    /// The file does not say what it belongs to.
    #[error(
        "{file} does not name the base it was trained on; hint: use it by its path, with --adapter {file}",
        file = file.display()
    )]
    NoBase {
        /// The file.
        file: PathBuf,
    },
    /// It is needed.
    #[error("`{name}` is in force; hint: activate another one, or `none`, first")]
    InForce {
        /// The name.
        name: String,
    },
    /// It is part of the program.
    #[error(
        "`{name}` ships with the program and cannot be removed; hint: `adapters activate none` runs without it"
    )]
    Shipped {
        /// The name.
        name: String,
    },
    /// Nobody put anything in force before.
    #[error("nothing was in force before; hint: `adapters activate NAME` puts one in force")]
    NothingBefore,
}

impl AdaptersError {
    /// Whether the caller can set it right by asking differently.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_usage(),
            Self::File(error) => {
                matches!(
                    error,
                    AdapterError::Kind { .. } | AdapterError::OtherBase { .. } | AdapterError::Gguf(_)
                )
            }
            _ => true,
        }
    }
}
