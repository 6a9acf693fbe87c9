//! What a key is and which values it takes.
//!
//! Not the keys themselves (see `schema`) and not where values come from (see `layer`). Invariant: a value that
//! [`Allowed::check`] lets through is one that the key's field can hold.

use super::BrokerAddress;
use super::fault::Fault;
use std::{fmt, net::SocketAddr};
use toml::Value;

/// One key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Section and name, joined by a dot.
    pub(super) path: &'static str,
    /// What it is for, in one sentence.
    pub(super) description: &'static str,
    /// What its number counts; empty when it counts nothing.
    pub(super) unit: &'static str,
    /// The values it takes.
    pub(super) allowed: Allowed,
    /// Whether its value must not be shown.
    pub(super) secret: bool,
}

/// The values that a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// A whole number from the first to the second, both included.
    Integer(i64, i64),
    /// A number from the first to the second, both included.
    Real(f64, f64),
    /// One of some names.
    Choice(fn() -> &'static [&'static str]),
    /// A text of a certain form.
    Text(Form),
    /// A list of texts of one form.
    List(Form),
    /// A table from language tags to sentences; each entry is a key of its own.
    Languages,
}

/// What a text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Anything without control characters, or nothing.
    Plain,
    /// Something without control characters.
    Filled,
    /// An id that may stand in a topic.
    Id,
    /// An id or nothing.
    IdOrEmpty,
    /// A language tag.
    Language,
    /// An address of a broker or nothing.
    Broker,
    /// An address and port on this machine.
    Loopback,
    /// An MQTT topic filter.
    TopicFilter,
    /// A password or nothing.
    Secret,
    /// What people read: a sentence or two.
    Sentence,
    /// Numbers of cores, or nothing.
    Cores,
    /// A serial line and the station at its other end.
    Line,
}

/// Longest text of any form, in bytes.
const MAX_TEXT_BYTES: usize = 4096;
/// Most entries of a list.
const MAX_LIST_ENTRIES: usize = 64;

impl Key {
    /// The part before the dot.
    #[must_use]
    pub(super) fn section(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(section, _)| section)
    }

    /// The part after the dot.
    #[must_use]
    pub(super) fn leaf(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, leaf)| leaf)
    }

    /// The values it takes and their unit, for people.
    #[must_use]
    pub(super) fn range(&self) -> String {
        let unit = if self.unit.is_empty() { "" } else { " " };
        format!("{}{unit}{}", self.allowed, self.unit)
    }
}

/// The environment variable of the key at `path`.
#[must_use]
pub(super) fn variable(path: &str) -> String {
    format!("R2D_{}", path.to_ascii_uppercase().replace(['.', '-'], "_"))
}

/// `value` as it is shown on one line, cut when it is long.
#[must_use]
pub(super) fn show(value: &Value) -> String {
    const MAX_CHARS: usize = 80;
    let text = match value {
        // Not TOML's own rendering: that breaks a text with line ends over several lines.
        Value::String(text) => format!("{text:?}"),
        Value::Table(_) => "a table".to_owned(),
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Allowed {
    /// Reads `text` of a variable or a flag as a value for this key.
    ///
    /// # Errors
    /// The text is not of the key's type, or its value is not allowed.
    pub(super) fn read(self, text: &str) -> Result<Value, Fault> {
        let wrong = Fault::Type { wanted: self.type_name() };
        let digits = || text.trim().replace('_', "");
        let value = match self {
            Self::Integer(..) => Value::Integer(digits().parse().map_err(|_| wrong)?),
            Self::Real(..) => Value::Float(digits().parse().map_err(|_| wrong)?),
            Self::Choice(_) | Self::Text(_) => Value::from(text),
            Self::List(_) if text.trim_start().starts_with('[') => {
                text.parse::<toml::Value>().map_err(|_| wrong)?
            }
            Self::List(_) => {
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).collect::<Vec<_>>().into()
            }
            Self::Languages => return Err(wrong),
        };
        self.check(value)
    }

    /// Lets `value` through, whole numbers as reals where the key is a real.
    ///
    /// # Errors
    /// The value is of another type, or not allowed.
    pub(super) fn check(self, value: Value) -> Result<Value, Fault> {
        let fits = match (self, &value) {
            (Self::Integer(min, max), Value::Integer(n)) => (min..=max).contains(n),
            (Self::Real(min, max), Value::Float(x)) => (min..=max).contains(x),
            (Self::Real(..), Value::Integer(n)) => {
                // Every bound is far below 2^53, so no number that fits loses a digit here.
                #[expect(clippy::cast_precision_loss, reason = "see above")]
                return self.check(Value::Float(*n as f64));
            }
            (Self::Choice(names), Value::String(text)) => names().contains(&text.as_str()),
            (Self::Text(form), Value::String(text)) => form.fits(text),
            (Self::List(form), Value::Array(entries)) => {
                let Some(texts) = entries.iter().map(Value::as_str).collect::<Option<Vec<_>>>() else {
                    return Err(Fault::Type { wanted: self.type_name() });
                };
                texts.len() <= MAX_LIST_ENTRIES && texts.iter().all(|t| form.fits(t))
            }
            _ => return Err(Fault::Type { wanted: self.type_name() }),
        };
        if fits { Ok(value) } else { Err(Fault::Value) }
    }

    fn type_name(self) -> &'static str {
        match self {
            Self::Integer(..) => "a whole number",
            Self::Real(..) => "a number",
            Self::Choice(_) | Self::Text(_) => "a text",
            Self::List(_) => "a list of texts",
            Self::Languages => "a table from language tags to texts",
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(min, max) => write!(f, "{min} to {max}"),
            Self::Real(min, max) => write!(f, "{min} to {max}"),
            Self::Choice(names) => write!(f, "one of {}", names().join(", ")),
            Self::Text(form) => write!(f, "{form}"),
            Self::List(form) => write!(f, "a list of up to {MAX_LIST_ENTRIES}, each {form}"),
            Self::Languages => write!(f, "a table from language tags to texts, each {}", Form::Sentence),
        }
    }
}

