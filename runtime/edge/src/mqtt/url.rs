//! The address of a broker: `mqtt://host:port` or `mqtts://host:port`.
//!
//! Not a general URL: no path, no query and no credentials, because an address is printed in
//! logs and error messages and a password must not be.
//!
//! Invariant: a [`BrokerUrl`] that exists can be dialled; a refused text is never echoed when it
//! may hold a password.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Where the broker listens, and whether the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
    tls: bool,
}

/// Why a text is not the address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `mqtt://` nor `mqtts://`.
    #[error(
        "broker url has scheme `{0}`, not `mqtt` or `mqtts`\nhint: write mqtt://host:1883 or mqtts://host:8883"
    )]
    Scheme(String),
    /// No `://` at all.
    #[error("broker url has no scheme\nhint: write mqtt://host:1883 or mqtts://host:8883")]
    NoScheme,
    /// A user name or password stands in the address.
    #[error(
        "broker url holds credentials\nhint: give the user name and the password in their own settings; a url is printed in logs"
    )]
    Credentials,
    /// Something follows the port.
    #[error("broker url has a path, query or fragment `{0}`\nhint: write only mqtt://host:port")]
    Trailing(String),
    /// The host is missing or has characters that no host name has.
    #[error(
        "broker url has host `{0}`, which is not a host name or address\nhint: IPv6 goes in brackets, as in mqtt://[::1]:1883"
    )]
    Host(String),
    /// The port is not in 1 to 65535.
    #[error("broker url has port `{0}`, not a number from 1 to 65535\nhint: plain MQTT is 1883, TLS is 8883")]
    Port(String),
    /// TLS to an IPv6 literal, for which the client library cannot check the server's name.
    #[error(
        "broker url uses tls with the IPv6 address `{0}`\nhint: give the broker a host name; its certificate is checked against it"
    )]
    TlsToIpv6(String),
}

impl BrokerUrl {
    /// The host as written; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<BrokerUrl, UrlError> {
        // Before anything else, since every later error echoes a part of the text.
        if text.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            other => return Err(UrlError::Scheme(other.to_owned())),
        };
        let (authority, trailing) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !matches!(trailing, "" | "/") {
            return Err(UrlError::Trailing(trailing.to_owned()));
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            None if tls => 8883,
            None => 1883,
            Some(digits) => parse_port(digits)?,
        };
        if host.starts_with('[') && tls {
            return Err(UrlError::TlsToIpv6(host.to_owned()));
        }
        Ok(BrokerUrl { host: host.to_owned(), port, tls })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(out, "{scheme}://{}:{}", self.host, self.port)
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    let refused = || UrlError::Host(authority.to_owned());
    if let Some(inner) = authority.strip_prefix('[') {
        let (address, after) = inner.split_once(']').ok_or_else(refused)?;
        address.parse::<Ipv6Addr>().map_err(|_| refused())?;
        let host = authority.get(..address.len() + 2).ok_or_else(refused)?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(refused()),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_name = host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    let is_address = host.parse::<IpAddr>().is_ok();
    if is_name || is_address { Ok((host, port)) } else { Err(refused()) }
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    let refused = || UrlError::Port(digits.to_owned());
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused());
    }
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_default_by_scheme() {
        let plain: BrokerUrl = "mqtt://broker.local".parse().unwrap();
        assert_eq!((plain.host(), plain.port(), plain.is_tls()), ("broker.local", 1883, false));
        let tls: BrokerUrl = "mqtts://broker.local/".parse().unwrap();
        assert_eq!((tls.port(), tls.is_tls()), (8883, true));
        let v6: BrokerUrl = "mqtt://[::1]:1900".parse().unwrap();
        assert_eq!((v6.host(), v6.port()), ("[::1]", 1900));
    }

    #[test]
    fn credentials_are_refused_and_not_echoed() {
        let error = "mqtt://operator:hunter2@broker".parse::<BrokerUrl>().unwrap_err();
        assert_eq!(error, UrlError::Credentials);
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn bad_addresses_are_refused_by_kind() {
        let refusal = |text: &str| text.parse::<BrokerUrl>().unwrap_err();
        assert_eq!(refusal("broker:1883"), UrlError::NoScheme);
        assert_eq!(refusal("http://broker"), UrlError::Scheme("http".into()));
        assert_eq!(refusal("mqtt://broker:0"), UrlError::Port("0".into()));
        assert_eq!(refusal("mqtt://broker:65536"), UrlError::Port("65536".into()));
        assert_eq!(refusal("mqtt://broker:+80"), UrlError::Port("+80".into()));
        assert_eq!(refusal("mqtt://"), UrlError::Host(String::new()));
        assert_eq!(refusal("mqtt://bro ker"), UrlError::Host("bro ker".into()));
        assert_eq!(refusal("mqtt://broker/a?b"), UrlError::Trailing("/a?b".into()));
        assert_eq!(refusal("mqtts://[::1]"), UrlError::TlsToIpv6("[::1]".into()));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_printing_parses_back(text in "(mqtts?://)?[a-z0-9.:@\\[\\]/?_-]{0,40}") {
            if let Ok(url) = text.parse::<BrokerUrl>() {
                prop_assert_eq!(url.to_string().parse::<BrokerUrl>(), Ok(url));
            }
        }
    }
}
