//! `PROTOCOL.md` and the code say the same: its byte vectors are written and read here, its numbers compared.
//!
//! `UPDATE_GOLDEN=1` writes the bytes of the frames anew; the frames themselves and the errors are written by hand.

// Tests stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::panic)]

mod line;

use r2d_firmware_host::codec::{MAX_BODY, MAX_WIRE, decode, encode};
use r2d_firmware_host::deframer::Deframer;
use r2d_firmware_host::frame::{Frame, VERSION};
use r2d_firmware_host::link::{QUEUE, WINDOW};
use r2d_firmware_host::session::{Nonce, Session};
use r2d_firmware_host::tick;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/PROTOCOL.md");

fn text() -> String {
    std::fs::read_to_string(PATH).unwrap()
}

/// The lines of every fenced block of this kind.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut inside: Option<String> = None;
    for line in text.lines() {
        match &mut inside {
            None if line == format!("```{kind}") => inside = Some(String::new()),
            None => {}
            Some(block) if line == "```" => {
                blocks.push(std::mem::take(block));
                inside = None;
            }
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    blocks
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// Frames with their bytes: a line of JSON, then a line of hexadecimal bytes.
fn vectors(text: &str) -> Vec<(Frame, String)> {
    let mut vectors = Vec::new();
    for block in blocks(text, "vector") {
        for pair in block.lines().collect::<Vec<_>>().chunks(2) {
            let frame = serde_json::from_str(pair[0]).unwrap_or_else(|e| panic!("{e}: {}", pair[0]));
            vectors.push((frame, pair[1].to_owned()));
        }
    }
    vectors
}

#[test]
fn each_frame_of_the_protocol_is_written_and_read_as_its_vector_says() {
    let mut text = text();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (frame, old) in vectors(&text) {
            let mut out = [0; MAX_WIRE];
            let new = hex(encode(&frame, &mut out).unwrap());
            let json = serde_json::to_string(&frame).unwrap();
            text = text.replace(&format!("{json}\n{old}\n"), &format!("{json}\n{new}\n"));
        }
        std::fs::write(PATH, &text).unwrap();
    }
    let vectors = vectors(&text);
    for (frame, wire) in &vectors {
        let mut out = [0; MAX_WIRE];
        assert_eq!(hex(encode(frame, &mut out).unwrap()), *wire, "{frame:?}");
        let (zero, body) = bytes(wire).split_last().map(|(z, b)| (*z, b.to_vec())).unwrap();
        assert_eq!((zero, decode(&body).as_ref()), (0, Ok(frame)));
        // The JSON of a vector has one spelling too, so that nothing in it is passed over.
        assert!(text.contains(&serde_json::to_string(frame).unwrap()), "{frame:?}");
    }
    assert!(vectors.len() >= 14, "only {} vectors", vectors.len());
}

#[test]
fn each_stream_that_the_protocol_refuses_is_refused_with_its_code() {
    let text = text();
    let mut codes = Vec::new();
    for block in blocks(&text, "refused") {
        for line in block.lines() {
            let (code, wire) = line.split_once(' ').unwrap();
            let mut deframer = Deframer::default();
            let mut stream = vec![0];
            // `xx*n` stands for n bytes xx.
            for part in wire.split_whitespace() {
                match part.split_once('*') {
                    Some((byte, n)) => {
                        let n: usize = n.parse().unwrap();
                        stream.extend(std::iter::repeat_n(u8::from_str_radix(byte, 16).unwrap(), n));
                    }
                    None => stream.push(u8::from_str_radix(part, 16).unwrap()),
                }
            }
            let results: Vec<_> = stream.iter().filter_map(|b| deframer.push(*b)).collect();
            let [Err(error)] = results.as_slice() else { panic!("{line}: {results:?}") };
            assert_eq!(error.code().to_string(), code, "{line}");
            codes.push(error.code());
        }
    }
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8], "each code has a stream");
}

#[test]
fn each_number_of_the_protocol_is_the_one_that_the_code_uses() {
    let text = text();
    let numbers: Vec<(String, u64)> = blocks(&text, "numbers")
        .iter()
        .flat_map(|b| b.lines())
        .map(|l| l.split_once(' ').unwrap())
        .map(|(name, n)| (name.to_owned(), n.trim().parse().unwrap()))
        .collect();
    let expected = [
        ("VERSION", u64::from(VERSION)),
        ("MAX_WIRE", MAX_WIRE as u64),
        ("MAX_BODY", MAX_BODY as u64),
        ("WINDOW", WINDOW as u64),
        ("QUEUE", QUEUE as u64),
        ("BEAT", u64::from(tick::BEAT.0)),
        ("SILENCE", u64::from(tick::SILENCE.0)),
        ("HELLO", u64::from(tick::HELLO.0)),
        ("RETRY", u64::from(tick::RETRY.0)),
        ("RETRIES", u64::from(tick::RETRIES)),
        ("NAK_PAUSE", u64::from(tick::NAK_PAUSE.0)),
        ("MAX_AGE", u64::from(tick::MAX_AGE.0)),
        ("MAX_VALIDITY", u64::from(tick::MAX_VALIDITY.0)),
    ];
    assert_eq!(numbers, expected.map(|(name, n)| (name.to_owned(), n)));
}

#[test]
fn each_session_of_the_protocol_follows_from_its_nonces() {
    let mut n = 0;
    for block in blocks(&text(), "sessions") {
        for line in block.lines() {
            let fields: Vec<u32> =
                line.split_whitespace().map(|f| u32::from_str_radix(f, 16).unwrap()).collect();
            assert_eq!(Session::of(Nonce(fields[0]), Nonce(fields[1])), Session(fields[2]), "{line}");
            assert_eq!(Nonce(fields[0]).next(), Nonce(fields[3]), "{line}");
            n += 1;
        }
    }
    assert!(n >= 2);
}
