//! Panels on serial lines: one task a line, which speaks for the runtime's end and hands on what happens there.
//!
//! Not a judge: what is ruled here was recorded before. A line that cannot be opened, or is pulled out, is tried again
//! every second for as long as the service runs. Invariants: a line hears only of its own station; whatever cannot be
//! handed over in time ends the session, which latches the panel, so nothing is ever permitted by a message that was
//! lost; a line falls silent, which latches the panel too, when the service does not come round any more.

mod line;

use crate::config::Config;
use crate::entry::Ended;
use line::Line;
use r2d_core::id::Id;
use r2d_core::verdict::Reason;
use r2d_firmware_host::message::{ReasonCode, Report, Ruling, Wish};
use r2d_firmware_host::tick::{MAX_VALIDITY, Ticks};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Orders that may wait for one line.
const ORDERS: usize = 32;
/// Presses that may wait for the service.
const PRESSES: usize = 32;
/// What panels tell of themselves that may wait: apart from presses, so that none of it stands in a person's way.
const NEWS: usize = 64;

/// For so long the service may be busy with one thing, a slow disk say, before its panels are told no more beats. It comes
/// round every second at least, and marks that behind each thing that it does.
const STALL: Duration = Duration::from_secs(3);

/// When the service last came round.
#[derive(Debug)]
struct Pulse {
    began: Instant,
    /// Milliseconds since then, from 1 on; 0 before the first time.
    at: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self { began: Instant::now(), at: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn mark(&self) {
        self.at.store(self.now().saturating_add(1), Ordering::Release);
    }

    fn is_felt(&self) -> bool {
        let at = self.at.load(Ordering::Acquire).checked_sub(1);
        at.is_some_and(|at| u128::from(self.now().saturating_sub(at)) < STALL.as_millis())
    }
}

/// What happened at a panel.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    /// Where.
    pub(crate) station: Id,
    /// What.
    pub(crate) what: What,
}

impl Happening {
    /// Whether somebody pressed stop.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self.what, What::Pressed(Wish::Stop))
    }
}

/// What can happen at a panel.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A session with this panel began.
    Connected(Id),
    /// It ended.
    Disconnected(Ended),
    /// A button was pressed.
    Pressed(Wish),
    /// The panel told what it shows and permits.
    Reported(Report),
}

/// What a line is told.
#[derive(Clone, Debug)]
enum Order {
    /// A request is being judged.
    Pending(Id),
    /// It was ruled.
    Ruled { request: Id, ruling: Ruling, reason: ReasonCode, valid: Ticks },
    /// Stop was pressed: nothing of before is being judged any more. The service has heard of so many stops of this line.
    Stopped(u64),
}

/// A request whose end is still open.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    request: Id,
    /// What a person is asked about it; none while it is being judged.
    asked: Option<Asked>,
}

#[derive(Clone, Debug, PartialEq)]
struct Asked {
    reason: ReasonCode,
    until: Instant,
}

impl Order {
    /// The request that is open behind this.
    fn open(&self) -> Option<Open> {
        match self {
            Self::Pending(request) => Some(Open { request: request.clone(), asked: None }),
            Self::Ruled { request, ruling: Ruling::Review, reason, valid } => {
                let until = Instant::now() + Duration::from_millis(valid.0.into());
                Some(Open { request: request.clone(), asked: Some(Asked { reason: *reason, until }) })
            }
            Self::Ruled { .. } | Self::Stopped(_) => None,
        }
    }
}

/// All lines.
#[derive(Debug)]
pub(crate) struct Panels {
    lines: Vec<Handle>,
    presses: Receiver<Happening>,
    news: Receiver<Happening>,
    /// Presses that a stop overtook: at most what fits in between, for each line.
    waiting: VecDeque<Happening>,
    /// What found no room.
    n_lost: Arc<AtomicU64>,
    /// The service is about to end: no panel hears of any request.
    silent: bool,
    pulse: Arc<Pulse>,
    /// Kept, so that there is always a panel at which something could happen.
    _outlet: Outlet,
}

#[derive(Debug)]
struct Handle {
    station: Id,
    orders: Sender<Order>,
    /// An order was lost: the session must end.
    lost: Arc<AtomicBool>,
    /// Stop was pressed and found no room among the presses.
    stop: Arc<AtomicBool>,
    /// The request that it was last told of.
    shown: Option<Id>,
    /// Stops that the line has heard of.
    stops: Arc<AtomicU64>,
    /// What its last order said, for a line that lost one.
    state: Arc<Mutex<State>>,
}

