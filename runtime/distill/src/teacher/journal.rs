//! The journal of a teaching run: a header, then how each prompt ended, and the trajectories that follow from it.
//!
//! The journal is the truth and the file of trajectories its projection. Invariants: an entry is on the disk before the
//! next prompt is asked; a journal holds entries of one header; what a crash tore off is cut off; a file of trajectories
//! that somebody changed is never written to.

use crate::trajectory::Trajectory;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The schema name that every header carries.
pub const TEACH_SCHEMA: &str = "r2d.teach/1";
/// Largest journal and largest file of trajectories that are read back, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// What a run is: another one may not go on in its journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Always [`TEACH_SCHEMA`].
    pub schema: String,
    /// SHA-256 of the prompts' file.
    pub prompts_sha256: String,
    /// Who teaches: a model with its digests, or an address with a model's name.
    pub teacher: String,
    /// SHA-256 of what the teacher is told.
    pub context_sha256: String,
    /// Whether each step is asked about a second time.
    pub second_pass: bool,
    /// Most tries of a prompt.
    pub tries: u32,
}

/// How a prompt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The prompt's name.
    pub id: String,
    /// What was wrong with each reply that could not be used, in order.
    pub faults: Vec<String>,
    /// Why there is no trajectory.
    pub dropped: Option<String>,
    /// The trajectory.
    pub kept: Option<Trajectory>,
}

/// Why a run cannot be taken up or written down.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk.
    #[error("cannot {what} {}: {source}; hint: check the folder and the free space", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The journal is of another run.
    #[error(
        "{} is of another run: {difference} differs; hint: give another --out, or the same prompts and teacher",
        path.display()
    )]
    OtherRun {
        /// The journal.
        path: PathBuf,
        /// The first thing that differs.
        difference: String,
    },
    /// A line of the journal is not what it should be.
    #[error("{}:{line}: {reason}; hint: the file was changed; begin anew with another --out", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1; 0 for the whole file.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The file of trajectories is not this run's.
    #[error(
        "{} is not what the run has written so far; hint: move it away, or give another --out",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes to it.
    #[error("{} is being written by another process; hint: wait for it, or give another --out", path.display())]
    Locked {
        /// The journal.
        path: PathBuf,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

/// A run's journal with its file of trajectories, open for this process alone.
#[derive(Debug)]
pub struct Journal {
    journal: (PathBuf, File),
    out: (PathBuf, File),
    entries: Vec<Entry>,
    done: HashSet<String>,
}

impl Journal {
    /// Opens the run whose trajectories go to `out`: begins it, or goes on where it was left.
    ///
    /// The journal stands beside `out`: `own.jsonl` has `own.teach.jsonl`.
    ///
    /// # Errors
    /// [`JournalError`]; files of another run are left as they are.
    pub fn open(out: &Path, header: &Header) -> Result<Self, JournalError> {
        let path = crate::trajectory::beside(out, "teach.jsonl");
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
            file.map_err(io("open", path))
        };
        let mut journal = open(&path)?;
        match journal.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::Locked { path }),
            Err(fs::TryLockError::Error(e)) => return Err(io("lock", &path)(e)),
        }
        let text = read(&mut journal, &path)?;
        // What stands behind the last line's end was being written when the process ended.
        let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        let mut lines = text[..whole].split_inclusive(|&b| b == b'\n').enumerate();
        let damaged =
            |line: usize, reason: String| JournalError::Damaged { path: path.clone(), line, reason };
        if let Some((_, first)) = lines.next() {
            let there: Header = serde_json::from_slice(first).map_err(|e| damaged(1, e.to_string()))?;
            if there != *header {
                return Err(JournalError::OtherRun { difference: difference(&there, header), path });
            }
        }
        let entries: Result<Vec<Entry>, _> = lines
            .map(|(i, line)| serde_json::from_slice(line).map_err(|e| damaged(i + 1, e.to_string())))
            .collect();
        let entries = entries?;
        let out_file = open(out)?;
        let mut this = Self {
            done: entries.iter().map(|e| e.id.clone()).collect(),
            journal: (path, journal),
            out: (out.to_owned(), out_file),
            entries,
        };
        // The trajectories first: a file that is not this run's stops it before anything is written.
        this.project()?;
        cut(&mut this.journal.1, whole as u64).map_err(io("mend", &this.journal.0))?;
        if whole == 0 {
            this.append(header)?;
        }
        sync_folder(out).map_err(io("write the folder of", out))?;
        Ok(this)
    }

    /// How prompts ended so far.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the prompt `id` has ended.
    #[must_use]
    pub fn is_done(&self, id: &str) -> bool {
        self.done.contains(id)
    }

    /// Writes an entry down, and its trajectory; both are on the disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn write(&mut self, entry: Entry) -> Result<(), JournalError> {
        self.append(&entry)?;
        if let Some(t) = &entry.kept {
            let (path, file) = &mut self.out;
            put(file, t.to_line().into_bytes()).map_err(io("write", path))?;
        }
        self.done.insert(entry.id.clone());
        self.entries.push(entry);
        Ok(())
    }

    fn append(&mut self, value: &impl Serialize) -> Result<(), JournalError> {
        let (path, file) = &mut self.journal;
        let line = serde_json::to_vec(value).map_err(|e| io("write", path)(e.into()))?;
        put(file, line).map_err(io("write", path))
    }

    /// Adds to the file of trajectories what a crash kept from it.
    fn project(&mut self) -> Result<(), JournalError> {
        let (path, file) = &mut self.out;
        let there = read(file, path)?;
        let kept = self.entries.iter().filter_map(|e| e.kept.as_ref());
        let all: String = kept.map(|t| t.to_line() + "\n").collect();
        let missing = all
            .as_bytes()
            .strip_prefix(&*there)
            .ok_or_else(|| JournalError::Foreign { path: path.clone() })?;
        let written = file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(missing));
        written.and_then(|()| file.sync_data()).map_err(io("write", path))
    }
}

fn put(file: &mut File, mut line: Vec<u8>) -> io::Result<()> {
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

fn cut(file: &mut File, at: u64) -> io::Result<()> {
    file.set_len(at)?;
    file.seek(SeekFrom::End(0)).map(|_| ())
}

fn read(file: &mut File, path: &Path) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("larger than {MAX_BYTES} bytes");
        return Err(JournalError::Damaged { path: path.to_owned(), line: 0, reason });
    }
    Ok(bytes)
}

/// Makes new names in the folder of `path` durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The first part of two headers that differs, by its name.
fn difference(there: &Header, here: &Header) -> String {
    let fields = |header: &Header| serde_json::to_value(header).unwrap_or_default();
    let (there, here) = (fields(there), fields(here));
    let mut keys = there.as_object().into_iter().flatten();
    keys.find(|(key, value)| here.get(key) != Some(value)).map_or_else(
        || "its form".to_owned(),
        |(key, value)| {
            let now = here.get(key).map(ToString::to_string).unwrap_or_default();
            format!("{key} ({value} there, {now} here)")
        },
    )
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
