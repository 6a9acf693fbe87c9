//! Verification of a whole log from its files, with or without a writer at work on it.
//!
//! It changes nothing and takes no lock that would keep a writer out for longer than a look.
//! Invariant: it judges the bytes in the files, never JSON that was parsed and written again.

use std::path::Path;

use super::check::{self, Checker};
use super::head::Head;
use super::problem::{Fault, Problem, Report};
use super::{AuditError, at, lock, segment};

/// Checks every line of the log in `dir`, and its head.
///
/// # Errors
/// Only when files cannot be read; whatever is wrong with the log itself stands in the report.
pub fn verify(dir: &Path) -> Result<Report, AuditError> {
    // The head first: a writer at work only makes the log longer than the head seen here.
    let head = Head::load(dir).map_err(at("read", &Head::path(dir)))?;
    let segments = segment::list(dir).map_err(at("list", dir))?;
    let (witness, fault) = match head {
        Head::Read { last, damaged, .. } => (Some(last), damaged.then_some(Fault::HeadSlot)),
        Head::Absent if segments.is_empty() => (None, None),
        Head::Absent | Head::Unreadable => (None, Some(Fault::HeadLost)),
    };
    let mut checker = Checker::new(1, witness);
    let end = check::walk(&segments, &mut checker).map_err(at("read", dir))?;
    if let Some(torn) = end.torn {
        // With a writer at work this is a line in the middle of its writing.
        if !lock::held(dir).map_err(at("look at the lock of", dir))? {
            let mut problem = torn.problem(None);
            problem.fault = Fault::Torn;
            checker.note(problem);
        }
    }
    if let Some(fault) = fault {
        let seq = witness.map_or(checker.next, |last| last.seq);
        checker.note(Problem { file: segment::file_name(&Head::path(dir)), line: 0, seq, fault });
    }
    Ok(Report {
        checked: checker.checked,
        first_seq: checker.first,
        last: checker.last,
        head: witness,
        problems: checker.problems,
        more: checker.more,
    })
}
