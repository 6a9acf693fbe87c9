//! Any bytes into the frame reader: no panic, and what it takes for a frame is exactly what a writer writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r2d_firmware_host::codec::{MAX_WIRE, decode, encode};
use r2d_firmware_host::deframer::Deframer;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = decode(bytes) {
        let mut out = [0; MAX_WIRE];
        let again = encode(&frame, &mut out).expect("a frame that was read can be written");
        assert_eq!(again.split_last(), Some((&0, bytes)));
    }
    let mut deframer = Deframer::default();
    let mut since_zero = 0_usize;
    for byte in bytes {
        let result = deframer.push(*byte);
        assert!(result.is_none() || *byte == 0);
        if let Some(Ok(_)) = result {
            assert!(since_zero < MAX_WIRE);
        }
        since_zero = if *byte == 0 { 0 } else { since_zero + 1 };
    }
});
