//! What the service tells the panels of its stations, and what their buttons want.
//!
//! A panel hears of a request when the worker has it, and of the verdict when the record is on the disk: it can never
//! permit what the log does not know. Invariant: only an enforced `allow` is ruled as one.

use super::{Pending, Service};
use crate::output;
use crate::serial::Press;
use r2d_core::id::Id;
use r2d_core::policy::Mode;
use r2d_core::record::Record;
use r2d_core::request::{Request, Task};
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Reason;
use r2d_firmware_host::message::{Ruling, Wish};

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

    /// Somebody pressed a button.
    pub(super) fn on_press(&mut self, press: Press) -> anyhow::Result<()> {
        let Press { station, wish } = press;
        match wish {
            Wish::Ask(number) => self.ask_canned(station, number),
            Wish::Stop => {
                let here = |p: &Pending| p.request.station.as_ref() == Some(&station);
                let keys: Vec<u64> =
                    self.state.running.iter().filter(|(_, p)| here(p)).map(|(key, _)| *key).collect();
                output::note(format!("stop was pressed at {station}: {} requests end", keys.len()));
                for key in keys {
                    self.worker.stop(key, Reason::Cancelled);
                }
                Ok(())
            }
            Wish::Reset => {
                output::note(format!("reset was pressed at {station}"));
                Ok(())
            }
            Wish::Approve(request) => {
                output::warn(format!("{request} was approved at {station}, but no review is asked for here"));
                Ok(())
            }
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
