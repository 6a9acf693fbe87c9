//! What can be wrong with a log, in words that lead to the place.
//!
//! It decides nothing: which problem is which is the checker's work.
//! Invariant: every problem names one record, the first that is not as it was written.

use std::fmt;

use super::line::{Digest, Flaw, Link};

/// Something wrong with the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Name of the file, inside the folder of the log.
    pub file: String,
    /// Line in that file from 1; 0 when no line can be named.
    pub line: u64,
    /// The first record the problem is about.
    pub seq: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// The kinds of damage.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes of the line do not give the hash it states.
    Altered {
        /// The number the line states.
        stated: u64,
    },
    /// The line is sound and was not written after the one before it: one of the two was exchanged.
    Unlinked,
    /// Records from `seq` on are not there.
    Missing {
        /// The last of them.
        through: u64,
        /// They end where a segment begins: a whole file may be missing.
        whole_segment: bool,
    },
    /// A record stands here that belongs further up.
    Repeated {
        /// The record that was due.
        expected: u64,
    },
    /// Lines that cannot be read.
    Unreadable {
        /// How many in a row.
        lines: u64,
        /// The last record lost in them, where a later line tells.
        through: Option<u64>,
        /// What is wrong with the first of them.
        flaw: Flaw,
    },
    /// An unfinished last line that no head witnesses: a crash leaves this, and the next start repairs it.
    Torn,
    /// A segment whose name gives another first record than it has.
    Misnamed {
        /// The number in the name.
        named: u64,
    },
    /// The log ends before the record that the head file witnesses.
    Cut {
        /// The last record according to the head file.
        witnessed: u64,
    },
    /// The head file witnesses another hash for this record.
    HeadDiffers {
        /// The hash in the head file.
        head: Digest,
    },
    /// The log has records and its head file is gone or cannot be read.
    HeadLost,
    /// One of the two slots of the head file cannot be read: a crash in the middle of its writing leaves
    /// this, and the next start repairs it.
    HeadSlot,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq;
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        f.write_str(": ")?;
        match &self.fault {
            Fault::Altered { stated } if *stated == seq => {
                write!(f, "record {seq} was altered: its bytes do not give the hash it states")
            }
            Fault::Altered { stated } => {
                write!(
                    f,
                    "record {seq} was altered: its bytes do not give the hash it states, and it calls itself {stated}"
                )
            }
            Fault::Unlinked => {
                write!(f, "record {seq} does not follow the one before it: one of the two was exchanged")
            }
            Fault::Missing { through, whole_segment } => {
                write!(f, "{} missing before this line", Range(seq, *through))?;
                if *whole_segment { write!(f, ": a segment file may have been removed") } else { Ok(()) }
            }
            Fault::Repeated { expected } => {
                write!(f, "record {seq} stands where record {expected} was due: repeated or out of order")
            }
            Fault::Unreadable { lines, through, flaw } => {
                match lines {
                    1 => write!(f, "the line cannot be read, {flaw}")?,
                    lines => write!(f, "{lines} lines cannot be read; of the first, {flaw}")?,
                }
                match through {
                    Some(through) => write!(f, "; {} lost", Range(seq, *through)),
                    None => write!(f, "; record {seq} was due"),
                }
            }
            Fault::Torn => write!(
                f,
                "record {seq} is unfinished and was never acknowledged: the next start moves it aside"
            ),
            Fault::Misnamed { named } => {
                write!(f, "the segment begins with record {seq}, its name says {named}")
            }
            Fault::Cut { witnessed } => {
                write!(
                    f,
                    "{} missing: the head file witnesses record {witnessed}, the log ends before record {seq}",
                    Range(seq, *witnessed)
                )
            }
            Fault::HeadDiffers { head } => {
                write!(f, "record {seq} is not the one the head file witnesses, {head}")
            }
            Fault::HeadLost => write!(
                f,
                "the head file is gone or cannot be read: whether last records are missing cannot be told"
            ),
            Fault::HeadSlot => {
                write!(f, "one of two slots of the head file cannot be read: the next start writes it again")
            }
        }
    }
}

struct Range(u64, u64);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(first, last) if first == last => write!(f, "record {first} is"),
            Self(first, last) => write!(f, "records {first} to {last} are"),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Lines looked at.
    pub checked: u64,
    /// The first record of the log.
    pub first_seq: Option<u64>,
    /// The last record of the log that could be read. Compare its hash with one kept on another machine.
    pub last: Option<Link>,
    /// The last record that the head file witnesses.
    pub head: Option<Link>,
    /// What is wrong, at most 20 entries, in the order of the log.
    pub problems: Vec<Problem>,
    /// How many more problems there were.
    pub more: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}
