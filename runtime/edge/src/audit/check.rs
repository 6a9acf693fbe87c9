//! Follows the chain line by line and names what does not fit.
//!
//! It reads bytes and repairs nothing; what a torn end means is decided by the caller.
//! Invariant: after something wrong it goes on from what is there, so one altered byte is one problem.

use std::cmp::Ordering;
use std::io;

use super::line::{self, Digest, Flaw, Line, Link};
use super::problem::{Fault, Problem};
use super::segment::{Lines, Next, Segment};

/// How many problems are kept; the rest is only counted.
const MAX_PROBLEMS: usize = 20;

/// Which hashes the next line may name as its `prev`.
#[derive(Clone, Copy)]
enum Prev {
    /// Nothing is known: the check begins here, or what was before cannot be read.
    Any,
    /// After an altered line: the hash it states (its record was altered), or the one it ought to
    /// state (its hash was altered). After a sound line both are the same.
    Either(Digest, Digest),
}

impl Prev {
    fn allows(self, prev: Digest) -> bool {
        match self {
            Self::Any => true,
            Self::Either(stated, computed) => prev == stated || prev == computed,
        }
    }
}

/// Where a line stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) line: u64,
    /// Its first byte, from the start of the file.
    pub(super) begin: u64,
}

/// Lines in a row that could not be read. What is lost in them is known at the next line that can.
pub(super) struct Unread {
    pub(super) file: String,
    line: u64,
    pub(super) begin: u64,
    lines: u64,
    pub(super) seq: u64,
    flaw: Flaw,
}

impl Unread {
    pub(super) fn problem(self, through: Option<u64>) -> Problem {
        let fault = Fault::Unreadable { lines: self.lines, through, flaw: self.flaw };
        Problem { file: self.file, line: self.line, seq: self.seq, fault }
    }
}

/// The state of a check.
pub(super) struct Checker {
    pub(super) next: u64,
    prev: Prev,
    named: Option<u64>,
    unread: Option<Unread>,
    head: Option<Link>,
    pub(super) checked: u64,
    pub(super) first: Option<u64>,
    pub(super) last: Option<Link>,
    pub(super) problems: Vec<Problem>,
    /// Problems beyond those kept.
    pub(super) more: u64,
}