impl Form {
    /// Whether `text` is of this form.
    #[must_use]
    pub(super) fn fits(self, text: &str) -> bool {
        let visible = !text.chars().any(char::is_control);
        if text.len() > MAX_TEXT_BYTES {
            return false;
        }
        match self {
            Self::Plain => visible,
            Self::Filled => visible && !text.trim().is_empty(),
            Self::Id => is_id(text),
            Self::IdOrEmpty => text.is_empty() || is_id(text),
            Self::Language => is_language(text),
            Self::Broker => text.is_empty() || BrokerAddress::parse(text).is_some(),
            Self::Loopback => text.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback()),
            Self::TopicFilter => visible && is_topic_filter(text),
            Self::Secret => true,
            Self::Line => crate::serial::parse_line(text).is_some(),
            Self::Cores => crate::affinity::parse(text).is_some(),
            Self::Sentence => visible && !text.trim().is_empty() && text.chars().count() <= 1000,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "a text or \"\"",
            Self::Filled => "a text that is not empty",
            Self::Id => "1 to 64 of A-Z a-z 0-9 _ -",
            Self::IdOrEmpty => "up to 64 of A-Z a-z 0-9 _ -",
            Self::Language => "a language tag such as en or pt-br",
            Self::Broker => "mqtt://host:port, mqtts://host:port or \"\"",
            Self::Loopback => "a loopback address and port such as 127.0.0.1:1883",
            Self::TopicFilter => "an MQTT topic filter",
            Self::Secret => "a text or \"\"",
            Self::Line => "DEVICE=STATION such as /dev/ttyACM0=press-4",
            Self::Cores => "core numbers such as 4-7 or 0,2, or \"\"",
            Self::Sentence => "1 to 1000 characters on one line",
        })
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A tag as RFC 5646 builds it: a language of 2 to 8 letters, then parts of 1 to 8 letters or digits.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    text.len() <= 35
        && (2..=8).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn is_topic_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    !text.is_empty()
        && levels.iter().enumerate().all(|(i, level)| match *level {
            "#" => i + 1 == levels.len(),
            "+" => true,
            other => !other.contains(['#', '+']),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_take_what_they_say_and_no_more() {
        let table: [(Form, &[&str], &[&str]); 6] = [
            (Form::Id, &["a", "press-7_b"], &["", "a/b", "ä", "a b"]),
            (Form::Language, &["en", "pt-br", "zh-hant-tw"], &["", "e", "en_us", "en-", "deutschland"]),
            (
                Form::Loopback,
                &["127.0.0.1:1883", "[::1]:0"],
                &["0.0.0.0:1883", "192.168.1.2:1883", "localhost"],
            ),
            (Form::TopicFilter, &["a/+/b", "a/#", "#"], &["", "a#", "a/#/b", "a/b+"]),
            (Form::Sentence, &["No."], &["", "  ", "two\nlines"]),
            (Form::Filled, &["smollm2"], &["", "a\u{0}b"]),
        ];
        for (form, good, bad) in table {
            for text in good {
                assert!(form.fits(text), "{form:?} takes {text:?}");
            }
            for text in bad {
                assert!(!form.fits(text), "{form:?} refuses {text:?}");
            }
        }
        assert!(!Form::Id.fits(&"a".repeat(65)));
    }

    #[test]
    fn lists_come_as_commas_or_as_toml() {
        let list = Allowed::List(Form::TopicFilter);
        for text in ["a/b, c/#", r#"["a/b", "c/#"]"#] {
            assert_eq!(list.read(text), Ok(Value::from(vec!["a/b", "c/#"])));
        }
        assert_eq!(list.read(""), Ok(Value::Array(Vec::new())));
        assert_eq!(list.read("[1]"), Err(Fault::Type { wanted: "a list of texts" }));
        assert_eq!(list.read("a#b"), Err(Fault::Value));
    }

    #[test]
    fn what_is_not_a_number_in_range_is_refused() {
        let share = Allowed::Real(0.0, 1.0);
        assert_eq!(share.read("1"), Ok(Value::Float(1.0)));
        for text in ["nan", "inf", "1.5", "-0.1"] {
            assert_eq!(share.read(text), Err(Fault::Value), "{text}");
        }
        assert_eq!(share.read("half"), Err(Fault::Type { wanted: "a number" }));
        assert_eq!(Allowed::Integer(1, 9).read("1.0"), Err(Fault::Type { wanted: "a whole number" }));
    }

    #[test]
    fn long_values_are_cut_and_line_ends_escaped() {
        assert_eq!(show(&Value::from("a\nb")), r#""a\nb""#);
        assert_eq!(show(&Value::from("ü".repeat(200))).chars().count(), 81);
    }
}
