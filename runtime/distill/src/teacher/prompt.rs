//! The prompts that a teacher is asked about: JSON Lines, or plain text with one prompt a line.
//!
//! Not a check of what they say. Invariants: memory is bounded by [`input::MAX_BYTES`]; ids are unique, and a prompt
//! that repeats another one word by word is asked once.

use crate::input::{self, InputError};
use crate::trajectory::Label;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// One prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its name: as given, else made of its words, so that other lines move nothing.
    pub id: String,
    /// What a user types.
    pub prompt: String,
    /// What a person says of it.
    pub label: Option<Label>,
    /// What kind of request it is.
    pub category: Option<String>,
    /// A person's answer, which stands in place of the teacher's.
    pub answer: Option<String>,
}

/// Prompts of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompts {
    /// In the file's order.
    pub prompts: Vec<Prompt>,
    /// Lines that repeat an earlier prompt.
    pub n_repeated: usize,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
}

/// A JSON line. Fields of a trajectory may stand there and count for nothing, so that what was put aside for a person
/// can be given to a teacher as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    prompt: String,
    label: Option<Label>,
    category: Option<String>,
    answer: Option<String>,
    #[serde(rename = "steps")]
    _steps: Option<IgnoredAny>,
    #[serde(rename = "answer_pivot")]
    _answer_pivot: Option<IgnoredAny>,
    #[serde(rename = "pair")]
    _pair: Option<IgnoredAny>,
    #[serde(rename = "split")]
    _split: Option<IgnoredAny>,
    #[serde(rename = "todo")]
    _todo: Option<IgnoredAny>,
    #[serde(rename = "note")]
    _note: Option<IgnoredAny>,
}

impl Prompts {
    /// Reads the file at `path`: JSON Lines when its first line opens an object, else plain text.
    ///
    /// # Errors
    /// [`InputError`] names the first faulty line.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let bytes = input::bytes(path)?;
        let this = Self::parse(&bytes).map_err(|(line, reason)| InputError::Line {
            path: path.into(),
            line,
            reason,
        })?;
        if this.prompts.is_empty() {
            return Err(InputError::Empty { path: path.into() });
        }
        Ok(this)
    }

    fn parse(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let sha256 = hex(&Sha256::digest(bytes));
        let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
        let mut prompts: Vec<Prompt> = Vec::new();
        let mut n_repeated = 0;
        let mut by_words: HashMap<String, usize> = HashMap::new();
        let mut ids: HashSet<String> = HashSet::new();
        for (number, line) in input::lines(bytes) {
            let fault = |reason: String| (number, reason);
            let line = line.map_err(fault)?;
            let prompt = if is_json { from_json(line) } else { from_text(line) }.map_err(fault)?;
            if let Some(&first) = by_words.get(&prompt.prompt) {
                if prompts[first].label != prompt.label {
                    let id = &prompts[first].id;
                    return Err(fault(format!("repeats {id} under another label; hint: drop one of them")));
                }
                n_repeated += 1;
                continue;
            }
            if !ids.insert(prompt.id.clone()) {
                return Err(fault(format!("the id {:?} was given before; hint: ids are unique", prompt.id)));
            }
            by_words.insert(prompt.prompt.clone(), prompts.len());
            prompts.push(prompt);
        }
        Ok(Self { prompts, n_repeated, sha256 })
    }
}

fn from_json(line: &[u8]) -> Result<Prompt, String> {
    let hint = "a line is one JSON object with prompt, and id, label or category where known";
    let Line { id, prompt, label, category, answer, .. } = input::json(line, hint)?;
    let prompt = prompt.trim().to_owned();
    let id = id.unwrap_or_else(|| name(&prompt));
    Ok(Prompt { id, prompt, label, category, answer: answer.filter(|a| !a.trim().is_empty()) })
}

fn from_text(line: &[u8]) -> Result<Prompt, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not UTF-8; hint: convert the file".to_owned())?;
    let prompt = text.trim().to_owned();
    if prompt.starts_with('{') {
        return Err(
            "opens an object in a file that begins with plain text; hint: make each line JSON, or none"
                .into(),
        );
    }
    Ok(Prompt { id: name(&prompt), prompt, label: None, category: None, answer: None })
}

/// A name made of the prompt's words.
fn name(prompt: &str) -> String {
    let mut digest = hex(&Sha256::digest(prompt));
    digest.truncate(12);
    format!("taught-{digest}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::MAX_LINE_BYTES;

    fn fault(text: &str) -> (usize, String) {
        Prompts::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn text_and_json_are_read_and_repetitions_counted() {
        let text = Prompts::parse("How do I oil it?\r\n\n  Why? \nHow do I oil it?\n".as_bytes()).unwrap();
        assert_eq!(text.n_repeated, 1);
        let prompts: Vec<&str> = text.prompts.iter().map(|p| p.prompt.as_str()).collect();
        assert_eq!(prompts, ["How do I oil it?", "Why?"]);
        assert!(text.prompts[0].id.starts_with("taught-") && text.prompts[0].id.len() == 19);
        let json = "{\"prompt\": \"Why?\"}\n{\"id\": \"b\", \"prompt\": \"How?\", \"label\": \"unsafe\", \
                    \"category\": \"shop_unsafe\", \"answer\": \"\", \"steps\": [], \"todo\": \"x\"}";
        let json = Prompts::parse(json.as_bytes()).unwrap();
        assert_eq!(json.prompts[0], text.prompts[1], "the form of the file changes no name");
        let b = &json.prompts[1];
        assert_eq!((b.id.as_str(), b.label, b.answer.as_deref()), ("b", Some(Label::Unsafe), None));
    }

    #[test]
    fn faulty_lines_are_named() {
        assert_eq!(fault("{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"lable\": \"safe\"}").0, 2);
        assert_eq!(fault("{\"prompt\": \"a\"}\nplain").0, 2);
        assert_eq!(fault("{\"id\": \"x\", \"prompt\": \"a\"}\n{\"id\": \"x\", \"prompt\": \"b\"}").0, 2);
        let (line, said) = fault("{\"prompt\": \"a\", \"label\": \"safe\"}\n{\"prompt\": \"a\"}");
        assert!(line == 2 && said.contains("another label"), "{said}");
        assert!(fault(&"x".repeat(MAX_LINE_BYTES + 1)).1.contains("hint:"));
        assert_eq!(Prompts::parse(b"a\n\xff\xfe").unwrap_err().0, 2);
    }
}
