//! Every way to tamper with a small log is tried, and must be reported at the right record.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{AuditError, AuditLimits, AuditLog, Fault, read_from, segment, verify};

const RECORDS: u64 = 5;

fn log_of(records: u64, segment_bytes: u64) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = AuditLog::open(dir.path(), AuditLimits { segment_bytes }).unwrap();
    for n in 1..=records {
        log.append(&json!({"n": n, "text": "ja\n\"né\""})).unwrap();
    }
    let segments = segment::list(dir.path()).unwrap().into_iter().map(|segment| segment.path).collect();
    (dir, segments)
}

/// Where each line begins, and where the last ends.
fn bounds(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    fs::read(path).unwrap().split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// The records and faults reported, in order.
fn found(dir: &Path) -> Vec<(u64, Fault)> {
    verify(dir).unwrap().problems.into_iter().map(|problem| (problem.seq, problem.fault)).collect()
}

#[test]
fn an_untouched_log_has_no_problem() {
    let (dir, _) = log_of(RECORDS, u64::MAX);
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.checked, report.first_seq, &report.problems[..]), (RECORDS, Some(1), &[][..]));
    assert_eq!(report.last, report.head);
    assert_eq!(report.last.unwrap().seq, RECORDS);
    let empty = tempfile::tempdir().unwrap();
    assert!(verify(empty.path()).unwrap().is_sound());
}

#[test]
fn every_altered_byte_is_one_problem_at_its_record() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let good = fs::read(&segments[0]).unwrap();
    let bounds = bounds(&good);
    for at in 0..good.len() {
        let record = bounds.iter().rposition(|&begin| begin <= at).unwrap() as u64 + 1;
        // The low bit, the case of a letter, a digit into a digit, and a byte that breaks lines apart.
        let digit = if good[at] == b'7' { b'8' } else { b'7' };
        for other in [good[at] ^ 1, good[at] ^ 0x20, digit, b'\n'] {
            if other == good[at] {
                continue;
            }
            let mut bad = good.clone();
            bad[at] = other;
            fs::write(&segments[0], bad).unwrap();
            let found = found(dir.path());
            assert_eq!(found.len(), 1, "byte {at} to {other}: {found:?}");
            assert_eq!(found[0].0, record, "byte {at} to {other}: {found:?}");
        }
    }
}

#[test]
fn every_truncation_is_reported_at_the_first_record_cut() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let good = fs::read(&segments[0]).unwrap();
    let bounds = bounds(&good);
    for len in 0..good.len() {
        let whole = bounds.iter().filter(|&&end| end > 0 && end <= len).count() as u64;
        fs::write(&segments[0], &good[..len]).unwrap();
        let found = found(dir.path());
        assert_eq!((found.len(), found[0].0), (1, whole + 1), "length {len}: {found:?}");
        if bounds.contains(&len) {
            assert_eq!(found, [(whole + 1, Fault::Cut { witnessed: RECORDS })]);
        }
        // None of these is what a crash leaves, so no start repairs it.
        let opened = AuditLog::open(dir.path(), AuditLimits::default());
        assert!(matches!(opened, Err(AuditError::Broken(_))), "length {len}");
        assert_eq!(fs::read(&segments[0]).unwrap(), &good[..len]);
    }
}

#[test]
fn every_removed_line_is_missing() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let lines = lines(&segments[0]);
    for removed in 0..lines.len() {
        let seq = removed as u64 + 1;
        let mut rest = lines.clone();
        rest.remove(removed);
        fs::write(&segments[0], rest.concat()).unwrap();
        let expected = match seq {
            RECORDS => Fault::Cut { witnessed: RECORDS },
            _ => Fault::Missing { through: seq, whole_segment: false },
        };
        assert_eq!(found(dir.path()), [(seq, expected)]);
        assert!(AuditLog::open(dir.path(), AuditLimits::default()).is_err(), "record {seq}");
    }
}

#[test]
fn lines_swapped_repeated_or_inserted_are_named() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let good = lines(&segments[0]);

    let mut swapped = good.clone();
    swapped.swap(2, 3);
    fs::write(&segments[0], swapped.concat()).unwrap();
    let missing = Fault::Missing { through: 3, whole_segment: false };
    assert_eq!(found(dir.path()), [(3, missing), (3, Fault::Repeated { expected: 5 })]);

    let mut repeated = good.clone();
    repeated.insert(2, good[1].clone());
    fs::write(&segments[0], repeated.concat()).unwrap();
    assert_eq!(found(dir.path()), [(2, Fault::Repeated { expected: 3 })]);

    let mut inserted = good.clone();
    inserted.insert(2, b"{}\n".to_vec());
    fs::write(&segments[0], inserted.concat()).unwrap();
    let found = found(dir.path());
    assert!(matches!(found[..], [(3, Fault::Unreadable { lines: 1, through: None, .. })]), "{found:?}");
}

