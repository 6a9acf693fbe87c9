//! A bundle that is read: its signature first, then its page, then each file against the page.
//!
//! Writes nothing of its own accord: where a file goes is the caller's choice. Invariant: a [`Bundle`] exists only
//! behind a good signature, and [`Bundle::read`] succeeds only when every byte was as it should be.

use super::archive::{Reader, ended};
use super::error::BundleError;
use super::manifest::{Manifest, PAGE, Payload, SIGNATURE};
use super::sign::PublicKey;
use crate::models::Progress;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

/// Most bytes of the page and of its signature.
const LONGEST_PAGE: u64 = 256 << 10;
const LONGEST_SIGNATURE: u64 = 4 << 10;

/// A bundle whose page is signed.
pub(super) struct Bundle {
    reader: Reader<BufReader<File>>,
    file: String,
    /// The page.
    pub(super) manifest: Manifest,
    /// The page as it was signed.
    pub(super) page: Vec<u8>,
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl Bundle {
    /// Reads page and signature.
    pub(super) fn open(path: &Path, key: &PublicKey) -> Result<Self, BundleError> {
        let file = path.display().to_string();
        let bad = |reason: String| BundleError::NotBundle { file: file.clone(), reason };
        let mut reader =
            Reader::new(BufReader::new(File::open(path).map_err(BundleError::io("open", path))?));
        let page = reader.small(PAGE, LONGEST_PAGE).map_err(bad)?;
        let signature = reader.small(SIGNATURE, LONGEST_SIGNATURE).map_err(bad)?;
        key.verify(&page, &signature)
            .map_err(|reason| BundleError::Signature { file: file.clone(), reason })?;
        let manifest = Manifest::parse(&page).map_err(bad)?;
        Ok(Self { reader, file, manifest, page, signature })
    }

    /// Reads every file to the end and compares it; `place` says where it is to be written, if anywhere.
    pub(super) fn read(
        mut self,
        place: &mut dyn FnMut(&Payload) -> Result<Option<File>, BundleError>,
        progress: &mut dyn Progress,
    ) -> Result<Manifest, BundleError> {
        let bad = |reason: String| BundleError::NotBundle { file: self.file.clone(), reason };
        for payload in &self.manifest.files {
            let head = self.reader.head(payload.name()).map_err(bad)?;
            if head.size != payload.size() {
                let (name, size) = (payload.name(), payload.size());
                return Err(bad(format!("{name} has {} bytes, not {size} as the page says", head.size)));
            }
            let mut out = place(payload)?;
            let mut sink = io::sink();
            let to: &mut dyn Write = out.as_mut().map_or(&mut sink, |file| file);
            progress.start(payload.name(), Some(head.size));
            let found = self.reader.content(head.size, to, &mut |n| progress.advance(n));
            progress.finish();
            let found = found.map_err(|e| bad(format!("{}: {}", head.name, ended(&e))))?;
            if found != payload.sha256() {
                let (name, expected) = (head.name, payload.sha256());
                return Err(BundleError::Altered { name, expected, found });
            }
        }
        self.reader.end().map_err(bad)?;
        Ok(self.manifest)
    }
}

/// Checks all of the bundle at `path` and says what it is.
pub(crate) fn verify(
    path: &Path,
    key: &PublicKey,
    progress: &mut dyn Progress,
) -> Result<Manifest, BundleError> {
    Bundle::open(path, key)?.read(&mut |_| Ok(None), progress)
}
