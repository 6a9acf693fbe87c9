//! Frames on a bad line: reading never panics and never gives a frame that was not sent.
// Tests stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use line::{Dice, bytes_of, id};
use proptest::prelude::*;
use r2d_firmware_host::cause::CauseCode;
use r2d_firmware_host::codec::{FrameError, MAX_WIRE, decode};
use r2d_firmware_host::deframer::Deframer;
use r2d_firmware_host::frame::{Beat, Data, Flow, Frame, Hello, Kind, Packet, Role, Seq};
use r2d_firmware_host::light::Light;
use r2d_firmware_host::message::{
    Message, Pending, Permit, Press, Ready, ReasonCode, Report, Ruled, Ruling, Wish,
};
use r2d_firmware_host::session::{Nonce, Session};
use r2d_firmware_host::tick::{Tick, Ticks};

fn ids() -> impl Strategy<Value = r2d_firmware_host::Id> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| id(&text))
}

fn rulings() -> impl Strategy<Value = Ruling> {
    prop::sample::select(vec![Ruling::Undecided, Ruling::Refuse, Ruling::Review, Ruling::Allow])
}

fn wishes() -> impl Strategy<Value = Wish> {
    prop_oneof![
        any::<u8>().prop_map(Wish::Ask),
        Just(Wish::Stop),
        Just(Wish::Reset),
        ids().prop_map(Wish::Approve)
    ]
}

fn lights() -> impl Strategy<Value = Light> {
    prop::sample::select(vec![Light::Latched, Light::Yellow, Light::Red, Light::Blue, Light::Green])
}

fn messages() -> impl Strategy<Value = Message> {
    let report = (ids(), any::<bool>(), lights(), any::<u8>(), prop::option::of(ids()));
    prop_oneof![
        (ids(), ids()).prop_map(|(station, request)| Message::Pending(Pending { station, request })),
        (ids(), ids(), rulings(), any::<u8>(), any::<u64>(), any::<u32>()).prop_map(
            |(station, request, ruling, reason, as_of, valid)| Message::Ruled(Ruled {
                station,
                request,
                ruling,
                reason: ReasonCode(reason),
                as_of: Tick(as_of),
                valid: Ticks(valid),
            })
        ),
        ids().prop_map(|station| Message::Ready(Ready { station })),
        (ids(), wishes()).prop_map(|(station, wish)| Message::Press(Press { station, wish })),
        report.prop_map(|(station, open, light, cause, request)| Message::Report(Report {
            station,
            permit: if open { Permit::Open } else { Permit::Closed },
            light,
            cause: CauseCode(cause),
            request,
        })),
    ]
}

