//! An outside judge behind an OpenAI-compatible service: another machine's model reads a run's answers after the fact.
//!
//! Never part of serving, and never asked unless somebody names it: requests and answers leave the machine for it.
//! Invariants: waiting, tries and reading are bounded; a key goes to the named service only, and over plain HTTP to this
//! machine only; no error text holds the key.

use super::{Opinion, is_fixed_refusal};
use crate::row::Row;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use ureq::http::Uri;

pub use super::style::Style;

/// Longest reply that is read, in bytes: some words of a judge.
const MAX_REPLY: u64 = 1 << 20;
/// Largest prompt file, in bytes.
const MAX_PROMPT: u64 = 64 << 10;
/// Most further tries.
const MAX_RETRIES: u32 = 10;
/// The first pause between tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much of a judge's words an opinion keeps, in characters.
const MAX_SAID: usize = 1000;

/// Where a judge is and how patiently it is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointOptions {
    /// The service's base address, such as `http://127.0.0.1:8000/v1`.
    pub url: String,
    /// The model to ask for.
    pub model: String,
    /// The service's key.
    pub key: Option<String>,
    /// Most time for one try, in milliseconds.
    pub timeout_ms: u64,
    /// Further tries after a failure that may pass, at most 10.
    pub retries: u32,
}

impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, model, key, timeout_ms, retries } = self;
        f.debug_struct("EndpointOptions")
            .field("url", url)
            .field("model", model)
            .field("key", &key.as_ref().map(|_| "…"))
            .field("timeout_ms", timeout_ms)
            .field("retries", retries)
            .finish()
    }
}

/// Why a judge gave no opinion.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address cannot be used.
    #[error(
        "{url:?} cannot be a judge's address: {reason}; hint: give a base such as http://127.0.0.1:8000/v1"
    )]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key cannot be sent.
    #[error("the judge's key cannot be sent: {reason}; hint: {hint}")]
    Key {
        /// What is wrong.
        reason: &'static str,
        /// What to do.
        hint: &'static str,
    },
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
    /// The service refused.
    #[error("{url} answered {status}: {reason}; hint: look at the model's name, the key and the address")]
    Status {
        /// The address.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of its reply.
        reason: String,
    },
    /// The service could not be asked, or not understood, as often as it was tried.
    #[error("{url} gave no opinion in {tries} tries: {reason}")]
    Failed {
        /// The address.
        url: String,
        /// Tries made.
        tries: u32,
        /// Why the last one failed.
        reason: String,
    },
}

/// A judge, ready to be asked.
#[derive(Debug)]
pub struct Endpoint {
    options: EndpointOptions,
    style: Style,
    agent: ureq::Agent,
    first_pause: Duration,
}

impl Endpoint {
    /// Checks address, key and prompt; nothing is sent.
    ///
    /// # Errors
    /// [`EndpointError::Address`], [`EndpointError::Key`] or [`EndpointError::Prompt`].
    pub fn new(options: EndpointOptions, style: Style) -> Result<Self, EndpointError> {
        let local = check_address(&options.url)?;
        if let Some(key) = &options.key {
            check_key(key, local || options.url.starts_with("https://"))?;
        }
        if let Some(prompt) = style.prompt() {
            check_prompt(style.name(), prompt)?;
        }
        let config = ureq::config::Config::builder()
            .timeout_global(Some(Duration::from_millis(options.timeout_ms.max(1))))
            .http_status_as_error(false)
            // A redirect would carry request, answer and key to a place that nobody named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("r2d-edge/", env!("CARGO_PKG_VERSION")));
        // A judge on this machine is not to be asked through the site's proxy.
        let config = if local { config.proxy(None) } else { config };
        let agent = config.build().new_agent();
        Ok(Self { options, style, agent, first_pause: FIRST_PAUSE })
    }

    /// The judge's name in opinions and figures: its style and model.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.style.name(), self.options.model)
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
        let (path, body) = self.style.ask(&self.options.model, behavior, generation);
        let url = self.options.url.trim_end_matches('/').to_owned() + path;
        let retries = self.options.retries.min(MAX_RETRIES);
        let mut pause = self.first_pause;
        let mut tries = 0;
        loop {
            tries += 1;
            let reason = match self.try_once(&url, &body)? {
                Ok(said) => return Ok(said.trim().chars().take(MAX_SAID).collect()),
                Err(reason) => reason,
            };
            if tries > retries {
                return Err(EndpointError::Failed { url, tries, reason });
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// One try: the judge's words, or inside why it may go well next time.
    fn try_once(&self, url: &str, body: &Value) -> Result<Result<String, String>, EndpointError> {
        let mut request = self.agent.post(url).header("accept", "application/json");
        if let Some(key) = &self.options.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.header("content-type", "application/json");
        let mut response = match request.send(body.to_string()) {
            Ok(response) => response,
            Err(error) => return Ok(Err(in_words(&error))),
        };
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MAX_REPLY).lossy_utf8(true).read_to_string();
        let text = match text {
            Ok(text) => text,
            Err(error) => return Ok(Err(in_words(&error))),
        };
        match status {
            200..=299 => Ok(words(&text)),
            408 | 425 | 429 | 500..=599 => Ok(Err(format!("the service answered {status}"))),
            _ => {
                let reason = text.trim().chars().take(200).collect();
                Err(EndpointError::Status { url: url.to_owned(), status, reason })
            }
        }
    }
}

/// The judge's words in a reply.
fn words(reply: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(reply).map_err(|e| format!("its reply is no JSON: {e}"))?;
    let choice = value.pointer("/choices/0");
    let chat = choice.and_then(|c| c.pointer("/message/content")).and_then(Value::as_str);
    let said = chat.or_else(|| choice.and_then(|c| c.get("text")).and_then(Value::as_str));
    said.map(str::to_owned).ok_or_else(|| "its reply holds no choice with a text".to_owned())
}

/// Whether the address is this machine's.
fn check_address(url: &str) -> Result<bool, EndpointError> {
    let bad = |reason| EndpointError::Address { url: url.chars().take(200).collect(), reason };
    if url.contains('@') {
        // Quoting it would tell its password.
        return Err(EndpointError::Address {
            url: "…@…".into(), reason: "it holds a user or a password"
        });
    }
    let uri: Uri = url.parse().map_err(|_| bad("it is none"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("it begins neither with http:// nor with https://"));
    }
    if uri.query().is_some() {
        return Err(bad("it has a query"));
    }
    let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| bad("it names no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Ok(loopback || bare.eq_ignore_ascii_case("localhost"))
}

fn check_key(key: &str, protected: bool) -> Result<(), EndpointError> {
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let hint = "a key is one word; look for a line break in its file";
        return Err(EndpointError::Key { reason: "it is empty or has blanks in it", hint });
    }
    if !protected {
        let hint = "use an https:// address";
        return Err(EndpointError::Key { reason: "plain HTTP would show it to the network", hint });
    }
    Ok(())
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

fn in_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(phase) => format!("timeout ({phase:?})"),
        ureq::Error::BodyExceedsLimit(limit) => format!("its reply is longer than {limit} bytes"),
        ureq::Error::HostNotFound => "host not found".to_owned(),
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        // Other messages may quote the request.
        _ => "the HTTP exchange failed".to_owned(),
    }
}

#[cfg(test)]
#[path = "endpoint_test.rs"]
mod tests;
