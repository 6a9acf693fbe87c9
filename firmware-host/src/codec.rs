//! Frames as bytes: version, postcard, CRC-32C, COBS, and a zero that ends them.
//!
//! Not where frames begin and end in a stream (`deframer`). Invariant: `decode` accepts exactly what `encode`
//! writes, byte for byte. A second spelling of the same frame (a long varint, a needless COBS block, bytes behind
//! the end) is refused, so a damaged frame must be another *well-formed* frame of the same CRC to get through.

use crate::frame::{Frame, Kind, Packet, VERSION};

/// The longest frame on the wire, its zero included.
pub const MAX_WIRE: usize = 256;
/// The longest frame before COBS, its CRC included: COBS adds one byte to up to 253, and the zero is one more.
pub const MAX_BODY: usize = MAX_WIRE - 3;
/// Bytes of the CRC.
const CRC_LEN: usize = 4;

/// CRC-32C (Castagnoli): it finds every error of up to five bits in frames of this length.
pub(crate) static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Why bytes are not a frame, or a frame has no bytes. Codes are append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// Not COBS.
    Stuffing,
    /// Shorter than a version and a CRC.
    TooShort,
    /// Longer than [`MAX_WIRE`].
    TooLong,
    /// The CRC does not fit.
    Checksum,
    /// Another version of the protocol.
    Version(u8),
    /// Not the bytes of a frame, or bytes behind it.
    Malformed,
    /// A frame, but not spelled as `encode` would.
    Spelling,
    /// A message from the end that does not send it.
    Direction,
}

impl FrameError {
    /// The number that stands for it in logs and vectors.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Stuffing => 1,
            Self::TooShort => 2,
            Self::TooLong => 3,
            Self::Checksum => 4,
            Self::Version(_) => 5,
            Self::Malformed => 6,
            Self::Spelling => 7,
            Self::Direction => 8,
        }
    }
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Stuffing => f.write_str("a frame is not COBS"),
            Self::TooShort => f.write_str("a frame is too short"),
            Self::TooLong => write!(f, "a frame is longer than {MAX_WIRE} bytes"),
            Self::Checksum => f.write_str("a frame's CRC does not fit"),
            Self::Version(v) => write!(f, "a frame has version {v}, this is version {VERSION}"),
            Self::Malformed => f.write_str("a frame's bytes are not a frame"),
            Self::Spelling => f.write_str("a frame is spelled another way than it is sent"),
            Self::Direction => f.write_str("a message came from the end that does not send it"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Whether the end that sends the frame may send what it carries.
fn is_directed(frame: &Frame) -> bool {
    match &frame.kind {
        Kind::Flow(flow) => match &flow.packet {
            Packet::Data(data) => data.message.sender() == frame.from,
            Packet::Beat(_) | Packet::Ack | Packet::Nak => true,
        },
        Kind::Hello(_) => true,
    }
}

/// Writes `frame` with its closing zero and returns the bytes.
///
/// # Errors
/// [`FrameError::TooLong`] or [`FrameError::Direction`]; no frame that the link makes is either.
pub fn encode<'b>(frame: &Frame, out: &'b mut [u8; MAX_WIRE]) -> Result<&'b [u8], FrameError> {
    if !is_directed(frame) {
        return Err(FrameError::Direction);
    }
    let mut body = [0; MAX_BODY];
    let body = postcard::to_slice_crc32(&(VERSION, frame), &mut body, CRC.digest())
        .map_err(|_| FrameError::TooLong)?;
    let n = cobs::try_encode(body, &mut out[..MAX_WIRE - 1]).map_err(|_| FrameError::TooLong)?;
    out[n] = 0;
    Ok(&out[..=n])
}

/// Reads a frame from its bytes without the closing zero.
///
/// # Errors
/// [`FrameError`] names the first thing that is wrong.
pub fn decode(wire: &[u8]) -> Result<Frame, FrameError> {
    if wire.len() >= MAX_WIRE {
        return Err(FrameError::TooLong);
    }
    let mut body = [0; MAX_WIRE];
    let n = cobs::decode(wire, &mut body).map_err(|_| FrameError::Stuffing)?;
    let (body, checksum) = body[..n].split_last_chunk::<CRC_LEN>().ok_or(FrameError::TooShort)?;
    if CRC.checksum(body) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Checksum);
    }
    match body.split_first() {
        None => Err(FrameError::TooShort),
        Some((&VERSION, rest)) => parse(rest, wire),
        Some((&version, _)) => Err(FrameError::Version(version)),
    }
}

/// Reads what follows the version, and holds its one spelling against `wire`.
fn parse(rest: &[u8], wire: &[u8]) -> Result<Frame, FrameError> {
    match postcard::take_from_bytes::<Frame>(rest) {
        Ok((frame, [])) if is_directed(&frame) => {
            let mut again = [0; MAX_WIRE];
            match encode(&frame, &mut again)?.split_last() {
                Some((0, spelled)) if spelled == wire => Ok(frame),
                _ => Err(FrameError::Spelling),
            }
        }
        Ok((_, [])) => Err(FrameError::Direction),
        _ => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Data, Flow, Role, Seq};
    use crate::message::{Message, ReasonCode, Ruled, Ruling};
    use crate::session::Session;
    use crate::tick::{Tick, Ticks};
    use r2d_core::id::Id;

    fn longest() -> Frame {
        let id = Id::parse(&"x".repeat(r2d_core::id::MAX_ID_LEN)).unwrap();
        let ruled = Ruled {
            station: id.clone(),
            request: id,
            ruling: Ruling::Allow,
            reason: ReasonCode(u8::MAX),
            as_of: Tick(u64::MAX),
            valid: Ticks(u32::MAX),
        };
        let data = Data { seq: Seq(u32::MAX), message: Message::Ruled(ruled) };
        let flow = Flow { session: Session(u32::MAX), ack: Seq(u32::MAX), packet: Packet::Data(data) };
        Frame { from: Role::Host, kind: Kind::Flow(flow) }
    }

    #[test]
    fn the_longest_message_fits_into_a_frame_and_comes_back() {
        let mut out = [0; MAX_WIRE];
        let wire = encode(&longest(), &mut out).unwrap();
        assert!(wire.len() < 200, "{}", wire.len());
        assert_eq!(decode(&wire[..wire.len() - 1]), Ok(longest()));
    }

    #[test]
    fn a_message_from_the_wrong_end_is_neither_written_nor_read() {
        let wrong = Frame { from: Role::Panel, ..longest() };
        assert_eq!(encode(&wrong, &mut [0; MAX_WIRE]), Err(FrameError::Direction));
        let mut body = [0; MAX_BODY];
        let body = postcard::to_slice_crc32(&(VERSION, &wrong), &mut body, CRC.digest()).unwrap();
        let mut wire = [0; MAX_WIRE];
        let n = cobs::try_encode(body, &mut wire).unwrap();
        assert_eq!(decode(&wire[..n]), Err(FrameError::Direction));
    }

    #[test]
    fn a_closing_zero_or_a_zero_inside_is_not_part_of_a_frame() {
        let mut out = [0; MAX_WIRE];
        let wire = encode(&longest(), &mut out).unwrap();
        assert!(decode(wire).is_err());
        assert!(decode(&[]).is_err());
        assert!(decode(&[0]).is_err());
    }

    #[test]
    fn codes_of_frame_errors_never_change() {
        use FrameError as E;
        let all = [
            E::Stuffing,
            E::TooShort,
            E::TooLong,
            E::Checksum,
            E::Version(9),
            E::Malformed,
            E::Spelling,
            E::Direction,
        ];
        assert_eq!(all.map(FrameError::code), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
