//! A crash in the middle of an append is repaired at the next start, and nothing else is touched.

use std::fs;

use serde_json::json;

use super::head::{Head, HeadFile};
use super::{AuditError, AuditLimits, AuditLog, Fault, Link, line, segment, verify};

fn open(dir: &std::path::Path) -> (AuditLog, super::Recovery) {
    AuditLog::open(dir, AuditLimits::default()).unwrap()
}

/// A folder with three acknowledged records, its segment, and the bytes of a fourth line.
fn three() -> (tempfile::TempDir, std::path::PathBuf, Link, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, recovery) = open(dir.path());
    assert_eq!(recovery.last, Link::GENESIS);
    for n in 1..=3 {
        log.append(&json!({"n": n})).unwrap();
    }
    let (_, fourth) = line::seal(4, log.last().hash, b"{\"n\":4}");
    let path = segment::list(dir.path()).unwrap()[0].path.clone();
    (dir, path, log.last(), fourth)
}

#[test]
fn every_torn_tail_is_set_aside_and_cut_and_the_chain_goes_on() {
    for len in 1.. {
        let (dir, path, third, fourth) = three();
        if len == fourth.len() {
            break;
        }
        let good = fs::read(&path).unwrap();
        fs::write(&path, [&good[..], &fourth[..len]].concat()).unwrap();
        let problems = verify(dir.path()).unwrap().problems;
        assert_eq!((problems.len(), problems[0].seq, &problems[0].fault), (1, 4, &Fault::Torn));

        let (mut log, recovery) = open(dir.path());
        assert_eq!((recovery.last, recovery.head_behind), (third, 0));
        assert_eq!(fs::read(recovery.torn.unwrap()).unwrap(), &fourth[..len]);
        assert_eq!(fs::read(&path).unwrap(), good);
        assert_eq!(log.append(&json!({"n": 4})).unwrap().seq, 4);
        assert!(verify(dir.path()).unwrap().is_sound());
    }
}

#[test]
fn a_last_line_of_rubbish_is_set_aside_under_its_own_name() {
    let (dir, path, ..) = three();
    let good = fs::read(&path).unwrap();
    for (n, rubbish) in [&b"\0\0\0\0\n"[..], &b"\0\0\0\0"[..]].into_iter().enumerate() {
        fs::write(&path, [&good[..], rubbish].concat()).unwrap();
        let (_, recovery) = open(dir.path());
        let torn = recovery.torn.unwrap();
        assert_eq!(torn.file_name().unwrap().to_str().unwrap(), format!("torn-4-{}", n + 1));
        assert_eq!(fs::read(torn).unwrap(), rubbish);
        assert_eq!(fs::read(&path).unwrap(), good);
    }
}

#[test]
fn two_lines_of_rubbish_are_no_crash_and_are_refused() {
    let (dir, path, ..) = three();
    let bad = [fs::read(&path).unwrap(), b"rubbish\nrubbish".to_vec()].concat();
    fs::write(&path, &bad).unwrap();
    let Err(AuditError::Broken(problem)) = AuditLog::open(dir.path(), AuditLimits::default()) else {
        panic!("opened");
    };
    assert_eq!((problem.seq, problem.line), (4, 4));
    assert_eq!(fs::read(&path).unwrap(), bad);
}

#[test]
fn a_whole_line_beyond_the_head_is_kept_and_the_head_put_right() {
    let (dir, path, _, fourth) = three();
    fs::write(&path, [fs::read(&path).unwrap(), fourth].concat()).unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());
    let (log, recovery) = open(dir.path());
    assert_eq!((recovery.last.seq, recovery.head_behind, recovery.torn), (4, 1, None));
    assert_eq!(verify(dir.path()).unwrap().head, Some(log.last()));
}

/// What no crash leaves is put right as well, and counted, so that the service can warn of it.
#[test]
fn a_head_from_before_several_records_is_known_by_its_distance() {
    let (dir, ..) = three();
    let path = Head::path(dir.path());
    let old = fs::read(&path).unwrap();
    let (mut log, _) = open(dir.path());
    for n in 4..=6 {
        log.append(&json!({"n": n})).unwrap();
    }
    drop(log);
    fs::write(&path, old).unwrap();
    let (log, recovery) = open(dir.path());
    assert_eq!((recovery.last.seq, recovery.head_behind), (6, 3));
    assert_eq!(verify(dir.path()).unwrap().head, Some(log.last()));
}

#[test]
fn a_torn_slot_of_the_head_is_written_again() {
    for slot in 0..2 {
        let (dir, _, third, _) = three();
        let path = Head::path(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[slot * 4096 + 20] = b'x';
        fs::write(&path, bytes).unwrap();
        let (_, recovery) = open(dir.path());
        assert!(recovery.head_slot);
        assert_eq!(recovery.last, third);
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.head, report.is_sound()), (Some(third), true));
    }
}

#[test]
fn a_head_ahead_of_the_log_or_of_another_chain_is_refused() {
    for (seq, fault) in
        [(9, Fault::Cut { witnessed: 9 }), (3, Fault::HeadDiffers { head: super::Digest::GENESIS })]
    {
        let (dir, ..) = three();
        HeadFile::create(dir.path()).unwrap().write(Link { seq, hash: super::Digest::GENESIS }).unwrap();
        let Err(AuditError::Broken(problem)) = AuditLog::open(dir.path(), AuditLimits::default()) else {
            panic!("opened");
        };
        assert_eq!(problem.fault, fault);
        assert_eq!(verify(dir.path()).unwrap().problems, [problem]);
    }
}

#[test]
fn an_altered_record_in_the_recent_part_is_refused_by_name() {
    let (dir, path, ..) = three();
    let text = fs::read_to_string(&path).unwrap().replace("{\"n\":2}", "{\"n\":8}");
    fs::write(&path, text).unwrap();
    let error = AuditLog::open(dir.path(), AuditLimits::default()).err().unwrap().to_string();
    assert!(error.contains("audit-000000000001.jsonl, line 2: record 2 was altered"), "{error}");
    assert!(error.contains("\nhint: "), "{error}");
}

#[test]
fn a_crash_after_the_creation_of_a_segment_leaves_it_usable() {
    let (dir, ..) = three();
    fs::write(dir.path().join("audit-000000000004.jsonl"), b"").unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());
    let (mut log, _) = open(dir.path());
    log.append(&json!({"n": 4})).unwrap();
    assert!(verify(dir.path()).unwrap().is_sound());
    assert_eq!(segment::list(dir.path()).unwrap().len(), 2);
}

#[test]
fn an_empty_segment_under_a_wrong_number_is_refused() {
    let (dir, ..) = three();
    fs::write(dir.path().join("audit-000000000009.jsonl"), b"").unwrap();
    assert!(matches!(AuditLog::open(dir.path(), AuditLimits::default()), Err(AuditError::Broken(_))));
}
