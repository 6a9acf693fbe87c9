//! What the service tells the panels of its stations, and what their buttons want.
//!
//! A panel hears of a request when the worker has it, and of the verdict when the record is on the disk: it can never
//! permit what the log does not know. Invariants: only an enforced `allow` is ruled as one, or what a person approved; and
//! no longer than it holds from when it was made, however late the disk took its record.

use super::review::Decision;
use super::{Pending, Service};
use crate::audit::AuditError;
use crate::entry::{Choice, NotAsked, PANEL_SCHEMA, PanelEvent, PanelRecord, Via};
use crate::serial::{Happening, What};
use crate::{output, wire};
use anyhow::Context;
use r2d_core::id::Id;
use r2d_core::policy::Mode;
use r2d_core::record::Record;
use r2d_core::request::{Request, Task};
use r2d_core::untrusted::Untrusted;
use r2d_firmware_host::message::{Ruling, Wish};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// Most presses, and most reports, of one station that are recorded in a [`WINDOW`]; a person makes a handful.
const MAX_EVENTS: u32 = 60;
/// The time over which they are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// How much of what happens at panels is recorded: each station by itself, and what people do apart from what panels tell,
/// so that a panel that does not come to rest hides nothing but its own chatter.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// By station, and whether somebody pressed: since when, and how many. Stations are those of the configuration.
    windows: BTreeMap<(Id, bool), (Instant, u32)>,
    /// What was left out since the last that was recorded.
    n_left_out: u64,
}

impl Events {
    /// Whether there is room for one more.
    fn take(&mut self, station: &Id, pressed: bool, now: Instant) -> bool {
        let (since, n) = self.windows.entry((station.clone(), pressed)).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *n) = (now, 0);
        }
        *n = n.saturating_add(1);
        if *n == MAX_EVENTS + 1 {
            output::warn(format!("too much happens at {station}: for a minute it is counted only"));
        }
        let room = *n <= MAX_EVENTS;
        self.n_left_out += u64::from(!room);
        room
    }
}

/// What a panel is told of a verdict that was made so long `ago`, and how long that holds from now on: a verdict for
/// `valid`, a question to a person for `review`. What permits nothing does not grow old.
fn ruling(record: &Record, valid: Duration, review: Duration, ago: Duration) -> (Ruling, Duration) {
    let enforced = record.policy.is_some_and(|p| p.mode == Mode::Enforce);
    let (ruling, holds) = match Ruling::from(record.verdict.decision) {
        Ruling::Allow if enforced => (Ruling::Allow, valid),
        Ruling::Allow => return (Ruling::Undecided, valid),
        _ if record.asks_person() => (Ruling::Review, review),
        closed => return (closed, valid),
    };
    let left = holds.saturating_sub(ago);
    if left.is_zero() { (Ruling::Undecided, valid) } else { (ruling, left) }
}

