//! Appending, rotating, reading back, and going on after failed writes.

use std::cell::Cell;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;
use serde_json::value::RawValue;

use super::segment::{self, Medium};
use super::{AuditError, AuditLimits, AuditLog, Digest, Link, MAX_RECORD_BYTES, read_from, verify};

fn open(dir: &Path, segment_bytes: u64) -> AuditLog {
    AuditLog::open(dir, AuditLimits { segment_bytes }).unwrap().0
}

fn read(dir: &Path, from: u64) -> Vec<(u64, String)> {
    read_from(dir, from)
        .unwrap()
        .map(|record| record.map(|(link, raw)| (link.seq, raw.get().to_owned())).unwrap())
        .collect()
}

#[test]
fn records_read_back_as_they_were_appended_from_any_number_on() {
    for segment_bytes in [1, 500, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), 1), []);
        let mut log = open(dir.path(), segment_bytes);
        let links: Vec<Link> = (1..=9).map(|n| log.append(&json!({"n": n})).unwrap()).collect();
        for from in 0..=11 {
            let expected: Vec<_> = (from.max(1)..=9).map(|n| (n, format!("{{\"n\":{n}}}"))).collect();
            assert_eq!(read(dir.path(), from), expected);
        }
        let seen: Vec<Link> = read_from(dir.path(), 1).unwrap().map(|record| record.unwrap().0).collect();
        assert_eq!(seen, links);
        assert_eq!(
            segment::list(dir.path()).unwrap().len(),
            match segment_bytes {
                1 => 9,
                500 => 3,
                _ => 1,
            }
        );
        assert!(verify(dir.path()).unwrap().is_sound());
    }
}

#[test]
fn the_chain_goes_on_over_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = Link::GENESIS;
    for n in 1..=7 {
        let mut log = open(dir.path(), 300);
        assert_eq!(log.last(), last);
        last = log.append(&json!({"n": n})).unwrap();
    }
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.checked, report.last, report.problems), (7, Some(last), vec![]));
}

#[test]
fn reading_stops_with_an_error_at_an_altered_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), u64::MAX);
    for n in 1..=4 {
        log.append(&json!({"n": n})).unwrap();
    }
    let path = segment::list(dir.path()).unwrap()[0].path.clone();
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("{\"n\":3}", "{\"n\":0}")).unwrap();
    let records: Vec<_> = read_from(dir.path(), 2).unwrap().collect();
    assert!(
        matches!(&records[..], [Ok(_), Err(AuditError::Broken(problem))] if problem.seq == 3),
        "{records:?}"
    );
}

#[test]
fn a_second_writer_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), u64::MAX);
    let error = AuditLog::open(dir.path(), AuditLimits::default()).err().unwrap();
    assert!(matches!(error, AuditError::Locked { .. }));
    assert!(error.to_string().contains("hint: "));
    log.append(&json!({})).unwrap();
    drop(log);
    assert_eq!(open(dir.path(), u64::MAX).last().seq, 1);
}

#[test]
fn a_record_over_the_bound_is_refused_and_one_at_the_bound_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), u64::MAX);
    let most = "x".repeat(MAX_RECORD_BYTES - 2);
    let error = log.append(&format!("{most}x")).unwrap_err();
    assert!(matches!(error, AuditError::TooLarge { bytes, .. } if bytes == MAX_RECORD_BYTES + 1));
    assert_eq!(log.append(&most).unwrap().seq, 1);
    assert_eq!(read(dir.path(), 1)[0].1.len(), MAX_RECORD_BYTES);
    assert!(verify(dir.path()).unwrap().is_sound());
}

#[test]
fn line_breaks_in_raw_json_do_not_break_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), u64::MAX);
    let raw = RawValue::from_string("{\n\"a\":\n1}".to_owned()).unwrap();
    log.append(&raw).unwrap();
    assert_eq!(read(dir.path(), 1), [(1, "{ \"a\": 1}".to_owned())]);
}

