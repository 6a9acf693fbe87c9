//! What a line of the audit log holds: a decided request, what a person decided on one, or what happened at a panel.
//!
//! Not the chain around it ([`crate::audit`], which takes any JSON). Invariant: the schema name alone says which it is, and
//! an unknown one is an error, never skipped.

use r2d_core::id::Id;
use r2d_core::record::{RECORD_SCHEMA, Record};
use r2d_firmware_host::cause::Cause;
use r2d_firmware_host::light::Light;
use r2d_firmware_host::message::{Permit, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// The schema name of what happened at a panel.
pub const PANEL_SCHEMA: &str = "r2d.panel/1";

/// The schema name of a person's decision.
pub const REVIEW_SCHEMA: &str = "r2d.review/1";

/// A person's decision on a request that the model left undecided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewRecord {
    /// Always [`REVIEW_SCHEMA`].
    pub schema: String,
    /// The request's id.
    pub id: Id,
    /// Number of the audit record that it is about: an id may come again after a long time.
    pub record_seq: u64,
    /// When it was decided: RFC 3339, UTC, milliseconds.
    pub ts: String,
    /// The device, as `site/area/line/device`.
    pub device: String,
    /// Id of this run of the runtime.
    pub boot: Id,
    /// What was decided.
    pub decision: Choice,
    /// Who decided, by their own account; of a panel, its station.
    pub by: String,
    /// How the decision came.
    pub via: Via,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The request is harmless and may go on.
    Approve,
    /// It is not.
    Deny,
}

/// How a decision came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// As a message.
    Mqtt,
    /// By a panel's button.
    Panel,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approve => "approved",
            Self::Deny => "denied",
        })
    }
}

/// What happened at a panel and is no request: a canned question that a button asked is one, and stands as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PanelRecord {
    /// Always [`PANEL_SCHEMA`].
    pub schema: String,
    /// When: RFC 3339, UTC, milliseconds.
    pub ts: String,
    /// The device, as `site/area/line/device`.
    pub device: String,
    /// Id of this run of the runtime.
    pub boot: Id,
    /// Where.
    pub station: Id,
    /// What.
    #[serde(flatten)]
    pub event: PanelEvent,
    /// How much happened at panels before this and was left out, because too much happened at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_left_out: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PanelEvent {
    /// A session with a panel began.
    Connected {
        /// The panel's own name.
        panel: Id,
    },
    /// It ended, which latches the panel.
    Disconnected {
        /// Why.
        why: Ended,
    },
    /// Stop was pressed.
    Stop {
        /// The requests that end by it, those included that had not begun; 1,024 of these at most.
        requests: Vec<Id>,
    },
    /// Reset was pressed.
    Reset,
    /// A button was pressed whose question was not asked.
    NotAsked {
        /// The button.
        button: u8,
        /// Why not.
        why: NotAsked,
    },
    /// Approve was pressed and decided nothing: a decision that was taken stands as such.
    Approve {
        /// The request that the panel showed.
        request: Id,
    },
    /// The panel told what it shows and permits.
    Report {
        /// Whether its relay permits.
        open: bool,
        /// Its light.
        light: Lamp,
        /// Why it is latched, when it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latched_by: Option<Latch>,
        /// The request that this is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Id>,
    },
}

/// A list of names that stand in the log, and the library's value that each stands for: what that is called there may
/// change, a name in the log may not.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident of $library:ident, else $other:ident: $($variant:ident),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "named as in r2d-firmware-host, which says what each is")]
        pub enum $name {
            $($variant,)+
            /// One that this version has no name for, or that has none there.
            $other,
        }

        impl From<$library> for $name {
            fn from(value: $library) -> Self {
                match value {
                    $($library::$variant => Self::$variant,)+
                    #[allow(unreachable_patterns, reason = "for lists that may grow")]
                    _ => Self::$other,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    };
}

names! {
    /// Why a gate is latched.
    Latch of Cause, else Unknown: PowerUp, Silence, Restart, Unacknowledged, Stop, Clock, SelfCheck
}
names! {
    /// Why a session ended; `line` when the line itself broke or the panel could not be told in time.
    Ended of Cause, else Line: PowerUp, Silence, Restart, Unacknowledged, Stop, Clock, SelfCheck
}
names! {
    /// What a stack light shows.
    Lamp of Light, else Unknown: Latched, Yellow, Red, Blue, Green
}

/// Why a button's question was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotAsked {
    /// The button has no prompt.
    NoPrompt,
    /// The disk or the broker is behind.
    Congested,
    /// The model has as many requests as it takes.
    Busy,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl From<Report> for PanelEvent {
    fn from(report: Report) -> Self {
        Self::Report {
            open: report.permit == Permit::Open,
            light: report.light.into(),
            latched_by: report.cause.cause().map(Latch::from),
            request: report.request,
        }
    }
}

impl fmt::Display for PanelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { panel } => write!(f, "panel {panel} is connected"),
            Self::Disconnected { why } => write!(f, "the panel's session ended: {why}"),
            Self::Stop { requests } => write!(f, "stop was pressed, {} requests end", requests.len()),
            Self::Reset => f.write_str("reset was pressed"),
            Self::NotAsked { button, why: NotAsked::NoPrompt } => {
                write!(f, "button {button} was pressed and has no prompt")
            }
            Self::NotAsked { button, why: NotAsked::Congested } => {
                write!(f, "button {button} was pressed and not taken: the disk or the broker is behind")
            }
            Self::NotAsked { button, why: NotAsked::Busy } => {
                write!(f, "button {button} was pressed and not taken: the model is busy")
            }
            Self::Approve { request } => write!(f, "approve was pressed for {request} and not taken"),
            Self::Report { open, light, latched_by, request } => {
                write!(f, "{} and {light}", if *open { "open" } else { "closed" })?;
                if let Some(cause) = latched_by {
                    write!(f, " by {cause}")?;
                }
                request.as_ref().map_or(Ok(()), |request| write!(f, ", about {request}"))
            }
        }
    }
}

