//! TLS for the connection to a broker: rustls with the ring provider.
//!
//! Not here: a way to switch verification off. The server's certificate is always checked, its name
//! included, against a CA file or the roots of the system.
//!
//! Invariant: the provider is named here and not installed process-wide, so no other part of the
//! binary changes what this connection does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use super::link::ClientCertificate;

/// Why no TLS connection can be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file cannot be read, or holds nothing of the kind that is needed.
    #[error("no {kind} in `{path}`: {reason}\nhint: it must be a readable PEM file")]
    File {
        /// What was looked for.
        kind: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it was not found.
        reason: String,
    },
    /// The system has no certificate authorities.
    #[error(
        "the system has no usable root certificates: {0}\nhint: install ca-certificates or set mqtt.ca_file"
    )]
    NoRoots(String),
    /// rustls refused what was read.
    #[error("tls setup failed: {0}\nhint: the client key must belong to the client certificate")]
    Setup(#[from] rustls::Error),
}

/// The client side of TLS.
pub(super) fn client_config(
    ca_file: Option<&Path>,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca_file {
        Some(path) => file_roots(path)?,
        None => system_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(&own.key_file)
                .map_err(|error| unusable("private key", &own.key_file, &error))?;
            builder.with_client_auth_cert(certificates(&own.chain_file)?, key)?
        }
    };
    Ok(Arc::new(config))
}

fn file_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    Err(TlsError::NoRoots(if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable("certificate", path, &error))?;
    if all.is_empty() {
        return Err(unusable("certificate", path, &"the file holds none"));
    }
    Ok(all)
}

fn unusable(kind: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { kind, path: path.to_owned(), reason: reason.to_string() }
}
