//! Takes one file out of a wheel, as a stream.
//!
//! Opens only wheels whose sha256 was right. Invariants: nothing is written under a name that the archive chose; no
//! more is unpacked than the caller has room for, whatever the archive's headers claim.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use sha2::Sha256;
use zip::ZipArchive;

use super::digest::copy_hashed;
use super::error::ModelsError;

/// An opened wheel; `name` is for messages.
pub(crate) struct WheelArchive {
    name: String,
    path: std::path::PathBuf,
    archive: ZipArchive<BufReader<File>>,
}

impl WheelArchive {
    /// Opens the wheel at `path`.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Self, ModelsError> {
        let file = File::open(path).map_err(ModelsError::io("open", path))?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|error| ModelsError::BadWheel {
            wheel: name.to_owned(),
            reason: format!("not a wheel: {error}"),
        })?;
        Ok(Self { name: name.to_owned(), path: path.to_owned(), archive })
    }

    /// Appends `member` to `to` and `hash`; at most `limit` bytes. Says how many it were.
    pub(crate) fn append(
        &mut self,
        member: &str,
        to: &mut dyn Write,
        hash: &mut Sha256,
        limit: u64,
        moved: &mut dyn FnMut(u64),
    ) -> Result<u64, ModelsError> {
        let (name, path) = (self.name.clone(), self.path.clone());
        let bad = |reason: String| ModelsError::BadWheel { wheel: name, reason };
        let mut file = self.member(member)?;
        match copy_hashed(&mut file, to, hash, limit, moved) {
            Ok(n) => Ok(n),
            // The zip reader reports a broken stream or checksum as an I/O error of one of these kinds.
            Err(error) if is_content(&error) => Err(bad(format!("`{member}`: {error}"))),
            Err(error) => Err(ModelsError::io("unpack", &path)(error)),
        }
    }

    /// A short text member, made harmless for a terminal.
    pub(crate) fn text(&mut self, member: &str, limit: u64) -> Result<String, ModelsError> {
        let name = self.name.clone();
        let mut bytes = Vec::new();
        self.member(member)?
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| ModelsError::BadWheel { wheel: name, reason: format!("`{member}`: {error}") })?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect())
    }

    fn member(&mut self, member: &str) -> Result<impl Read, ModelsError> {
        let name = self.name.clone();
        self.archive
            .by_name(member)
            .map_err(|error| ModelsError::BadWheel { wheel: name, reason: format!("`{member}`: {error}") })
    }
}

fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(error.kind(), FileTooLarge | InvalidData | InvalidInput | Other | UnexpectedEof)
}
