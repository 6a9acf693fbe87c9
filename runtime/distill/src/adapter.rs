//! Adapter files: GGUF LoRA that llama.cpp and what is built on it load as they are.
//!
//! Beside what llama.cpp asks for, the file says what it was made of and how good it is; loaders pass over those keys.
//! Invariant: a file under its name is whole, and names the base it belongs to.

mod parent;

pub(crate) use parent::Parent;

use crate::base::Base;
use crate::gguf::{Body, Gguf, GgufError, Value, Writer};
use crate::lora::Lora;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Number format of an adapter's matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterFormat {
    /// 16-bit floats.
    #[default]
    F16,
    /// 32-bit floats, as trained.
    F32,
}

/// What an adapter file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name.
    pub name: String,
    /// SHA-256 of the model file it was trained on.
    pub base_sha256: String,
    /// SHA-256 of the training data.
    pub data_sha256: String,
    /// SHA-256 of the adapter file that the run went on from; empty for a run from nothing.
    #[serde(default)]
    pub parent_sha256: String,
    /// The recipe as TOML.
    pub recipe: String,
    /// Figures as JSON text; what they mean is the caller's.
    pub metrics: String,
    /// When it was made, as the caller writes dates.
    pub date: String,
}

/// What is read back from an adapter file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// What the file says of itself.
    pub provenance: Provenance,
    /// The base's architecture.
    pub architecture: String,
    /// Rank; the largest, if matrices differ.
    pub rank: usize,
    /// α
    pub alpha: f32,
    /// Adapted matrices.
    pub n_matrices: usize,
}

/// Why an adapter cannot be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// It cannot be written.
    #[error("cannot write the adapter {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is no sound GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// It is a GGUF, but no LoRA adapter.
    #[error("{path} is no LoRA adapter: its {key} is {found}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// It was trained on another base.
    #[error(
        "the adapter was trained on a base with SHA-256 {}, not on {ours}; hint: use the base it names",
        if theirs.is_empty() { "(it names none)" } else { theirs }
    )]
    OtherBase {
        /// The base it names.
        theirs: String,
        /// The base at hand.
        ours: String,
    },
    /// A run cannot go on from it.
    #[error(
        "the adapter {path} does not fit the run: its {what} is {theirs}, the recipe's {ours}; hint: give the run the \
         recipe of the adapter (`distill show` prints it), or begin without it"
    )]
    OtherShape {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the adapter has.
        theirs: String,
        /// What the run has.
        ours: String,
    },
}

const PREFIX: &str = "r2d.adapter.";

impl Provenance {
    fn pairs(&self) -> [(&'static str, &str); 6] {
        [
            ("base_sha256", &self.base_sha256),
            ("data_sha256", &self.data_sha256),
            ("parent_sha256", &self.parent_sha256),
            ("recipe", &self.recipe),
            ("metrics", &self.metrics),
            ("date", &self.date),
        ]
    }
}

/// Writes an adapter file, whole or not at all.
///
/// # Errors
/// [`AdapterError::Write`].
pub fn write(
    path: &Path,
    base: &Base,
    lora: &Lora,
    format: AdapterFormat,
    provenance: &Provenance,
) -> Result<(), AdapterError> {
    let mut writer = Writer::default();
    writer.text("general.type", "adapter");
    writer.text("general.architecture", &base.hyper().architecture);
    writer.text("general.name", &provenance.name);
    writer.text("adapter.type", "lora");
    writer.f32("adapter.lora.alpha", lora.alpha);
    for (key, value) in provenance.pairs() {
        writer.text(&format!("{PREFIX}{key}"), value);
    }
    for (name, a, b) in lora.matrices() {
        for (suffix, (shape, numbers)) in [("lora_a", a), ("lora_b", b)] {
            let body = match format {
                AdapterFormat::F16 => Body::F16(numbers.to_vec()),
                AdapterFormat::F32 => Body::F32(numbers.to_vec()),
            };
            writer.tensor(&format!("{name}.{suffix}"), &shape, body);
        }
    }
    writer.write(path).map_err(|source| AdapterError::Write { path: path.to_owned(), source })
}

/// Reads what an adapter file says of itself; adapters from elsewhere have empty fields.
///
/// # Errors
/// [`AdapterError::Gguf`] and [`AdapterError::Kind`].
pub fn read(path: &Path) -> Result<AdapterInfo, AdapterError> {
    let gguf = Gguf::open(path)?;
    let text = |key: &str| gguf.value(key).and_then(Value::as_text).unwrap_or_default().to_owned();
    for (key, wanted) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = text(key);
        if found != wanted {
            return Err(AdapterError::Kind { path: path.to_owned(), key, found: format!("\"{found}\"") });
        }
    }
    let ours = |key: &str| text(&format!("{PREFIX}{key}"));
    let is_a = |name: &str| name.ends_with(".lora_a");
    let ranks: Vec<usize> = gguf.tensors().filter(|t| is_a(t.name())).map(|t| t.n_rows()).collect();
    Ok(AdapterInfo {
        provenance: Provenance {
            name: text("general.name"),
            base_sha256: ours("base_sha256"),
            data_sha256: ours("data_sha256"),
            parent_sha256: ours("parent_sha256"),
            recipe: ours("recipe"),
            metrics: ours("metrics"),
            date: ours("date"),
        },
        architecture: text("general.architecture"),
        alpha: gguf.value("adapter.lora.alpha").and_then(Value::as_f32).unwrap_or(0.0),
        n_matrices: ranks.len(),
        rank: ranks.into_iter().max().unwrap_or(0),
    })
}

impl AdapterInfo {
    /// Refuses another base than the one the adapter names.
    ///
    /// # Errors
    /// [`AdapterError::OtherBase`].
    pub fn check_base(&self, sha256: &str) -> Result<(), AdapterError> {
        let theirs = &self.provenance.base_sha256;
        if theirs == sha256 {
            return Ok(());
        }
        Err(AdapterError::OtherBase { theirs: theirs.clone(), ours: sha256.to_owned() })
    }
}
