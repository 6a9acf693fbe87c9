//! The one thread that owns the model: requests go in over a bounded channel, events come out through a sink.
//!
//! It decides nothing and writes nothing down. Overload is told at once ([`Busy`]), never queued without bound.
//! Weights are exchanged between two requests: running ones finish on the old weights, whose context is then dropped
//! with all it holds, and waiting ones begin on the new. Invariants: every job that was taken ends with exactly one
//! [`Event::Verdict`], unless the thread itself dies, which [`Worker::is_alive`] shows; what is told before
//! [`Told::Swapped`] was made with the weights before it.

#[cfg(test)]
mod tests;

use crate::affinity;
use crate::self_test;
use crate::source::{Source, Use};
use r2d_core::policy::Policy;
use r2d_core::record::Weights;
use r2d_core::request::Request;
use r2d_core::verdict::Reason;
use r2d_engine::generation::Guard;
use r2d_engine::intake::{Ask, Intake, unstarted};
use r2d_engine::model::Model;
use r2d_engine::{Event, Outcome, Scheduler};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;

/// A request to be generated.
#[derive(Debug)]
pub struct Job {
    /// Comes back with each event.
    pub key: u64,
    /// The request.
    pub request: Request,
    /// Whether pivots are read.
    pub guard: Guard,
    /// Thresholds and budgets.
    pub policy: Policy,
    /// The site's refusal in the asker's language.
    pub refusal: String,
}

/// Weights and where they are opened.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The model.
    pub source: Source,
    /// What a record says of it.
    pub weights: Weights,
}

/// What the worker tells.
#[derive(Debug)]
pub enum Told {
    /// Something happened to the job of this key, at this moment.
    Job(u64, Event, Instant),
    /// An exchange of weights is over.
    Swapped(Box<Swapped>),
}

/// How an exchange of weights ended.
#[derive(Clone, Debug)]
pub struct Swapped {
    /// The weights in force from here on.
    pub weights: Weights,
    /// Why the new ones were not taken.
    pub refused: Option<String>,
}

/// What the worker runs with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The weights to begin with.
    pub first: Candidate,
    /// Cores to stay on; empty for all.
    pub cores: Vec<usize>,
    /// What the model is told before each request.
    pub system: String,
    /// Most jobs taken and not finished, running ones included.
    pub capacity: usize,
    /// Whether the first weights must pass the self-test too, as those of every exchange must.
    pub try_first: bool,
    /// What of the model's distribution the pivots of an adapter must hold in its self-test.
    pub min_mass: f32,
}

/// The waiting line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} requests are waiting or running already; hint: ask again later, or raise service.queue")]
pub struct Busy(pub usize);

/// A model that runs.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// How long loading took.
    pub load: Duration,
}

enum Order {
    Run(Box<Job>, Instant),
    Stop(u64, Reason),
    Swap(Box<Candidate>),
    Quit,
}

/// Control orders that may wait besides jobs.
const CONTROL_SLACK: usize = 64;
/// How often an idle worker shows that it lives.
const IDLE_BEAT: Duration = Duration::from_millis(500);

/// A handle on the thread.
#[derive(Debug)]
pub struct Worker {
    orders: SyncSender<Order>,
    in_hand: Arc<AtomicUsize>,
    beat: Arc<AtomicU64>,
    capacity: usize,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Loads the model on a thread of its own and waits until it runs.
    ///
    /// # Errors
    /// What kept the model from running.
    pub fn start(options: Options, sink: impl FnMut(Told) + Send + 'static) -> anyhow::Result<(Self, Ready)> {
        let capacity = options.capacity.max(1);
        let (orders, inbox) = sync_channel(capacity + CONTROL_SLACK);
        let (tell_ready, ready) = sync_channel(1);
        let in_hand = Arc::new(AtomicUsize::new(0));
        let beat = Arc::new(AtomicU64::new(0));
        let Options { first, cores, system, try_first, min_mass, .. } = options;
        let desk = Desk {
            inbox,
            in_hand: Arc::clone(&in_hand),
            beat: Arc::clone(&beat),
            system,
            min_mass,
            began: Instant::now(),
            waiting: VecDeque::new(),
            next: None,
            sink: Box::new(sink),
        };
        let thread =
            std::thread::Builder::new().name("model".into()).spawn(move || {
                match affinity::keep_on(&cores) {
                    Ok(()) => run(first, try_first, desk, &tell_ready),
                    Err(error) => {
                        let _sent = tell_ready.try_send(Err(error.into()));
                    }
                }
            })?;
        let ready = ready.recv().map_err(|_| anyhow::anyhow!("the model's thread died while loading"))??;
        Ok((Self { orders, in_hand, beat, capacity, thread: Some(thread) }, ready))
    }

