//! One careful HTTP client: verified TLS, bounded waits, bounded redirects, bounded texts.
//!
//! Knows nothing of models or files. Invariant: every address that is asked for, first or after a redirect, has
//! passed the rules of [`Address`]; credentials go to their own origin only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_native_certs::{load_certs_from_paths, load_native_certs};
use ureq::Body;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::address::Address;
use super::error::ModelsError;

const REDIRECTS: usize = 8;
const CONNECT: Duration = Duration::from_secs(20);
const HEADERS: Duration = Duration::from_secs(60);
/// A link that brings nothing for so long is dead; the transfer goes on over a new one.
const EACH_READ: Duration = Duration::from_secs(60);

/// How often a failed transfer is tried again, and how long to wait between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Tries without progress before giving up.
    pub(crate) tries: u32,
    /// The first pause; it doubles each time.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 5, first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Retry {
    /// Waits before try number `failures + 1`.
    pub(crate) fn pause(&self, failures: u32) {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        // Between half and all of it, so that a hall full of boards does not come back in the same moment.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), failures);
        let share = 0.5 + f64::from(u16::try_from(seed & 0x3ff).unwrap_or(0)) / 2048.0;
        std::thread::sleep(doubled.min(self.longest).mul_f64(share));
    }
}

/// Why one try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may go well next time.
    Transient(String),
    /// It will not.
    Final(ModelsError),
}

impl From<ModelsError> for Failure {
    fn from(error: ModelsError) -> Self {
        Self::Final(error)
    }
}

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    pub(crate) retry: Retry,
}

impl Client {
    /// A client that trusts `cert` if given, else the system's certificates, else Mozilla's.
    pub(crate) fn new(cert: Option<&Path>, retry: Retry) -> Result<Self, ModelsError> {
        let config = ureq::config::Config::builder()
            .tls_config(TlsConfig::builder().root_certs(root_certificates(cert)?).build())
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(HEADERS))
            .timeout_per_read(Some(EACH_READ))
            .http_status_as_error(false)
            // Redirects are followed below, where each target is held to the rules.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("r2d-edge/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.new_agent(), retry })
    }

    /// Sends one GET and follows redirects; says where the answer finally came from.
    pub(crate) fn get(
        &self,
        from: &Address,
        headers: &[(&str, &str)],
    ) -> Result<(Response<Body>, Address), Failure> {
        let mut at = from.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(at.request_line()).header("accept-encoding", "identity");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(authorization) = at.authorization() {
                request = request.header("authorization", authorization);
            }
            let response = request.call().map_err(|error| failure(&at, &error))?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Ok((response, at));
            }
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let refused = |reason: String| {
                Failure::Final(ModelsError::Network {
                    from: at.to_string(),
                    reason: format!("bad redirect: {reason}"),
                })
            };
            let target = location.ok_or_else(|| refused("no location".into()))?;
            at = at.join(target).map_err(refused)?;
        }
        Err(Failure::Final(ModelsError::Network {
            from: from.to_string(),
            reason: format!("more than {REDIRECTS} redirects"),
        }))
    }

    /// Fetches a text of at most `limit` bytes, with its content type and final address.
    pub(crate) fn text(
        &self,
        from: &Address,
        accept: &str,
        limit: u64,
    ) -> Result<(String, String, Address), ModelsError> {
        let mut failures = 0;
        loop {
            let reason = match self.try_text(from, accept, limit) {
                Ok(page) => return Ok(page),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient(reason)) => reason,
            };
            failures += 1;
            if failures >= self.retry.tries {
                return Err(ModelsError::Network { from: from.to_string(), reason });
            }
            self.retry.pause(failures);
        }
    }

    fn try_text(
        &self,
        from: &Address,
        accept: &str,
        limit: u64,
    ) -> Result<(String, String, Address), Failure> {
        let (mut response, at) = self.get(from, &[("accept", accept)])?;
        check_status(&at, response.status().as_u16())?;
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let text = response.body_mut().with_config().limit(limit).lossy_utf8(true).read_to_string();
        Ok((text.map_err(|error| failure(&at, &error))?, kind, at))
    }
}

/// Tells a status that means "later" from one that means "no".
pub(crate) fn check_status(at: &Address, status: u16) -> Result<(), Failure> {
    match status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => Err(Failure::Transient(format!("the server answered {status}"))),
        status => Err(ModelsError::Status { from: at.to_string(), status }.into()),
    }
}

fn failure(at: &Address, error: &ureq::Error) -> Failure {
    match error {
        // A wrong certificate will be wrong again, and a second try would only hide it.
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired => {
            Failure::Final(ModelsError::BadConfig {
                what: at.to_string(),
                reason: error.to_string(),
                hint: "if a proxy or a private index has its own certificate authority, name its PEM file in PIP_CERT",
            })
        }
        ureq::Error::BodyExceedsLimit(limit) => Failure::Final(ModelsError::Network {
            from: at.to_string(),
            reason: format!("the answer is longer than {limit} bytes"),
        }),
        // ureq's other messages may quote the address; only kinds that do not are passed on in words.
        ureq::Error::Io(error) => Failure::Transient(error.to_string()),
        ureq::Error::Timeout(phase) => Failure::Transient(format!("timeout ({phase:?})")),
        ureq::Error::HostNotFound => Failure::Transient("host not found".into()),
        ureq::Error::ConnectionFailed => Failure::Transient("connection failed".into()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::Final(ModelsError::Network {
            from: at.to_string(),
            reason: "not a usable address".into(),
        }),
        _ => Failure::Transient("the HTTP exchange failed".into()),
    }
}

fn root_certificates(cert: Option<&Path>) -> Result<RootCerts, ModelsError> {
    let found = match cert {
        Some(path) if path.is_dir() => load_certs_from_paths(None, Some(path)),
        Some(path) => load_certs_from_paths(Some(path), None),
        None => load_native_certs(),
    };
    if let (Some(path), true) = (cert, found.certs.is_empty()) {
        return Err(ModelsError::BadConfig {
            what: path.display().to_string(),
            reason: found.errors.first().map_or("no certificate in it".into(), ToString::to_string),
            hint: "name a PEM file in PIP_CERT or SSL_CERT_FILE, or in `cert` of pip.conf",
        });
    }
    if found.certs.is_empty() {
        // A small board image may have no certificates at all; Mozilla's list is compiled in for that.
        return Ok(RootCerts::WebPki);
    }
    let owned = found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(RootCerts::Specific(Arc::new(owned)))
}
