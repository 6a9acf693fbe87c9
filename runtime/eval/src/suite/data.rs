//! Data files as rows of named values: CSV, JSON and JSON lines, read whole and bounded.
//!
//! Knows nothing of what a column means. Invariant: a file that is not of its format in every row gives no rows.

use super::error::{BadRow, SuiteError, short};
use super::manifest::Format;
use super::template::{Piece, pieces};
use serde_json::Value;
use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest data file, in bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// Most rows of a file.
pub const MAX_ROWS: usize = 1_000_000;

/// A data file in memory.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) bytes: Cow<'static, [u8]>,
}

/// One row of a file.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The file.
    pub(super) path: Arc<Path>,
    /// From 1, a heading not counted.
    pub(super) number: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Csv { head: Arc<csv::StringRecord>, cells: csv::StringRecord },
    Json(Value),
}

/// A file's bytes, at most `limit` of them.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, SuiteError> {
    let io = |source| SuiteError::Io { path: path.to_owned(), source };
    let too_large = |n_bytes| SuiteError::TooLarge { path: path.to_owned(), n_bytes, limit };
    let file = std::fs::File::open(path).map_err(io)?;
    let n_bytes = file.metadata().map_err(io)?.len();
    if n_bytes > limit {
        return Err(too_large(n_bytes));
    }
    // What a pipe or a growing file says of its length is not its length.
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// UTF-8 text without a byte order mark.
pub(super) fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, SuiteError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| SuiteError::NotUtf8 { path: path.to_owned(), at: e.valid_up_to() })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The rows of `file`.
pub(super) fn rows(file: &File, format: Format, records: Option<&str>) -> Result<Vec<Row>, SuiteError> {
    let path: Arc<Path> = file.path.as_path().into();
    let text = text(&path, &file.bytes)?;
    let values = match format {
        Format::Csv => csv_rows(text),
        Format::Json => json_rows(text, records),
        Format::Jsonl => jsonl_rows(text),
    };
    let format = match format {
        Format::Csv => "csv",
        Format::Json => "json",
        Format::Jsonl => "jsonl",
    };
    let values = values.map_err(|reason| match reason {
        Bad::TooMany => SuiteError::TooManyRows { path: file.path.clone(), limit: MAX_ROWS },
        Bad::Form(reason) => SuiteError::Malformed { path: file.path.clone(), format, reason },
    })?;
    let row = |(i, values)| Row { path: path.clone(), number: i + 1, values };
    Ok(values.into_iter().enumerate().map(row).collect())
}

enum Bad {
    TooMany,
    Form(String),
}

fn csv_rows(text: &str) -> Result<Vec<Values>, Bad> {
    let form = |e: csv::Error| Bad::Form(e.to_string());
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = Arc::new(reader.headers().map_err(form)?.clone());
    if let Some(twice) = head.iter().enumerate().find_map(|(i, h)| head.iter().take(i).find(|e| *e == h)) {
        return Err(Bad::Form(format!("two columns are named {twice:?}; hint: rename one")));
    }
    let mut out = Vec::new();
    for cells in reader.records() {
        let cells = cells.map_err(form)?;
        if out.len() == MAX_ROWS {
            return Err(Bad::TooMany);
        }
        out.push(Values::Csv { head: head.clone(), cells });
    }
    Ok(out)
}

fn json_rows(text: &str, records: Option<&str>) -> Result<Vec<Values>, Bad> {
    let mut whole: Value = serde_json::from_str(text).map_err(|e| Bad::Form(e.to_string()))?;
    let at = records.unwrap_or_default();
    let found = whole.pointer_mut(at).map(Value::take);
    let Some(Value::Array(array)) = found else {
        let place = if at.is_empty() { "the file" } else { at };
        return Err(Bad::Form(format!(
            "{place} is no array; hint: set records to the JSON pointer of the rows"
        )));
    };
    if array.len() > MAX_ROWS {
        return Err(Bad::TooMany);
    }
    let object = |(i, value): (usize, Value)| match value {
        Value::Object(_) => Ok(Values::Json(value)),
        _ => Err(Bad::Form(format!("row {} is no object", i + 1))),
    };
    array.into_iter().enumerate().map(object).collect()
}

