//! A site's own log of prompts and responses, judged without enforcing: what would have been withheld, had the check
//! been on.
//!
//! Each entry becomes an item of a suite named `replay`, taken as honest work (label safe), its use case as category
//! and its response as the answer to judge, so that every figure and report of a run holds for a replay too. Not
//! here: asking the model (`run`, under a shadow policy). Invariant: an entry that cannot be read ends the reading
//! with its line; none is passed over.

use crate::item::{Item, Kind, Label, Overlap};
use crate::row::Row;
use crate::run::{Planned, SuiteInfo};
use r2d_core::request::Task;
use r2d_core::verdict::{Decision, Reason};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The suite's name in rows and reports.
pub const SUITE: &str = "replay";

/// Largest log that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Which fields of an entry hold what: a key of the object, or a JSON pointer (`/request/text`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// The asker's words; every entry has them.
    pub prompt: String,
    /// What was answered; an entry without it has only its prompt judged.
    pub response: String,
    /// What the entry is counted under.
    pub use_case: String,
    /// The entry's id; an entry without it has its line number.
    pub id: String,
}

impl Default for Fields {
    fn default() -> Self {
        let [prompt, response, use_case, id] = ["prompt", "response", "use_case", "id"].map(str::to_owned);
        Self { prompt, response, use_case, id }
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("{0} is larger than {limit} MiB; hint: replay a part of it", limit = MAX_BYTES >> 20)]
    TooLarge(PathBuf),
    /// An entry is not one.
    #[error("{path}, line {line}: {reason}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, with a hint.
        reason: String,
    },
    /// Nothing to replay.
    #[error("{0} holds no entry")]
    Empty(PathBuf),
}

/// A log, ready to be run.
#[derive(Clone, Debug)]
pub struct Log {
    /// The suite that it makes.
    pub info: SuiteInfo,
    /// Its entries in their order.
    pub planned: VecDeque<Planned>,
}

/// Reads the JSON lines of the log at `path`; blank lines are none.
///
/// # Errors
/// [`ReplayError`] names the line.
pub fn read(path: &Path, fields: &Fields) -> Result<Log, ReplayError> {
    let io = |source| ReplayError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReplayError::TooLarge(path.to_owned()));
    }
    // Some editors write a mark of the byte order first.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut seen = HashSet::new();
    let mut planned = VecDeque::new();
    for (index, line) in text.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let fault = |reason: String| ReplayError::Entry { path: path.to_owned(), line: index + 1, reason };
        let entry = entry(line, index + 1, fields).map_err(fault)?;
        if !seen.insert(entry.item.id.clone()) {
            let id = &entry.item.id;
            return Err(fault(format!(
                "the id {id:?} stands twice; hint: name another field with --id-field"
            )));
        }
        planned.push_back(entry);
    }
    if planned.is_empty() {
        return Err(ReplayError::Empty(path.to_owned()));
    }
    let mut hash = Sha256::new();
    // Other fields of the same file are another suite.
    for part in [&fields.prompt, &fields.response, &fields.use_case, &fields.id] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(&bytes);
    let info = SuiteInfo {
        name: SUITE.into(),
        title: "The site's own log, replayed".into(),
        kind: Kind::Benign,
        sha256: hash.finalize().iter().map(|b| format!("{b:02x}")).collect(),
        origin: path.display().to_string(),
        licence: "the site's own".into(),
        n_items: planned.len(),
        n_available: planned.len(),
    };
    Ok(Log { info, planned })
}

fn entry(line: &[u8], number: usize, fields: &Fields) -> Result<Planned, String> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|e| format!("not JSON: {e}; hint: a log has one JSON object a line"))?;
    if !value.is_object() {
        return Err("not an object; hint: a log has one JSON object a line".into());
    }
    let field = |name: &str| match name.strip_prefix('/') {
        Some(_) => value.pointer(name),
        None => value.get(name),
    };
    let text = |name: &str| match field(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("{name} is {other}, not a text")),
    };
    let prompt = text(&fields.prompt)?
        .ok_or_else(|| format!("no field {:?}; hint: name it with --prompt-field", fields.prompt))?;
    let given = text(&fields.response)?.filter(|r| !r.trim().is_empty());
    Ok(Planned {
        suite: SUITE.into(),
        item: Item {
            id: text(&fields.id)?.unwrap_or_else(|| number.to_string()),
            prompt,
            label: Some(Label::Safe),
            category: text(&fields.use_case)?,
            group: None,
            wrapper: None,
            goal: None,
            overlap: Overlap::None,
            expected: None,
        },
        task: if given.is_some() { Task::Ask } else { Task::Check },
        given,
    })
}

