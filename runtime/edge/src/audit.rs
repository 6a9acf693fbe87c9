//! The audit log: an append-only chain of hashed records in JSON lines. It is the truth of the service;
//! whatever else is stored can be built again from it.
//!
//! It is not a database and not an archive: it finds a record by number only, and removes nothing.
//! Invariant: `append` returns after the record and its witness are on the disk, and nothing is ever written
//! behind a tail whose state is not known.
//!
//! # Format
//! A line is `{"seq":N,"prev":"<64 hex>","hash":"<64 hex>","record":<JSON>}` and a newline, without any other
//! blank. `hash` is SHA-256 over these bytes, one after the other:
//! `r2d.audit/1`, newline, N in decimal, newline, the 64 digits of `prev`, newline, the bytes of the record as
//! they stand in the line. Numbers begin at 1; the first `prev` is 64 zeros; every other is the `hash` of the
//! line before. Segments `audit-<first number, 12 digits>.jsonl` follow one another in the same chain. The file
//! `head` names the last acknowledged record.
//!
//! # What the chain proves
//! There is no key in it. Whoever can write to the folder can alter a record and compute all later hashes
//! and the head again, and the folder alone will not show it. What the chain gives:
//! - damage, and any edit that does not rewrite everything after it, is found and its record named;
//! - removal of last lines is found as long as the head file was not rewritten as well;
//! - one hash kept elsewhere fixes everything up to its record. Verdicts carry the hash of their record to
//!   other machines, so a complete rewrite disagrees with what the consumers of those verdicts hold;
//! - a log removed together with its folder is not noticed here, only there.

mod check;
mod head;
mod line;
mod lock;
mod problem;
mod read;
mod recover;
mod segment;
mod verify;

#[cfg(test)]
mod append_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod verify_tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use line::{Digest, Flaw, Link, MAX_RECORD_BYTES};
pub use problem::{Fault, Problem, Report};
pub use read::{Records, read_from};
pub use recover::Recovery;
pub use verify::verify;

use head::{Head, HeadFile};
use segment::{Segment, Tail};

/// Bounds of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuditLimits {
    /// A segment of this length or more gets no further record; the next one begins a new segment.
    pub segment_bytes: u64,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024 }
    }
}

