//! The signed page of a bundle, `bundle.toml`: its version and what each of its files is.
//!
//! Parses and judges text, opens nothing. Invariants: a [`Manifest`] from [`Manifest::parse`] names its files plainly,
//! each once, with at most one model, one adapter, and one package for each architecture.

use crate::models::{self, Digest};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// The form of bundle that this program writes and reads.
const FORMAT: u32 = 1;
/// Name of the page in the bundle.
pub(super) const PAGE: &str = "bundle.toml";
/// Name of its signature.
pub(super) const SIGNATURE: &str = "bundle.toml.minisig";
/// A tar header holds no more without extensions.
const LONGEST_NAME: usize = 100;

/// The number of a release; it only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Version(NonZeroU32);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{text:?} is no version: 1 to {}", u32::MAX))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// The release.
    pub(crate) version: Version,
    /// When it was made, in UTC.
    pub(crate) created: String,
    /// The files, in their order.
    #[serde(rename = "file", default)]
    pub(crate) files: Vec<Payload>,
}

/// One file of a bundle, by what it is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(crate) enum Payload {
    /// The program.
    Package(Package),
    /// The model.
    Model(Model),
    /// An adapter on a model.
    Adapter(Adapter),
}

/// The program for one architecture, as a Debian package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Debian's name of the architecture.
    pub(crate) arch: String,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Its name in the store.
    pub(crate) model: String,
    /// What the store knows of it, as TOML text.
    manifest: String,
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Adapter {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Its name in the store.
    pub(crate) adapter: String,
    /// SHA-256 of the model it belongs to.
    pub(crate) base_sha256: String,
}

impl Model {
    /// The model `name` with what is known of it.
    pub(super) fn new(known: &models::Manifest, size: u64, sha256: Digest) -> Result<Self, String> {
        let manifest = toml::to_string(known).map_err(|e| e.to_string())?;
        let model = known.name.clone();
        Ok(Self { name: format!("{model}.gguf"), size, sha256, model, manifest })
    }

    /// What is known of it.
    pub(super) fn known(&self) -> Result<models::Manifest, String> {
        let known = models::Manifest::parse(&self.manifest, "of the model").map_err(|e| e.to_string())?;
        if (known.name.as_str(), known.sha256) != (self.model.as_str(), Some(self.sha256)) {
            return Err(format!("the manifest of `{}` is of another model", self.model));
        }
        Ok(known)
    }
}

impl Payload {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Package(Package { name, .. })
            | Self::Model(Model { name, .. })
            | Self::Adapter(Adapter { name, .. }) => name,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Package(Package { size, .. })
            | Self::Model(Model { size, .. })
            | Self::Adapter(Adapter { size, .. }) => *size,
        }
    }

    pub(crate) fn sha256(&self) -> Digest {
        match self {
            Self::Package(Package { sha256, .. })
            | Self::Model(Model { sha256, .. })
            | Self::Adapter(Adapter { sha256, .. }) => *sha256,
        }
    }
}

