//! A row of a choice suite: its question, its choices and which of them is right.

use super::data::{Cell, Row};
use super::error::{SuiteError, short};
use super::manifest::{AnswerBy, Choice};
use super::template::fill;
use crate::item::Expected;
use regex_lite::Regex;
use serde_json::Value;
use std::path::Path;

/// Most choices of a row.
const MAX_CHOICES: usize = 64;

/// A manifest's `[choice]` with its patterns ready.
pub(super) struct Reader<'a> {
    choice: &'a Choice,
    prompt: &'a str,
    answer: &'a str,
    question: Option<Regex>,
    mark: Option<Regex>,
    end: Option<Regex>,
    answer_pattern: Option<Regex>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        choice: &'a Choice,
        prompt: &'a str,
        answer: &'a str,
        path: &Path,
    ) -> Result<Self, SuiteError> {
        let regex = |key: &str, text: Option<&str>| {
            text.map(|t| Regex::new(t).map_err(|e| SuiteError::setting(path, key, t, e))).transpose()
        };
        Ok(Self {
            choice,
            prompt,
            answer,
            question: regex("choice.question", choice.question.as_deref())?,
            mark: regex("choice.mark", choice.mark.as_deref())?,
            end: regex("choice.end", choice.end.as_deref())?,
            answer_pattern: regex("choice.answer_pattern", choice.answer_pattern.as_deref())?,
        })
    }

    /// The prompt before the continuations, and the continuations with the right one, of a row whose prompt column
    /// holds `whole`.
    pub(super) fn read(&self, row: &Row, whole: &str) -> Result<(String, Expected), SuiteError> {
        let question = match &self.question {
            None => whole.trim(),
            Some(pattern) => {
                pattern.captures(whole).and_then(|c| c.get(1)).map(|m| m.as_str().trim()).ok_or_else(
                    || row.bad(self.prompt, whole, "has no question", "look at the pattern choice.question"),
                )?
            }
        };
        let texts = self.texts(row, whole)?;
        if !(2..=MAX_CHOICES).contains(&texts.len()) || texts.iter().any(|t| t.trim().is_empty()) {
            let reason = format!("holds {} choices, or a blank one", texts.len());
            return Err(row.bad(self.prompt, whole, &reason, "2 to 64 are needed; look at [choice]"));
        }
        let correct = self.correct(row, &texts)?;
        let prompt = fill(&self.choice.template, |slot| (slot == "question").then_some(question));
        let continuation = &self.choice.continuation;
        let choices =
            texts.iter().map(|t| fill(continuation, |slot| (slot == "choice").then_some(t.trim()))).collect();
        Ok((prompt, Expected::Choice { choices, correct }))
    }

    fn texts(&self, row: &Row, whole: &str) -> Result<Vec<String>, SuiteError> {
        if let Some(fixed) = &self.choice.fixed {
            return Ok(fixed.clone());
        }
        if let Some(columns) = &self.choice.columns {
            // Questions with fewer choices leave the last columns empty.
            let texts: Result<Vec<_>, _> = columns.iter().map(|c| row.text(c)).collect();
            return Ok(texts?.into_iter().map_while(|t| t).collect());
        }
        if let Some(column) = &self.choice.column {
            return self.array(row, column);
        }
        let Some(mark) = &self.mark else { return Ok(Vec::new()) };
        let marks: Vec<_> = mark.find_iter(whole).collect();
        let Some(first) = marks.first() else { return Ok(Vec::new()) };
        let ends =
            |from: usize| self.end.as_ref().and_then(|e| e.find(&whole[from..])).map(|m| from + m.start());
        let last = ends(first.end()).unwrap_or(whole.len());
        let marks: Vec<_> = marks.iter().filter(|m| m.start() < last).collect();
        let next = marks.iter().skip(1).map(|m| m.start()).chain([last]);
        Ok(marks.iter().zip(next).map(|(m, to)| whole[m.end()..to.max(m.end())].trim().to_owned()).collect())
    }

    fn array(&self, row: &Row, column: &str) -> Result<Vec<String>, SuiteError> {
        let hint = "it is to be an array of texts, or of objects with a text";
        let parsed;
        let array = match row.cell(column) {
            Some(Cell::Json(Value::Array(array))) => array,
            // A CSV file can hold an array as its text.
            Some(Cell::Text(text)) => {
                parsed = serde_json::from_str::<Vec<Value>>(text)
                    .map_err(|_| row.bad(column, text, "is no JSON array", hint))?;
                &parsed
            }
            other => {
                let value = if let Some(Cell::Json(v)) = other { v.to_string() } else { String::new() };
                return Err(row.bad(column, &value, "is no array", hint));
            }
        };
        let text = |value: &Value| {
            let text = value.as_str().or_else(|| value.get("text").and_then(Value::as_str));
            text.map(str::to_owned).ok_or_else(|| row.bad(column, &value.to_string(), "is no choice", hint))
        };
        array.iter().map(text).collect()
    }

    fn correct(&self, row: &Row, texts: &[String]) -> Result<usize, SuiteError> {
        let whole = row.text(self.answer)?.unwrap_or_default();
        let none = |reason: &str| {
            let choices = short(&texts.join(" | "));
            let hint = format!("look at answer_by and answer_pattern in [choice]; the choices are {choices}");
            row.bad(self.answer, &whole, reason, &hint)
        };
        let named = match &self.answer_pattern {
            None => whole.trim(),
            Some(pattern) => {
                let found = pattern.captures(&whole).and_then(|c| c.get(1)).map(|m| m.as_str().trim());
                found.ok_or_else(|| none("does not match answer_pattern"))?
            }
        };
        let by = self.choice.answer_by;
        let index = match by {
            AnswerBy::Text => only(texts, |t| t.trim() == named),
            AnswerBy::Value => self.choice.values.iter().position(|v| v == named),
            AnswerBy::Index => named.parse().ok(),
            AnswerBy::Number => named.parse::<usize>().ok().and_then(|n| n.checked_sub(1)),
            AnswerBy::Letter => match named.as_bytes() {
                [letter @ (b'A'..=b'Z' | b'a'..=b'z')] => {
                    Some(usize::from(letter.to_ascii_uppercase() - b'A'))
                }
                _ => None,
            },
        };
        index.filter(|i| *i < texts.len()).ok_or_else(|| none("names no choice, or more than one"))
    }
}

/// The index of the only element that fits.
fn only<T>(all: &[T], fits: impl Fn(&T) -> bool) -> Option<usize> {
    let mut found = all.iter().enumerate().filter(|(_, t)| fits(t)).map(|(i, _)| i);
    let first = found.next();
    if found.next().is_some() { None } else { first }
}