#[test]
fn a_record_that_is_no_json_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), u64::MAX);
    let keys_are_lists = std::collections::BTreeMap::from([(vec![1], 1)]);
    assert!(matches!(log.append(&keys_are_lists), Err(AuditError::Encode(_))));
    assert_eq!((log.last(), log.append(&json!({})).unwrap().seq), (Link::GENESIS, 1));
}

/// Which calls fail, and after how many written bytes.
#[derive(Clone, Copy, Default)]
struct Faults {
    write_after: Option<usize>,
    sync: bool,
    cut: bool,
}

/// A segment on the disk whose calls fail on request.
struct Failing {
    file: fs::File,
    faults: Arc<Mutex<Faults>>,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut faults = self.faults.lock().unwrap();
        match faults.write_after {
            None => self.file.write(bytes),
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                let written = self.file.write(&bytes[..left.min(bytes.len())])?;
                faults.write_after = Some(left - written);
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Medium for Failing {
    fn sync_data(&mut self) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        // One failure: the system reports a lost write once.
        if std::mem::take(&mut faults.sync) { Err(io::Error::other("lost write")) } else { Ok(()) }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let cut = self.faults.lock().unwrap().cut;
        if cut { Err(io::Error::other("no cut")) } else { self.file.set_len(len) }
    }
}

/// A log with one record whose segment fails on request.
fn failing(dir: &Path) -> (AuditLog, Arc<Mutex<Faults>>) {
    let mut log = open(dir, u64::MAX);
    log.append(&json!({"n": 1})).unwrap();
    let tail = log.tail.as_mut().unwrap();
    let faults = Arc::new(Mutex::new(Faults::default()));
    let file = fs::OpenOptions::new().append(true).open(&tail.path).unwrap();
    tail.file = Box::new(Failing { file, faults: faults.clone() });
    (log, faults)
}

#[test]
fn a_failed_write_is_taken_back_whatever_part_of_it_was_written() {
    let whole = super::line::seal(2, Digest::GENESIS, b"{\"n\":2}").1.len();
    let tried = Cell::new(0);
    for written in 0..=whole {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, faults) = failing(dir.path());
        let before = (log.last(), fs::read(&log.tail.as_ref().unwrap().path).unwrap());
        // All of the line written, and then the sync fails.
        *faults.lock().unwrap() = match written {
            written if written == whole => Faults { sync: true, ..Faults::default() },
            written => Faults { write_after: Some(written), ..Faults::default() },
        };
        let error = log.append(&json!({"n": 2})).unwrap_err();
        assert!(matches!(error, AuditError::NotWritten { seq: 2, .. }), "{error}");
        assert_eq!((log.last(), fs::read(&log.tail.as_ref().unwrap().path).unwrap()), before);

        *faults.lock().unwrap() = Faults::default();
        assert_eq!(log.append(&json!({"n": 3})).unwrap().seq, 2);
        assert!(verify(dir.path()).unwrap().is_sound());
        tried.set(tried.get() + 1);
    }
    assert_eq!(tried.get(), whole + 1);
}

#[test]
fn a_log_that_cannot_take_a_failed_write_back_stops_until_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, faults) = failing(dir.path());
    *faults.lock().unwrap() = Faults { write_after: Some(30), sync: false, cut: true };
    assert!(matches!(log.append(&json!({"n": 2})), Err(AuditError::Unknown { seq: 2, .. })));
    *faults.lock().unwrap() = Faults::default();
    let length = fs::metadata(&log.tail.as_ref().unwrap().path).unwrap().len();
    assert!(matches!(log.append(&json!({"n": 3})), Err(AuditError::Stopped { seq: 2 })));
    assert_eq!(fs::metadata(&log.tail.as_ref().unwrap().path).unwrap().len(), length);
    drop(log);

    let (mut log, recovery) = AuditLog::open(dir.path(), AuditLimits::default()).unwrap();
    assert!(recovery.torn.is_some());
    assert_eq!(log.append(&json!({"n": 4})).unwrap().seq, 2);
    assert!(verify(dir.path()).unwrap().is_sound());
}