impl Manifest {
    /// The page of these files; refused when it could not be read again.
    pub(super) fn new(version: Version, created: String, files: Vec<Payload>) -> Result<Self, String> {
        let this = Self { format: FORMAT, version, created, files };
        this.judge()?;
        Ok(this)
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|e| format!("{PAGE} is no text: {e}"))?;
        // The number first: another format may have other fields.
        let table: toml::Table = toml::from_str(text).map_err(|e| format!("{PAGE}: {}", e.message()))?;
        let format = table.get("format").and_then(toml::Value::as_integer);
        if format != Some(i64::from(FORMAT)) {
            let found = format.map_or_else(|| "no format number".into(), |n| format!("format {n}"));
            return Err(format!("{PAGE} has {found}, and this program reads {FORMAT}"));
        }
        let this: Self = toml::from_str(text).map_err(|e| format!("{PAGE}: {}", e.message()))?;
        this.judge()?;
        Ok(this)
    }

    pub(super) fn render(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }

    fn judge(&self) -> Result<(), String> {
        if humantime::parse_rfc3339(&self.created).is_err() {
            return Err(format!("`created` is no time: {:?}", self.created));
        }
        for (n, file) in self.files.iter().enumerate() {
            check_plain(file.name())?;
            let before = &self.files[..n];
            if before.iter().any(|other| other.name() == file.name()) {
                return Err(format!("{} stands there twice", file.name()));
            }
            match file {
                Payload::Package(Package { arch, .. }) => {
                    if arch.is_empty() || !arch.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
                    {
                        return Err(format!("{arch:?} is no architecture"));
                    }
                    let same = |other: &Payload| matches!(other, Payload::Package(p) if p.arch == *arch);
                    if before.iter().any(same) {
                        return Err(format!("there are two packages for {arch}"));
                    }
                }
                Payload::Model(model) => {
                    if before.iter().any(|other| matches!(other, Payload::Model(_))) {
                        return Err("there are two models".into());
                    }
                    model.known()?;
                }
                Payload::Adapter(adapter) => {
                    if before.iter().any(|other| matches!(other, Payload::Adapter(_))) {
                        return Err("there are two adapters".into());
                    }
                    models::check_name(&adapter.adapter).map_err(|e| e.to_string())?;
                    adapter.base_sha256.parse::<Digest>()?;
                }
            }
        }
        if !self.files.iter().any(|file| matches!(file, Payload::Package(_))) {
            return Err("there is no package".into());
        }
        match (self.model(), self.adapter()) {
            (Some(model), Some(adapter)) if adapter.base_sha256 != model.sha256.to_string() => {
                Err(format!("`{}` is not an adapter on `{}`", adapter.adapter, model.model))
            }
            _ => Ok(()),
        }
    }

    /// The package for `arch`, and which there are instead.
    pub(super) fn package(&self, arch: &str) -> Result<&Package, String> {
        let packages = || {
            self.files.iter().filter_map(|file| match file {
                Payload::Package(package) => Some(package),
                _ => None,
            })
        };
        packages()
            .find(|package| package.arch == arch)
            .ok_or_else(|| packages().map(|p| p.arch.as_str()).collect::<Vec<_>>().join(", "))
    }

    /// The model.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.files.iter().find_map(|file| match file {
            Payload::Model(model) => Some(model),
            _ => None,
        })
    }

    /// The adapter.
    pub(crate) fn adapter(&self) -> Option<&Adapter> {
        self.files.iter().find_map(|file| match file {
            Payload::Adapter(adapter) => Some(adapter),
            _ => None,
        })
    }
}

/// Refuses what is no plain file name.
pub(super) fn check_plain(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    let plain = !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(allowed);
    if !plain || name.starts_with(['.', '-']) || [PAGE, SIGNATURE].contains(&name) {
        return Err(format!("{name:?} is no plain file name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, arch: &str) -> Payload {
        let sha256 = "00".repeat(32).parse().unwrap();
        Payload::Package(Package { name: name.into(), size: 1, sha256, arch: arch.into() })
    }

    fn page(files: Vec<Payload>) -> Result<Manifest, String> {
        Manifest::new("7".parse().unwrap(), "2026-11-26T10:00:00Z".into(), files)
    }

    #[test]
    fn a_page_survives_its_text() {
        let page = page(vec![package("p_1_arm64.deb", "arm64"), package("p_1_amd64.deb", "amd64")]).unwrap();
        let text = page.render().unwrap();
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), page, "{text}");
    }

    #[test]
    fn names_that_are_paths_or_stand_twice_are_refused() {
        for name in ["", "/p.deb", "../p.deb", "a/p.deb", "..", ".p", "-p", "p\0", "p q", PAGE, SIGNATURE] {
            let error = page(vec![package(name, "arm64")]).unwrap_err();
            assert!(error.contains("no plain file name"), "{name:?}: {error}");
        }
        assert!(page(vec![package(&"p".repeat(101), "arm64")]).is_err());
        let twice = page(vec![package("p.deb", "arm64"), package("p.deb", "amd64")]);
        assert!(twice.unwrap_err().contains("twice"));
        let two = page(vec![package("p.deb", "arm64"), package("q.deb", "arm64")]);
        assert!(two.unwrap_err().contains("two packages for arm64"));
        assert!(page(vec![]).unwrap_err().contains("no package"));
    }

    #[test]
    fn another_format_unknown_fields_and_version_zero_are_refused() {
        let text = page(vec![package("p.deb", "arm64")]).unwrap().render().unwrap();
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            Manifest::parse(text.replace(from, to).as_bytes())
        };
        assert!(with("format = 1", "format = 2").unwrap_err().contains("format 2"));
        assert!(with("version = 7", "version = 0").is_err());
        assert!(with("version = 7", "version = -7").is_err());
        assert!(with("version = 7", "version = 7\nmore = 1").is_err());
        assert!(with("arch =", "more = 1\narch =").is_err());
        assert!(with("role = \"package\"", "role = \"script\"").is_err());
        assert!(with("2026-11-26T10", "yesterday").is_err());
    }
}
