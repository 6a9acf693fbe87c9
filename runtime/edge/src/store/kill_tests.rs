//! A writer is killed at random instants: whatever it acknowledged is there afterwards.
//!
//! The writer is this very test, started again as a process of its own. Killing a process tests the order of
//! writes, not whether the disk keeps what it was told to keep.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Outgoing, Store};
use crate::audit::{AuditLimits, AuditLog, Fault, read_from, verify};

const FOLDER: &str = "R2D_KILL_TEST_FOLDER";
const LIMITS: AuditLimits = AuditLimits { segment_bytes: 4000 };

fn outgoing(seq: u64) -> Outgoing {
    Outgoing {
        topic: "verdict".to_owned(),
        payload: seq.to_be_bytes().to_vec(),
        retain: false,
        expiry_s: None,
        correlation: None,
    }
}

/// Follows the log, then appends and applies without end. Says each number once it is acknowledged.
fn write_until_killed(dir: &Path) {
    let (mut log, _) = AuditLog::open(&dir.join("audit"), LIMITS).unwrap();
    let store = Store::open(&dir.join("store.redb")).unwrap();
    let apply = |seq: u64| store.apply(seq, Some((&seq.to_string(), b"answer")), &[outgoing(seq)]).unwrap();
    for record in read_from(&dir.join("audit"), store.applied().unwrap() + 1).unwrap() {
        apply(record.unwrap().0.seq);
    }
    loop {
        let seq = log.append(&(log.last().seq + 1)).unwrap().seq;
        apply(seq);
        let said = format!("acknowledged {seq}\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        // The oldest messages leave, as they would with a broker; ten stay.
        if store.depth().unwrap() > 10 {
            let (key, _) = store.next(None).unwrap().unwrap();
            store.delivered(key).unwrap();
        }
    }
}

#[test]
fn whatever_was_acknowledged_survives_a_kill_at_any_instant() {
    if let Some(dir) = std::env::var_os(FOLDER) {
        return write_until_killed(Path::new(&dir));
    }
    let name = concat!(module_path!(), "::whatever_was_acknowledged_survives_a_kill_at_any_instant");
    // The harness names tests without their crate.
    let (_, name) = name.split_once("::").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..20 {
        let random = RandomState::new().hash_one(round);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).split(b'\n');
        let mut heard = Vec::new();
        for _ in 0..random % 20 {
            heard.push(said.next().expect("the writer ended by itself").unwrap());
        }
        // Somewhere inside the next record.
        std::thread::sleep(Duration::from_micros(random >> 32 & 4095));
        child.kill().unwrap();
        child.wait().unwrap();
        heard.extend(said.map(Result::unwrap));
        let before = acknowledged;
        for line in heard {
            // A line cut by the kill parses as nothing or as a smaller number.
            let line = String::from_utf8(line).unwrap();
            assert!(!line.contains("panicked"), "{line}");
            let number = line.strip_prefix("acknowledged ").and_then(|number| number.parse().ok());
            acknowledged = acknowledged.max(number.unwrap_or(0));
        }
        assert!(acknowledged - before >= random % 20);

        let audit = dir.path().join("audit");
        if !audit.exists() {
            // Killed before it began.
            continue;
        }
        let report = verify(&audit).unwrap();
        let crash = |fault: &Fault| matches!(fault, Fault::Torn | Fault::HeadSlot);
        assert!(report.problems.iter().all(|problem| crash(&problem.fault)), "{report:?}");
        if acknowledged == 0 {
            continue;
        }
        let (log, _) = AuditLog::open(&audit, LIMITS).unwrap();
        assert!(verify(&audit).unwrap().is_sound());
        let last = log.last().seq;
        assert!(acknowledged <= last);
        let records: Vec<u64> =
            read_from(&audit, 1).unwrap().map(|record| record.unwrap().1.get().parse().unwrap()).collect();
        assert_eq!(records, (1..=last).collect::<Vec<_>>());

        let store = Store::open(&dir.path().join("store.redb")).unwrap();
        let applied = store.applied().unwrap();
        assert!((acknowledged..=last).contains(&applied), "{acknowledged} {applied} {last}");
        assert_eq!(store.answered(&applied.to_string()).unwrap().unwrap().seq, applied);
        // No message but the oldest is gone: what is there ends with the last record, without a gap.
        let mut key = None;
        let mut payloads = Vec::new();
        while let Some((next, message)) = store.next(key).unwrap() {
            payloads.push(u64::from_be_bytes(message.payload.try_into().unwrap()));
            key = Some(next);
        }
        let first = payloads.first().copied().unwrap_or(applied);
        assert_eq!(payloads, (first..=applied).collect::<Vec<_>>());
        assert!(payloads.len() as u64 >= applied.min(10));
    }
    assert!(acknowledged > 0);
}
