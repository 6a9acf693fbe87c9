//! The pump on ports that take little, give much, or fail.

use super::*;
use crate::session::Nonce;
use core::convert::Infallible;
use r2d_core::id::Id;
use std::collections::VecDeque;
use std::vec::Vec;

/// A port in memory that takes at most `appetite` bytes a write and `room` bytes in all.
struct Port {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    appetite: usize,
    room: usize,
}

impl embedded_io::ErrorType for Port {
    type Error = Infallible;
}

impl Read for Port {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let n = buf.len().min(self.incoming.len());
        for (to, from) in buf.iter_mut().zip(self.incoming.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.incoming.is_empty())
    }
}

impl Write for Port {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        let n = buf.len().min(self.appetite).min(self.room);
        self.outgoing.extend(&buf[..n]);
        self.room -= n;
        Ok(n)
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl WriteReady for Port {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.room > 0)
    }
}

fn port(appetite: usize, room: usize) -> Port {
    Port { incoming: VecDeque::new(), outgoing: Vec::new(), appetite, room }
}

fn ends() -> (Host, Panel) {
    let id = |text| Id::parse(text).unwrap();
    (Host::new(id("edge-1"), Nonce(1)), Panel::new(id("panel-1"), id("press-4"), Nonce(2)))
}

#[test]
fn two_ends_meet_through_ports_that_take_a_byte_at_a_time() {
    let (mut host, mut panel) = ends();
    let (mut a, mut b) = (Pump::default(), Pump::default());
    let (mut left, mut right) = (port(1, usize::MAX), port(1, usize::MAX));
    let mut up = 0;
    for now in 0..100 {
        a.turn(Tick(now), &mut left, &mut host, |e| up += u32::from(matches!(e, HostEvent::Up(_)))).unwrap();
        right.incoming.extend(left.outgoing.drain(..));
        b.turn(Tick(now), &mut right, &mut panel, |e| up += u32::from(matches!(e, Event::Up(_)))).unwrap();
        left.incoming.extend(right.outgoing.drain(..));
    }
    assert_eq!(up, 2);
}

#[test]
fn a_turn_reads_and_writes_no_more_than_its_bounds() {
    let (_, mut panel) = ends();
    let mut flooded = port(usize::MAX, usize::MAX);
    flooded.incoming.extend(std::iter::repeat_n(0x11, 10_000));
    Pump::default().turn(Tick(0), &mut flooded, &mut panel, |_| ()).unwrap();
    assert!(flooded.incoming.len() >= 10_000 - MAX_WIRE - 32);
    assert!(flooded.outgoing.len() <= FRAMES_PER_TURN * MAX_WIRE);
}

#[test]
fn a_frame_that_found_no_room_goes_on_where_it_stopped() {
    let (mut host, _) = ends();
    let mut pump = Pump::default();
    let mut whole = port(usize::MAX, usize::MAX);
    Pump::default().turn(Tick(0), &mut whole, &mut host.clone(), |_| ()).unwrap();
    let mut narrow = port(3, 5);
    while narrow.outgoing.len() < whole.outgoing.len() {
        let before = narrow.outgoing.len();
        pump.turn(Tick(0), &mut narrow, &mut host, |_| ()).unwrap();
        assert_eq!(narrow.outgoing.len(), (before + 5).min(whole.outgoing.len()));
        narrow.room = 5;
    }
    assert_eq!(narrow.outgoing, whole.outgoing);
}
