//! The folder of a run: what was asked for, one line per result, one line per time.
//!
//! `run.json` is the header, `results.jsonl` the rows, `times.jsonl` the times, `opinions.jsonl` what outside judges
//! said. Not a database: rows are appended and never changed. Invariant: a row is on the disk before the next item is
//! asked, and a folder holds rows of one header only; what a crash tore off is asked again.

use crate::judge::Opinion;
use crate::row::{Row, RowKey, Timing};
use crate::run::{Header, RUN_SCHEMA};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const HEADER: &str = "run.json";
const RESULTS: &str = "results.jsonl";
const TIMES: &str = "times.jsonl";
const OPINIONS: &str = "opinions.jsonl";
const LOCK: &str = "lock";
const OPINIONS_LOCK: &str = "opinions.lock";

/// Largest file that is read back: far beyond any run, so that a wrong path fills no memory.
const MAX_BYTES: u64 = 1 << 30;

/// Why a run's folder cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The folder is not one of a run.
    #[error("{0} holds no run (no run.json); hint: `r2d-edge eval run` makes one")]
    NoRun(PathBuf),
    /// The folder belongs to another run.
    #[error(
        "{folder} holds another run: {difference} differs; hint: give another --out, or none to let each run have \
         its own folder"
    )]
    OtherRun {
        /// The folder.
        folder: PathBuf,
        /// The first thing that differs.
        difference: String,
    },
    /// Another process writes to it.
    #[error(
        "{0} is being written by another process; hint: wait for it; a run may have a folder of its own (--out)"
    )]
    Locked(PathBuf),
    /// A line in the middle is not what it should be.
    #[error("{path}, line {line}: {reason}; hint: the file was changed; begin anew with another --out")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

/// A run as it was read back.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was asked for.
    pub header: Header,
    /// The rows in the order in which they were written.
    pub rows: Vec<Row>,
    /// Their times, in the same order; a row may lack its own.
    pub timings: Vec<Timing>,
    /// What outside judges said.
    pub opinions: Vec<Opinion>,
}

impl Run {
    /// Reads the run in `folder`, finished or not.
    ///
    /// # Errors
    /// [`JournalError`] names file and line.
    pub fn read(folder: &Path) -> Result<Self, JournalError> {
        let header = read_header(folder)?.ok_or_else(|| JournalError::NoRun(folder.to_owned()))?;
        let rows: Vec<Row> = lines(&folder.join(RESULTS))?.0;
        // An item that was torn off between its time and its row has two times; the last one is the row's.
        let times: Vec<Timing> = lines(&folder.join(TIMES))?.0;
        let mut times: HashMap<RowKey, Timing> = times.into_iter().map(|t| (t.key(), t)).collect();
        let timings = rows.iter().filter_map(|row| times.remove(&row.key())).collect();
        Ok(Self { header, rows, timings, opinions: lines(&folder.join(OPINIONS))?.0 })
    }
}

/// A run's folder, open for writing by this process alone.
#[derive(Debug)]
pub struct Journal {
    results: Appender,
    times: Appender,
    done: HashSet<RowKey>,
    /// Held as long as this process writes.
    _lock: File,
}

impl Journal {
    /// Opens the run of `header` in `folder`: makes it, or goes on where it was left.
    ///
    /// # Errors
    /// [`JournalError`]; a folder of another run is left as it is.
    pub fn open(folder: &Path, header: &Header) -> Result<Self, JournalError> {
        make_private(folder).map_err(io("make", folder))?;
        // Before anything is read: two processes that begin one folder at once must not both find it empty.
        let lock = lock(&folder.join(LOCK))?;
        match read_header(folder)? {
            Some(there) if there == *header => {}
            Some(there) => {
                let difference = difference(&there, header);
                return Err(JournalError::OtherRun { folder: folder.to_owned(), difference });
            }
            None => write_header(folder, header)?,
        }
        let (results, rows) = Appender::open::<Row>(&folder.join(RESULTS))?;
        let (times, _) = Appender::open::<Timing>(&folder.join(TIMES))?;
        Ok(Self { results, times, done: rows.iter().map(Row::key).collect(), _lock: lock })
    }

    /// Whether the row of `key` stands already.
    #[must_use]
    pub fn is_done(&self, key: &RowKey) -> bool {
        self.done.contains(key)
    }

    /// Rows that stand.
    #[must_use]
    pub fn n_done(&self) -> usize {
        self.done.len()
    }

    /// Writes a row and its time down; both are on the disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn write(&mut self, row: &Row, timing: &Timing) -> Result<(), JournalError> {
        // The time first: a time without its row is written again with it, a row without its time never gets one.
        self.times.append(timing)?;
        self.results.append(row)?;
        self.done.insert(row.key());
        Ok(())
    }
}

