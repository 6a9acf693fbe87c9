//! One serial line: opening it, speaking on it, and opening it again.
//!
//! Time here is milliseconds since the line was opened. Invariants: every wait has a bound; a session begins with a new
//! random number, so that nothing of an older one is taken for new; behind a stop a panel is told nothing before the service
//! has heard of that stop too.

use super::{Asked, Happening, Order, Outlet, Pulse, State, What};
use crate::entry::Ended;
use crate::output;
use r2d_core::id::Id;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::host::{Host, HostEvent};
use r2d_firmware_host::link::SendError;
use r2d_firmware_host::message::{self, Ruling, Wish};
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::{Tick, Ticks};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::Receiver;
use tokio_serial::{SerialPortBuilderExt, SerialStream};

/// From one try to open a line to the next.
const REOPEN: Duration = Duration::from_secs(1);
/// How often time passes on a line; beats are twenty times as long.
const PULSE: Duration = Duration::from_millis(25);
/// Longest wait for the system to take a frame.
const WRITE: Duration = Duration::from_millis(500);
/// Most bytes that are read before other work gets its turn.
const CHUNK: usize = 256;

/// A line and its station.
pub(super) struct Line {
    pub(super) device: String,
    pub(super) baud: u32,
    /// This device's id.
    pub(super) me: Id,
    pub(super) station: Id,
    pub(super) orders: Receiver<Order>,
    pub(super) lost: Arc<AtomicBool>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) outlet: Outlet,
    /// Stops that this line has heard of.
    pub(super) stops: Arc<AtomicU64>,
    /// The station, as far as the orders say that were read.
    pub(super) known: State,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) pulse: Arc<Pulse>,
}

/// Why speaking ended.
enum End {
    /// The service is over.
    Service,
    /// The line does not work any more.
    Line(io::Error),
}