#[test]
fn a_record_exchanged_together_with_its_hash_breaks_the_next_link() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let mut lines = lines(&segments[0]);
    let prev = super::line::parse(lines[2].strip_suffix(b"\n").unwrap()).unwrap().prev;
    lines[2] = super::line::seal(3, prev, b"{\"n\":99}").1;
    fs::write(&segments[0], lines.concat()).unwrap();
    assert_eq!(found(dir.path()), [(4, Fault::Unlinked)]);
}

#[test]
fn a_complete_rewrite_is_seen_by_the_head_and_by_a_hash_kept_elsewhere() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let before = verify(dir.path()).unwrap().last.unwrap();
    let mut prev = super::Digest::GENESIS;
    let mut forged = Vec::new();
    for seq in 1..=RECORDS {
        let (hash, line) = super::line::seal(seq, prev, b"{}");
        prev = hash;
        forged.extend(line);
    }
    fs::write(&segments[0], forged).unwrap();
    assert_eq!(found(dir.path()), [(RECORDS, Fault::HeadDiffers { head: before.hash })]);
    super::head::HeadFile::create(dir.path())
        .unwrap()
        .write(super::Link { seq: RECORDS, hash: prev })
        .unwrap();
    let report = verify(dir.path()).unwrap();
    // Without a key the folder alone cannot show it.
    assert!(report.is_sound());
    assert_ne!(report.last.unwrap(), before);
}

#[test]
fn a_missing_segment_is_named_by_its_records() {
    let (dir, segments) = log_of(RECORDS, 1);
    assert_eq!(segments.len() as u64, RECORDS);
    for (at, path) in segments.iter().enumerate() {
        let kept = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let seq = at as u64 + 1;
        let expected = match seq {
            RECORDS => Fault::Cut { witnessed: RECORDS },
            _ => Fault::Missing { through: seq, whole_segment: true },
        };
        assert_eq!(found(dir.path()), [(seq, expected)]);
        let records: Vec<_> = read_from(dir.path(), 1).unwrap().collect();
        assert_eq!(records.last().unwrap().is_err(), seq < RECORDS, "{records:?}");
        fs::write(path, kept).unwrap();
    }
    fs::rename(&segments[2], segments[2].with_file_name("audit-000000000002x.jsonl")).unwrap();
    fs::rename(&segments[1], segments[1].with_file_name("audit-000000000003.jsonl")).unwrap();
    assert_eq!(found(dir.path())[0], (2, Fault::Misnamed { named: 3 }));
}

#[test]
fn every_altered_byte_of_the_head_is_noticed() {
    let (dir, _) = log_of(RECORDS, u64::MAX);
    let path = super::head::Head::path(dir.path());
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(found(dir.path())[..], [(_, Fault::HeadSlot)]), "byte {at}");
    }
    fs::write(&path, &good[1..]).unwrap();
    assert_eq!(found(dir.path()), [(RECORDS + 1, Fault::HeadLost)]);
    fs::remove_file(&path).unwrap();
    assert_eq!(found(dir.path()), [(RECORDS + 1, Fault::HeadLost)]);
    assert!(matches!(AuditLog::open(dir.path(), AuditLimits::default()), Err(AuditError::Broken(_))));
}

#[test]
fn problems_are_bounded_and_counted() {
    let (dir, segments) = log_of(50, u64::MAX);
    let bad: Vec<_> = lines(&segments[0]).iter().step_by(2).flatten().copied().collect();
    fs::write(&segments[0], bad).unwrap();
    let report = verify(dir.path()).unwrap();
    // Records 2, 4, … 48 are missing before lines, record 50 is cut off.
    assert_eq!((report.problems.len(), report.more), (20, 5));
}

#[test]
fn an_unfinished_line_is_no_problem_while_its_writer_is_at_work() {
    let (dir, segments) = log_of(RECORDS, u64::MAX);
    let (log, _) = AuditLog::open(dir.path(), AuditLimits::default()).unwrap();
    let mut bytes = fs::read(&segments[0]).unwrap();
    bytes.extend_from_slice(b"{\"seq\":6,");
    fs::write(&segments[0], bytes).unwrap();
    assert_eq!(found(dir.path()), []);
    assert_eq!(read_from(dir.path(), 1).unwrap().map(Result::unwrap).count() as u64, RECORDS);
    drop(log);
    assert_eq!(found(dir.path()), [(6, Fault::Torn)]);
}
