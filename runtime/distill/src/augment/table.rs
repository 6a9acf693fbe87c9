//! The texts that samples are dressed with, from the files in `runtime/distill/augment`.
//!
//! Invariant: tables that are given out have every text that building a sample needs.

use super::encoding::Transform;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::LazyLock;
use thiserror::Error;

/// The built-in texts are faulty: a mistake of ours, found by a test.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("built-in texts {file}: {message}; hint: report this, it is no fault of yours")]
pub struct TableError {
    /// Which file.
    pub file: &'static str,
    /// What is wrong.
    pub message: String,
}

/// A dress: a way to put a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wrapper {
    /// Its name.
    pub(crate) name: String,
    /// The kind of trick.
    pub(crate) family: String,
    /// How often, against the others.
    pub(crate) weight: f64,
    /// What is done to the request first.
    #[serde(default)]
    pub(crate) transform: Transform,
    /// Put before a harmless request's answer.
    #[serde(default)]
    pub(crate) lead: String,
    /// With the slot `{prompt}`.
    pub(crate) texts: Vec<String>,
    /// First steps for either label.
    pub(crate) look: Vec<String>,
    /// First steps for a harmless request.
    pub(crate) calm: Vec<String>,
    /// First steps for a harmful request.
    pub(crate) seen: Vec<String>,
}

/// System texts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Systems {
    pub(crate) default: String,
    pub(crate) others: Vec<String>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) wrappers: Vec<Wrapper>,
    pub(crate) systems: Systems,
    pub(crate) paragraphs: Vec<String>,
    /// Beginnings of an answer that complies.
    pub(crate) complying: Vec<String>,
    /// How a step quotes a request.
    pub(crate) quotes: Vec<String>,
    pub(crate) stop_words: HashSet<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrapperFile {
    wrapper: Vec<Wrapper>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaddingFile {
    paragraphs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpeningFile {
    complying: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuoteFile {
    patterns: Vec<String>,
    stop_words: String,
}

static TABLES: LazyLock<Result<Tables, TableError>> = LazyLock::new(|| {
    let quote: QuoteFile = parse("quote.toml", include_str!("../../augment/quote.toml"))?;
    // Read once in the life of the process, so that what is never given back is bounded.
    let stop_words: &'static str = quote.stop_words.leak();
    let tables = Tables {
        wrappers: parse::<WrapperFile>("wrapper.toml", include_str!("../../augment/wrapper.toml"))?.wrapper,
        systems: parse("system.toml", include_str!("../../augment/system.toml"))?,
        paragraphs: parse::<PaddingFile>("padding.toml", include_str!("../../augment/padding.toml"))?
            .paragraphs,
        complying: parse::<OpeningFile>("opening.toml", include_str!("../../augment/opening.toml"))?
            .complying,
        quotes: quote.patterns,
        stop_words: stop_words.split_whitespace().collect(),
    };
    whole(&tables).map(|()| tables)
});

/// The built-in texts.
pub(crate) fn tables() -> Result<&'static Tables, TableError> {
    TABLES.as_ref().map_err(Clone::clone)
}

fn parse<T: for<'d> Deserialize<'d>>(file: &'static str, text: &str) -> Result<T, TableError> {
    toml::from_str(text).map_err(|e| TableError { file, message: e.to_string() })
}

fn whole(tables: &Tables) -> Result<(), TableError> {
    let fault = |file, message: String| Err(TableError { file, message });
    for w in &tables.wrappers {
        let lists = [&w.texts, &w.look, &w.calm, &w.seen];
        if lists.iter().any(|list| list.is_empty()) || w.texts.iter().any(|t| !t.contains("{prompt}")) {
            return fault("wrapper.toml", format!("wrapper {:?} lacks texts or a slot", w.name));
        }
        if !(w.weight.is_finite() && w.weight >= 0.0) {
            return fault("wrapper.toml", format!("wrapper {:?} has the weight {}", w.name, w.weight));
        }
    }
    let empty = [
        ("wrapper.toml", tables.wrappers.is_empty()),
        ("system.toml", tables.systems.others.is_empty()),
        ("padding.toml", tables.paragraphs.is_empty()),
        ("opening.toml", tables.complying.is_empty()),
        ("quote.toml", tables.quotes.is_empty() || tables.stop_words.is_empty()),
    ];
    match empty.into_iter().find(|(_, empty)| *empty) {
        Some((file, _)) => fault(file, "a list is empty".into()),
        None => Ok(()),
    }
}

/// `template` with its slots filled in one pass: what is filled in is hostile text and never read for slots again.
pub(crate) fn fill(template: &str, slots: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, at) = rest.split_at(open);
        out.push_str(before);
        let slot = slots.iter().find_map(|(name, value)| {
            let after = at[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, after))
        });
        let (value, after) = slot.unwrap_or(at.split_at(1));
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_once() {
        let slots = [("prompt", "{key} {prompt}"), ("key", "K")];
        assert_eq!(fill("a {prompt} b {key} {other} { {", &slots), "a {key} {prompt} b K {other} { {");
        assert_eq!(fill("{{prompt}}{é", &[("prompt", "x")]), "{x}{é");
        assert_eq!(fill("", &slots), "");
    }

    #[test]
    fn the_built_in_texts_can_be_read() {
        let tables = tables().unwrap();
        assert!(tables.wrappers.len() >= 12 && tables.systems.others.len() >= 6);
        assert_eq!(tables.systems.default, "You are a careful assistant.");
    }
}
