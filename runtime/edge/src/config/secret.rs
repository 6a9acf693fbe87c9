//! A text that must not be shown.
//!
//! Not encryption: the text is plain in memory. Invariant: neither `Debug` nor `Serialize` gives it away; only
//! [`Secret::reveal`] does.

use serde::{Deserialize, Serialize, Serializer};
use std::{fmt, io, path::Path};

/// What stands in place of a secret that is set.
pub const MASK: &str = "(set)";

/// Longest secret file that is read, in bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// A password; empty means none.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret in the file at `path`, without the line end that editors add.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or is longer than a password.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        if secret.len() > MAX_SECRET_BYTES {
            let reason = format!("{} bytes, a secret has at most {MAX_SECRET_BYTES}", secret.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Self(secret.to_owned()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn mask(&self) -> &'static str {
        if self.is_empty() { "" } else { MASK }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { MASK })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.mask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_loses_its_last_line_end_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (written, read) in [("a b\r\n", "a b"), ("x\n\n", "x\n"), ("y", "y")] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(Secret::read(&path).unwrap().reveal(), read);
        }
        std::fs::write(&path, "z".repeat(MAX_SECRET_BYTES + 1)).unwrap();
        assert!(Secret::read(&path).is_err());
    }

    #[test]
    fn neither_debug_nor_json_shows_it() {
        let secret = Secret("hunter2".into());
        assert_eq!(format!("{secret:?}"), "(set)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"(set)\"");
        assert_eq!(serde_json::to_string(&Secret::default()).unwrap(), "\"\"");
    }
}
