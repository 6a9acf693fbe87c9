//! Whether a manifest has what its kind needs and nothing that its kind would ignore: a setting that silently does
//! nothing is a figure that means something else than its reader thinks.

use super::error::SuiteError;
use super::manifest::{AnswerBy, Choice, Manifest, OneOrMore};
use super::template::has_slot;
use crate::item::Kind;
use regex_lite::Regex;
use std::path::Path;

/// Names that results use for something else.
const RESERVED: [&str; 2] = ["all", "replay"];

pub(super) fn check(manifest: &Manifest, path: &Path) -> Result<(), SuiteError> {
    names(manifest, path)?;
    kind(manifest, path)?;
    if let Some(choice) = &manifest.choice {
        choices(choice, path)?;
    }
    let exact = manifest.exact.as_ref();
    pattern(path, "exact.right", exact.and_then(|e| e.right.as_deref()), true)?;
    pattern(path, "exact.given", exact.and_then(|e| e.given.as_deref()), false)?;
    for filter in &manifest.filters {
        if filter.equals.is_some() == filter.not.is_some() {
            let hint = "give either equals or not";
            return Err(SuiteError::setting(path, "where.column", &filter.column, hint));
        }
    }
    Ok(())
}

fn names(manifest: &Manifest, path: &Path) -> Result<(), SuiteError> {
    let set = |key: &str, value: &str, hint: &str| Err(SuiteError::setting(path, key, value, hint));
    let name = manifest.name.as_str();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return set("name", name, "use 1 to 64 small letters, digits, - and _");
    }
    if RESERVED.contains(&name) {
        return set("name", name, "results use this name for something else");
    }
    for (key, value) in [
        ("title", &manifest.title),
        ("source.origin", &manifest.source.origin),
        ("source.licence", &manifest.source.licence),
        ("columns.prompt", &manifest.columns.prompt),
    ] {
        if value.trim().is_empty() {
            return set(key, value, "a reader needs it");
        }
    }
    if manifest.file.all().is_empty() || manifest.file.all().iter().any(|f| f.trim().is_empty()) {
        return set("file", "", "name the data file");
    }
    if !manifest.file_or.is_empty() && matches!(manifest.file, OneOrMore::More(_)) {
        return set("file_or", &manifest.file_or.join(", "), "it goes with a single file");
    }
    if let Some(records) = &manifest.records
        && !records.starts_with('/')
    {
        return set("records", records, "a JSON pointer begins with a slash, as in /data/rows");
    }
    Ok(())
}

fn kind(manifest: &Manifest, path: &Path) -> Result<(), SuiteError> {
    let Manifest { kind, columns, labels, choice, exact, .. } = manifest;
    let word = match kind {
        Kind::Harmful => "harmful",
        Kind::Contrast => "contrast",
        Kind::Benign => "benign",
        Kind::Choice => "choice",
        Kind::QaExact => "qa-exact",
    };
    let answers = matches!(kind, Kind::Choice | Kind::QaExact);
    let contrast = *kind == Kind::Contrast;
    for (key, has, wants) in [
        ("[labels]", labels.is_some(), contrast),
        ("columns.label", columns.label.is_some(), contrast),
        ("[choice]", choice.is_some(), *kind == Kind::Choice),
        ("columns.answer", columns.answer.is_some(), answers),
    ] {
        if has != wants {
            let hint = if wants { format!("it needs {key}") } else { format!("take {key} out") };
            return Err(SuiteError::setting(path, "kind", word, hint));
        }
    }
    if exact.is_some() && *kind != Kind::QaExact {
        return Err(SuiteError::setting(path, "kind", word, "take [exact] out"));
    }
    if let Some(labels) = labels {
        if labels.safe.is_empty() || labels.unsafe_.is_empty() {
            return Err(SuiteError::setting(
                path,
                "labels",
                "",
                "name at least one value for safe and for unsafe",
            ));
        }
        if let Some(both) = labels.safe.iter().find(|v| labels.unsafe_.contains(v)) {
            return Err(SuiteError::setting(path, "labels", both, "a value means either safe or unsafe"));
        }
    }
    Ok(())
}

fn choices(choice: &Choice, path: &Path) -> Result<(), SuiteError> {
    let set = |key: &str, value: &str, hint: &str| Err(SuiteError::setting(path, key, value, hint));
    let ways =
        [choice.columns.is_some(), choice.column.is_some(), choice.mark.is_some(), choice.fixed.is_some()];
    if ways.iter().filter(|w| **w).count() != 1 {
        return set("choice", "", "give exactly one of columns, column, mark and fixed");
    }
    for (key, list) in [("choice.columns", &choice.columns), ("choice.fixed", &choice.fixed)] {
        if let Some(list) = list
            && (list.len() < 2 || list.iter().any(|c| c.trim().is_empty()))
        {
            return set(key, &list.join(", "), "a choice is between at least two");
        }
    }
    if choice.end.is_some() && choice.mark.is_none() {
        return set("choice.end", choice.end.as_deref().unwrap_or_default(), "it goes with choice.mark");
    }
    pattern(path, "choice.question", choice.question.as_deref(), true)?;
    pattern(path, "choice.answer_pattern", choice.answer_pattern.as_deref(), true)?;
    pattern(path, "choice.mark", choice.mark.as_deref(), false)?;
    pattern(path, "choice.end", choice.end.as_deref(), false)?;
    for (key, template, slot) in [
        ("choice.template", &choice.template, "question"),
        ("choice.continuation", &choice.continuation, "choice"),
    ] {
        if !has_slot(template, slot) {
            return set(key, template, &format!("it needs the slot {{{slot}}}"));
        }
    }
    let by_value = choice.answer_by == AnswerBy::Value;
    if by_value == choice.values.is_empty() {
        return set("choice.values", &choice.values.join(", "), "they go with answer_by = \"value\"");
    }
    if let Some(fixed) = &choice.fixed
        && by_value
        && fixed.len() != choice.values.len()
    {
        return set("choice.values", &choice.values.join(", "), "give one for each of choice.fixed");
    }
    Ok(())
}

/// Whether `text` is a pattern, with a group where one is needed.
fn pattern(path: &Path, key: &str, text: Option<&str>, needs_group: bool) -> Result<(), SuiteError> {
    let Some(text) = text else { return Ok(()) };
    let regex = Regex::new(text).map_err(|e| SuiteError::setting(path, key, text, e))?;
    if needs_group && regex.captures_len() < 2 {
        return Err(SuiteError::setting(path, key, text, "put (…) around what is to be taken"));
    }
    Ok(())
}