/// A station as the service knows it.
#[derive(Clone, Debug, Default)]
struct State {
    open: Option<Open>,
    /// Stops of the line that it has heard of.
    stops: u64,
}

impl State {
    fn follow(&mut self, order: &Order) {
        self.open = order.open();
        if let Order::Stopped(stops) = order {
            self.stops = *stops;
        }
    }
}

/// Where a line hands on what happens.
#[derive(Clone, Debug)]
struct Outlet {
    presses: Sender<Happening>,
    news: Sender<Happening>,
    n_lost: Arc<AtomicU64>,
}

/// Device and station of a line.
#[must_use]
pub(crate) fn parse_line(text: &str) -> Option<(&str, Id)> {
    let (device, station) = text.rsplit_once('=')?;
    let device = Some(device).filter(|d| !d.trim().is_empty() && !d.chars().any(char::is_control))?;
    Some((device, Id::parse(station).ok()?))
}

impl Panels {
    /// Starts a task for each configured line; needs the runtime.
    ///
    /// # Errors
    /// The device's name is no id.
    pub(crate) fn start(config: &Config) -> anyhow::Result<Self> {
        let ((pressed, presses), (told, news)) = (channel(PRESSES), channel(NEWS));
        let n_lost = Arc::new(AtomicU64::new(0));
        let outlet = Outlet { presses: pressed, news: told, n_lost: Arc::clone(&n_lost) };
        let me = Id::parse(&config.device.device)?;
        let pulse = Arc::new(Pulse::new());
        let mut lines = Vec::new();
        for text in &config.panel.lines {
            // A text that is no line was refused with the configuration.
            let Some((device, station)) = parse_line(text) else { continue };
            let (orders, inbox) = channel(ORDERS);
            let [lost, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
            let (stops, state) = <(Arc<AtomicU64>, Arc<Mutex<State>>)>::default();
            let line = Line {
                device: device.to_owned(),
                baud: config.panel.baud,
                me: me.clone(),
                station: station.clone(),
                orders: inbox,
                lost: Arc::clone(&lost),
                stop: Arc::clone(&stop),
                outlet: outlet.clone(),
                stops: Arc::clone(&stops),
                known: State::default(),
                state: Arc::clone(&state),
                pulse: Arc::clone(&pulse),
            };
            tokio::spawn(line.run());
            lines.push(Handle { station, orders, lost, stop, shown: None, stops, state });
        }
        let waiting = VecDeque::new();
        Ok(Self { lines, presses, news, n_lost, waiting, silent: false, pulse, _outlet: outlet })
    }

    /// The service came round: panels hear beats for some seconds more.
    pub(crate) fn beat(&self) {
        self.pulse.mark();
    }

    /// What happens next: a stop that found no room among the presses (so there are some, and this is asked again), then
    /// presses, then the rest.
    pub(crate) async fn next(&mut self) -> Option<Happening> {
        let stopped = self.lines.iter().find(|line| line.stop.swap(false, Ordering::AcqRel));
        if let Some(station) = stopped.map(|line| line.station.clone()) {
            // What was pressed before it there is over.
            while let Ok(press) = self.presses.try_recv() {
                self.waiting.push_back(press);
            }
            let before = self.waiting.len();
            self.waiting.retain(|press| press.station != station);
            self.n_lost.fetch_add((before - self.waiting.len()) as u64, Ordering::Relaxed);
            return Some(Happening { station, what: What::Pressed(Wish::Stop) });
        }
        if let Some(press) = self.waiting.pop_front() {
            return Some(press);
        }
        tokio::select! {
            biased;
            press = self.presses.recv() => press,
            news = self.news.recv() => news,
        }
    }

    /// How much found no room since this was last asked.
    pub(crate) fn take_lost(&self) -> u64 {
        self.n_lost.swap(0, Ordering::Relaxed)
    }

    /// Tells the panels of `station` that a request is being judged.
    pub(crate) fn pending(&mut self, station: &Id, request: &Id) {
        if !self.silent {
            self.tell(station, Some(request), |_| Order::Pending(request.clone()));
        }
    }

    /// Whether this request is the last that a panel of `station` was told of.
    fn shows(&self, station: &Id, request: &Id) -> bool {
        self.lines.iter().any(|line| line.station == *station && line.shown.as_ref() == Some(request))
    }

    /// Tells the panels of `station` what was ruled about a request, which holds for `valid` at the longest, unless the
    /// station went on to another one: a panel refuses what is not about the request that it shows, and forgets that one.
    pub(crate) fn rule(
        &mut self,
        station: &Id,
        request: &Id,
        ruling: Ruling,
        reason: Reason,
        valid: Duration,
    ) {
        if self.silent || !self.shows(station, request) {
            return;
        }
        let valid = u32::try_from(valid.as_millis()).unwrap_or(u32::MAX).min(MAX_VALIDITY.0);
        let order =
            Order::Ruled { request: request.clone(), ruling, reason: reason.into(), valid: Ticks(valid) };
        self.tell(station, Some(request), |_| order.clone());
    }

    /// Takes back from the panels of `station` what they were told of: stop was pressed at one of them. What is asked behind
    /// this is told again.
    pub(crate) fn stopped(&mut self, station: &Id) {
        self.tell(station, None, |line| Order::Stopped(line.stops.load(Ordering::Acquire)));
    }

    /// From now on panels hear of no request: the service is about to end, and with it their sessions.
    pub(crate) fn silence(&mut self) {
        self.silent = true;
    }

    fn tell(&mut self, station: &Id, request: Option<&Id>, order: impl Fn(&Handle) -> Order) {
        for line in self.lines.iter_mut().filter(|line| line.station == *station) {
            let order = order(line);
            line.shown = request.cloned();
            line.state.lock().unwrap_or_else(PoisonError::into_inner).follow(&order);
            if line.orders.try_send(order).is_err() {
                line.lost.store(true, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_hears_rulings_about_the_request_that_it_shows_alone() {
        let (pressed, presses) = channel(1);
        let (told, news) = channel(1);
        let (orders, mut inbox) = channel(8);
        let station = Id::parse("press-4").unwrap();
        let handle = Handle {
            station: station.clone(),
            orders,
            lost: Arc::default(),
            stop: Arc::default(),
            shown: None,
            stops: Arc::new(AtomicU64::new(2)),
            state: Arc::default(),
        };
        let mut panels = Panels {
            lines: vec![handle],
            presses,
            news,
            waiting: VecDeque::new(),
            n_lost: Arc::default(),
            silent: false,
            pulse: Arc::new(Pulse::new()),
            _outlet: Outlet { presses: pressed, news: told, n_lost: Arc::default() },
        };
        let [a, b] = ["a", "b"].map(|id| Id::parse(id).unwrap());
        let valid = Duration::from_secs(1);
        panels.pending(&station, &a);
        panels.pending(&station, &b);
        panels.rule(&station, &a, Ruling::Refuse, Reason::RequestUnsafe, valid);
        panels.rule(&station, &b, Ruling::Review, Reason::LooksSpent, valid);
        // A person decides on what is still shown.
        panels.rule(&station, &b, Ruling::Allow, Reason::LooksSpent, valid);
        panels.stopped(&station);
        panels.rule(&station, &b, Ruling::Allow, Reason::Passed, valid);
        let heard: Vec<String> = std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|order| match order {
                Order::Pending(id) => format!("{} is judged", id.as_str()),
                Order::Ruled { request, ruling, .. } => format!("{} is ruled {ruling:?}", request.as_str()),
                Order::Stopped(n) => format!("stopped, {n} stops"),
            })
            .collect();
        assert_eq!(
            heard,
            ["a is judged", "b is judged", "b is ruled Review", "b is ruled Allow", "stopped, 2 stops"]
        );
    }

    #[test]
    fn a_service_that_does_not_come_round_is_not_felt() {
        assert!(!Pulse::new().is_felt(), "before it serves");
        let pulse = Pulse { began: Instant::now() - 2 * STALL, at: AtomicU64::new(1) };
        assert!(!pulse.is_felt());
        pulse.mark();
        assert!(pulse.is_felt());
    }

    #[test]
    fn a_line_is_a_device_and_a_station() {
        let station = Id::parse("press-4").unwrap();
        assert_eq!(parse_line("/dev/ttyACM0=press-4"), Some(("/dev/ttyACM0", station.clone())));
        // Devices by path may have the sign in their name.
        assert_eq!(parse_line("/dev/serial/by-id/a=b=press-4"), Some(("/dev/serial/by-id/a=b", station)));
        for bad in ["", "/dev/ttyACM0", "=press-4", "/dev/x=", "/dev/x=a/b"] {
            assert_eq!(parse_line(bad), None, "{bad}");
        }
    }
}
