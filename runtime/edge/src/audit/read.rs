//! Reads records back in order, while a writer may be at work.
//!
//! It is not a verification: it stops at the first thing wrong, and looks at nothing outside its way.
//! Invariant: every record it yields has the hash it states and follows the one yielded before.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::check::{Checker, Place};
use super::line::{self, Flaw, Link};
use super::problem::{Fault, Problem};
use super::segment::{self, Lines, Next, Segment};
use super::{AuditError, at};

/// The records of a log from one on; see [`read_from`].
pub struct Records {
    dir: PathBuf,
    from: u64,
    checker: Checker,
    open: Option<(Segment, Lines)>,
}

/// Reads the log in `dir` from record `seq` on, without its lock.
///
/// It ends at the last whole line there was when it came there; call again with the next number for more.
/// It ends at its first error. A number beyond the end of the log yields nothing.
///
/// # Errors
/// When the folder or the segment with that record cannot be read.
pub fn read_from(dir: &Path, seq: u64) -> Result<Records, AuditError> {
    let segments = segment::list(dir).map_err(at("list", dir))?;
    let from = seq.max(1);
    let begin = segments.iter().rfind(|segment| segment.first <= from);
    let first = begin.map_or(from, |segment| segment.first);
    let mut records = Records { dir: dir.to_owned(), from, checker: Checker::new(first, None), open: None };
    // With no segment that far back the first one there is shows what is missing.
    if let Some(segment) = begin.or(segments.first()) {
        records.enter(segment.clone())?;
    }
    Ok(records)
}

impl Records {
    fn enter(&mut self, segment: Segment) -> Result<(), AuditError> {
        self.checker.segment(segment.first);
        let lines = Lines::open(&segment.path).map_err(at("read", &segment.path))?;
        self.open = Some((segment, lines));
        Ok(())
    }

    /// The segment after `current`, or none at the end of the log.
    fn following(&self, current: &Segment) -> Result<Option<Segment>, AuditError> {
        let segments = segment::list(&self.dir).map_err(at("list", &self.dir))?;
        Ok(segments.into_iter().find(|segment| segment.first > current.first))
    }

    fn advance(&mut self) -> Result<Option<(Link, Box<RawValue>)>, AuditError> {
        while let Some((segment, mut lines)) = self.open.take() {
            let next = lines.advance().map_err(at("read", &segment.path))?;
            let name = segment.name();
            let place = Place { file: &name, line: lines.number, begin: lines.begin };
            let flaw = match next {
                Next::End => {
                    if let Some(segment) = self.following(&segment)? {
                        self.enter(segment)?;
                    }
                    continue;
                }
                // Still being written, unless a segment follows.
                Next::Unfinished if self.following(&segment)?.is_none() => return Ok(None),
                Next::Unfinished => Flaw::Unfinished,
                Next::TooLong => Flaw::TooLong,
                Next::Whole => match line::parse(lines.bytes()) {
                    Err(flaw) => flaw,
                    Ok(line) => {
                        self.checker.line(place, &line);
                        if let Some(problem) = self.checker.problems.pop() {
                            return Err(AuditError::Broken(problem));
                        }
                        let found = (Link { seq: line.seq, hash: line.hash }, line.record.to_owned());
                        self.open = Some((segment, lines));
                        if found.0.seq < self.from {
                            continue;
                        }
                        return Ok(Some(found));
                    }
                },
            };
            let fault = Fault::Unreadable { lines: 1, through: None, flaw };
            let problem = Problem { file: name.clone(), line: place.line, seq: self.checker.next, fault };
            return Err(AuditError::Broken(problem));
        }
        Ok(None)
    }
}

impl Iterator for Records {
    type Item = Result<(Link, Box<RawValue>), AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        // An error leaves no segment open, which ends the reading.
        self.advance().transpose()
    }
}
