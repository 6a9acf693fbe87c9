//! Moves bytes between a port and one end of the line.
//!
//! Thin: it decides nothing. The port says what it can do without waiting ([`ReadReady`], [`WriteReady`]), so a
//! turn never blocks. Invariant: a turn reads at most [`MAX_WIRE`] bytes and starts at most [`FRAMES_PER_TURN`]
//! frames, however fast the other end talks, so that a loop around it keeps its time.

use crate::codec::MAX_WIRE;
use crate::host::{Host, HostEvent};
use crate::link::Event;
use crate::panel::Panel;
use crate::tick::Tick;
use embedded_io::{Read, ReadReady, Write, WriteReady};

/// So many frames are started in one turn.
pub const FRAMES_PER_TURN: usize = 8;

/// One end of the line, as the pump sees it.
pub trait End {
    /// What it tells.
    type Event;
    /// Takes a byte.
    fn receive(&mut self, now: Tick, byte: u8) -> Option<Self::Event>;
    /// Lets time pass.
    fn tick(&mut self, now: Tick) -> Option<Self::Event>;
    /// Gives the next bytes.
    fn transmit<'b>(&mut self, now: Tick, out: &'b mut [u8; MAX_WIRE]) -> Option<&'b [u8]>;
}

impl End for Host {
    type Event = HostEvent;
    fn receive(&mut self, now: Tick, byte: u8) -> Option<HostEvent> {
        Self::receive(self, now, byte)
    }
    fn tick(&mut self, now: Tick) -> Option<HostEvent> {
        Self::tick(self, now)
    }
    fn transmit<'b>(&mut self, now: Tick, out: &'b mut [u8; MAX_WIRE]) -> Option<&'b [u8]> {
        Self::transmit(self, now, out)
    }
}

impl End for Panel {
    type Event = Event;
    fn receive(&mut self, now: Tick, byte: u8) -> Option<Event> {
        Self::receive(self, now, byte)
    }
    fn tick(&mut self, now: Tick) -> Option<Event> {
        Self::tick(self, now)
    }
    fn transmit<'b>(&mut self, now: Tick, out: &'b mut [u8; MAX_WIRE]) -> Option<&'b [u8]> {
        Self::transmit(self, now, out)
    }
}

/// The bytes of a frame that the port has not taken yet.
#[derive(Clone, Debug)]
pub struct Pump {
    out: [u8; MAX_WIRE],
    len: usize,
    taken: usize,
}

impl Default for Pump {
    fn default() -> Self {
        Self { out: [0; MAX_WIRE], len: 0, taken: 0 }
    }
}

impl Pump {
    /// One turn: what has come in, the time, what must go out.
    ///
    /// # Errors
    /// The port's own error; the turn ends there, and the next one goes on.
    pub fn turn<P, E>(
        &mut self,
        now: Tick,
        port: &mut P,
        end: &mut E,
        mut tell: impl FnMut(E::Event),
    ) -> Result<(), P::Error>
    where
        P: Read + ReadReady + Write + WriteReady,
        E: End,
    {
        let read = read_in(now, port, end, &mut tell);
        // Time passes and frames leave even when reading failed.
        if let Some(event) = end.tick(now) {
            tell(event);
        }
        let written = self.write_out(now, port, end);
        read.and(written)
    }

    fn write_out<P, E>(&mut self, now: Tick, port: &mut P, end: &mut E) -> Result<(), P::Error>
    where
        P: Write + WriteReady,
        E: End,
    {
        for _ in 0..FRAMES_PER_TURN {
            if self.taken == self.len {
                self.taken = 0;
                self.len = end.transmit(now, &mut self.out).map_or(0, <[u8]>::len);
                if self.len == 0 {
                    return Ok(());
                }
            }
            while self.taken < self.len {
                if !port.write_ready()? {
                    return Ok(());
                }
                match port.write(&self.out[self.taken..self.len])? {
                    0 => return Ok(()),
                    n => self.taken = self.len.min(self.taken + n),
                }
            }
        }
        Ok(())
    }
}

fn read_in<P, E>(
    now: Tick,
    port: &mut P,
    end: &mut E,
    tell: &mut impl FnMut(E::Event),
) -> Result<(), P::Error>
where
    P: Read + ReadReady,
    E: End,
{
    let mut bytes = [0; 32];
    let mut n_read = 0;
    while n_read < MAX_WIRE && port.read_ready()? {
        let n = port.read(&mut bytes)?;
        if n == 0 {
            break;
        }
        n_read += n;
        for byte in &bytes[..n.min(bytes.len())] {
            if let Some(event) = end.receive(now, *byte) {
                tell(event);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
