//! What the service tells the panels of its stations, and what their buttons want.
//!
//! A panel hears of a request when the worker has it, and of the verdict when the record is on the disk: it can never
//! permit what the log does not know. Invariant: only an enforced `allow` is ruled as one.

use super::{Pending, Service};
use crate::audit::AuditError;
use crate::entry::{PANEL_SCHEMA, PanelEvent, PanelRecord};
use crate::serial::{Happening, What};
use crate::{output, wire};
use anyhow::Context;
use r2d_core::id::Id;
use r2d_core::policy::Mode;
use r2d_core::record::Record;
use r2d_core::request::{Request, Task};
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Reason;
use r2d_firmware_host::message::{Ruling, Wish};
use std::time::{Duration, Instant, SystemTime};

/// Most events at panels that are recorded in a [`WINDOW`]; a person at a panel makes a handful.
const MAX_EVENTS: u32 = 120;
/// The time over which they are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// How much of what happens at panels is recorded.
#[derive(Debug)]
pub(super) struct Events {
    since: Instant,
    n: u32,
    /// What was left out since the last that was recorded.
    n_left_out: u64,
}

impl Events {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, n: 0, n_left_out: 0 }
    }

    /// Whether there is room for one more.
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.n) = (now, 0);
        }
        if self.n >= MAX_EVENTS {
            self.n_left_out += 1;
            return false;
        }
        self.n += 1;
        true
    }
}

impl Service<'_> {
    /// Rules on the panel of the record's station, if it has one.
    pub(super) fn rule(&self, record: &Record) {
        let Some(station) = &record.station else { return };
        let enforced = record.policy.is_some_and(|p| p.mode == Mode::Enforce);
        let ruling = match Ruling::from(record.verdict.decision) {
            Ruling::Allow if !enforced => Ruling::Undecided,
            ruling => ruling,
        };
        self.panels.rule(station, &record.id, ruling, record.verdict.reason, self.who.valid);
    }

    /// Something happened at a panel: it is acted on at once, and stands in the audit log.
    pub(super) fn on_panel(&mut self, happening: Happening) -> anyhow::Result<()> {
        let Happening { station, what } = happening;
        let event = match what {
            // The question is a request with a record of its own.
            What::Pressed(Wish::Ask(number)) => return self.ask_canned(station, number),
            What::Pressed(Wish::Stop) => PanelEvent::Stop { requests: self.stop_requests_of(&station) },
            What::Pressed(Wish::Reset) => {
                output::note(format!("reset was pressed at {station}"));
                PanelEvent::Reset
            }
            What::Pressed(Wish::Approve(request)) => {
                output::warn(format!("{request} was approved at {station}, but no review is asked for here"));
                PanelEvent::Approve { request }
            }
            What::Connected(panel) => PanelEvent::Connected { panel },
            What::Disconnected(why) => PanelEvent::Disconnected { why },
            What::Reported(report) => report.into(),
        };
        self.record_event(station, event)
    }

    fn stop_requests_of(&mut self, station: &Id) -> Vec<Id> {
        let running = self.state.running.iter().filter(|(_, p)| p.request.station.as_ref() == Some(station));
        let (keys, requests): (Vec<u64>, Vec<Id>) =
            running.map(|(key, p)| (*key, p.request.id.clone())).unzip();
        output::note(format!("stop was pressed at {station}: {} requests end", keys.len()));
        for key in keys {
            self.worker.stop(key, Reason::Cancelled);
        }
        requests
    }

    /// Puts what happened into the audit log, unless a panel that does not come to rest fills it.
    fn record_event(&mut self, station: Id, event: PanelEvent) -> anyhow::Result<()> {
        if !self.state.events.take(Instant::now()) {
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

    fn ask_canned(&mut self, station: Id, number: u8) -> anyhow::Result<()> {
        let prompts = &self.config.panel.prompts;
        let Some(prompt) = usize::from(number).checked_sub(1).and_then(|n| prompts.get(n)) else {
            output::warn(format!(
                "button {number} at {station} has no prompt; hint: panel.prompts has {}",
                prompts.len()
            ));
            return Ok(());
        };
        if self.is_congested()? {
            output::warn(format!(
                "button {number} at {station} was not taken: the disk or the broker is behind"
            ));
            return Ok(());
        }
        let request = Request {
            id: Id::parse(&format!("panel-{}-{}", self.who.boot, self.state.next_key + 1))?,
            task: Task::Ask,
            prompt: Untrusted::new(prompt.clone()),
            lang: None,
            deadline_ms: None,
            station: Some(station),
        };
        let refusal = self.config.refusal_sentence(&self.config.device.lang).to_owned();
        self.submit(Pending { request, origin: "panel", reply_to: None, acks: Vec::new() }, refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_that_does_not_come_to_rest_is_left_out_and_counted() {
        let began = Instant::now();
        let mut events = Events::new(began);
        assert!((0..MAX_EVENTS).all(|_| events.take(began)));
        assert!(!events.take(began) && !events.take(began + WINDOW / 2));
        assert_eq!(events.n_left_out, 2);
        assert!(events.take(began + WINDOW));
    }
}