/// A line's record.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A decided request.
    Request(Box<Record>),
    /// What a person decided.
    Review(Box<ReviewRecord>),
    /// What happened at a panel.
    Panel(Box<PanelRecord>),
}

impl Entry {
    /// Reads a record.
    ///
    /// # Errors
    /// It is of no schema that this version knows, or not as its schema has it.
    pub fn parse(raw: &RawValue) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Schema {
            schema: String,
        }
        let Schema { schema } = serde_json::from_str(raw.get())?;
        match schema.as_str() {
            RECORD_SCHEMA => serde_json::from_str(raw.get()).map(|record| Self::Request(Box::new(record))),
            REVIEW_SCHEMA => serde_json::from_str(raw.get()).map(|record| Self::Review(Box::new(record))),
            PANEL_SCHEMA => serde_json::from_str(raw.get()).map(|record| Self::Panel(Box::new(record))),
            other => Err(serde::de::Error::custom(format!("unknown schema {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Entry, serde_json::Error> {
        Entry::parse(&RawValue::from_string(text.into()).unwrap())
    }

    #[test]
    fn what_happened_at_a_panel_is_read_as_it_was_written() {
        let events = [
            PanelEvent::Connected { panel: Id::parse("p-1").unwrap() },
            PanelEvent::Stop { requests: vec![Id::parse("a").unwrap()] },
            PanelEvent::Reset,
            PanelEvent::NotAsked { button: 9, why: NotAsked::NoPrompt },
            PanelEvent::NotAsked { button: 1, why: NotAsked::Busy },
            PanelEvent::Approve { request: Id::parse("a").unwrap() },
            PanelEvent::Disconnected { why: Ended::Line },
            PanelEvent::Report { open: true, light: Lamp::Green, latched_by: None, request: None },
        ];
        for event in events {
            let record = PanelRecord {
                schema: PANEL_SCHEMA.into(),
                ts: "2026-01-01T00:00:00.000Z".into(),
                device: "s/a/l/d".into(),
                boot: Id::parse("b").unwrap(),
                station: Id::parse("press-4").unwrap(),
                event,
                n_left_out: 3,
            };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(parse(&text).unwrap(), Entry::Panel(Box::new(record)), "{text}");
        }
    }

    /// What is written stays readable: these words are in logs.
    #[test]
    fn names_in_the_log_never_change() {
        let words = Cause::ALL.map(|cause| Latch::from(cause).to_string());
        let known = ["power_up", "silence", "restart", "unacknowledged", "stop", "clock", "self_check"];
        assert_eq!(words, known);
        assert_eq!(Cause::ALL.map(|cause| Ended::from(cause).to_string()), known);
        let lights = [Light::Latched, Light::Yellow, Light::Red, Light::Blue, Light::Green];
        assert_eq!(
            lights.map(|light| Lamp::from(light).to_string()),
            ["latched", "yellow", "red", "blue", "green"]
        );
        let report = PanelEvent::Report {
            open: false,
            light: Lamp::Latched,
            latched_by: Some(Latch::SelfCheck),
            request: None,
        };
        assert_eq!(report.to_string(), "closed and latched by self_check");
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"event":"report","open":false,"light":"latched","latched_by":"self_check"}"#
        );
    }

    #[test]
    fn a_decision_is_read_as_it_was_written() {
        let record = ReviewRecord {
            schema: REVIEW_SCHEMA.into(),
            id: Id::parse("a-1").unwrap(),
            record_seq: 7,
            ts: "2026-01-01T00:00:00.000Z".into(),
            device: "s/a/l/d".into(),
            boot: Id::parse("b").unwrap(),
            decision: Choice::Approve,
            by: "press-4".into(),
            via: Via::Panel,
            note: None,
        };
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains(r#""decision":"approve","by":"press-4","via":"panel""#), "{text}");
        assert_eq!(parse(&text).unwrap(), Entry::Review(Box::new(record)));
    }

    #[test]
    fn a_record_of_no_known_schema_is_an_error() {
        for text in ["{}", "7", r#"{"schema":"r2d.panel/2","event":"reset"}"#, r#"{"schema":"r2d.record/1"}"#]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
