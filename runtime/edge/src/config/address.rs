//! Where a broker is: `mqtt://host:port` or `mqtts://host:port`.
//!
//! Not a general URL: no path, no query, and no user or password, which would be shown wherever the address is.
//! Invariant: a parsed address has a host without white space and a port that is not 0.

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Whether the connection is TLS (`mqtts`).
    pub tls: bool,
    /// Host name or IP address, IPv6 without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl BrokerAddress {
    /// Reads `url`; the port defaults to 1883, with TLS to 8883.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let (tls, rest) = match url.split_once("://")? {
            ("mqtt", rest) => (false, rest),
            ("mqtts", rest) => (true, rest),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, tail) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if tail.is_empty() { None } else { Some(tail.strip_prefix(':')?) })
        } else {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(h, p)| (h, Some(p)));
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            if host.is_empty() || !host.chars().all(legal) {
                return None;
            }
            (host, port)
        };
        let port = match port {
            None if tls => 8883,
            None => 1883,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        (port != 0).then(|| Self { tls, host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_default_ports() {
        let read = |url| BrokerAddress::parse(url).map(|a| (a.tls, a.host, a.port));
        assert_eq!(read("mqtt://plant"), Some((false, "plant".into(), 1883)));
        assert_eq!(read("mqtts://10.0.0.7/"), Some((true, "10.0.0.7".into(), 8883)));
        assert_eq!(read("mqtt://[::1]:1884"), Some((false, "::1".into(), 1884)));
    }

    #[test]
    fn what_is_no_broker_address_is_refused() {
        for url in [
            "",
            "plant:1883",
            "http://plant",
            "mqtt://",
            "mqtt://a b",
            "mqtt://u:p@plant",
            "mqtt://plant:0",
            "mqtt://plant:70000",
            "mqtt://plant:+1",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://plant/topic",
        ] {
            assert_eq!(BrokerAddress::parse(url), None, "{url}");
        }
    }
}
