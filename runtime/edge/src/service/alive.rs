//! Signs of life: heartbeat, status and info for the shop floor, the watchdog for the supervisor.
//!
//! Nothing of this is recorded, and all of it may be lost. Invariant: the watchdog is fed only while the model decodes,
//! waits for work, or, for a bounded time, is exchanged.

use super::{Service, head, notify};
use crate::mqtt::link::{Publication, PublishId};
use crate::mqtt::topic::OutTopic;
use crate::output;
use crate::service::outbox::OWN_IDS;
use crate::service::publication::json;
use crate::wire::{Head, Health, Info, State, Status};
use std::time::{Duration, Instant};

/// A model without a decode for so long makes no progress; a batch on the slowest board takes a few seconds.
const STALLED_AFTER: Duration = Duration::from_secs(30);

impl Service<'_> {
    pub(super) fn on_heartbeat(&mut self) -> anyhow::Result<()> {
        self.record_again()?;
        self.end_what_is_to();
        self.take_up_held()?;
        let dropped = std::mem::take(&mut self.state.counts.dropped);
        if dropped > 0 {
            output::warn(format!(
                "{dropped} messages of QoS 0 were dropped, the disk or the broker is behind; hint: publish with QoS 1"
            ));
        }
        self.state.n_health += 1;
        let beat = self.worker.beat();
        if beat != self.state.seen_beat.0 {
            self.state.seen_beat = (beat, Instant::now());
        }
        let health = Health {
            head: self.head("r2d.health/1", &self.config.device.device, self.state.n_health),
            uptime_s: self.state.started.elapsed().as_secs(),
            in_hand: self.worker.in_hand() as u64,
            outbox: self.store.depth()?,
            verdicts: self.state.counts.verdicts,
            busy: self.state.counts.busy,
            refused: self.state.counts.refused,
            unrecorded: self.state.unrecorded.len() as u64,
            stalled: self.state.seen_beat.1.elapsed() > STALLED_AFTER,
            rss_bytes: resident_bytes(),
        };
        self.publish_now(OutTopic::Health, json(&health));
        self.state.refusals.rests = false;
        self.send_next()
    }

    /// Feeds the supervisor's watchdog while the model decodes or waits.
    pub(super) fn feed_watchdog(&mut self, wanted: bool) {
        let beat = self.worker.beat();
        let lives = beat != self.state.fed_beat || self.adapters.is_exchanging();
        if wanted && self.worker.is_alive() && lives {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
        self.state.fed_beat = beat;
    }

    pub(super) fn status(&mut self, state: State) -> Publication {
        self.state.n_status += 1;
        let head = self.head("r2d.status/1", &self.config.device.device, self.state.n_status);
        self.own(OutTopic::Status, json(&Status { head, state }))
    }

    pub(super) fn info(&self) -> Publication {
        let info = Info {
            head: self.head("r2d.info/1", &self.config.device.device, self.state.n_status),
            version: env!("CARGO_PKG_VERSION").into(),
            weights: self.adapters.weights(),
            policy: self.config.policy.rules(),
        };
        self.own(OutTopic::Info, json(&info))
    }

    pub(super) fn own(&self, topic: OutTopic<'_>, payload: Vec<u8>) -> Publication {
        Publication {
            topic: self.who.base.topic(topic),
            payload,
            qos: topic.qos(),
            retain: topic.retain(),
            expiry_s: None,
            correlation: None,
        }
    }

    /// Publishes what may be lost.
    pub(super) fn publish_now(&self, topic: OutTopic<'_>, payload: Vec<u8>) {
        // Without a connection there is nobody to read it; nothing waits for it.
        let _lost = self.link.publish(PublishId(OWN_IDS + 2), self.own(topic, payload));
    }

    pub(super) fn head(&self, schema: &str, id: &str, seq: u64) -> Head {
        head(&self.who, schema, id, seq)
    }
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
