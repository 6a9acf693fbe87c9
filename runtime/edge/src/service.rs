//! The service: requests in, records, messages out.
//!
//! One task holds all state. The order is fixed: a verdict is recorded in the audit log (fsync), then stands in the
//! outbox (fsync), then is published, and only when the broker has acknowledged all of it is the request itself
//! acknowledged. A crash at any point leaves the request with the broker or its messages on the disk. The service
//! never judges: verdicts come from the worker, and what never reached it is `undecided`. Invariant: one id, one
//! record.

mod alive;
mod conclusion;
mod ending;
mod exchange;
mod outbox;
mod pace;
mod panel;
pub(crate) mod publication;
mod review;

use crate::audit::AuditLog;
use crate::config::Config;
use crate::entry::Entry;
use crate::mqtt::ReplyAllowList;
use crate::mqtt::link::{self, AckToken, LinkEvent, LinkEvents, Message, Publication};
use crate::mqtt::topic::{Base, InTopic, OutTopic};
use crate::output;
use crate::serial::Panels;
use crate::store::{OutboxKey, Store};
use crate::wire::{self, Chunk, Head, State};
use crate::worker::{Busy, Job, Told, Worker};
use anyhow::{Context, bail};
use conclusion::{Decided, unjudged};
pub(crate) use exchange::Watch;
use publication::{json, to_hex};
use r2d_core::id::Id;
use r2d_core::record::ReplyTo;
use r2d_core::request::{Request, Task};
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Reason;
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
    /// How long a person may take to decide.
    pub(crate) review: Duration,
}

/// All that the service holds.
pub(crate) struct Service<'a> {
    pub(crate) config: &'a Config,
    pub(crate) who: Identity,
    pub(crate) pool: Option<Id>,
    pub(crate) replies: ReplyAllowList,
    pub(crate) adapters: Watch,
    pub(crate) audit: AuditLog,
    pub(crate) store: Store,
    pub(crate) link: link::Link,
    pub(crate) panels: Panels,
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
    /// The broker refused a subscription to requests on this connection.
    deaf: bool,
    /// Requests and decisions of this connection that wait until the disk and the broker keep up again.
    held: VecDeque<Message>,
    /// Decided, but the disk did not take the record yet.
    unrecorded: VecDeque<Decided>,
    /// Requests that end when they are taken up.
    over: ending::Over,
    /// How the broker takes the oldest row.
    refusals: outbox::Refusals,
    counts: Counts,
    events: panel::Events,
    pace: pace::Pace,
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
    /// Messages of QoS 0 that were dropped since this was last told.
    dropped: u64,
}

/// A request that the worker has.
struct Pending {
    request: Request,
    /// How it came in.
    origin: &'static str,
    reply_to: Option<ReplyTo>,
    acks: Vec<AckToken>,
    /// It is to end, and the worker has not heard it yet.
    to_end: bool,
    /// No panel hears of it (any more): stop was pressed at its station, or may have been before it came.
    silent: bool,
}