impl Service<'_> {
    /// Rules on the panel of the record's station, if it has one; the verdict was made so long `ago`.
    pub(super) fn rule(&mut self, record: &Record, ago: Duration) {
        let Some(station) = &record.station else { return };
        let (ruling, valid) = ruling(record, self.who.valid, self.who.review, ago);
        self.panels.rule(station, &record.id, ruling, record.verdict.reason, valid);
    }

    /// Something happened at a panel: it is acted on at once, and stands in the audit log.
    pub(super) fn on_panel(&mut self, happening: Happening) -> anyhow::Result<()> {
        let Happening { station, what } = happening;
        let pressed = matches!(what, What::Pressed(_));
        let event = match what {
            What::Pressed(Wish::Ask(button)) => match self.ask_canned(&station, button)? {
                // The question is a request with a record of its own.
                Ok(()) => return Ok(()),
                Err(why) => PanelEvent::NotAsked { button, why },
            },
            What::Pressed(Wish::Stop) => PanelEvent::Stop { requests: self.stop_requests_of(&station) },
            What::Pressed(Wish::Reset) => {
                output::note(format!("reset was pressed at {station}"));
                PanelEvent::Reset
            }
            What::Pressed(Wish::Approve(request)) => match self.approve(&station, &request)? {
                // The decision has a record of its own.
                Ok(()) => return Ok(()),
                Err(why) => {
                    output::warn(format!("{request} was approved at {station} and it was not taken: {why}"));
                    PanelEvent::Approve { request }
                }
            },
            What::Connected(panel) => PanelEvent::Connected { panel },
            What::Disconnected(why) => PanelEvent::Disconnected { why },
            What::Reported(report) => report.into(),
        };
        self.record_event(station, pressed, event)
    }

    /// Puts what happened into the audit log, unless a panel that does not come to rest fills it.
    fn record_event(&mut self, station: Id, pressed: bool, event: PanelEvent) -> anyhow::Result<()> {
        self.state.events.n_left_out += self.panels.take_lost();
        if !self.state.events.take(&station, pressed, Instant::now()) {
            return Ok(());
        }
        let record = PanelRecord {
            schema: PANEL_SCHEMA.into(),
            ts: wire::timestamp(SystemTime::now()),
            device: self.who.device.clone(),
            boot: self.who.boot.clone(),
            station,
            event,
            n_left_out: self.state.events.n_left_out,
        };
        match self.audit.append(&record) {
            Ok(link) => {
                self.state.events.n_left_out = 0;
                self.store.apply(link.seq, None, &[])?;
                Ok(())
            }
            Err(error @ AuditError::NotWritten { .. }) => {
                self.state.events.n_left_out += 1;
                output::warn(format!("{error:#}; what happened at {} is not in the log", record.station));
                Ok(())
            }
            Err(error) => Err(error).context("the audit log takes no more records"),
        }
    }

    fn approve(&mut self, station: &Id, request: &Id) -> anyhow::Result<Result<(), String>> {
        if self.is_congested()? {
            return Ok(Err("the disk or the broker is behind".into()));
        }
        let decision = Decision {
            choice: Choice::Approve,
            by: station.to_string(),
            via: Via::Panel,
            note: None,
            station: Some(station.clone()),
        };
        match self.decide(request, decision)? {
            Ok(rows) => self.ack_after(rows, Vec::new()).map(Ok),
            Err(not) => Ok(Err(not.detail)),
        }
    }

    fn ask_canned(&mut self, station: &Id, button: u8) -> anyhow::Result<Result<(), NotAsked>> {
        let prompts = &self.config.panel.prompts;
        let Some(prompt) = usize::from(button).checked_sub(1).and_then(|n| prompts.get(n)) else {
            output::warn(format!(
                "button {button} at {station} has no prompt; hint: panel.prompts has {}",
                prompts.len()
            ));
            return Ok(Err(NotAsked::NoPrompt));
        };
        if self.is_congested()? {
            output::warn(format!(
                "button {button} at {station} was not taken: the disk or the broker is behind"
            ));
            return Ok(Err(NotAsked::Congested));
        }
        let request = Request {
            id: Id::parse(&format!("{}{}-{}", wire::PANEL_ID, self.who.boot, self.state.next_key + 1))?,
            task: Task::Ask,
            prompt: Untrusted::new(prompt.clone()),
            lang: None,
            deadline_ms: None,
            station: Some(station.clone()),
        };
        let refusal = self.config.refusal_sentence(&self.config.device.lang).to_owned();
        let refused = self.submit(Pending::new(request, "panel", None, Vec::new()), refusal);
        Ok(refused.map_or(Ok(()), |(_, busy)| {
            output::warn(format!("button {button} at {station} was not taken: {busy}"));
            Err(NotAsked::Busy)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use r2d_core::policy::Policy;
    use r2d_core::record::{Cost, RECORD_SCHEMA};
    use r2d_core::trace::Trace;
    use r2d_core::verdict::{Reason, Verdict};

    #[test]
    fn an_allow_holds_from_when_it_was_made_and_late_it_opens_nothing() {
        let record = |verdict, mode| Record {
            schema: RECORD_SCHEMA.into(),
            id: Id::parse("a").unwrap(),
            ts: "2026-01-01T00:00:00.000Z".into(),
            device: "s/a/l/d".into(),
            boot: Id::parse("b").unwrap(),
            origin: "mqtt".into(),
            station: Some(Id::parse("press-4").unwrap()),
            task: Task::Ask,
            prompt: "how?".into(),
            lang: None,
            weights: None,
            policy: Some(Policy { mode, ..Policy::default() }),
            trace: Trace::default(),
            verdict,
            detail: None,
            cost: Cost::default(),
            reply_to: None,
        };
        let s = Duration::from_secs;
        let ruling = |record: &Record, ago| ruling(record, s(30), s(600), s(ago));
        let allow = record(Verdict::allow(), Mode::Enforce);
        assert_eq!(ruling(&allow, 0), (Ruling::Allow, s(30)));
        assert_eq!(ruling(&allow, 20), (Ruling::Allow, s(10)));
        for late in [30, 31, 86_400] {
            assert_eq!(ruling(&allow, late), (Ruling::Undecided, s(30)), "{late}");
        }
        // What closes is told in full, so that a panel keeps to it.
        let refuse = record(Verdict::refuse(Reason::StepUnsafe), Mode::Enforce);
        assert_eq!(ruling(&refuse, 86_400), (Ruling::Refuse, s(30)));
        assert_eq!(ruling(&record(Verdict::allow(), Mode::Shadow), 0), (Ruling::Undecided, s(30)));
    }

    #[test]
    fn a_panel_that_does_not_come_to_rest_hides_nothing_but_its_own_chatter() {
        let (began, mut events) = (Instant::now(), Events::default());
        let [loud, other] = ["press-4", "press-5"].map(|name| Id::parse(name).unwrap());
        assert!((0..MAX_EVENTS).all(|_| events.take(&loud, false, began)));
        assert!(!events.take(&loud, false, began) && !events.take(&loud, false, began + WINDOW / 2));
        assert_eq!(events.n_left_out, 2);
        assert!(events.take(&loud, true, began) && events.take(&other, false, began));
        assert!(events.take(&loud, false, began + WINDOW));
    }
}
