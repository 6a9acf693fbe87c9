//! A teacher behind an OpenAI-compatible chat service.
//!
//! Invariants: prompts go to the named service only, already neutralised; the key comes from the environment, so that
//! it stands in no command line.

use super::usage;
use crate::exit::UsageError;
use r2d_core::pivot::Pivot;
use r2d_distill::teacher::{AskError, Question, Teacher, read_tag};
use r2d_eval::client::{Client, ClientError, ClientOptions};
use serde_json::json;

/// Most tokens of a reply: three steps and an answer, and a reasoning model's own thoughts before them.
const MAX_REPLY_TOKENS: u32 = 4096;
/// The temperature of further tries: at 0 the same reply might come again.
const RETRY_TEMPERATURE: f32 = 0.7;

/// The service.
#[derive(Debug)]
pub(super) struct Remote(Client);

impl Remote {
    /// Checks address and key; nothing is sent.
    pub(super) fn new(url: &str, model: &str, key_env: Option<&str>, timeout_s: u32) -> anyhow::Result<Self> {
        let key = match key_env {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                UsageError(format!(
                    "the environment holds no {name}; hint: export the service's key under it"
                ))
            })?),
        };
        let options = ClientOptions {
            url: url.to_owned(),
            model: model.to_owned(),
            key,
            timeout_ms: u64::from(timeout_s) * 1000,
            retries: 4,
        };
        Ok(Self(Client::new(options).map_err(usage)?))
    }

    fn ask(&self, question: Question<'_>) -> Result<String, AskError> {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let body = json!({
            "model": self.0.model(),
            "temperature": if question.attempt == 0 { 0.0 } else { RETRY_TEMPERATURE },
            "max_tokens": MAX_REPLY_TOKENS,
            "stream": false,
            "messages": [turn("system", question.system), turn("user", question.user)],
        });
        self.0.ask("/chat/completions", &body).map_err(|error| match error {
            // Services refuse single prompts so, by their filters and limits.
            ClientError::Status { status: 400 | 413 | 422, .. } => AskError::Prompt(error.to_string()),
            other => AskError::Stop(other.to_string()),
        })
    }
}

impl Teacher for Remote {
    fn write(&mut self, question: Question<'_>) -> Result<String, AskError> {
        self.ask(question)
    }

    fn tag(&mut self, question: Question<'_>) -> Result<Option<Pivot>, AskError> {
        Ok(read_tag(&self.ask(question)?))
    }
}
