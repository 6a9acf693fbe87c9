//! A client of OpenAI-compatible services: one JSON body out, the words of the first choice back.
//!
//! Not a judge and not a teacher: what is asked and what the words mean is the caller's. Invariants: waiting, tries and
//! reading are bounded; a key goes to the named service only, and over plain HTTP to this machine only; no error text
//! holds the key.

use serde_json::Value;
use std::fmt;
use std::time::Duration;
use thiserror::Error;
use ureq::http::Uri;

/// Longest reply that is read, in bytes: some words of a model.
pub(crate) const MAX_REPLY: u64 = 1 << 20;
/// Most further tries.
const MAX_RETRIES: u32 = 10;
/// The first pause between tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a service is and how patiently it is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientOptions {
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

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, model, key, timeout_ms, retries } = self;
        f.debug_struct("ClientOptions")
            .field("url", url)
            .field("model", model)
            .field("key", &key.as_ref().map(|_| "…"))
            .field("timeout_ms", timeout_ms)
            .field("retries", retries)
            .finish()
    }
}

/// Why a service gave no words.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address cannot be used.
    #[error(
        "{url:?} cannot be a service's address: {reason}; hint: give a base such as http://127.0.0.1:8000/v1"
    )]
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The key cannot be sent.
    #[error("the service's key cannot be sent: {reason}; hint: {hint}")]
    Key {
        /// What is wrong.
        reason: &'static str,
        /// What to do.
        hint: &'static str,
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
    #[error("{url} gave no words in {tries} tries: {reason}")]
    Failed {
        /// The address.
        url: String,
        /// Tries made.
        tries: u32,
        /// Why the last one failed.
        reason: String,
    },
}

/// A service, ready to be asked.
#[derive(Debug)]
pub struct Client {
    pub(crate) options: ClientOptions,
    agent: ureq::Agent,
    pub(crate) first_pause: Duration,
}

impl Client {
    /// Checks address and key; nothing is sent.
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Key`].
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let local = check_address(&options.url)?;
        if let Some(key) = &options.key {
            check_key(key, local || options.url.starts_with("https://"))?;
        }
        let config = ureq::config::Config::builder()
            .timeout_global(Some(Duration::from_millis(options.timeout_ms.max(1))))
            .http_status_as_error(false)
            // A redirect would carry request, answer and key to a place that nobody named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("r2d-edge/", env!("CARGO_PKG_VERSION")));
        // A service on this machine is not to be asked through the site's proxy.
        let config = if local { config.proxy(None) } else { config };
        let agent = config.build().new_agent();
        Ok(Self { options, agent, first_pause: FIRST_PAUSE })
    }

    /// The model to ask for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// Sends `body` to `path` below the base, such as `/chat/completions`, and gives the first choice's words.
    ///
    /// # Errors
    /// [`ClientError::Status`] at once, [`ClientError::Failed`] after the last try.
    pub fn ask(&self, path: &str, body: &Value) -> Result<String, ClientError> {
        let url = self.options.url.trim_end_matches('/').to_owned() + path;
        let retries = self.options.retries.min(MAX_RETRIES);
        let mut pause = self.first_pause;
        let mut tries = 0;
        loop {
            tries += 1;
            let reason = match self.try_once(&url, body)? {
                Ok(said) => return Ok(said),
                Err(reason) => reason,
            };
            if tries > retries {
                return Err(ClientError::Failed { url, tries, reason });
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// One try: the service's words, or inside why it may go well next time.
    fn try_once(&self, url: &str, body: &Value) -> Result<Result<String, String>, ClientError> {
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
                Err(ClientError::Status { url: url.to_owned(), status, reason })
            }
        }
    }
}

/// The words of the first choice in a reply.
fn words(reply: &str) -> Result<String, String> {
    let value: Value = serde_json::from_str(reply).map_err(|e| format!("its reply is no JSON: {e}"))?;
    let choice = value.pointer("/choices/0");
    let chat = choice.and_then(|c| c.pointer("/message/content")).and_then(Value::as_str);
    let said = chat.or_else(|| choice.and_then(|c| c.get("text")).and_then(Value::as_str));
    said.map(str::to_owned).ok_or_else(|| "its reply holds no choice with a text".to_owned())
}

/// Whether the address is this machine's.
fn check_address(url: &str) -> Result<bool, ClientError> {
    let bad = |reason| ClientError::Address { url: url.chars().take(200).collect(), reason };
    if url.contains('@') {
        // Quoting it would tell its password.
        return Err(ClientError::Address { url: "…@…".into(), reason: "it holds a user or a password" });
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

fn check_key(key: &str, protected: bool) -> Result<(), ClientError> {
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let hint = "a key is one word; look for a line break in its file";
        return Err(ClientError::Key { reason: "it is empty or has blanks in it", hint });
    }
    if !protected {
        let hint = "use an https:// address";
        return Err(ClientError::Key { reason: "plain HTTP would show it to the network", hint });
    }
    Ok(())
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