impl Checker {
    /// Begins at record `first`. Only the first record of all has a `prev` known beforehand.
    pub(super) fn new(first: u64, head: Option<Link>) -> Self {
        let genesis = Prev::Either(Digest::GENESIS, Digest::GENESIS);
        Self {
            next: first,
            prev: if first <= 1 { genesis } else { Prev::Any },
            named: None,
            unread: None,
            head,
            checked: 0,
            first: None,
            last: None,
            problems: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn note(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// A segment begins, named after the record `first`.
    pub(super) fn segment(&mut self, first: u64) {
        self.named = Some(first);
    }

    /// Takes the bytes of a whole line.
    pub(super) fn whole(&mut self, place: Place<'_>, bytes: &[u8]) {
        match line::parse(bytes) {
            Ok(line) => self.line(place, &line),
            Err(flaw) => self.unreadable(place, flaw),
        }
    }

    /// Takes note of a line that cannot be read.
    pub(super) fn unreadable(&mut self, place: Place<'_>, flaw: Flaw) {
        self.checked += 1;
        self.named = None;
        match &mut self.unread {
            Some(unread) => unread.lines += 1,
            None => {
                self.unread = Some(Unread {
                    file: place.file.to_owned(),
                    line: place.line,
                    begin: place.begin,
                    lines: 1,
                    seq: self.next,
                    flaw,
                });
            }
        }
    }

    pub(super) fn line(&mut self, place: Place<'_>, line: &Line<'_>) {
        self.checked += 1;
        let computed = line.computed();
        let sound = computed == line.hash;
        if let Some(unread) = self.unread.take() {
            self.skip(unread, sound.then_some(line.seq));
        }
        let named = self.named.take();
        let at = |seq, fault| Problem { file: place.file.to_owned(), line: place.line, seq, fault };
        if !sound {
            // Its number may be the altered part, so the line counts as the one that is due.
            let seq = self.next;
            self.note(at(seq, Fault::Altered { stated: line.seq }));
            self.step(seq, line.hash, computed);
            return;
        }
        let seq = line.seq;
        match seq.cmp(&self.next) {
            Ordering::Less => {
                self.note(at(seq, Fault::Repeated { expected: self.next }));
                return;
            }
            Ordering::Greater => {
                let whole_segment = named == Some(seq);
                self.note(at(self.next, Fault::Missing { through: seq - 1, whole_segment }));
            }
            Ordering::Equal if !self.prev.allows(line.prev) => self.note(at(seq, Fault::Unlinked)),
            Ordering::Equal => {
                if let Some(named) = named.filter(|&named| named != seq) {
                    self.note(at(seq, Fault::Misnamed { named }));
                }
            }
        }
        if let Some(head) = self.head.filter(|head| head.seq == seq && head.hash != line.hash) {
            self.note(at(seq, Fault::HeadDiffers { head: head.hash }));
        }
        self.step(seq, line.hash, computed);
    }

    fn step(&mut self, seq: u64, stated: Digest, computed: Digest) {
        self.next = seq + 1;
        self.prev = Prev::Either(stated, computed);
        self.first.get_or_insert(seq);
        self.last = Some(Link { seq, hash: stated });
    }

    /// Leaves unreadable lines behind; the next readable one says how many records were in them.
    fn skip(&mut self, unread: Unread, next: Option<u64>) {
        let guess = unread.seq.saturating_add(unread.lines);
        self.next = next.filter(|&next| next >= unread.seq).unwrap_or(guess);
        self.prev = Prev::Any;
        let through = self.next.checked_sub(1).filter(|&through| through >= unread.seq);
        self.note(unread.problem(through));
    }

    /// The end of the log. Returns a single unreadable line that nothing follows and no head witnesses:
    /// what a crash in the middle of an append leaves.
    pub(super) fn finish(&mut self, last_file: &str) -> Option<Unread> {
        let witnessed = self.head.map_or(0, |head| head.seq);
        let unread = self.unread.take();
        if let Some(unread) = unread {
            if unread.lines == 1 && unread.seq > witnessed && unread.file == last_file {
                return Some(unread);
            }
            // What the head witnesses behind this point was lost in these lines or cut off with them.
            let through = Some(witnessed).filter(|&witnessed| witnessed >= unread.seq);
            self.next = unread.seq.saturating_add(unread.lines).max(witnessed.saturating_add(1));
            self.note(unread.problem(through));
        }
        if witnessed >= self.next {
            let fault = Fault::Cut { witnessed };
            self.note(Problem { file: last_file.to_owned(), line: 0, seq: self.next, fault });
        }
        None
    }
}

/// What a walk over segments found at their end.
pub(super) struct End {
    /// The line torn by a crash, if there is one.
    pub(super) torn: Option<Unread>,
    /// How long the last segment is without it.
    pub(super) len: u64,
}

/// Walks over segments in order, and closes the check.
pub(super) fn walk(segments: &[Segment], checker: &mut Checker) -> io::Result<End> {
    let mut len = 0;
    let mut name = String::new();
    for segment in segments {
        name = segment.name();
        checker.segment(segment.first);
        let mut lines = Lines::open(&segment.path)?;
        loop {
            let next = lines.advance()?;
            let place = Place { file: &name, line: lines.number, begin: lines.begin };
            match next {
                Next::Whole => checker.whole(place, lines.bytes()),
                Next::TooLong => checker.unreadable(place, Flaw::TooLong),
                Next::Unfinished => checker.unreadable(place, Flaw::Unfinished),
                Next::End => break,
            }
        }
        len = lines.end;
    }
    let torn = checker.finish(&name);
    if let Some(torn) = &torn {
        len = torn.begin;
    }
    Ok(End { torn, len })
}