/// What outside judges said about a run, open for writing by this process alone. A run may go on beside it.
#[derive(Debug)]
pub struct Opinions {
    path: PathBuf,
    /// Held as long as this process writes.
    _lock: File,
}

impl Opinions {
    /// Opens the opinions on the run in `folder`. Read what stands there behind this, not before.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        let lock = lock(&folder.join(OPINIONS_LOCK))?;
        Ok(Self { path: folder.join(OPINIONS), _lock: lock })
    }

    /// Writes `opinions` in place of what stood there.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the earlier file is whole then.
    pub fn write(&self, opinions: &[Opinion]) -> Result<(), JournalError> {
        let mut text = Vec::new();
        for opinion in opinions {
            push_line(&mut text, opinion).map_err(io("write", &self.path))?;
        }
        replace(&self.path, &text)
    }
}

/// The name that a header's run has by default: 12 hexadecimal digits of its SHA-256.
#[must_use]
pub fn run_name(header: &Header) -> String {
    let json = serde_json::to_vec(header).unwrap_or_default();
    Sha256::digest(json).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The first part of two headers that differs, by its name.
fn difference(there: &Header, here: &Header) -> String {
    let fields = |header: &Header| serde_json::to_value(header).unwrap_or_default();
    let (there, here) = (fields(there), fields(here));
    let mut keys = there.as_object().into_iter().flatten();
    keys.find(|(key, value)| here.get(key) != Some(value)).map_or_else(
        || "its form".to_owned(),
        |(key, value)| match here.get(key) {
            Some(now) if !now.is_object() && !now.is_array() => format!("{key} ({value} there, {now} here)"),
            _ => key.clone(),
        },
    )
}

fn read_header(folder: &Path) -> Result<Option<Header>, JournalError> {
    let path = folder.join(HEADER);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io("read", &path)(e)),
    };
    let damaged = |reason: String| JournalError::Damaged { path: path.clone(), line: 1, reason };
    let header: Header = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if header.schema != RUN_SCHEMA {
        return Err(damaged(format!("its schema is {:?}, not {RUN_SCHEMA:?}", header.schema)));
    }
    Ok(Some(header))
}

fn write_header(folder: &Path, header: &Header) -> Result<(), JournalError> {
    let path = folder.join(HEADER);
    let mut text = serde_json::to_vec_pretty(header).map_err(|e| io("write", &path)(e.into()))?;
    text.push(b'\n');
    replace(&path, &text)
}

/// Puts `text` in place of the file at `path`, whole or not at all.
fn replace(path: &Path, text: &[u8]) -> Result<(), JournalError> {
    let aside = path.with_extension("new");
    let written = (|| {
        let mut file = File::create(&aside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    })();
    written.map_err(io("write", path))
}

fn push_line(out: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.push(b'\n');
    Ok(())
}

/// Makes a run's folder, for this user alone: rows hold what people asked.
fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Takes the folder for this process alone.
fn lock(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(io("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(JournalError::Locked(path.parent().unwrap_or(path).to_owned()))
        }
        Err(fs::TryLockError::Error(e)) => Err(io("lock", path)(e)),
    }
}

/// A file of lines that only grows.
#[derive(Debug)]
struct Appender {
    file: File,
    path: PathBuf,
}

impl Appender {
    /// Opens the file, drops a torn last line, and gives what stands in it.
    fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), JournalError> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let mut file = file.map_err(io("open", path))?;
        let (found, whole) = lines(path)?;
        file.set_len(whole).map_err(io("mend", path))?;
        file.seek(SeekFrom::End(0)).map_err(io("seek in", path))?;
        Ok((Self { file, path: path.to_owned() }, found))
    }

    fn append(&mut self, value: &impl Serialize) -> Result<(), JournalError> {
        let mut line = Vec::new();
        let written = push_line(&mut line, value)
            .and_then(|()| self.file.write_all(&line))
            .and_then(|()| self.file.sync_data());
        written.map_err(io("write", &self.path))
    }
}

/// The values of all whole lines of the file at `path`, and the bytes that those take; nothing if there is no file.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<(Vec<T>, u64), JournalError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(e) => return Err(io("read", path)(e)),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(io("read", path))?;
    let damaged = |line, reason| JournalError::Damaged { path: path.to_owned(), line, reason };
    if text.len() as u64 > MAX_BYTES {
        return Err(damaged(0, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    // What stands behind the last line break was being written when the process ended.
    let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let mut found = Vec::new();
    for (index, line) in text[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        found.push(serde_json::from_slice(line).map_err(|e| damaged(index + 1, e.to_string()))?);
    }
    Ok((found, whole as u64))
}

#[cfg(test)]
#[path = "journal_test.rs"]
mod tests;