    /// Hands a job over.
    ///
    /// # Errors
    /// [`Busy`] when the line is full; the job is not taken then.
    pub fn submit(&self, job: Job) -> Result<(), Busy> {
        let taken = self
            .in_hand
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < self.capacity).then_some(n + 1));
        let sent = taken.is_ok() && {
            let sent = self.orders.try_send(Order::Run(Box::new(job), Instant::now())).is_ok();
            if !sent {
                self.in_hand.fetch_sub(1, Ordering::AcqRel);
            }
            sent
        };
        if sent { Ok(()) } else { Err(Busy(self.in_hand())) }
    }

    /// Ends a job early; a job that is done already is left alone. Returns false when the order found no room.
    pub fn stop(&self, key: u64, reason: Reason) -> bool {
        self.orders.try_send(Order::Stop(key, reason)).is_ok()
    }

    /// Exchanges the weights once the running jobs are done; [`Told::Swapped`] says how that went. A later call
    /// takes the place of one that still waits. Returns false when the order found no room.
    pub fn swap(&self, to: Candidate) -> bool {
        self.orders.try_send(Order::Swap(Box::new(to))).is_ok()
    }

    /// Jobs taken and not finished.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Acquire)
    }

    /// A number that grows with every decode and, while idle, at least every half second.
    #[must_use]
    pub fn beat(&self) -> u64 {
        self.beat.load(Ordering::Acquire)
    }

    /// Whether the thread runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A worker in the middle of a decode ends after it; what it was doing is dropped with it.
        if self.orders.try_send(Order::Quit).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ended = thread.join();
        }
    }
}

/// The thread's side.
struct Desk {
    inbox: Receiver<Order>,
    in_hand: Arc<AtomicUsize>,
    beat: Arc<AtomicU64>,
    system: String,
    min_mass: f32,
    began: Instant,
    waiting: VecDeque<(Box<Job>, Instant)>,
    /// The weights to go over to when nothing runs any more.
    next: Option<Box<Candidate>>,
    sink: Box<dyn FnMut(Told) + Send>,
}

/// Why weights are opened.
#[derive(Debug)]
enum Entry {
    /// The worker begins, and tries them before or not.
    First { must_pass: bool },
    /// They take the place of others.
    Swap,
    /// The others could not be used, for this reason.
    Back(String),
}

/// Why serving with some weights ended.
enum End {
    Quit,
    Swap(Box<Candidate>),
}

fn run(first: Candidate, try_first: bool, mut desk: Desk, ready: &SyncSender<anyhow::Result<Ready>>) {
    let (mut current, mut entry) = (first, Entry::First { must_pass: try_first });
    let mut before: Option<Candidate> = None;
    loop {
        let serving = Serving { desk: &mut desk, ready, entry, weights: &current.weights };
        match current.source.clone().open(serving.desk.system.clone(), serving) {
            Ok(End::Quit) => return,
            Ok(End::Swap(next)) => {
                before = Some(std::mem::replace(&mut current, *next));
                entry = Entry::Swap;
            }
            Err(error) => match before.take() {
                Some(last) => {
                    current = last;
                    entry = Entry::Back(format!("{error:#}"));
                }
                None => {
                    // Nobody waits any more when the fault came later: the thread's end tells.
                    let _sent = ready.try_send(Err(error));
                    return;
                }
            },
        }
    }
}

/// The desk with its model.
struct Serving<'a> {
    desk: &'a mut Desk,
    ready: &'a SyncSender<anyhow::Result<Ready>>,
    entry: Entry,
    weights: &'a Weights,
}