impl Pending {
    fn new(request: Request, origin: &'static str, reply_to: Option<ReplyTo>, acks: Vec<AckToken>) -> Self {
        Self { request, origin, reply_to, acks, to_end: false, silent: false }
    }
}

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
            deaf: false,
            held: VecDeque::new(),
            unrecorded: VecDeque::new(),
            over: ending::Over::default(),
            refusals: outbox::Refusals::default(),
            counts: Counts::default(),
            events: panel::Events::default(),
            pace: pace::Pace::default(),
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
        mut told: Receiver<Told>,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let mut heartbeat =
            tokio::time::interval(Duration::from_secs(u64::from(self.config.service.heartbeat_s)));
        let watchdog = watchdog_interval();
        let mut feed = tokio::time::interval(watchdog.unwrap_or(Duration::from_secs(3600)));
        let mut look = tokio::time::interval(exchange::LOOK);
        for timer in [&mut heartbeat, &mut feed, &mut look] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        tokio::pin!(stop);
        let mut stopping: Option<tokio::time::Instant> = None;
        loop {
            self.panels.beat();
            let until = stopping.unwrap_or_else(far_future);
            tokio::select! {
                biased;
                () = &mut stop, if stopping.is_none() => {
                    self.panels.silence();
                    stopping = Some(tokio::time::Instant::now() + grace);
                }
                () = tokio::time::sleep_until(until), if stopping.is_some() => return Ok(()),
                // Before verdicts: what is decided behind a stop must not open another panel of its station.
                Some(happening) = self.panels.next() => {
                    if stopping.is_none() || happening.is_stop() {
                        self.on_panel(happening)?;
                    }
                }
                event = told.recv() => match event {
                    Some(Told::Job(key, event, at)) => self.on_worker(key, event, at)?,
                    Some(Told::Swapped(swapped)) => self.on_swapped(*swapped),
                    None => bail!("the model's thread has died; a restart takes up what it left"),
                },
                // Before messages: these tick rarely, and a flood of those must not hold them up.
                _ = heartbeat.tick() => self.on_heartbeat()?,
                _ = look.tick(), if stopping.is_none() => self.look_for_adapter(),
                _ = feed.tick() => self.feed_watchdog(watchdog.is_some()),
                event = events.recv() => match event {
                    Some(LinkEvent::Message(message)) if stopping.is_some() => {
                        // Not acknowledged: the broker gives it to the next run.
                        drop(message);
                    }
                    Some(event) => self.on_link(event)?,
                    None => bail!("the connection's task has ended"),
                },
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

    /// Puts records of earlier runs that never reached the outbox there; returns how many.
    ///
    /// # Errors
    /// A log that ends before what the store has seen of it: one of the two was exchanged.
    pub(crate) fn catch_up(&mut self, audit_folder: &std::path::Path) -> anyhow::Result<u64> {
        let last = self.audit.last().seq;
        let applied = self.store.applied()?;
        if applied > last {
            bail!(
                "the audit log ends at record {last}, but the store has seen {applied}; hint: records are missing; \
                 to begin a new log, move store.redb away together with the audit folder"
            );
        }
        if applied == 0 && last > 1 {
            // Somebody removed the store. Old verdicts are not published a second time.
            output::warn(
                "the store is new beside an older audit log: what it still held is not sent; see `audit show`",
            );
            self.store.skip_to(last)?;
        }
        let mut n = 0;
        for entry in crate::audit::read_from(audit_folder, self.store.applied()? + 1)? {
            let (link, raw) =
                entry.context("cannot read the audit log; hint: `r2d-edge audit verify` says more")?;
            let entry = Entry::parse(&raw)
                .with_context(|| format!("audit record {} is of an unknown form", link.seq))?;
            match entry {
                Entry::Request(record) => {
                    self.project(&record, link)?;
                }
                Entry::Review(record) => {
                    self.project_review(&record, link)?;
                }
                Entry::Panel(_) => {
                    self.store.apply(link.seq, None, &[])?;
                }
            }
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
        if kind != InTopic::Cancel && self.is_congested()? {
            if message.ack.is_kept() {
                // Not acknowledged, so the broker keeps it too and, at its receive maximum, sends no more.
                self.state.held.push_back(message);
            } else {
                // Told at the next heartbeat: a flood must not fill the journal too.
                self.state.counts.dropped += 1;
            }
            return Ok(());
        }
        match kind {
            InTopic::Ask | InTopic::PoolAsk => self.on_request(Task::Ask, message),
            InTopic::Check => self.on_request(Task::Check, message),
            InTopic::Decision(request) => self.on_decision(&request, message),
            InTopic::Cancel => {
                self.on_cancel(message);
                Ok(())
            }
        }
    }

    fn on_request(&mut self, task: Task, message: Message) -> anyhow::Result<()> {
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
        // A nameless message is named by its bytes, so that its redelivery is known again.
        let id = match fault.id {
            Some(id) => id,
            None => {
                let hash = &publication::digest(&[&message.payload])[..16];
                Id::parse(&format!("{}{hash}", wire::NAMELESS_ID))?
            }
        };
        self.state.over.take(&id);
        let request =
            Request { id, task, prompt: Untrusted::new(""), lang: None, deadline_ms: None, station: None };
        if let Some(ack) = self.answer_again(&request, reply_to.as_ref(), message.ack)? {
            self.conclude_unjudged(&request, reply_to, unjudged(fault.reason, fault.detail), ack)?;
        }
        Ok(())
    }

    /// Takes up what was held, as long as there is room.
    fn take_up_held(&mut self) -> anyhow::Result<()> {
        while !self.state.held.is_empty() && !self.is_congested()? {
            if let Some(message) = self.state.held.pop_front() {
                self.on_message(message)?;
                self.panels.beat();
            }
        }
        Ok(())
    }

    fn on_ask(&mut self, task: Task, ask: wire::Ask, message: Message) -> anyhow::Result<()> {
        let reply_to = self.reply_to(&message);
        let lang = ask.lang.as_deref().unwrap_or(&self.config.device.lang);
        let refusal = self.config.refusal_sentence(lang).to_owned();
        let deadline_ms = [ask.deadline_ms, ask.ms_left(SystemTime::now())].into_iter().flatten().min();
        let prompt = Untrusted::new(ask.prompt);
        let request = Request { id: ask.id, task, prompt, lang: ask.lang, deadline_ms, station: ask.station };
        let over = self.state.over.take(&request.id);
        let Some(ack) = self.answer_again(&request, reply_to.as_ref(), message.ack)? else {
            return Ok(());
        };
        if over {
            let outcome = unjudged(Reason::Cancelled, "it was told to end before it began".into());
            return self.conclude_unjudged(&request, reply_to, outcome, ack);
        }
        // The broker sent it before, and what was pressed since then may be known to nobody any more.
        let silent = message.dup;
        let pending = Pending { silent, ..Pending::new(request, "mqtt", reply_to, vec![ack]) };
        match self.submit(pending, refusal) {
            None => Ok(()),
            Some((pending, busy)) => {
                let outcome = unjudged(Reason::Busy, busy.to_string());
                self.tell_unrecorded(&pending.request, pending.reply_to, outcome, pending.acks)
            }
        }
    }

    /// Hands a new request to the worker; gives it back when there is no room.
    fn submit(&mut self, pending: Pending, refusal: String) -> Option<(Pending, Busy)> {
        let key = self.take_key();
        let policy = self.config.policy.rules();
        let request = pending.request.clone();
        let job = Job { key, request: request.clone(), guard: Guard::On, policy, refusal };
        if let Err(busy) = self.worker.submit(job) {
            self.state.counts.busy += 1;
            return Some((pending, busy));
        }
        if let Some(station) = request.station.as_ref().filter(|_| !pending.silent) {
            self.panels.pending(station, &request.id);
        }
        self.state.by_id.insert(request.id, key);
        self.state.running.insert(key, pending);
        None
    }

    /// Tells an outcome that decided nothing: neither recorded nor remembered, so that the id may be used again.
    fn tell_unrecorded(
        &mut self,
        request: &Request,
        reply_to: Option<ReplyTo>,
        outcome: Outcome,
        acks: Vec<AckToken>,
    ) -> anyhow::Result<()> {
        let record = self.record(request, "mqtt", reply_to, outcome, Instant::now());
        let rows = self.store.enqueue(&publication::of_record(&self.who, &record, None))?;
        self.ack_after(rows, acks)
    }

    /// If this request was made before: sends its answer again, or leaves it to the running one. If its id belongs to
    /// another request, says so. Gives the acknowledgement back when the id is new.
    fn answer_again(
        &mut self,
        request: &Request,
        reply_to: Option<&ReplyTo>,
        ack: AckToken,
    ) -> anyhow::Result<Option<AckToken>> {
        let same = |asked: &str| publication::is_asked(asked, request.task, request.prompt.as_received());
        let state = &mut self.state;
        let running = state.by_id.get(&request.id).and_then(|key| state.running.get_mut(key));
        if let Some(pending) = running {
            if !same(&publication::asked(pending.request.task, pending.request.prompt.as_received())) {
                return self.tell_reused(request, reply_to, ack);
            }
            // The asker may have come back with a new address.
            pending.reply_to = reply_to.cloned().or(pending.reply_to.take());
            pending.acks.extend(ack.is_kept().then_some(ack));
            return Ok(None);
        }
        let Some(kept) = self.kept(&request.id)? else {
            return Ok(Some(ack));
        };
        if !same(&kept.asked) {
            return self.tell_reused(request, reply_to, ack);
        }
        // What still waits in the outbox need not be sent twice, unless to another place.
        let waits = self.store.pending_for(request.id.as_str())?
            && (reply_to.is_none() || reply_to == kept.reply_to.as_ref());
        let again = if waits { Vec::new() } else { kept.again(&self.who, &request.id, reply_to) };
        let rows = self.store.enqueue(&again)?;
        self.ack_after(rows, vec![ack])?;
        Ok(None)
    }

    /// An id must not lend one request's verdict to another.
    fn tell_reused(
        &mut self,
        request: &Request,
        reply_to: Option<&ReplyTo>,
        ack: AckToken,
    ) -> anyhow::Result<Option<AckToken>> {
        let detail =
            "the id belongs to an earlier request with other words; hint: give each request its own id";
        let outcome = unjudged(Reason::IdReused, detail.into());
        self.tell_unrecorded(request, reply_to.cloned(), outcome, vec![ack])?;
        Ok(None)
    }

    /// The topic that the asker named, if the site allows it.
    fn reply_to(&self, message: &Message) -> Option<ReplyTo> {
        let topic = message.response_topic.as_ref().filter(|t| self.replies.allows(t))?;
        Some(ReplyTo { topic: topic.clone(), correlation: message.correlation.as_deref().map(to_hex) })
    }

    /// Whether taking more requests could lose some: the disk or the broker does not keep up.
    fn is_congested(&self) -> anyhow::Result<bool> {
        let rows_each =
            u64::from(self.config.policy.max_steps) + u64::from(self.config.policy.second_looks) + 8;
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

    fn on_worker(&mut self, key: u64, event: Event, at: Instant) -> anyhow::Result<()> {
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
                let record = self.record(&pending.request, pending.origin, pending.reply_to, outcome, at);
                self.conclude(Decided { record, acks: pending.acks, made: at, silent: pending.silent })
            }
            _ => Ok(()),
        }
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