fn packets() -> impl Strategy<Value = (Role, Packet)> {
    let role = prop::sample::select(vec![Role::Host, Role::Panel]);
    prop_oneof![
        (role.clone(), any::<u64>(), any::<u64>())
            .prop_map(|(r, at, echo)| (r, Packet::Beat(Beat { at: Tick(at), echo: Tick(echo) }))),
        role.clone().prop_map(|r| (r, Packet::Ack)),
        role.prop_map(|r| (r, Packet::Nak)),
        (any::<u32>(), messages())
            .prop_map(|(seq, message)| (message.sender(), Packet::Data(Data { seq: Seq(seq), message }))),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    let hello = (any::<bool>(), ids(), any::<u32>(), prop::option::of(any::<u32>()), any::<u64>());
    prop_oneof![
        hello.prop_map(|(host, device, nonce, answer, at)| Frame {
            from: if host { Role::Host } else { Role::Panel },
            kind: Kind::Hello(Hello { device, nonce: Nonce(nonce), answer: answer.map(Nonce), at: Tick(at) }),
        }),
        (any::<u32>(), any::<u32>(), packets()).prop_map(|(session, ack, (from, packet))| Frame {
            from,
            kind: Kind::Flow(Flow { session: Session(session), ack: Seq(ack), packet }),
        }),
    ]
}

/// Everything that a reader makes of a stream.
fn read(stream: &[u8]) -> Vec<Frame> {
    let mut deframer = Deframer::default();
    stream.iter().filter_map(|b| deframer.push(*b)?.ok()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_frame_comes_back_from_its_bytes_and_holds_no_zero(frame in frames()) {
        let wire = bytes_of(&frame);
        prop_assert!(wire.len() <= MAX_WIRE);
        prop_assert_eq!(wire.iter().position(|b| *b == 0), Some(wire.len() - 1));
        prop_assert_eq!(decode(&wire[..wire.len() - 1]), Ok(frame));
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
        prop_assert_eq!(read(&bytes), []);
    }

    #[test]
    fn a_damaged_frame_is_no_frame(frame in frames(), seed: u64) {
        let wire = bytes_of(&frame);
        let mut damaged = wire.clone();
        Dice::new(seed).damage(&mut damaged);
        let mut stream = vec![0];
        stream.extend(&damaged);
        stream.push(0);
        for got in read(&stream) {
            // Damage can leave the frame whole: a zero more or less around it.
            prop_assert_eq!(&got, &frame);
            prop_assert!(stream.split(|b| *b == 0).any(|part| part == &wire[..wire.len() - 1]));
        }
    }

    #[test]
    fn a_frame_cut_or_spliced_into_another_gives_only_frames_that_were_sent(
        a in frames(), b in frames(), cut_a in any::<prop::sample::Index>(), cut_b in any::<prop::sample::Index>(),
    ) {
        let (x, y) = (bytes_of(&a), bytes_of(&b));
        let mut stream = vec![0];
        stream.extend(&x[..cut_a.index(x.len())]);
        stream.extend(&y[cut_b.index(y.len())..]);
        stream.extend(&y);
        for got in read(&stream) {
            prop_assert!(got == a || got == b);
        }
        let got = read(&stream);
        prop_assert_eq!(got.last(), Some(&b));
    }

    #[test]
    fn an_oversize_frame_gives_nothing_whatever_its_tail_is(
        frame in frames(), filler in 1..=255_u8, n in MAX_WIRE..1_200,
    ) {
        let wire = bytes_of(&frame);
        let mut stream = vec![0];
        stream.resize(n, filler);
        stream.extend(&wire);
        prop_assert_eq!(read(&stream), []);
        stream.extend(&wire);
        prop_assert_eq!(read(&stream), [frame]);
    }

    #[test]
    fn frames_of_other_versions_are_named_and_not_read(frame in frames(), version in 2..=255_u8) {
        let wire = bytes_of(&frame);
        let mut body = [0; MAX_WIRE];
        let n = cobs::decode(&wire[..wire.len() - 1], &mut body).unwrap();
        body[0] = version;
        let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&body[..n - 4]);
        body[n - 4..n].copy_from_slice(&checksum.to_le_bytes());
        let mut other = [0; MAX_WIRE];
        let n = cobs::try_encode(&body[..n], &mut other).unwrap();
        prop_assert_eq!(decode(&other[..n]), Err(FrameError::Version(version)));
    }
}

#[test]
fn every_single_and_double_bit_error_of_a_frame_is_found() {
    let wire = bytes_of(&line::data(Session(9), 1, 2, line::allow("r", Tick(77), Ticks(5_000))));
    let bits = (wire.len() - 1) * 8;
    let mut n = 0;
    for i in 0..bits {
        for j in i..bits {
            let mut damaged = wire[..wire.len() - 1].to_vec();
            damaged[i / 8] ^= 1 << (i % 8);
            if i != j {
                damaged[j / 8] ^= 1 << (j % 8);
            }
            assert!(decode(&damaged).is_err(), "{i} {j}");
            n += 1;
        }
    }
    assert_eq!(n, bits * (bits + 1) / 2);
}
