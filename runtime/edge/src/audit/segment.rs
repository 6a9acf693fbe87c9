//! The segment files of the log: their names, their lines, and the one open for appending.
//!
//! It does not look into lines and does not know the chain.
//! Invariant: a reader holds at most one line of bounded length in memory, whatever the file contains.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::line::MAX_LINE_BYTES;

/// A segment on disk, known by the number of its first record.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn at(dir: &Path, first: u64) -> Self {
        Self { first, path: dir.join(format!("audit-{first:012}.jsonl")) }
    }

    pub(super) fn name(&self) -> String {
        file_name(&self.path)
    }
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The segments of a folder, in order.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit-")?.strip_suffix(".jsonl"));
        let Some(first) = number.and_then(|digits| digits.parse().ok()) else { continue };
        let segment = Segment::at(dir, first);
        // Another spelling of the number (`audit-7.jsonl`) is not a file of the log.
        if segment.path.file_name() == Some(&name) {
            segments.push(segment);
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

/// Makes the creation, removal or renaming of files in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What stands next in a segment. The bytes of a whole line are in the reader's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// A line that ended with a newline.
    Whole,
    /// A line longer than any of the log; its bytes were dropped.
    TooLong,
    /// Bytes at the end of the file with no newline after them.
    Unfinished,
    /// The end of the file.
    End,
}

/// Reads a segment line by line.
pub(super) struct Lines {
    file: BufReader<File>,
    buffer: Vec<u8>,
    /// Number of the line last read, from 1.
    pub(super) number: u64,
    /// Where that line begins and where it ends, in bytes from the start of the file.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(64 * 1024, File::open(path)?);
        Ok(Self { file, buffer: Vec::new(), number: 0, begin: 0, end: 0 })
    }

    /// The line last read, without its newline.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn advance(&mut self) -> io::Result<Next> {
        self.buffer.clear();
        self.begin = self.end;
        let mut whole = false;
        let mut too_long = false;
        while !whole {
            let chunk = self.file.fill_buf()?;
            if chunk.is_empty() {
                break;
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let text = &chunk[..newline.unwrap_or(chunk.len())];
            too_long |= self.buffer.len() + text.len() > MAX_LINE_BYTES;
            if !too_long {
                self.buffer.extend_from_slice(text);
            }
            whole = newline.is_some();
            let used = text.len() + usize::from(whole);
            self.end += used as u64;
            self.file.consume(used);
        }
        if self.end == self.begin {
            return Ok(Next::End);
        }
        self.number += 1;
        Ok(match (whole, too_long) {
            (false, _) => Next::Unfinished,
            (true, true) => Next::TooLong,
            (true, false) => Next::Whole,
        })
    }
}

/// What appending asks of a file; a seam, so that tests can let single calls fail.
pub(super) trait Medium: Write + Send {
    fn sync_data(&mut self) -> io::Result<()>;
    fn set_len(&mut self, len: u64) -> io::Result<()>;
}

impl Medium for File {
    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }
}

/// The segment that appends go to, and how long its good part is.
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) file: Box<dyn Medium>,
}

impl Tail {
    /// Opens a segment at a length already checked, or makes an empty one.
    pub(super) fn open(segment: &Segment, len: u64) -> io::Result<Self> {
        // In append mode every write lands at the end of the file, also after it was cut.
        let file = OpenOptions::new().append(true).create(true).open(&segment.path)?;
        let found = file.metadata()?.len();
        if found != len {
            let what = format!("{found} bytes where {len} were expected");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(Self { path: segment.path.clone(), len, file: Box::new(file) })
    }

    /// Writes a line and waits until it is on the disk.
    pub(super) fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.len += line.len() as u64;
        Ok(())
    }

    /// Cuts whatever a failed `put` left behind.
    pub(super) fn undo(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.file.sync_data()
    }
}
