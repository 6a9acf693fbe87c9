//! The service: requests in, records, messages out.
//!
//! One task holds all state. The order is fixed: a verdict is recorded in the audit log (fsync), then stands in the
//! outbox (fsync), then is published, and only when the broker has acknowledged all of it is the request itself
//! acknowledged. A crash at any point leaves the request with the broker or its messages on the disk. The service
//! never judges: verdicts come from the worker, and what never reached it is `undecided`. Invariant: one id, one
//! record.

pub(crate) mod publication;

use crate::audit::{AuditError, AuditLog, Link};
use crate::config::Config;
use crate::mqtt::ReplyAllowList;
use crate::mqtt::link::{self, AckToken, LinkEvent, LinkEvents, Message, Publication, PublishId, Qos};
use crate::mqtt::topic::{Base, InTopic, OutTopic};
use crate::output;
use crate::store::{OutboxKey, Outgoing, Store};
use crate::wire::{self, Chunk, Head, Health, Info, State, Status};
use crate::worker::{Job, Worker};
use anyhow::{Context, bail};
use publication::{json, to_hex};
use r2d_core::id::Id;
use r2d_core::record::{Cost, RECORD_SCHEMA, Record, ReplyTo, Weights};
use r2d_core::request::{Request, Task};
use r2d_core::trace::Trace;
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::{Decision, Reason, Verdict};
use r2d_engine::{Event, Guard, Outcome};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc::Receiver;

/// Who publishes.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The topics.
    pub(crate) base: Base,
    /// `site/area/line/device`.
    pub(crate) device: String,
    /// This run.
    pub(crate) boot: Id,
    /// How long a verdict holds.
    pub(crate) valid: Duration,
}

/// All that the service holds.
pub(crate) struct Service<'a> {
    pub(crate) config: &'a Config,
    pub(crate) who: Identity,
    pub(crate) pool: Option<Id>,
    pub(crate) replies: ReplyAllowList,
    pub(crate) weights: Weights,
    pub(crate) audit: AuditLog,
    pub(crate) store: Store,
    pub(crate) link: link::Link,
    pub(crate) worker: Worker,
    pub(crate) state: Progress,
}

/// What changes while serving.
pub(crate) struct Progress {
    started: Instant,
    next_key: u64,
    running: HashMap<u64, Pending>,
    by_id: HashMap<Id, u64>,
    /// Requests to acknowledge when the outbox row of the key is delivered.
    acks: BTreeMap<OutboxKey, Vec<AckToken>>,
    /// The outbox row that the broker has to acknowledge next.
    in_flight: Option<OutboxKey>,
    up: bool,
    /// Decided, but the disk did not take the record yet.
    unrecorded: VecDeque<(Record, Vec<AckToken>)>,
    counts: Counts,
    /// The worker's beat when the watchdog was last fed.
    fed_beat: u64,
    /// The worker's beat when it was last seen to change, and when that was.
    seen_beat: (u64, Instant),
    n_health: u64,
    n_status: u64,
}

#[derive(Default)]
struct Counts {
    verdicts: u64,
    busy: u64,
    refused: u64,
}

/// A request that the worker has.
struct Pending {
    request: Request,
    reply_to: Option<ReplyTo>,
    acks: Vec<AckToken>,
}

/// Publish ids at and above this are not outbox rows: status and info, which the next connection sends anew.
const OWN_IDS: u64 = 1 << 62;

/// A model without a decode for so long makes no progress; a batch on the slowest board takes a few seconds.
const STALLED_AFTER: Duration = Duration::from_secs(30);

impl Progress {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            next_key: 0,
            running: HashMap::new(),
            by_id: HashMap::new(),
            acks: BTreeMap::new(),
            in_flight: None,
            up: false,
            unrecorded: VecDeque::new(),
            counts: Counts::default(),
            fed_beat: 0,
            seen_beat: (0, Instant::now()),
            n_health: 0,
            n_status: 0,
        }
    }
}

