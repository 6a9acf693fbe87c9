//! One serial line: opening it, speaking on it, and opening it again.
//!
//! Time here is milliseconds since the line was opened. Invariants: every wait has a bound; a session begins with a new
//! random number, so that nothing of an older one is taken for new; nothing of before a stop is announced behind it.

use super::{Happening, Judged, Order, Outlet, What};
use crate::entry::Ended;
use crate::output;
use r2d_core::id::Id;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::host::{Host, HostEvent};
use r2d_firmware_host::link::SendError;
use r2d_firmware_host::message::{self, Wish};
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::Tick;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
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
    /// The station's request that is being judged, as far as the orders say that were read.
    pub(super) judging: Option<Id>,
    pub(super) judged: Judged,
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
                            "; hint: add the service's user to the group that owns it, often dialout"
                        }
                        _ => "; hint: is it plugged in, and is panel.lines right?",
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
            // Nothing of what is ordered meanwhile is of use later, but for what is being judged.
            loop {
                match tokio::time::timeout_at(until, self.orders.recv()).await {
                    Ok(Some(order)) => self.note(&order),
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
            while let Some(bytes) = host.transmit(now(), &mut wire) {
                match tokio::time::timeout(WRITE, stream.write_all(bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return End::Line(error),
                    Err(_elapsed) => return End::Line(io::ErrorKind::TimedOut.into()),
                }
            }
        }
    }

    fn note(&mut self, order: &Order) {
        self.judging = order.judged();
    }

    /// After an order was lost: those before it are of no use to the next session, which begins with what is true now.
    fn catch_up(&mut self) {
        while self.orders.try_recv().is_ok() {}
        self.judging = self.judged.lock().unwrap_or_else(PoisonError::into_inner).clone();
    }

    fn pass_on(&mut self, host: &mut Host, order: &Order) {
        self.note(order);
        let sent = match order {
            Order::Pending(request) => host.pending(self.station.clone(), request.clone()),
            Order::Ruled { request, ruling, reason, valid } => {
                host.rule(self.station.clone(), request.clone(), *ruling, *reason, *valid)
            }
            Order::Stopped => host.ready(self.station.clone()),
        };
        self.sent(sent);
    }

    /// What could not be queued must not be missed by the panel: its session ends. Without one there is none to end.
    fn sent(&self, sent: Result<(), SendError>) {
        if sent.is_err_and(|e| e != SendError::Down) {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Tells whether a request of the station is being judged.
    fn announce(&self, host: &mut Host) {
        let sent = match &self.judging {
            Some(request) => host.pending(self.station.clone(), request.clone()),
            None => host.ready(self.station.clone()),
        };
        self.sent(sent);
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

    fn pressed(&self, press: message::Press) {
        let (here, message::Press { station, wish }) = (&self.station, press);
        if station != *here {
            let hint = "hint: panel.lines names the station";
            output::warn(format!("a button of {station} was pressed on the line of {here}; {hint}"));
        } else {
            self.tell(What::Pressed(wish));
        }
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
            HostEvent::Press(press) => {
                match press.wish {
                    // What comes of a request made before it must not match what is announced behind a reset.
                    Wish::Stop => self.judging = None,
                    // A latched panel takes nothing: what it was told meanwhile is told again.
                    Wish::Reset => self.announce(host),
                    _ => {}
                }
                self.pressed(press);
            }
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
    use super::*;
    use r2d_firmware_host::message::{Press, ReasonCode, Ruling};
    use r2d_firmware_host::tick::Ticks;
    use std::sync::atomic::AtomicU64;
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
            judging: None,
            judged: Judged::default(),
        }
    }

    #[test]
    fn a_line_that_lost_an_order_begins_anew_with_what_is_judged_now() {
        let ((orders, inbox), (presses, _pressed), (news, _told)) = (channel(4), channel(4), channel(4));
        let mut line = line(inbox, Outlet { presses, news, n_lost: Arc::default() });
        orders.try_send(Order::Pending(id("a"))).unwrap();
        *line.judged.lock().unwrap() = Some(id("b"));
        line.catch_up();
        assert_eq!(line.judging, Some(id("b")));
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
    fn behind_a_stop_nothing_of_before_is_being_judged() {
        let ((_orders, inbox), (presses, mut pressed), (news, _told)) = (channel(4), channel(4), channel(4));
        let n_lost = Arc::new(AtomicU64::new(0));
        let mut line = line(inbox, Outlet { presses, news, n_lost });
        let mut host = Host::new(id("edge"), Nonce(7));
        let press = |wish| HostEvent::Press(Press { station: id("press-4"), wish });
        line.pass_on(&mut host, &Order::Pending(id("a")));
        line.learn(&mut host, press(Wish::Reset));
        assert_eq!(line.judging, Some(id("a")), "a reset alone takes nothing back");
        line.learn(&mut host, press(Wish::Stop));
        assert_eq!(line.judging, None);
        line.learn(&mut host, press(Wish::Reset));
        let (ruling, reason, valid) = (Ruling::Allow, ReasonCode::default(), Ticks(1000));
        line.pass_on(&mut host, &Order::Ruled { request: id("a"), ruling, reason, valid });
        assert_eq!(line.judging, None);
        // Told of a request between the press and its being heard, the line is told to forget that too.
        line.pass_on(&mut host, &Order::Pending(id("b")));
        line.pass_on(&mut host, &Order::Stopped);
        assert_eq!(line.judging, None);
        assert!((0..3).all(|_| matches!(pressed.try_recv().unwrap().what, What::Pressed(_))));
    }
}
