//! The sha256 of a file, and the one loop that hashes bytes while they move.
//!
//! Knows nothing of models. Invariant: a [`Digest`] is always a full 32 bytes; text that is not 64 hex digits does
//! not become one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Large enough that a slow card is read in long runs, small enough for a board with 512 MB.
pub(crate) const BUFFER: usize = 1 << 20;

/// A sha256; shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of what `hash` has seen so far.
    pub(crate) fn of(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The first 16 hex digits: enough to name a file in a folder that one model owns.
    pub(crate) fn short(&self) -> String {
        self.to_string().chars().take(16).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a sha256 of 64 hex digits");
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(wrong());
        }
        let nibble = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(wrong);
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Moves everything from `from` to `to`, feeding `hash`; says how many bytes, and tells `moved` as it goes.
///
/// Stops with an error of kind `FileTooLarge` when there are more than `limit` bytes.
pub(crate) fn copy_hashed(
    from: &mut dyn Read,
    to: &mut dyn Write,
    hash: &mut Sha256,
    limit: u64,
    moved: &mut dyn FnMut(u64),
) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        total += n as u64;
        if total > limit {
            let text = format!("more than the {limit} bytes that were announced");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        hash.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        moved(n as u64);
    }
}

/// The digest and length of all that `from` still has.
pub(crate) fn hash_all(from: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut hash = Sha256::new();
    let size = copy_hashed(from, &mut io::sink(), &mut hash, u64::MAX, &mut |_| ())?;
    Ok((Digest::of(hash), size))
}

/// The digest of the file at `path`.
pub fn digest_of(path: &Path) -> io::Result<Digest> {
    Ok(hash_all(&mut File::open(path)?)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_abc_is_the_published_one_and_survives_text() {
        let (digest, size) = hash_all(&mut &b"abc"[..]).unwrap();
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((digest.to_string().as_str(), size), (text, 3));
        assert_eq!(text.to_uppercase().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn short_or_non_hex_text_is_no_digest() {
        for text in ["", "ba78", &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn copying_stops_at_the_limit() {
        let error = copy_hashed(&mut &[0; 10][..], &mut Vec::new(), &mut Sha256::new(), 9, &mut |_| ());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
