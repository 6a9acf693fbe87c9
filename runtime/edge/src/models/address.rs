//! A web address that may be used: https, or http on the loopback interface.
//!
//! Not a general URL type. Invariants: what [`Address`] shows never contains credentials or a query (signed links
//! carry their secret there); credentials stay with the origin they were given for; nothing off this machine can
//! send a request to a loopback service.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ureq::http::Uri;

/// An address that passed the rules above.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    scheme: &'static str,
    host: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
    credentials: Option<String>,
}

impl Address {
    /// The address as it goes on the wire, without credentials.
    pub(crate) fn request_line(&self) -> String {
        match &self.query {
            Some(query) => format!("{self}?{query}"),
            None => self.to_string(),
        }
    }

    /// The value of an `Authorization` header, if the address came with credentials.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.credentials.as_ref().map(|text| format!("Basic {}", base64(text.as_bytes())))
    }

    /// Whether the address names this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether the address brought a user name or a password.
    pub(crate) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// The last part of the path.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The folder `name` below this address, with a slash at the end.
    pub(crate) fn folder(&self, name: &str) -> Self {
        let path = format!("{}/{name}/", self.path.trim_end_matches('/'));
        Self { path, query: None, ..self.clone() }
    }

    /// What `reference`, found at this address, points to (RFC 3986, section 5.2).
    pub(crate) fn join(&self, reference: &str) -> Result<Self, String> {
        let reference = reference.trim().split('#').next().unwrap_or_default();
        let absolute = reference.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
        let mut target = if absolute {
            reference.parse::<Self>()?
        } else if let Some(rest) = reference.strip_prefix("//") {
            format!("{}://{rest}", self.scheme).parse::<Self>()?
        } else {
            let (path, query) = match reference.split_once('?') {
                Some((path, query)) => (path, Some(query.to_owned())),
                None => (reference, None),
            };
            let base = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = match path {
                "" => self.path.clone(),
                path if path.starts_with('/') => without_dots(path),
                path => without_dots(&format!("{base}/{path}")),
            };
            Self { path, query, ..self.clone() }
        };
        if target.is_loopback() && !self.is_loopback() {
            return Err(format!("`{self}` points to this machine's own {target}"));
        }
        if target.credentials.is_none() && target.origin() == self.origin() {
            target.credentials.clone_from(&self.credentials);
        }
        // What was joined is held to the same rules as what was typed.
        target.request_line().parse::<Self>()?;
        Ok(target)
    }

    fn origin(&self) -> (&str, &str, Option<u16>) {
        let standard = if self.scheme == "https" { 443 } else { 80 };
        (self.scheme, &self.host, self.port.filter(|port| *port != standard))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.split('#').next().unwrap_or_default();
        // The text itself may hold a password, so no message repeats it.
        let uri: Uri = text.parse().map_err(|_| "not a web address".to_owned())?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") => "http",
            other => return Err(format!("scheme `{}` is not https", other.unwrap_or_default())),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("no host in the address")?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let address = Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port: uri.port_u16(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            credentials: authority.rsplit_once('@').map(|(user, _)| percent_decoded(user)),
        };
        if scheme == "http" && !address.is_loopback() {
            return Err(format!(
                "http to `{}` is neither private nor safe; only https is used",
                address.host
            ));
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The path with `.` and `..` worked out; `..` cannot climb above the root.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut segments = path.trim_start_matches('/').split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    parts.pop();
                }
                if last {
                    parts.push("");
                }
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Text with its `%XX` turned back; bytes that are not UTF-8 are replaced.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// RFC 4648 base64 with padding: twenty lines, where a crate would be one more thing to trust with a password.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * i) & 63).unwrap_or(0);
            text.push(if i <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for text in
            ["http://127.0.0.1:8000/simple", "http://localhost/x", "http://[::1]:80/x", "https://a.example/x"]
        {
            assert!(text.parse::<Address>().is_ok(), "{text}");
        }
        for text in [
            "http://a.example/",
            "ftp://a.example/",
            "file:///etc/passwd",
            "a.example/x",
            "",
            "http://localhost.a.example/",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn credentials_and_queries_are_used_and_never_shown() {
        let at = address("https://us%40er:p%3Aw@a.example/simple/?token=hush");
        for shown in [at.to_string(), format!("{at:?}"), at.folder("x").request_line()] {
            assert!(!shown.contains("us") && !shown.contains("hush"), "{shown}");
        }
        assert_eq!(at.authorization().unwrap(), "Basic dXNAZXI6cDp3");
        assert_eq!(at.request_line(), "https://a.example/simple/?token=hush");
        let error = "https://user:s3cret@bad host/".parse::<Address>().unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn references_resolve_as_the_rfc_says() {
        let base = address("https://a.example/b/c/d?q");
        for (reference, expected) in [
            ("g", "https://a.example/b/c/g"),
            ("./g/", "https://a.example/b/c/g/"),
            ("/g", "https://a.example/g"),
            ("?y", "https://a.example/b/c/d?y"),
            ("//g.example/h", "https://g.example/h"),
            ("../../g", "https://a.example/g"),
            ("../../../../g", "https://a.example/g"),
            ("..", "https://a.example/b/"),
            ("https://x.example/y#sha256=0", "https://x.example/y"),
        ] {
            assert_eq!(base.join(reference).unwrap().request_line(), expected, "{reference}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let base = address("https://user:pw@a.example/simple/x/");
        assert!(base.join("/files/x.whl").unwrap().has_credentials());
        assert!(base.join("https://A.example:443/x.whl").unwrap().has_credentials());
        assert!(!base.join("https://b.example/x.whl").unwrap().has_credentials());
        assert!(!base.join("https://a.example:444/x.whl").unwrap().has_credentials());
    }

    #[test]
    fn a_remote_page_cannot_point_to_this_machine_or_to_plain_http() {
        let base = address("https://a.example/simple/x/");
        for reference in
            ["http://127.0.0.1/x", "https://localhost/x", "http://b.example/x", "file:///etc/passwd"]
        {
            assert!(base.join(reference).is_err(), "{reference}");
        }
    }
}
