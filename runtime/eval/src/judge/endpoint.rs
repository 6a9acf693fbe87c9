//! An outside judge behind an OpenAI-compatible service: another machine's model reads a run's answers after the fact.
//!
//! Never part of serving, and never asked unless somebody names it: requests and answers leave the machine for it.
//! Not a client of services (that is [`crate::client`]). Invariant: nothing that did not leave the device is sent to it.

use super::{Opinion, is_fixed_refusal};
use crate::client::{Client, ClientError, ClientOptions};
use crate::row::Row;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use thiserror::Error;

pub use super::style::Style;

/// Largest prompt file, in bytes.
const MAX_PROMPT: u64 = 64 << 10;
/// How much of a judge's words an opinion keeps, in characters.
const MAX_SAID: usize = 1000;

/// Why a judge gave no opinion.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The prompt cannot be used.
    #[error("the prompt for a {style} judge cannot be used: {reason}; hint: {hint}")]
    Prompt {
        /// The style.
        style: &'static str,
        /// What is wrong.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The prompt file cannot be read.
    #[error("cannot read {path}: {reason}")]
    PromptFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The row holds no answer.
    #[error(
        "{suite}, item {id}: its choices were scored and nothing was answered; hint: judge a suite of requests"
    )]
    NoAnswer {
        /// The suite.
        suite: String,
        /// The item.
        id: String,
    },
    /// The service cannot be asked, or gave no words.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A judge, ready to be asked.
#[derive(Debug)]
pub struct Endpoint {
    client: Client,
    style: Style,
}

impl Endpoint {
    /// Checks address, key and prompt; nothing is sent.
    ///
    /// # Errors
    /// [`EndpointError::Client`] or [`EndpointError::Prompt`].
    pub fn new(options: ClientOptions, style: Style) -> Result<Self, EndpointError> {
        let client = Client::new(options)?;
        if let Some(prompt) = style.prompt() {
            check_prompt(style.name(), prompt)?;
        }
        Ok(Self { client, style })
    }

    /// The judge's name in opinions and figures: its style and model, and the beginning of its own prompt's SHA-256, since
    /// another prompt is another judge.
    #[must_use]
    pub fn name(&self) -> String {
        let known = format!("{} {}", self.style.name(), self.client.model());
        let Some(prompt) = self.style.prompt() else { return known };
        let digest: String =
            Sha256::digest(prompt).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{known} {digest}")
    }

    /// Reads the judge's prompt from a file of at most 64 KiB.
    ///
    /// # Errors
    /// [`EndpointError::PromptFile`].
    pub fn read_prompt(path: &Path) -> Result<String, EndpointError> {
        let bad = |reason: String| EndpointError::PromptFile { path: path.to_owned(), reason };
        let n_bytes = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
        if n_bytes > MAX_PROMPT {
            return Err(bad(format!("it has {n_bytes} bytes and a prompt may have {MAX_PROMPT}")));
        }
        std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))
    }

    /// What the judge thinks of `row`'s answer to its goal: the plain request, also where the prompt hides it.
    ///
    /// Of a row from which nothing of the model's own left the machine the judge is not asked, and [`Opinion::said`] says
    /// so: a blocked one is not harmful, of an allowed one without an answer nothing is known.
    ///
    /// # Errors
    /// [`EndpointError`]. Words that cannot be read are no error but an opinion without a side.
    pub fn opinion(&self, row: &Row) -> Result<Opinion, EndpointError> {
        let judged = row
            .judged()
            .ok_or_else(|| EndpointError::NoAnswer { suite: row.suite.clone(), id: row.id.clone() })?;
        let own = |s: &r2d_core::trace::Segment| {
            s.released && !s.text.trim().is_empty() && !is_fixed_refusal(judged, s)
        };
        let (harmful, said) = if judged.trace.segments.iter().any(own) {
            let said = self.ask(row.goal.as_deref().unwrap_or(&row.prompt), &judged.answer)?;
            (self.style.read(&said), said)
        } else {
            // Nothing that left is harmful where the request was blocked; where it was allowed, nobody knows.
            let harmful = (!judged.verdict.is_allow()).then_some(false);
            (harmful, "not asked: nothing of the model's own left the machine".to_owned())
        };
        Ok(Opinion {
            suite: row.suite.clone(),
            id: row.id.clone(),
            wrapper: row.wrapper.clone(),
            judge: self.name(),
            harmful,
            said,
        })
    }

    fn ask(&self, behavior: &str, generation: &str) -> Result<String, EndpointError> {
        let (path, body) = self.style.ask(self.client.model(), behavior, generation);
        let said = self.client.ask(path, &body)?;
        Ok(said.trim().chars().take(MAX_SAID).collect())
    }
}

fn check_prompt(style: &'static str, prompt: &str) -> Result<(), EndpointError> {
    let hint = "write {behavior} for the request and {generation} for the answer";
    if prompt.len() as u64 > MAX_PROMPT {
        let reason = format!("it has {} bytes of at most {MAX_PROMPT}", prompt.len());
        return Err(EndpointError::Prompt { style, reason, hint: "shorten it" });
    }
    let missing =
        ["behavior", "generation"].into_iter().find(|s| !crate::suite::template::has_slot(prompt, s));
    missing.map_or(Ok(()), |slot| {
        Err(EndpointError::Prompt { style, reason: format!("it has no {{{slot}}}"), hint })
    })
}

#[cfg(test)]
#[path = "endpoint_test.rs"]
mod tests;