impl Use for Serving<'_> {
    type Output = End;

    fn with<M: Model>(self, model: M, intake: Intake) -> anyhow::Result<End> {
        let Self { desk, ready, entry, weights } = self;
        let mut scheduler = Scheduler::new(model);
        let taught = weights.adapter_sha256.is_some().then_some(desk.min_mass);
        let swapped = |refused| Told::Swapped(Box::new(Swapped { weights: weights.clone(), refused }));
        match entry {
            Entry::First { must_pass } => {
                if must_pass {
                    self_test::run(&mut scheduler, &intake, taught)?;
                }
                let _waited_for = ready.try_send(Ok(Ready { load: desk.began.elapsed() }));
            }
            Entry::Swap => {
                self_test::run(&mut scheduler, &intake, taught)?;
                (desk.sink)(swapped(None));
            }
            Entry::Back(reason) => (desk.sink)(swapped(Some(reason))),
        }
        Ok(desk.serve(scheduler, &intake))
    }
}

impl Desk {
    fn serve<M: Model>(&mut self, mut scheduler: Scheduler<M>, intake: &Intake) -> End {
        loop {
            if !self.take_orders(&mut scheduler) {
                return End::Quit;
            }
            self.expire_waiting();
            if scheduler.is_idle()
                && let Some(next) = self.next.take()
            {
                return End::Swap(next);
            }
            while self.next.is_none()
                && scheduler.has_room()
                && let Some((job, since)) = self.waiting.pop_front()
            {
                self.begin(&mut scheduler, *job, since, intake);
            }
            if !scheduler.is_idle() {
                let began = self.began;
                scheduler.tick(
                    || millis(began.elapsed()),
                    |key, event| tell(&self.in_hand, &mut self.sink, key, event),
                );
            }
            self.beat.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Reads what has come; waits when there is nothing to do. Returns false when the worker is to end.
    fn take_orders<M: Model>(&mut self, scheduler: &mut Scheduler<M>) -> bool {
        let mut idle = scheduler.is_idle() && self.waiting.is_empty() && self.next.is_none();
        loop {
            let order = if idle {
                match self.inbox.recv_timeout(IDLE_BEAT) {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => return true,
                    Err(RecvTimeoutError::Disconnected) => return false,
                }
            } else {
                match self.inbox.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => return false,
                }
            };
            idle = false;
            match order {
                Order::Quit => return false,
                Order::Run(job, since) => self.waiting.push_back((job, since)),
                Order::Swap(next) => self.next = Some(next),
                Order::Stop(key, reason) => {
                    scheduler.stop(key, reason, self.now());
                    if let Some(at) = self.waiting.iter().position(|(job, _)| job.key == key) {
                        self.waiting.remove(at);
                        self.end(key, unstarted(reason, None));
                    }
                }
            }
        }
    }

    /// Starts a job, or ends it at once when it cannot be one.
    fn begin<M: Model>(&mut self, scheduler: &mut Scheduler<M>, job: Job, since: Instant, intake: &Intake) {
        let Job { key, request, guard, mut policy, refusal } = job;
        if let Some(asked) = request.deadline_ms {
            policy.deadline_ms = policy.deadline_ms.min(asked);
        }
        let Request { prompt, task, .. } = request;
        let ask = Ask { prompt, task, given: None, guard, policy, refusal };
        // The deadline runs from the moment the job was taken, waiting included.
        let taken = millis(since.saturating_duration_since(self.began));
        if let Err(outcome) = intake.begin(scheduler, key, ask, taken) {
            self.end(key, *outcome);
        }
    }

    /// Ends waiting jobs whose deadline has passed: nobody waits for a slot to hear that.
    fn expire_waiting(&mut self) {
        let late = |(job, since): &(Box<Job>, Instant)| {
            let deadline = job.request.deadline_ms.unwrap_or(u32::MAX).min(job.policy.deadline_ms);
            since.elapsed() >= Duration::from_millis(u64::from(deadline))
        };
        while let Some(at) = self.waiting.iter().position(late) {
            if let Some((job, _)) = self.waiting.remove(at) {
                self.end(job.key, unstarted(Reason::Deadline, None));
            }
        }
    }

    /// Tells the verdict of a job that never reached the model.
    fn end(&mut self, key: u64, outcome: Outcome) {
        tell(&self.in_hand, &mut self.sink, key, Event::Verdict(outcome));
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn tell(in_hand: &AtomicUsize, sink: &mut dyn FnMut(Told), key: u64, event: Event) {
    let last = matches!(event, Event::Verdict(_));
    sink(Told::Job(key, event, Instant::now()));
    if last {
        in_hand.fetch_sub(1, Ordering::AcqRel);
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
