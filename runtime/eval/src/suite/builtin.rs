//! The suites that the program knows by name, and whether their data is there.

use super::manifest::{Format, Manifest};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A suite that the program knows by name.
#[derive(Clone, Debug)]
pub struct Builtin {
    /// What it is.
    pub manifest: Manifest,
    /// The manifest's text.
    pub(super) text: &'static str,
    /// Its data, where that is part of the program.
    pub(super) data: Option<&'static [u8]>,
}

/// Whether a suite's data is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is part of the program.
    Inside,
    /// It lies in these files.
    Found(Vec<PathBuf>),
    /// These files are missing.
    Missing(Vec<PathBuf>),
    /// No data folder is named.
    NoFolder,
}

/// The manifests, in the order in which they are listed.
const TEXTS: [&str; 18] = [
    include_str!("../../suites/shopfloor.toml"),
    include_str!("../../suites/advbench.toml"),
    include_str!("../../suites/harmbench.toml"),
    include_str!("../../suites/jbb-harmful.toml"),
    include_str!("../../suites/jbb-benign.toml"),
    include_str!("../../suites/jbb-pair.toml"),
    include_str!("../../suites/jbb-gcg.toml"),
    include_str!("../../suites/jbb-jbc.toml"),
    include_str!("../../suites/jbb-random-search.toml"),
    include_str!("../../suites/xstest.toml"),
    include_str!("../../suites/instructions.toml"),
    include_str!("../../suites/self-instruct.toml"),
    include_str!("../../suites/arc-easy.toml"),
    include_str!("../../suites/arc-challenge.toml"),
    include_str!("../../suites/boolq.toml"),
    include_str!("../../suites/piqa.toml"),
    include_str!("../../suites/openbookqa.toml"),
    include_str!("../../suites/gsm8k.toml"),
];

/// Our own data, by the name of its suite.
const INSIDE: [(&str, &[u8]); 1] = [("shopfloor", include_bytes!("../../suites/shopfloor_dev.csv"))];

static BUILTIN: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    // A test holds that each of them can be read.
    let parsed =
        TEXTS.into_iter().filter_map(|text| Some((text, Manifest::parse(text, Path::new("")).ok()?)));
    parsed
        .map(|(text, manifest)| {
            let data = INSIDE.iter().find(|(name, _)| *name == manifest.name).map(|(_, data)| *data);
            Builtin { manifest, text, data }
        })
        .collect()
});

/// The suites that the program knows by name.
#[must_use]
pub fn builtin() -> &'static [Builtin] {
    &BUILTIN
}

impl std::ops::Deref for Builtin {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}

impl std::fmt::Display for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list =
            |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        match self {
            Self::Inside => f.write_str("part of the program"),
            Self::Found(paths) => write!(f, "found: {}", list(paths)),
            Self::Missing(paths) => write!(f, "missing: {}", list(paths)),
            Self::NoFolder => f.write_str("no data folder named"),
        }
    }
}

impl Builtin {
    /// Whether its data is there, with `data` as the data folder. The files are not read.
    #[must_use]
    pub fn presence(&self, data: Option<&Path>) -> Presence {
        if self.data.is_some() {
            return Presence::Inside;
        }
        let Some(data) = data else { return Presence::NoFolder };
        match resolve(&self.manifest, &[data.to_owned()]) {
            Ok(found) => Presence::Found(found),
            Err(missing) => Presence::Missing(missing),
        }
    }
}

/// The manifest's files in the first of `folders` that has them; else the places where they were looked for.
pub(super) fn resolve(manifest: &Manifest, folders: &[PathBuf]) -> Result<Vec<PathBuf>, Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for file in manifest.file.all() {
        let names = [file].into_iter().chain(&manifest.file_or);
        let places: Vec<PathBuf> = names.flat_map(|name| folders.iter().map(move |f| f.join(name))).collect();
        match places.iter().find(|p| p.is_file()) {
            Some(place) => found.push(place.clone()),
            None => missing.extend(places),
        }
    }
    if missing.is_empty() && !folders.is_empty() { Ok(found) } else { Err(missing) }
}

/// The format of a data file: the manifest's word, else what its name ends in.
pub(super) fn format(manifest: &Manifest, file: &Path) -> Option<Format> {
    manifest.format.or_else(|| match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "json" => Some(Format::Json),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    })
}