fn jsonl_rows(text: &str) -> Result<Vec<Values>, Bad> {
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |reason: String| Bad::Form(format!("line {}: {reason}", i + 1));
        let value: Value = serde_json::from_str(line).map_err(|e| bad(e.to_string()))?;
        if !value.is_object() {
            return Err(bad("this is no object; hint: each line holds one".into()));
        }
        if out.len() == MAX_ROWS {
            return Err(Bad::TooMany);
        }
        out.push(Values::Json(value));
    }
    Ok(out)
}

/// What stands in a column of a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell<'a> {
    /// Text of a CSV file.
    Text(&'a str),
    /// A JSON value.
    Json(&'a Value),
}

impl Row {
    /// What stands in `column`; none where the row has no such column.
    pub(super) fn cell(&self, column: &str) -> Option<Cell<'_>> {
        match &self.values {
            Values::Csv { head, cells } => {
                let at = head.iter().position(|h| h == column)?;
                cells.get(at).map(Cell::Text)
            }
            Values::Json(value) if column.starts_with('/') => value.pointer(column).map(Cell::Json),
            Values::Json(value) => value.get(column).map(Cell::Json),
        }
    }

    /// The names of its columns, for a message.
    pub(super) fn columns(&self) -> String {
        let names: Vec<String> = match &self.values {
            Values::Csv { head, .. } => head.iter().map(str::to_owned).collect(),
            Values::Json(Value::Object(map)) => map.keys().cloned().collect(),
            Values::Json(_) => Vec::new(),
        };
        short(&names.join(", "))
    }

    /// The text of `column`, a template or a name; none where it is missing, null or blank.
    ///
    /// # Errors
    /// [`SuiteError::Row`] for an array or an object.
    pub(super) fn text(&self, column: &str) -> Result<Option<String>, SuiteError> {
        let parts = pieces(column);
        if !parts.iter().any(|p| matches!(p, Piece::Slot(_))) {
            return self.plain(column);
        }
        let mut out = String::new();
        let mut any = false;
        for part in parts {
            match part {
                Piece::Text(text) => out.push_str(text),
                Piece::Slot(name) => {
                    let value = self.plain(name)?;
                    any |= value.is_some();
                    out.push_str(value.as_deref().unwrap_or_default());
                }
            }
        }
        Ok(any.then(|| out.trim().to_owned()).filter(|t| !t.is_empty()))
    }

    fn plain(&self, column: &str) -> Result<Option<String>, SuiteError> {
        let text = match column {
            "@file" => {
                let stem = self.path.file_stem().map(|s| s.to_string_lossy().into_owned());
                stem.map(|s| s.rsplit("__").next().unwrap_or_default().to_owned())
            }
            "@row" => Some(self.number.to_string()),
            _ => match self.cell(column) {
                None | Some(Cell::Json(Value::Null)) => None,
                Some(Cell::Text(text)) => Some(text.to_owned()),
                Some(Cell::Json(Value::String(text))) => Some(text.clone()),
                Some(Cell::Json(value @ (Value::Number(_) | Value::Bool(_)))) => Some(value.to_string()),
                Some(Cell::Json(value)) => {
                    let hint = "name a text or number in it by a JSON pointer, as in /choices/0";
                    return Err(self.bad(column, &value.to_string(), "is no text", hint));
                }
            },
        };
        Ok(text.filter(|t| !t.trim().is_empty()))
    }

    /// A value of this row that cannot be used.
    pub(super) fn bad(&self, column: &str, value: &str, reason: &str, hint: &str) -> SuiteError {
        SuiteError::Row(Box::new(BadRow {
            path: self.path.to_path_buf(),
            row: self.number,
            column: column.to_owned(),
            value: short(value),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }))
    }
}

/// The columns that a template or a name reads.
pub(super) fn reads(column: &str) -> Vec<&str> {
    let slots: Vec<&str> = pieces(column)
        .into_iter()
        .filter_map(|p| if let Piece::Slot(name) = p { Some(name) } else { None })
        .collect();
    let all = if slots.is_empty() { vec![column] } else { slots };
    all.into_iter().filter(|c| !matches!(*c, "@file" | "@row")).collect()
}
