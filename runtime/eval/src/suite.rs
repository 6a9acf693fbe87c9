//! Suites: what is asked of a model, read from a TOML manifest and the data file that it describes, so that a site
//! adds its own without code.
//!
//! Third-party data is not part of the program: a built-in manifest says where it comes from and under what licence,
//! and its files are looked for in a data folder. Not here: asking (`run`), wrapping (`wrapper`). Invariants: equal
//! files give equal items in equal order; every row is an item, is counted as passed over, or is an error.

pub(crate) mod answer;
mod build;
mod builtin;
mod check;
mod choice;
mod data;
mod error;
mod manifest;
pub(crate) mod nearest;
mod overlap;
mod sample;
pub(crate) mod template;

pub use build::MAX_PROMPT_BYTES;
pub use builtin::{Builtin, Presence, builtin};
pub use data::{MAX_BYTES, MAX_ROWS};
pub use error::{BadRow, SuiteError};
pub use manifest::{
    AnswerBy, Choice, Columns, Exact, Filter, Format, Labels, MAX_MANIFEST_BYTES, Manifest, OneOrMore,
    OverlapWith, Source,
};
pub(crate) use sample::lot;

use crate::item::{Item, Overlap};
use crate::run::SuiteInfo;
use build::Built;
use data::{File, Row};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A suite in memory.
#[derive(Clone, Debug)]
pub struct Suite {
    /// What it is.
    pub manifest: Manifest,
    /// SHA-256 over the manifest's text and the data files' bytes, hexadecimal.
    pub sha256: String,
    /// What is asked, in the order of the data.
    pub items: Vec<Item>,
    /// Rows that are no items: without a prompt, left out by a filter, or repeated.
    pub n_skipped: usize,
    /// What its reader should know, in words.
    pub warnings: Vec<String>,
}

/// A manifest, and where it lies.
struct Found {
    manifest: Manifest,
    /// Its file, or a name in place of one.
    path: PathBuf,
    text: Cow<'static, str>,
    /// Data that is part of the program.
    inside: Option<&'static [u8]>,
    /// Folders to look for data in, in their order.
    folders: Vec<PathBuf>,
}

impl Suite {
    /// Reads a built-in suite by its name, or a site's own by the path of its manifest. Data files are looked for in
    /// the folder `data`; those of a site's own suite beside its manifest first.
    ///
    /// # Errors
    /// [`SuiteError`], which names file, row and value.
    pub fn open(name_or_path: &str, data: Option<&Path>) -> Result<Self, SuiteError> {
        let found = Found::new(name_or_path, None, data)?;
        let files = found.files()?;
        let mut sha256 = Sha256::new();
        for part in [found.text.as_bytes()].into_iter().chain(files.iter().map(|f| &*f.bytes)) {
            sha256.update((part.len() as u64).to_le_bytes());
            sha256.update(part);
        }
        let rows = found.rows(&files)?;
        let mut built = build::build(&found.manifest, &found.path, &rows)?;
        let n_skipped = built.n_blank + built.n_filtered + built.n_repeated;
        if built.items.is_empty() {
            return Err(SuiteError::Empty { suite: found.manifest.name, n_skipped });
        }
        let mut warnings = Vec::new();
        for (n, what) in [
            (built.n_blank, "have no prompt"),
            (built.n_filtered, "are left out by [[where]]"),
            (built.n_repeated, "repeat an earlier prompt"),
        ] {
            if n > 0 {
                warnings.push(format!("{}: {n} of {} rows {what}", found.manifest.name, rows.len()));
            }
        }
        warnings.extend(found.compare(&mut built, data));
        // What the items overlap stands in rows too, and hangs on another suite's data.
        sha256.update(built.items.iter().map(|item| item.overlap as u8).collect::<Vec<u8>>());
        let sha256 = sha256.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { manifest: found.manifest, sha256, items: built.items, n_skipped, warnings })
    }

    /// What a run's header says of it when `n_items` of its items are taken.
    #[must_use]
    pub fn info(&self, n_items: usize) -> SuiteInfo {
        let Manifest { name, title, kind, source, .. } = &self.manifest;
        SuiteInfo {
            name: name.clone(),
            title: title.clone(),
            kind: *kind,
            sha256: self.sha256.clone(),
            origin: source.origin.clone(),
            licence: source.licence.clone(),
            n_items,
            n_available: self.items.len(),
        }
    }

    /// At most `limit` of its items, in their order; none takes all. The draw depends on `seed` and the items' ids and
    /// groups only. Groups stay whole, and labels are as even as the suite allows.
    #[must_use]
    pub fn sample(&self, limit: Option<usize>, seed: u64) -> Vec<Item> {
        sample::sample(&self.items, limit, seed)
    }
}

