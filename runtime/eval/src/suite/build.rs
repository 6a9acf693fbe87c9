//! Rows become items, as a manifest says.
//!
//! Invariant: every row is an item, is counted as passed over, or is an error; none disappears.

use super::choice::Reader;
use super::data::{Row, reads};
use super::error::{SuiteError, short};
use super::manifest::{Filter, Labels, Manifest};
use crate::item::{Expected, Item, Kind, Label, Overlap};
use regex_lite::Regex;
use std::collections::HashSet;
use std::path::Path;

/// Largest prompt, its context included, in bytes.
pub const MAX_PROMPT_BYTES: usize = 64 << 10;

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) items: Vec<Item>,
    /// Rows whose prompt is null or blank.
    pub(super) n_blank: usize,
    /// Rows that `[[where]]` leaves out.
    pub(super) n_filtered: usize,
    /// Rows whose prompt stood in an earlier one.
    pub(super) n_repeated: usize,
}

/// Makes items of the rows of all files. `path` is the manifest.
pub(super) fn build(manifest: &Manifest, path: &Path, rows: &[Row]) -> Result<Built, SuiteError> {
    columns_exist(manifest, rows)?;
    let answer = manifest.columns.answer.as_deref().unwrap_or_default();
    let choice = match &manifest.choice {
        Some(choice) => Some(Reader::new(choice, &manifest.columns.prompt, answer, path)?),
        None => None,
    };
    let right = manifest.exact.as_ref().and_then(|e| e.right.as_deref());
    let right = right.map(|t| Regex::new(t).map_err(|e| SuiteError::setting(path, "exact.right", t, e)));
    let right = right.transpose()?;

    let mut built = Built::default();
    let mut ids = HashSet::new();
    let mut prompts = HashSet::new();
    for (n, row) in rows.iter().enumerate() {
        if !passes(&manifest.filters, row)? {
            built.n_filtered += 1;
            continue;
        }
        let Some(whole) = row.text(&manifest.columns.prompt)? else {
            built.n_blank += 1;
            continue;
        };
        let expected = match (&choice, manifest.kind) {
            (Some(reader), _) => Some(reader.read(row, &whole)?),
            (None, Kind::QaExact) => Some((whole.clone(), exact(row, answer, right.as_ref())?)),
            (None, _) => None,
        };
        let (prompt, expected) = match expected {
            Some((prompt, expected)) => (prompt, Some(expected)),
            None => (whole, None),
        };
        let prompt = with_context(manifest, row, prompt)?;
        if manifest.unique && !prompts.insert(prompt.clone()) {
            built.n_repeated += 1;
            continue;
        }
        let id = match &manifest.columns.id {
            None => (n + 1).to_string(),
            Some(column) => row.text(column)?.ok_or_else(|| {
                row.bad(column, "", "is no id", "give each row an id, or take columns.id out")
            })?,
        };
        if !ids.insert(id.clone()) {
            let hint = "an id of several columns is written \"{a}-{b}\"; @file tells files apart";
            return Err(SuiteError::DuplicateId { path: row.path.to_path_buf(), row: row.number, id, hint });
        }
        let text = |column: &Option<String>| match column {
            Some(column) => row.text(column),
            None => Ok(None),
        };
        built.items.push(Item {
            id,
            goal: text(&manifest.columns.goal)?.filter(|goal| *goal != prompt),
            prompt,
            label: label(manifest, row)?,
            category: text(&manifest.columns.category)?,
            group: text(&manifest.columns.group)?,
            wrapper: None,
            overlap: Overlap::None,
            expected,
        });
    }
    Ok(built)
}

/// A column that no row has is a slip in the manifest, and would otherwise pass over every row.
fn columns_exist(manifest: &Manifest, rows: &[Row]) -> Result<(), SuiteError> {
    let Some(first) = rows.first() else { return Ok(()) };
    let c = &manifest.columns;
    let optional = [&c.context, &c.id, &c.label, &c.category, &c.group, &c.goal, &c.answer];
    let choices = manifest.choice.as_ref();
    let columns = [c.prompt.as_str()]
        .into_iter()
        .chain(optional.into_iter().flatten().map(String::as_str))
        .chain(manifest.filters.iter().map(|f| f.column.as_str()))
        .chain(choices.and_then(|c| c.column.as_deref()))
        .chain(choices.and_then(|c| c.columns.as_deref()).into_iter().flatten().map(String::as_str));
    for column in columns.flat_map(reads) {
        if !rows.iter().any(|row| row.cell(column).is_some()) {
            return Err(SuiteError::NoColumn {
                path: first.path.to_path_buf(),
                column: short(column),
                has: first.columns(),
            });
        }
    }
    Ok(())
}

fn passes(filters: &[Filter], row: &Row) -> Result<bool, SuiteError> {
    for filter in filters {
        let value = row.text(&filter.column)?.unwrap_or_default();
        let among = |list: &super::manifest::OneOrMore| list.all().contains(&value);
        let holds = filter.equals.as_ref().is_none_or(among) && !filter.not.as_ref().is_some_and(among);
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn with_context(manifest: &Manifest, row: &Row, prompt: String) -> Result<String, SuiteError> {
    let columns = &manifest.columns;
    let context = match &columns.context {
        Some(column) => row.text(column)?,
        None => None,
    };
    let prompt = match context {
        Some(context) => context + &columns.context_gap + &prompt,
        None => prompt,
    };
    if prompt.len() > MAX_PROMPT_BYTES {
        let reason = format!("has {} bytes; a prompt may have {MAX_PROMPT_BYTES}", prompt.len());
        return Err(row.bad(&columns.prompt, &prompt, &reason, "shorten it, or leave it out by a [[where]]"));
    }
    Ok(prompt)
}

fn label(manifest: &Manifest, row: &Row) -> Result<Option<Label>, SuiteError> {
    let (Some(column), Some(Labels { safe, unsafe_ })) = (&manifest.columns.label, &manifest.labels) else {
        return Ok(match manifest.kind {
            Kind::Harmful => Some(Label::Unsafe),
            Kind::Benign => Some(Label::Safe),
            _ => None,
        });
    };
    let value = row.text(column)?.unwrap_or_default();
    if safe.contains(&value) {
        Ok(Some(Label::Safe))
    } else if unsafe_.contains(&value) {
        Ok(Some(Label::Unsafe))
    } else {
        Err(row.bad(column, &value, "is no label", "add it to labels.safe or labels.unsafe, or leave it out"))
    }
}

fn exact(row: &Row, answer: &str, right: Option<&Regex>) -> Result<Expected, SuiteError> {
    let whole = row.text(answer)?.unwrap_or_default();
    let text = match right {
        None => Some(whole.as_str()),
        Some(pattern) => pattern.captures(&whole).and_then(|c| c.get(1)).map(|m| m.as_str()),
    };
    let text = text.map(super::answer::plain).filter(|t| !t.is_empty());
    let hint = "look at columns.answer and exact.right";
    Ok(Expected::Exact { text: text.ok_or_else(|| row.bad(answer, &whole, "has no right answer", hint))? })
}
