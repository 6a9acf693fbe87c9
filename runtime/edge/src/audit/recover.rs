//! What is done to a log before the first append: the check of its end, and the repair of what a crash left.
//!
//! It repairs two things, a torn last line and a head behind it, and refuses everything else.
//! Invariant: no byte of an acknowledged record is ever cut, and whatever is cut is kept in a file first.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::check::{self, Checker, Unread};
use super::head::{Head, HeadFile};
use super::line::Link;
use super::problem::{Fault, Problem};
use super::segment::{self, Segment, Tail};
use super::{AuditError, at};

/// What opening a log found and put right.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The last record of the log; number 0 when it has none.
    pub last: Link,
    /// The file that keeps a torn last line which was cut.
    pub torn: Option<PathBuf>,
    /// How many records the head file was behind: 1 after a crash between the two writes of an append.
    /// More means that the head or the segments were put there from elsewhere.
    pub head_behind: u64,
    /// One slot of the head file could not be read and was written again.
    pub head_slot: bool,
}

/// The log, ready for appending.
pub(super) struct Recovered {
    pub(super) head: HeadFile,
    pub(super) tail: Option<Tail>,
    pub(super) recovery: Recovery,
}

pub(super) fn recover(dir: &Path) -> Result<Recovered, AuditError> {
    let segments = segment::list(dir).map_err(at("list", dir))?;
    let path = Head::path(dir);
    let (witness, slot, damaged) = match Head::load(dir).map_err(at("read", &path))? {
        Head::Absent if segments.is_empty() => {
            let head = HeadFile::create(dir).map_err(at("create", &path))?;
            let recovery = Recovery { last: Link::GENESIS, torn: None, head_behind: 0, head_slot: false };
            return Ok(Recovered { head, tail: None, recovery });
        }
        Head::Absent | Head::Unreadable => {
            let seq = segments.last().map_or(1, |segment| segment.first);
            let file = segment::file_name(&path);
            return Err(AuditError::Broken(Problem { file, line: 0, seq, fault: Fault::HeadLost }));
        }
        Head::Read { last, slot, damaged } => (last, slot, damaged),
    };

    let recent = recent(&segments, witness.seq);
    let first = recent.first().map_or(1, |segment| segment.first);
    let mut checker = Checker::new(first, Some(witness));
    let end = check::walk(recent, &mut checker).map_err(at("read", dir))?;
    if let Some(problem) = checker.problems.into_iter().next() {
        return Err(AuditError::Broken(problem));
    }
    let last = checker.last.unwrap_or(Link::GENESIS);

    let mut torn = None;
    let mut tail = None;
    if let Some(segment) = segments.last() {
        // An empty segment is named after a record still to come; any other number would mislead readers.
        if end.len == 0 && segment.first != last.seq + 1 {
            let fault = Fault::Misnamed { named: segment.first };
            return Err(AuditError::Broken(Problem {
                file: segment.name(),
                line: 0,
                seq: last.seq + 1,
                fault,
            }));
        }
        if let Some(unread) = end.torn {
            torn = Some(set_aside(dir, segment, &unread).map_err(at("recover", &segment.path))?);
        }
        tail = Some(Tail::open(segment, end.len).map_err(at("open", &segment.path))?);
    }
    let mut head = HeadFile::open(dir, slot).map_err(at("open", &path))?;
    let head_behind = last.seq - witness.seq;
    if head_behind > 0 || damaged {
        head.write(last).map_err(at("write", &path))?;
    }
    Ok(Recovered { head, tail, recovery: Recovery { last, torn, head_behind, head_slot: damaged } })
}

/// The segments checked at every start: the last two, since the last may be new and empty, and back to the
/// one with the record the head witnesses. The rest is the work of a verification: a start must not take
/// longer with every year of records.
fn recent(segments: &[Segment], witnessed: u64) -> &[Segment] {
    let with_head = segments.iter().rposition(|segment| segment.first <= witnessed).unwrap_or(0);
    &segments[with_head.min(segments.len().saturating_sub(2))..]
}

/// Copies a torn line to a file of its own, then cuts it off.
fn set_aside(dir: &Path, segment: &Segment, torn: &Unread) -> io::Result<PathBuf> {
    let mut from = File::open(&segment.path)?;
    from.seek(SeekFrom::Start(torn.begin))?;
    let (path, mut to) = fresh(dir, torn.seq)?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    segment::sync_dir(dir)?;
    let segment = OpenOptions::new().write(true).open(&segment.path)?;
    segment.set_len(torn.begin)?;
    segment.sync_all()?;
    Ok(path)
}

fn fresh(dir: &Path, seq: u64) -> io::Result<(PathBuf, File)> {
    let mut n = 1_u64;
    loop {
        let path = dir.join(format!("torn-{seq}-{n}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => n += 1,
            Err(error) => return Err(error),
        }
    }
}