/// Why the log could not be opened, read or appended to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another process has the log.
    #[error("audit log {} is open in another process\nhint: stop that process, or give this one its own folder", dir.display())]
    Locked {
        /// Folder of the log.
        dir: PathBuf,
    },
    /// The log is not as it was written.
    #[error(
        "audit log is damaged: {0}\nhint: `audit verify` lists everything that is wrong; keep the folder as evidence and move it away to begin a new chain"
    )]
    Broken(Problem),
    /// The record does not fit into a line. Nothing was written.
    #[error(
        "audit record has {bytes} bytes, at most {limit} are taken\nhint: record the digest of large content in place of the content"
    )]
    TooLarge {
        /// Its length as JSON.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The record cannot be written as JSON. Nothing was written.
    #[error("audit record cannot be written as json: {0}")]
    Encode(#[source] serde_json::Error),
    /// The record could not be made durable and was taken back; the log ends where it ended before.
    #[error("audit record {seq} was not written to {}: {source}\nhint: free space on the disk or check it; the log is unharmed", path.display())]
    NotWritten {
        /// Number it would have had.
        seq: u64,
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An append failed in a way that leaves the tail unknown; the record may be in the log or not.
    #[error("audit log stopped at record {seq}, {} is in an unknown state: {source}\nhint: check the disk and restart; the start checks the tail and repairs it", path.display())]
    Unknown {
        /// Number of the record.
        seq: u64,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier append left the tail in an unknown state; see [`AuditError::Unknown`].
    #[error(
        "audit log takes no records since record {seq} failed\nhint: check the disk and restart; the start checks the tail and repairs it"
    )]
    Stopped {
        /// The record that failed.
        seq: u64,
    },
    /// A file could not be used.
    #[error("cannot {action} {}: {source}\nhint: check that the folder exists, belongs to the service and has space", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError::Io { action, path, source }
}

/// The log, open for appending. There is one at a time in all processes.
pub struct AuditLog {
    dir: PathBuf,
    limits: AuditLimits,
    last: Link,
    tail: Option<Tail>,
    head: HeadFile,
    stopped: Option<u64>,
    // Held, never used: the kernel frees the lock when the file is closed.
    _lock: File,
}

impl AuditLog {
    /// Opens the log in `dir`, or begins one there, and repairs what a crash left: a last line that was never
    /// acknowledged is moved to a file `torn-<number>-<n>`, and a head behind the last line is put right.
    ///
    /// # Errors
    /// When another process has the log, when its recent part is damaged in any other way, or on failing files.
    pub fn open(dir: &Path, limits: AuditLimits) -> Result<(Self, Recovery), AuditError> {
        fs::create_dir_all(dir).map_err(at("create", dir))?;
        let Some(lock) = lock::take(dir).map_err(at("lock", dir))? else {
            return Err(AuditError::Locked { dir: dir.to_owned() });
        };
        let recover::Recovered { head, tail, recovery } = recover::recover(dir)?;
        let log =
            Self { dir: dir.to_owned(), limits, last: recovery.last, tail, head, stopped: None, _lock: lock };
        Ok((log, recovery))
    }

    /// The last record; number 0 when there is none.
    pub fn last(&self) -> Link {
        self.last
    }

    /// Appends a record and returns its place in the chain, once it is on the disk.
    ///
    /// # Errors
    /// [`AuditError::TooLarge`], [`AuditError::Encode`] and [`AuditError::NotWritten`] leave the log as it was
    /// and open for further records. After [`AuditError::Unknown`] every append fails until the log is
    /// opened again, and the record itself may turn out to be in it.
    pub fn append<R: Serialize + ?Sized>(&mut self, record: &R) -> Result<Link, AuditError> {
        if let Some(seq) = self.stopped {
            return Err(AuditError::Stopped { seq });
        }
        let record = encode(record)?;
        let seq = self.last.seq + 1;
        let (hash, line) = line::seal(seq, self.last.hash, &record);
        let link = Link { seq, hash };
        let tail = self.tail_for(seq)?;
        if let Err(source) = tail.put(&line) {
            let path = tail.path.clone();
            if tail.undo().is_ok() {
                return Err(AuditError::NotWritten { seq, path, source });
            }
            self.stopped = Some(seq);
            return Err(AuditError::Unknown { seq, path, source });
        }
        self.last = link;
        if let Err(source) = self.head.write(link) {
            // The record is durable and its witness in doubt. Taking the record back could leave a head that
            // witnesses it, which would look like a removed line, so it stays.
            self.stopped = Some(seq);
            return Err(AuditError::Unknown { seq, path: Head::path(&self.dir), source });
        }
        Ok(link)
    }

    /// The segment for record `seq`, a new one when there is none or the current one is full.
    fn tail_for(&mut self, seq: u64) -> Result<&mut Tail, AuditError> {
        let tail = match self.tail.take() {
            Some(tail) if tail.len == 0 || tail.len < self.limits.segment_bytes => tail,
            full => {
                let segment = Segment::at(&self.dir, seq);
                let opened = Tail::open(&segment, 0).and_then(|tail| {
                    segment::sync_dir(&self.dir)?;
                    Ok(tail)
                });
                match opened {
                    Ok(tail) => tail,
                    Err(source) => {
                        // The full segment stays the current one, so that the next append tries again.
                        self.tail = full;
                        return Err(AuditError::NotWritten { seq, path: segment.path, source });
                    }
                }
            }
        };
        Ok(self.tail.insert(tail))
    }
}

/// Writes a record as JSON that fits into a line.
fn encode<R: Serialize + ?Sized>(record: &R) -> Result<Vec<u8>, AuditError> {
    let mut json = serde_json::to_vec(record).map_err(AuditError::Encode)?;
    if json.len() > MAX_RECORD_BYTES {
        return Err(AuditError::TooLarge { bytes: json.len(), limit: MAX_RECORD_BYTES });
    }
    // Raw JSON inside a record may bring line breaks; between tokens a blank means the same.
    for byte in &mut json {
        if *byte == b'\n' {
            *byte = b' ';
        }
    }
    Ok(json)
}