impl Service<'_> {
    /// Serves until `stop` resolves; then gives running requests `grace` to finish.
    ///
    /// # Errors
    /// A dead model thread or a store that no longer works: the supervisor's restart is the cure, and loses nothing.
    pub(crate) async fn serve(
        &mut self,
        mut events: LinkEvents,
        mut told: Receiver<(u64, Event)>,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let mut heartbeat = tokio::time::interval(Duration::from_secs(u64::from(self.config.service.heartbeat_s)));
        let watchdog = watchdog_interval();
        let mut feed = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        tokio::pin!(stop);
        let mut stopping: Option<tokio::time::Instant> = None;
        loop {
            let until = stopping.unwrap_or_else(far_future);
            tokio::select! {
                biased;
                () = &mut stop, if stopping.is_none() => stopping = Some(tokio::time::Instant::now() + grace),
                () = tokio::time::sleep_until(until), if stopping.is_some() => return Ok(()),
                event = told.recv() => match event {
                    Some((key, event)) => self.on_worker(key, event)?,
                    None => bail!("the model's thread has died; a restart takes up what it left"),
                },
                event = events.recv() => match event {
                    Some(LinkEvent::Message(message)) if stopping.is_some() => {
                        // Not acknowledged: the broker gives it to the next run.
                        drop(message);
                    }
                    Some(event) => self.on_link(event)?,
                    None => bail!("the connection's task has ended"),
                },
                _ = heartbeat.tick() => self.on_heartbeat()?,
                _ = feed.tick() => self.feed_watchdog(watchdog.is_some()),
            }
            if stopping.is_some() && self.state.running.is_empty() && self.state.in_flight.is_none() {
                return Ok(());
            }
        }
    }

    /// The last message: the device is offline.
    pub(crate) fn farewell(&mut self) -> Publication {
        self.status(State::Offline)
    }

    /// Records of earlier runs that never reached the outbox; returns how many.
    ///
    /// A new store beside a log with records means that somebody removed it: then it learns the latest answers
    /// again, and old verdicts are not published a second time.
    pub(crate) fn catch_up(&mut self, audit_folder: &std::path::Path) -> anyhow::Result<u64> {
        let last = self.audit.last().seq;
        let anew = self.store.applied()? == 0 && last > 1;
        if anew {
            output::warn("the store was removed: messages that it still held are not sent; see `audit show`");
            self.store.skip_to(last.saturating_sub(u64::from(self.config.service.done_max)))?;
        }
        let from = self.store.applied()? + 1;
        let mut n = 0;
        for entry in crate::audit::read_from(audit_folder, from)? {
            let (link, raw) = entry.context("cannot read the audit log; hint: `r2d-edge audit verify` says more")?;
            let record: Record = serde_json::from_str(raw.get())
                .with_context(|| format!("audit record {} is of an unknown form", link.seq))?;
            let out = if anew { Vec::new() } else { publication::of_record(&self.who, &record, Some(link)) };
            self.project(&record, link, &out)?;
            n += 1;
        }
        Ok(n)
    }

    // ---- requests ----

    fn on_message(&mut self, message: Message) -> anyhow::Result<()> {
        let Some(kind) = self.who.base.parse(&message.topic, self.pool.as_ref()) else {
            self.link.ack(message.ack);
            return Ok(());
        };
        match kind {
            InTopic::Ask | InTopic::PoolAsk => self.on_request(Task::Ask, message),
            InTopic::Check => self.on_request(Task::Check, message),
            InTopic::Cancel => {
                if let Ok(cancel) = wire::parse_cancel(&message.payload)
                    && !message.retain
                    && let Some(&key) = self.state.by_id.get(&cancel.id)
                {
                    self.worker.stop(key, Reason::Cancelled);
                }
                self.link.ack(message.ack);
                Ok(())
            }
        }
    }

    fn on_request(&mut self, task: Task, message: Message) -> anyhow::Result<()> {
        if self.is_congested()? {
            // Neither answered nor acknowledged: the broker keeps it and stops sending more.
            self.state.counts.busy += 1;
            return Ok(());
        }
        let max_prompt = self.config.service.max_prompt_bytes as usize;
        let parsed = wire::parse_ask(&message.payload, max_prompt, SystemTime::now());
        let fault = match parsed {
            Ok(ask) if message.retain => wire::Fault {
                id: Some(ask.id),
                reason: Reason::Retained,
                detail: "a retained message would be asked again at every connection; hint: publish without retain".into(),
            },
            Ok(ask) => return self.on_ask(task, ask, message),
            Err(fault) => fault,
        };
        let reply_to = self.reply_to(&message);
        let (id, ack) = match fault.id {
            Some(id) => match self.answer_again(&id, reply_to.as_ref(), message.ack)? {
                Some(ack) => (id, ack),
                None => return Ok(()),
            },
            None => {
                let n = self.take_key();
                (Id::parse(&format!("unnamed-{}-{n}", self.who.boot))?, message.ack)
            }
        };
        let request = Request { id, task, prompt: Untrusted::new(""), lang: None, deadline_ms: None };
        let outcome = unjudged(fault.reason, fault.detail);
        let record = self.record(&request, reply_to, outcome, false);
        self.conclude(record, vec![ack])
    }

    fn on_ask(&mut self, task: Task, ask: wire::Ask, message: Message) -> anyhow::Result<()> {
        let reply_to = self.reply_to(&message);
        let Some(ack) = self.answer_again(&ask.id, reply_to.as_ref(), message.ack)? else {
            return Ok(());
        };
        let lang = ask.lang.as_deref().unwrap_or(&self.config.device.lang);
        let refusal = self.config.refusal_sentence(lang).to_owned();
        let request = Request {
            id: ask.id,
            task,
            prompt: Untrusted::new(ask.prompt),
            lang: ask.lang,
            deadline_ms: ask.deadline_ms,
        };
        let key = self.take_key();
        let policy = self.config.policy.rules();
        let job = Job { key, request: request.clone(), guard: Guard::On, policy, refusal };
        if let Err(busy) = self.worker.submit(job) {
            self.state.counts.busy += 1;
            let record = self.record(&request, reply_to, unjudged(Reason::Busy, busy.to_string()), false);
            // Nothing was decided about the request: it is told, but neither recorded nor remembered, so that the
            // same id may be asked again.
            let rows = self.store.enqueue(&publication::of_record(&self.who, &record, None))?;
            return self.ack_after(rows, vec![ack]);
        }
        self.state.by_id.insert(request.id.clone(), key);
        self.state.running.insert(key, Pending { request, reply_to, acks: vec![ack] });
        Ok(())
    }

    /// If this id was asked before: sends its answer again, or leaves it to the running request. Gives the
    /// acknowledgement back when the id is new.
    fn answer_again(
        &mut self,
        id: &Id,
        reply_to: Option<&ReplyTo>,
        ack: AckToken,
    ) -> anyhow::Result<Option<AckToken>> {
        if let Some(pending) = self.state.by_id.get(id).and_then(|key| self.state.running.get_mut(key)) {
            pending.acks.push(ack);
            return Ok(None);
        }
        if let Some((_, acks)) = self.state.unrecorded.iter_mut().find(|(record, _)| record.id == *id) {
            acks.push(ack);
            return Ok(None);
        }
        let Some(answered) = self.store.answered(id.as_str())? else {
            return Ok(Some(ack));
        };
        let kept: publication::Kept =
            serde_json::from_slice(&answered.payload).context("a stored answer is damaged")?;
        // What still waits in the outbox need not be sent twice, unless to another place.
        let waits = self.store.pending_for(id.as_str())? && reply_to.is_none();
        let again = if waits { Vec::new() } else { kept.again(&self.who, id, reply_to) };
        let rows = self.store.enqueue(&again)?;
        self.ack_after(rows, vec![ack])?;
        Ok(None)
    }

    /// The topic that the asker named, if the site allows it.
    fn reply_to(&self, message: &Message) -> Option<ReplyTo> {
        let topic = message.response_topic.as_ref().filter(|t| self.replies.allows(t))?;
        Some(ReplyTo { topic: topic.clone(), correlation: message.correlation.as_deref().map(to_hex) })
    }

    /// Whether taking more requests could lose some: the disk or the broker does not keep up.
    fn is_congested(&self) -> anyhow::Result<bool> {
        let rows_each = u64::from(self.config.policy.max_steps) + u64::from(self.config.policy.second_looks) + 8;
        let in_hand = self.state.running.len() as u64 + 1;
        let depth = self.store.depth()?;
        let max = u64::from(self.config.service.outbox_max);
        Ok(!self.state.unrecorded.is_empty() || depth.saturating_add(in_hand * rows_each) > max)
    }

    fn take_key(&mut self) -> u64 {
        self.state.next_key += 1;
        self.state.next_key
    }

    // ---- verdicts ----

    fn on_worker(&mut self, key: u64, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Segment(segment) if segment.released => {
                if let Some(pending) = self.state.running.get(&key) {
                    let id = pending.request.id.clone();
                    let head = self.head("r2d.chunk/1", id.as_str(), u64::from(segment.index));
                    let chunk = Chunk { head, index: segment.index, text: segment.text };
                    self.publish_now(OutTopic::AnswerChunk(&id), json(&chunk));
                }
                Ok(())
            }
            Event::Verdict(outcome) => {
                let Some(pending) = self.state.running.remove(&key) else { return Ok(()) };
                self.state.by_id.remove(&pending.request.id);
                let record = self.record(&pending.request, pending.reply_to, outcome, true);
                self.conclude(record, pending.acks)
            }
            _ => Ok(()),
        }
    }

    fn record(&self, request: &Request, reply_to: Option<ReplyTo>, outcome: Outcome, judged: bool) -> Record {
        Record {
            schema: RECORD_SCHEMA.into(),
            id: request.id.clone(),
            ts: wire::timestamp(SystemTime::now()),
            device: self.who.device.clone(),
            boot: self.who.boot.clone(),
            origin: "mqtt".into(),
            task: request.task,
            prompt: request.prompt.as_received().to_owned(),
            lang: request.lang.clone(),
            weights: judged.then(|| self.weights.clone()),
            policy: judged.then(|| self.config.policy.rules()),
            trace: outcome.trace,
            verdict: outcome.verdict,
            detail: outcome.detail,
            cost: outcome.cost,
            reply_to,
        }
    }

    /// Records a verdict and sends it on its way.
    fn conclude(&mut self, record: Record, acks: Vec<AckToken>) -> anyhow::Result<()> {
        let link = match self.audit.append(&record) {
            Ok(link) => link,
            Err(error @ AuditError::NotWritten { .. }) => {
                output::warn(format!("{error:#}; request {} is withheld until its record is written", record.id));
                self.state.unrecorded.push_back((record, acks));
                return Ok(());
            }
            Err(error) => return Err(error).context("the audit log takes no more records"),
        };
        self.state.counts.verdicts += 1;
        tell(&record);
        let rows = self.project(&record, link, &publication::of_record(&self.who, &record, Some(link)))?;
        self.ack_after(rows, acks)
    }

    /// Puts a record's messages into the outbox and remembers its id.
    fn project(
        &self,
        record: &Record,
        link: Link,
        out: &[Outgoing],
    ) -> anyhow::Result<std::ops::Range<OutboxKey>> {
        let kept = json(&publication::Kept::of(&self.who, record, link));
        Ok(self.store.apply(link.seq, Some((record.id.as_str(), &kept)), out)?)
    }

    // ---- outbox ----

    /// Acknowledges requests when the last of `rows` is delivered.
    fn ack_after(&mut self, rows: std::ops::Range<OutboxKey>, acks: Vec<AckToken>) -> anyhow::Result<()> {
        match last_of(&rows) {
            Some(last) => self.state.acks.entry(last).or_default().extend(acks),
            None => acks.into_iter().for_each(|ack| {
                self.link.ack(ack);
            }),
        }
        self.send_next()
    }

    /// Publishes the oldest row, if the broker has the one before.
    fn send_next(&mut self) -> anyhow::Result<()> {
        if !self.state.up || self.state.in_flight.is_some() {
            return Ok(());
        }
        let Some((key, out)) = self.store.next(None)? else { return Ok(()) };
        let publication = Publication {
            topic: out.topic,
            payload: out.payload,
            qos: Qos::AtLeastOnce,
            retain: out.retain,
            expiry_s: out.expiry_s,
            correlation: out.correlation,
        };
        match self.link.publish(PublishId(key), publication) {
            Ok(()) => self.state.in_flight = Some(key),
            // The next connection, or the next report, tries again.
            Err(link::PublishError::Down | link::PublishError::Full(_)) => {}
            Err(error) => {
                // This message can never go out: the rest must not wait behind it.
                output::warn(format!("a message was given up: {error}"));
                self.state.counts.refused += 1;
                self.settle(key)?;
                return self.send_next();
            }
        }
        Ok(())
    }

    /// A row is done with.
    fn settle(&mut self, key: OutboxKey) -> anyhow::Result<()> {
        self.store.delivered(key)?;
        for ack in self.state.acks.remove(&key).unwrap_or_default() {
            self.link.ack(ack);
        }
        Ok(())
    }

    fn on_link(&mut self, event: LinkEvent) -> anyhow::Result<()> {
        match event {
            LinkEvent::Up { .. } => {
                self.state.up = true;
                self.state.in_flight = None;
                self.send_next()
            }
            LinkEvent::Subscribed => {
                // Online is said when requests are heard, not before.
                output::note("connected to the broker, listening for requests");
                let online = self.status(State::Online);
                let info = self.info();
                for (n, publication) in (0..).zip([online, info]) {
                    if let Err(error) = self.link.publish(PublishId(OWN_IDS + n), publication) {
                        output::warn(format!("status was not published: {error}"));
                    }
                }
                self.send_next()
            }
            LinkEvent::Down { reason, retry_in } => {
                if std::mem::take(&mut self.state.up) {
                    output::warn(format!("connection lost: {reason}"));
                } else {
                    output::note(format!("no connection: {reason}; next try in {:.1} s", retry_in.as_secs_f64()));
                }
                self.state.in_flight = None;
                Ok(())
            }
            LinkEvent::Message(message) => self.on_message(message),
            LinkEvent::Delivered(PublishId(id)) => self.on_delivery(id),
            LinkEvent::Refused { id: PublishId(id), code } => {
                output::warn(format!("the broker refused a message (reason code {code}); it is given up"));
                self.state.counts.refused += 1;
                self.on_delivery(id)
            }
            LinkEvent::SubscriptionRefused { filter, code } => {
                output::warn(format!("the broker refused the subscription {filter} (reason code {code})"));
                Ok(())
            }
        }
    }

    fn on_delivery(&mut self, id: u64) -> anyhow::Result<()> {
        if let Some(key) = self.state.in_flight.take_if(|key| *key == id) {
            self.settle(key)?;
        }
        self.send_next()
    }

    // ---- being alive ----

    fn on_heartbeat(&mut self) -> anyhow::Result<()> {
        for _ in 0..self.state.unrecorded.len() {
            if let Some((record, acks)) = self.state.unrecorded.pop_front() {
                self.conclude(record, acks)?;
            }
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
        self.send_next()
    }

    /// Feeds the supervisor's watchdog while the model decodes or waits.
    fn feed_watchdog(&mut self, wanted: bool) {
        let beat = self.worker.beat();
        if wanted && self.worker.is_alive() && beat != self.state.fed_beat {
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
        self.state.fed_beat = beat;
    }

    fn status(&mut self, state: State) -> Publication {
        self.state.n_status += 1;
        let head = self.head("r2d.status/1", &self.config.device.device, self.state.n_status);
        self.own(OutTopic::Status, json(&Status { head, state }))
    }

    fn info(&self) -> Publication {
        let info = Info {
            head: self.head("r2d.info/1", &self.config.device.device, self.state.n_status),
            version: env!("CARGO_PKG_VERSION").into(),
            weights: self.weights.clone(),
            policy: self.config.policy.rules(),
        };
        self.own(OutTopic::Info, json(&info))
    }

    fn own(&self, topic: OutTopic<'_>, payload: Vec<u8>) -> Publication {
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
    fn publish_now(&self, topic: OutTopic<'_>, payload: Vec<u8>) {
        // Without a connection there is nobody to read it; nothing waits for it.
        let _lost = self.link.publish(PublishId(OWN_IDS + 2), self.own(topic, payload));
    }

    fn head(&self, schema: &str, id: &str, seq: u64) -> Head {
        head(&self.who, schema, id, seq)
    }
}

/// The head of a payload made now.
pub(crate) fn head(who: &Identity, schema: &str, id: &str, seq: u64) -> Head {
    Head {
        schema: schema.to_owned(),
        id: id.to_owned(),
        ts: wire::timestamp(SystemTime::now()),
        device: who.device.clone(),
        boot: who.boot.clone(),
        seq,
    }
}

/// The end of a request that never reached the model.
fn unjudged(reason: Reason, detail: String) -> Outcome {
    Outcome {
        verdict: Verdict::undecided(reason),
        detail: Some(detail),
        answer: String::new(),
        truncated: false,
        cost: Cost::default(),
        trace: Trace::default(),
    }
}

/// One line per verdict for the journal: no word of the prompt.
fn tell(record: &Record) {
    let decision = match record.verdict.decision {
        Decision::Allow => "allow",
        Decision::Refuse => "refuse",
        Decision::Undecided => "undecided",
    };
    let reason = format!("{:?}", record.verdict.reason);
    output::note(format!("{} {decision} ({reason}) in {} ms", record.id, record.cost.verdict_ms));
}

fn last_of(rows: &std::ops::Range<OutboxKey>) -> Option<OutboxKey> {
    (rows.start < rows.end).then(|| rows.end - 1)
}

/// Tells the supervisor, if there is one.
pub(crate) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    // Without a supervisor's socket there is nobody to tell.
    let _told = sd_notify::notify(states);
}

/// How often the supervisor wants to hear of us: a third of its limit.
fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 3)
}

fn far_future() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(86_400)
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