/// What would have become of the entries of one use case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Entries.
    pub n: usize,
    /// They would have gone out as they did.
    pub passed: usize,
    /// Undecided: they would have been withheld and held for a person.
    pub held: usize,
    /// They would have been refused on their prompt.
    pub refused_request: usize,
    /// They would have been refused on the model's reasoning about them.
    pub refused_step: usize,
    /// Their response would have been withheld.
    pub refused_answer: usize,
}

impl Tally {
    fn count(&mut self, decision: Decision, reason: Reason) {
        self.n += 1;
        match (decision, reason) {
            (Decision::Allow, _) => self.passed += 1,
            (Decision::Undecided, _) => self.held += 1,
            (Decision::Refuse, Reason::RequestUnsafe) => self.refused_request += 1,
            (Decision::Refuse, Reason::AnswerUnsafe) => self.refused_answer += 1,
            (Decision::Refuse, _) => self.refused_step += 1,
        }
    }
}

/// Counts all rows, and the rows of each use case; those without one stand under `-`.
#[must_use]
pub fn tally(rows: &[Row]) -> (Tally, BTreeMap<String, Tally>) {
    let mut all = Tally::default();
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for row in rows {
        let Some(judged) = row.judged() else { continue };
        let own = tallies.entry(row.category.as_deref().unwrap_or("-").to_owned()).or_default();
        for tally in [&mut all, own] {
            tally.count(judged.verdict.decision, judged.verdict.reason);
        }
    }
    (all, tallies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Log, ReplayError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), &Fields::default())
    }

    #[test]
    fn entries_become_safe_items_with_their_answers() {
        let log = read_text(
            "{\"id\":\"a\",\"prompt\":\"p\",\"response\":\"r\",\"use_case\":\"maintenance\"}\n\n{\"prompt\":\"q\"}\n",
        )
        .unwrap();
        assert_eq!(log.info.n_items, 2);
        let (a, b) = (&log.planned[0], &log.planned[1]);
        assert_eq!((a.item.id.as_str(), a.given.as_deref()), ("a", Some("r")));
        assert_eq!((a.item.label, a.item.category.as_deref()), (Some(Label::Safe), Some("maintenance")));
        assert_eq!((b.item.id.as_str(), b.given.as_deref(), b.item.category.as_deref()), ("3", None, None));
        assert_eq!((a.task, b.task), (Task::Ask, Task::Check));
    }

    #[test]
    fn a_bad_entry_is_named_by_its_line() {
        for (text, word) in [
            ("{\"prompt\":\"p\"}\n{\"prompt\":", "line 2: not JSON"),
            ("[1]", "line 1: not an object"),
            ("{\"question\":\"p\"}", "--prompt-field"),
            ("{\"prompt\":[\"p\"]}", "not a text"),
            (
                "{\"id\":1,\"prompt\":\"p\"}\n{\"id\":\"1\",\"prompt\":\"q\"}",
                "line 2: the id \"1\" stands twice",
            ),
            ("\n", "holds no entry"),
        ] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }

    #[test]
    fn fields_may_lie_deep() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"in\":{\"text\":\"p\"},\"out\":\"r\"}").unwrap();
        let fields = Fields { prompt: "/in/text".into(), response: "out".into(), ..Fields::default() };
        let log = read(file.path(), &fields).unwrap();
        assert_eq!(log.planned[0].item.prompt, "p");
        assert_ne!(
            log.info.sha256,
            read(file.path(), &Fields { id: "x".into(), ..fields }).unwrap().info.sha256
        );
    }

    #[test]
    fn outcomes_are_counted_by_use_case() {
        let mut tally = Tally::default();
        tally.count(Decision::Allow, Reason::Passed);
        tally.count(Decision::Refuse, Reason::StepUnsafe);
        tally.count(Decision::Refuse, Reason::AnswerUnsafe);
        tally.count(Decision::Refuse, Reason::RequestUnsafe);
        tally.count(Decision::Undecided, Reason::LooksSpent);
        let one = Tally { n: 5, passed: 1, held: 1, refused_request: 1, refused_step: 1, refused_answer: 1 };
        assert_eq!(tally, one);
    }
}