impl Line {
    /// Speaks until the service drops its end.
    pub(super) async fn run(mut self) {
        let mut told = None;
        loop {
            let fault = match tokio_serial::new(&self.device, self.baud).open_native_async() {
                Ok(stream) => {
                    output::note(format!("panel line {} is open, for {}", self.device, self.station));
                    told = None;
                    match self.speak(stream).await {
                        End::Service => return,
                        End::Line(error) => format!("panel line {} broke off: {error}", self.device),
                    }
                }
                Err(error) => {
                    let hint = match error.kind() {
                        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
                            "; hint: add the service's user to the group that owns it, often dialout; a systemd unit's \
                             DeviceAllow must name it too"
                        }
                        _ => {
                            "; hint: is it plugged in, is panel.lines right, and has no other program got it (a getty, \
                             ModemManager, another r2d-edge)?"
                        }
                    };
                    format!("panel line {} cannot be opened: {error}{hint}", self.device)
                }
            };
            // Once for each fault, not once a second.
            if told.as_ref() != Some(&fault) {
                output::warn(&fault);
                told = Some(fault);
            }
            let until = tokio::time::Instant::now() + REOPEN;
            // Nothing of what is ordered meanwhile is of use later, but for what is open.
            loop {
                match tokio::time::timeout_at(until, self.orders.recv()).await {
                    Ok(Some(order)) => {
                        let _in_force = self.note(&order);
                    }
                    Ok(None) => return,
                    Err(_elapsed) => break,
                }
            }
        }
    }

    /// Speaks on an open line until it breaks.
    async fn speak(&mut self, mut stream: SerialStream) -> End {
        let began = Instant::now();
        let now = || Tick(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut host = Host::new(self.me.clone(), nonce());
        let end = self.converse(&mut stream, &mut host, &now).await;
        self.part(&host, now());
        end
    }

    /// A session that stands ends without a word from the other end.
    fn part(&self, host: &Host, now: Tick) {
        if host.is_up(now) {
            self.tell(What::Disconnected(Ended::Line));
        }
    }

    async fn converse(
        &mut self,
        stream: &mut SerialStream,
        host: &mut Host,
        now: &(dyn Fn() -> Tick + Sync),
    ) -> End {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut input = [0; CHUNK];
        let mut wire = [0; MAX_WIRE];
        loop {
            if self.lost.swap(false, Ordering::AcqRel) {
                output::warn(format!("{} was not told in time; its session begins anew", self.station));
                self.part(host, now());
                self.catch_up();
                *host = Host::new(self.me.clone(), nonce());
            }
            tokio::select! {
                read = stream.read(&mut input) => match read {
                    Ok(0) => return End::Line(io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => for byte in &input[..n] {
                        if let Some(event) = host.receive(now(), *byte) {
                            self.learn(host, event);
                        }
                    },
                    Err(error) => return End::Line(error),
                },
                order = self.orders.recv() => match order {
                    Some(order) => self.pass_on(host, &order),
                    None => return End::Service,
                },
                _ = pulse.tick() => if let Some(event) = host.tick(now()) {
                    self.learn(host, event);
                },
            }
            while self.pulse.is_felt()
                && let Some(bytes) = host.transmit(now(), &mut wire)
            {
                match tokio::time::timeout(WRITE, stream.write_all(bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return End::Line(error),
                    Err(_elapsed) => return End::Line(io::ErrorKind::TimedOut.into()),
                }
            }
        }
    }

    /// Whether an order is in force: one that the service gave before it heard of the last stop is not.
    fn note(&mut self, order: &Order) -> bool {
        self.known.follow(order);
        self.forget_before_stop()
    }

    /// After an order was lost: those before it are of no use to the next session, which begins with what is true now.
    fn catch_up(&mut self) {
        while self.orders.try_recv().is_ok() {}
        self.known = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.forget_before_stop();
    }

    /// Whether the service has heard of every stop; nothing is open before it has.
    fn forget_before_stop(&mut self) -> bool {
        let heard = self.known.stops >= self.stops.load(Ordering::Acquire);
        if !heard {
            self.known.open = None;
        }
        heard
    }

    fn pass_on(&mut self, host: &mut Host, order: &Order) {
        if !self.note(order) {
            return;
        }
        let sent = match order {
            Order::Pending(request) => host.pending(self.station.clone(), request.clone()),
            Order::Ruled { request, ruling, reason, valid } => {
                host.rule(self.station.clone(), request.clone(), *ruling, *reason, *valid)
            }
            Order::Stopped(_) => host.ready(self.station.clone()),
        };
        self.sent(sent);
    }

    /// What could not be queued must not be missed by the panel: its session ends. Without one there is none to end.
    fn sent(&self, sent: Result<(), SendError>) {
        if sent.is_err_and(|e| e != SendError::Down) {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Tells whether a request of the station is being judged, or a person is asked about it.
    fn announce(&self, host: &mut Host) {
        let left = |asked: &Asked| asked.until.saturating_duration_since(Instant::now());
        let open = self.known.open.as_ref();
        let open = open.filter(|open| open.asked.as_ref().is_none_or(|asked| !left(asked).is_zero()));
        let station = || self.station.clone();
        let Some(open) = open else { return self.sent(host.ready(station())) };
        self.sent(host.pending(station(), open.request.clone()));
        if let Some(asked) = &open.asked {
            let valid = Ticks(u32::try_from(left(asked).as_millis()).unwrap_or(u32::MAX));
            self.sent(host.rule(station(), open.request.clone(), Ruling::Review, asked.reason, valid));
        }
    }

    /// Hands on what happened. What finds no room is like a thing that did not happen, and is counted; a stop always has room.
    fn tell(&self, what: What) {
        let Outlet { presses, news, n_lost } = &self.outlet;
        let outlet = if matches!(what, What::Pressed(_)) { presses } else { news };
        let happening = Happening { station: self.station.clone(), what };
        let is_stop = happening.is_stop();
        if outlet.try_send(happening).is_ok() {
            return;
        }
        if is_stop {
            self.stop.store(true, Ordering::Release);
        } else {
            n_lost.fetch_add(1, Ordering::Relaxed);
            output::warn(format!("something at the panel of {} was not taken: too much waits", self.station));
        }
    }

    fn pressed(&mut self, host: &mut Host, press: message::Press) {
        let (here, message::Press { station, wish }) = (&self.station, press);
        if station != *here {
            let hint = "hint: panel.lines names the station";
            output::warn(format!("a button of {station} was pressed on the line of {here}; {hint}"));
            return;
        }
        match wish {
            // Before the service can hear of it.
            Wish::Stop => {
                self.stops.fetch_add(1, Ordering::AcqRel);
                self.forget_before_stop();
            }
            // A latched panel takes nothing: what it was told meanwhile is told again.
            Wish::Reset => self.announce(host),
            _ => {}
        }
        self.tell(What::Pressed(wish));
    }

    fn learn(&mut self, host: &mut Host, event: HostEvent) {
        let station = &self.station;
        match event {
            HostEvent::Up(panel) => {
                output::note(format!("panel {panel} at {station} is connected"));
                self.announce(host);
                self.tell(What::Connected(panel));
            }
            HostEvent::Down(why) => {
                output::warn(format!("the session with the panel at {station} ended: {why:?}"));
                self.tell(What::Disconnected(why.cause.into()));
            }
            HostEvent::Press(press) => self.pressed(host, press),
            HostEvent::Report(report) => {
                let request = report.request.as_ref().map_or("none", Id::as_str);
                output::note(format!(
                    "panel at {station}: permit {:?}, light {:?}, request {request}",
                    report.permit, report.light
                ));
                self.tell(What::Reported(report));
            }
            _ => {}
        }
    }
}

/// A number that no earlier session had, from the standard library's own random seeds.
fn nonce() -> Nonce {
    use std::hash::{BuildHasher, Hasher};
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    // The low half alone is as random as the whole.
    Nonce((number & u64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::super::Open;
    use super::*;
    use r2d_firmware_host::button::Button;
    use r2d_firmware_host::light::Light;
    use r2d_firmware_host::message::{Permit, ReasonCode};
    use r2d_firmware_host::panel::Panel;
    use r2d_firmware_host::tick::BEAT;
    use tokio::sync::mpsc::channel;

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn line(orders: Receiver<Order>, outlet: Outlet) -> Line {
        Line {
            device: "/dev/null".into(),
            baud: 115_200,
            me: id("edge"),
            station: id("press-4"),
            orders,
            lost: Arc::default(),
            stop: Arc::default(),
            outlet,
            stops: Arc::default(),
            known: State::default(),
            state: Arc::default(),
            pulse: Arc::new(Pulse::new()),
        }
    }

    fn judging(request: &str) -> Option<Open> {
        Some(Open { request: id(request), asked: None })
    }

    fn ruled(request: &str, ruling: Ruling) -> Order {
        Order::Ruled { request: id(request), ruling, reason: ReasonCode::default(), valid: Ticks(30_000) }
    }

    /// A line with a panel at its other end, which a wire without faults joins to it.
    struct Wired {
        line: Line,
        host: Host,
        panel: Panel,
        now: Tick,
    }

    impl Wired {
        fn new(line: Line) -> Self {
            let panel = Panel::new(id("panel-1"), id("press-4"), Nonce(2));
            let mut wired = Self { line, host: Host::new(id("edge"), Nonce(1)), panel, now: Tick(0) };
            wired.carry(10);
            wired
        }

        /// Carries what is due.
        fn carry(&mut self, ticks: u32) {
            let mut out = [0; MAX_WIRE];
            for _ in 0..ticks {
                self.now = self.now.after(Ticks(1));
                for _ in 0..8 {
                    for byte in self.host.transmit(self.now, &mut out).unwrap_or_default() {
                        self.panel.receive(self.now, *byte);
                    }
                    for byte in self.panel.transmit(self.now, &mut out).unwrap_or_default() {
                        if let Some(event) = self.host.receive(self.now, *byte) {
                            self.line.learn(&mut self.host, event);
                        }
                    }
                }
                self.panel.tick(self.now);
            }
        }

        fn order(&mut self, order: &Order) {
            self.line.pass_on(&mut self.host, order);
            self.carry(10);
        }

        fn press(&mut self, button: Button) {
            self.panel.press(self.now, button).unwrap();
            // Behind a stop until the host has told by a beat that it heard it.
            self.carry(if button == Button::Stop { BEAT.0 + 10 } else { 10 });
        }

        fn shows(&self) -> (Permit, Light) {
            let outputs = self.panel.outputs(self.now);
            (outputs.permit, outputs.light)
        }
    }

    #[test]
    fn a_line_that_lost_an_order_begins_anew_with_what_is_judged_now() {
        let ((orders, inbox), (presses, _pressed), (news, _told)) = (channel(4), channel(4), channel(4));
        let mut line = line(inbox, Outlet { presses, news, n_lost: Arc::default() });
        orders.try_send(Order::Pending(id("a"))).unwrap();
        line.state.lock().unwrap().follow(&Order::Pending(id("b")));
        line.catch_up();
        assert_eq!(line.known.open, judging("b"));
        assert!(line.orders.try_recv().is_err(), "what was ordered before is not told behind it");
    }

    #[test]
    fn a_stop_that_finds_no_room_is_heard_all_the_same() {
        let ((_orders, inbox), (presses, mut pressed), (news, _told)) = (channel(4), channel(1), channel(4));
        let n_lost = Arc::new(AtomicU64::new(0));
        let line = line(inbox, Outlet { presses, news, n_lost: Arc::clone(&n_lost) });
        for wish in [Wish::Ask(1), Wish::Ask(2), Wish::Stop] {
            line.tell(What::Pressed(wish));
        }
        assert!(line.stop.load(Ordering::Acquire));
        assert_eq!(n_lost.load(Ordering::Relaxed), 1, "the second question alone");
        assert!(matches!(pressed.try_recv().unwrap().what, What::Pressed(Wish::Ask(1))));
    }

    #[test]
    fn behind_a_stop_nothing_of_before_it_is_told() {
        let ((_orders, inbox), (presses, mut pressed), (news, _told)) = (channel(4), channel(8), channel(8));
        let mut wired = Wired::new(line(inbox, Outlet { presses, news, n_lost: Arc::default() }));
        wired.order(&Order::Pending(id("a")));
        wired.press(Button::Reset);
        assert_eq!(wired.line.known.open, judging("a"), "a reset alone takes nothing back");
        wired.press(Button::Stop);
        assert_eq!(wired.line.known.open, None);
        wired.press(Button::Reset);
        assert_eq!(wired.shows(), (Permit::Closed, Light::Green));
        // What the service ordered before it heard of the stop.
        for order in [ruled("a", Ruling::Allow), Order::Pending(id("b")), ruled("b", Ruling::Allow)] {
            wired.order(&order);
            assert_eq!(wired.shows(), (Permit::Closed, Light::Green));
        }
        wired.order(&Order::Stopped(1));
        for order in [Order::Pending(id("c")), ruled("c", Ruling::Allow)] {
            wired.order(&order);
        }
        assert_eq!(wired.shows(), (Permit::Open, Light::Green));
        assert!((0..3).all(|_| matches!(pressed.try_recv().unwrap().what, What::Pressed(_))));
    }

    #[test]
    fn what_a_person_is_asked_is_told_again_behind_a_reset_until_its_time_is_up() {
        let ((_orders, inbox), (presses, _pressed), (news, _told)) = (channel(4), channel(8), channel(8));
        let mut wired = Wired::new(line(inbox, Outlet { presses, news, n_lost: Arc::default() }));
        wired.press(Button::Reset);
        for order in [Order::Pending(id("a")), ruled("a", Ruling::Review)] {
            wired.order(&order);
        }
        assert_eq!(wired.shows(), (Permit::Closed, Light::Blue));
        wired.press(Button::Reset);
        assert_eq!(wired.shows(), (Permit::Closed, Light::Blue));
        // Approved.
        wired.order(&ruled("a", Ruling::Allow));
        assert_eq!(wired.shows(), (Permit::Open, Light::Green));
        wired.press(Button::Reset);
        assert_eq!(wired.shows(), (Permit::Closed, Light::Green), "a reset opens nothing");

        let over = Asked { reason: ReasonCode::default(), until: Instant::now() };
        wired.line.known.open = Some(Open { request: id("b"), asked: Some(over) });
        wired.press(Button::Reset);
        assert_eq!(wired.shows(), (Permit::Closed, Light::Green));
    }
}