impl Found {
    /// Finds a manifest. A relative path counts from `base`, if there is one.
    fn new(name_or_path: &str, base: Option<&Path>, data: Option<&Path>) -> Result<Self, SuiteError> {
        if let Some(known) = builtin().iter().find(|b| b.manifest.name == name_or_path) {
            return Ok(Self {
                manifest: known.manifest.clone(),
                path: PathBuf::from(format!("{name_or_path}.toml (built in)")),
                text: Cow::Borrowed(known.text),
                inside: known.data,
                folders: data.into_iter().map(Path::to_owned).collect(),
            });
        }
        let path = base.map_or_else(|| PathBuf::from(name_or_path), |b| b.join(name_or_path));
        if !path.is_file() {
            let near = nearest::nearest(name_or_path, builtin().iter().map(|b| b.manifest.name.as_str()));
            let hint = match near.as_slice() {
                [] => "a site's own suite is named by the path of its manifest".to_owned(),
                near => format!("did you mean {}?", near.join(" or ")),
            };
            return Err(SuiteError::Unknown { name: error::short(name_or_path), hint });
        }
        let bytes = data::read_bounded(&path, MAX_MANIFEST_BYTES)?;
        let text = data::text(&path, &bytes)?.to_owned();
        let manifest = Manifest::parse(&text, &path)?;
        if let Some(known) = builtin().iter().find(|b| b.manifest.name == manifest.name) {
            // Two suites of one name could not be told apart in a run's results.
            let hint = "a built-in suite has this name; choose another";
            return Err(SuiteError::setting(&path, "name", &known.manifest.name, hint));
        }
        let beside = path.parent().map(Path::to_owned).unwrap_or_default();
        let folders = [beside].into_iter().chain(data.map(Path::to_owned)).collect();
        Ok(Self { manifest, path, text: Cow::Owned(text), inside: None, folders })
    }

    /// Its data files, whole.
    fn files(&self) -> Result<Vec<File>, SuiteError> {
        if let Some(bytes) = self.inside {
            let name = self.manifest.file.all().first().map(PathBuf::from).unwrap_or_default();
            return Ok(vec![File { path: name, bytes: Cow::Borrowed(bytes) }]);
        }
        let paths = builtin::resolve(&self.manifest, &self.folders).map_err(|looked| {
            let Source { origin, licence, .. } = &self.manifest.source;
            let place = match self.folders.as_slice() {
                [] => "data folder".to_owned(),
                _ => looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" and no "),
            };
            SuiteError::NoData {
                suite: self.manifest.name.clone(),
                looked: place,
                hint: format!(
                    "put {} into the folder that --data names; it comes from {origin} (licence: {licence})",
                    self.manifest.file.all().join(" and ")
                ),
            }
        })?;
        let mut room = MAX_BYTES;
        let mut files = Vec::new();
        for path in paths {
            let bytes = data::read_bounded(&path, room)?;
            room -= bytes.len() as u64;
            files.push(File { path, bytes: Cow::Owned(bytes) });
        }
        Ok(files)
    }

    /// The rows of all its files.
    fn rows(&self, files: &[File]) -> Result<Vec<Row>, SuiteError> {
        let mut rows = Vec::new();
        for file in files {
            let format = builtin::format(&self.manifest, &file.path)
                .ok_or_else(|| SuiteError::setting(&self.path, "file", file.path.display(), "set format"))?;
            rows.extend(data::rows(file, format, self.manifest.records.as_deref())?);
        }
        Ok(rows)
    }

    /// Marks the items that overlap the suite that the manifest names; a warning when that cannot be read.
    fn compare(&self, built: &mut Built, data: Option<&Path>) -> Option<String> {
        let OverlapWith { suite, column } = self.manifest.overlap.as_ref()?;
        let base = self.path.parent().filter(|_| self.inside.is_none());
        let known = Self::new(suite, base, data).and_then(|other| {
            let rows = other.rows(&other.files()?)?;
            let known: Result<Vec<_>, _> = rows.iter().map(|row| row.text(column)).collect();
            let known: Vec<String> = known?.into_iter().flatten().collect();
            match (known.is_empty(), rows.first()) {
                (true, Some(first)) => Err(SuiteError::NoColumn {
                    path: first.path.to_path_buf(),
                    column: column.clone(),
                    has: first.columns(),
                }),
                _ => Ok(known),
            }
        });
        match known {
            Err(why) => Some(format!("{}: overlap is not known: {why}", self.manifest.name)),
            Ok(known) => {
                let overlaps: Vec<Overlap> = overlap::overlaps(built.items.iter().map(Item::goal), &known);
                for (item, overlap) in built.items.iter_mut().zip(overlaps) {
                    item.overlap = overlap;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
