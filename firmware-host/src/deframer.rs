//! Finds frames in a stream of bytes.
//!
//! postcard's own accumulator takes the tail of a frame that was too long for a frame. Here nothing counts before
//! the first zero, and whatever outgrows the buffer is thrown away up to the next one. Invariant: a frame is only
//! read from bytes that stood between two zeros.

use crate::codec::{self, FrameError, MAX_WIRE};
use crate::frame::Frame;

/// Collects bytes up to the next zero.
#[derive(Clone, Debug)]
pub struct Deframer {
    bytes: heapless::Vec<u8, { MAX_WIRE - 1 }>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No zero has come yet: this may be the middle of something.
    Unsynced,
    /// Between two zeros.
    Collecting,
    /// What came since the last zero is too long to be a frame.
    Overlong,
}

impl Default for Deframer {
    fn default() -> Self {
        Self { bytes: heapless::Vec::new(), state: State::Unsynced }
    }
}

impl Deframer {
    /// Takes a byte; the zero behind a frame gives the frame, or why it is none.
    pub fn push(&mut self, byte: u8) -> Option<Result<Frame, FrameError>> {
        if byte != 0 {
            if self.state == State::Collecting && self.bytes.push(byte).is_err() {
                self.state = State::Overlong;
            }
            return None;
        }
        let ended = core::mem::replace(&mut self.state, State::Collecting);
        let result = match ended {
            State::Overlong => Some(Err(FrameError::TooLong)),
            // Zeros in a row are silence, and a way to end whatever came before.
            State::Collecting if !self.bytes.is_empty() => Some(codec::decode(&self.bytes)),
            State::Collecting | State::Unsynced => None,
        };
        self.bytes.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Flow, Kind, Packet, Role, Seq};
    use crate::session::Session;
    use std::vec::Vec;

    fn frame() -> Frame {
        let flow = Flow { session: Session(7), ack: Seq(3), packet: Packet::Nak };
        Frame { from: Role::Panel, kind: Kind::Flow(flow) }
    }

    fn wire() -> Vec<u8> {
        codec::encode(&frame(), &mut [0; MAX_WIRE]).unwrap().to_vec()
    }

    fn push_all(deframer: &mut Deframer, bytes: &[u8]) -> Vec<Result<Frame, FrameError>> {
        bytes.iter().filter_map(|b| deframer.push(*b)).collect()
    }

    #[test]
    fn nothing_counts_before_the_first_zero() {
        let mut d = Deframer::default();
        assert_eq!(push_all(&mut d, &wire()), []);
        assert_eq!(push_all(&mut d, &wire()), [Ok(frame())]);
    }

    #[test]
    fn the_tail_of_an_overlong_frame_is_never_a_frame() {
        for excess in 0..600 {
            let mut d = Deframer::default();
            let mut stream = Vec::from([0]);
            stream.resize(1 + MAX_WIRE + excess, 0x55);
            stream.extend(wire());
            assert_eq!(push_all(&mut d, &stream), [Err(FrameError::TooLong)], "{excess}");
            assert_eq!(push_all(&mut d, &wire()), [Ok(frame())]);
        }
    }

    #[test]
    fn the_next_zero_ends_whatever_came_before() {
        let mut d = Deframer::default();
        let whole = wire();
        for cut in 1..whole.len() {
            let mut stream = Vec::from([0]);
            stream.extend(&whole[..cut]);
            stream.push(0);
            stream.extend(&whole);
            let results = push_all(&mut d, &stream);
            assert_eq!(results.last(), Some(&Ok(frame())), "{cut}");
            assert_eq!(
                results.iter().filter(|r| r.is_ok()).count(),
                if cut + 1 == whole.len() { 2 } else { 1 }
            );
        }
    }
}
