//! One line of the audit chain: how it is written, read and hashed.
//!
//! It does not know files, segments or the neighbours of a line.
//! Invariant: a line has one spelling only. Whatever `parse` accepts would be written again byte for byte
//! the same around its record, so no byte of a line is without meaning.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The longest record the log takes or reads back, in bytes of JSON.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// The longest line, its newline not counted: a record and the widest frame around it.
pub(super) const MAX_LINE_BYTES: usize = MAX_RECORD_BYTES + 256;

const DOMAIN: &[u8] = b"r2d.audit/1\n";
const HEX: usize = 64;

/// A SHA-256 digest, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The `prev` of the first record: no record is before it.
    pub const GENESIS: Self = Self([0; 32]);

    /// Reads 64 lower-case hex digits; anything else is `None`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != HEX {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update(part);
        }
        Self(sha.finalize().into())
    }
}

// Upper case is refused: a digest has one spelling, so a changed letter case is a changed file.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A place in the chain: the number of a record and its hash. It stands for everything up to that record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Link {
    /// Number of the record, from 1; 0 is the start of an empty log.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Link {
    /// The start of every chain.
    pub const GENESIS: Self = Self { seq: 0, hash: Digest::GENESIS };
}

/// Why bytes are not a line of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// The frame `{"seq":…,"prev":…,"hash":…,"record":…}` is not there.
    Frame,
    /// The frame is there, and what stands in it as record is not JSON.
    Record,
    /// Longer than any line the log writes.
    TooLong,
    /// The newline at the end is missing.
    Unfinished,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "it is not a line of the chain",
            Self::Record => "its record is not JSON",
            Self::TooLong => "it is longer than any line of the chain",
            Self::Unfinished => "its end is missing",
        })
    }
}

/// A line taken apart; `record` borrows the exact bytes that were hashed.
pub(super) struct Line<'a> {
    pub(super) seq: u64,
    pub(super) prev: Digest,
    pub(super) hash: Digest,
    pub(super) record: &'a RawValue,
    raw: &'a [u8],
}

impl Line<'_> {
    /// The hash the line ought to state.
    pub(super) fn computed(&self) -> Digest {
        digest(self.seq, self.prev, self.raw)
    }
}

fn digest(seq: u64, prev: Digest, record: &[u8]) -> Digest {
    Digest::of(&[DOMAIN, seq.to_string().as_bytes(), b"\n", prev.to_string().as_bytes(), b"\n", record])
}

/// Writes the line of a record, newline included. `record` must be JSON without a newline.
pub(super) fn seal(seq: u64, prev: Digest, record: &[u8]) -> (Digest, Vec<u8>) {
    let hash = digest(seq, prev, record);
    let mut line = format!(r#"{{"seq":{seq},"prev":"{prev}","hash":"{hash}","record":"#).into_bytes();
    line.extend_from_slice(record);
    line.extend_from_slice(b"}\n");
    (hash, line)
}

/// Takes a line apart, its newline already gone.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, Flaw> {
    let (seq, prev, hash, raw) = frame(line).ok_or(Flaw::Frame)?;
    let record: &RawValue = serde_json::from_slice(raw).map_err(|_| Flaw::Record)?;
    Ok(Line { seq, prev, hash, record, raw })
}

fn frame(line: &[u8]) -> Option<(u64, Digest, Digest, &[u8])> {
    let rest = line.strip_prefix(br#"{"seq":"#)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    // A leading zero would be a second spelling of the same number.
    if digits.first() == Some(&b'0') {
        return None;
    }
    // The greatest number is left out: no record could follow it.
    let seq = std::str::from_utf8(digits).ok()?.parse().ok().filter(|&seq| seq < u64::MAX)?;
    let rest = rest.strip_prefix(br#","prev":""#)?;
    let (prev, rest) = rest.split_at_checked(HEX)?;
    let rest = rest.strip_prefix(br#"","hash":""#)?;
    let (hash, rest) = rest.split_at_checked(HEX)?;
    let record = rest.strip_prefix(br#"","record":"#)?.strip_suffix(b"}")?;
    Some((seq, Digest::parse(prev)?, Digest::parse(hash)?, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Computed apart from this code, with Python's hashlib over the byte string that `audit` documents.
    const FIRST: &str = "c0f2b926e9dd15e3ab5d95e6f941a3a3e0a57876b3ece1ba6252b26f4b5ef4b2";
    const SECOND: &str = "c2367d5593b320ed81c9bfa77e80a36384011c57f080d8628c1de898119d1a4f";

    #[test]
    fn two_lines_are_hashed_as_an_independent_program_hashes_them() {
        let (first, line) = seal(1, Digest::GENESIS, br#"{"kind":"boot","n":1}"#);
        assert_eq!(first.to_string(), FIRST);
        let zeros = "0".repeat(64);
        let expected = format!(
            "{{\"seq\":1,\"prev\":\"{zeros}\",\"hash\":\"{FIRST}\",\"record\":{{\"kind\":\"boot\",\"n\":1}}}}\n"
        );
        assert_eq!(String::from_utf8(line).unwrap(), expected);
        let (second, _) = seal(2, first, "{\"text\":\"café \\\"quoted\\\"\",\"n\":2}".as_bytes());
        assert_eq!(second.to_string(), SECOND);
    }

    #[test]
    fn a_sealed_line_parses_to_the_same_parts() {
        let (hash, line) = seal(7, Digest::of(&[b"x"]), br#"{"a":[1,2]}"#);
        let line = parse(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((line.seq, line.prev, line.hash), (7, Digest::of(&[b"x"]), hash));
        assert_eq!(line.record.get(), r#"{"a":[1,2]}"#);
        assert_eq!(line.computed(), hash);
    }

    #[test]
    fn a_second_spelling_of_the_same_line_is_refused() {
        let (_, line) = seal(7, Digest::of(&[b"x"]), b"{}");
        let line = String::from_utf8(line).unwrap();
        let line = line.trim_end();
        assert!(parse(line.as_bytes()).is_ok());
        for other in [
            line.replace("\"seq\":7", "\"seq\":07"),
            line.replace("\"seq\":7", "\"seq\": 7"),
            line.replace("\"seq\":7", "\"seq\":+7"),
            format!(" {line}"),
            format!("{line} "),
            format!("{}{}", &line[..20], line[20..].to_uppercase()),
        ] {
            assert_eq!(parse(other.as_bytes()).err(), Some(Flaw::Frame), "{other}");
        }
    }

    #[test]
    fn every_other_value_of_every_byte_is_noticed() {
        let (_, line) = seal(7, Digest::of(&[b"x"]), r#"{"a": [1, "é"]}"#.as_bytes());
        let line = line.strip_suffix(b"\n").unwrap();
        assert!(parse(line).is_ok_and(|line| line.computed() == line.hash));
        for at in 0..line.len() {
            for other in (0..=255).filter(|&other| other != line[at]) {
                let mut bad = line.to_vec();
                bad[at] = other;
                assert!(!parse(&bad).is_ok_and(|line| line.computed() == line.hash), "byte {at} to {other}");
            }
        }
    }
}
