//! The store alone: order, bounds, repetition, reopening, damage.

use std::fs;
use std::path::PathBuf;

use super::{Outgoing, Store, StoreError, StoreLimits, row};
use crate::audit::{AuditLimits, AuditLog, read_from};

fn message(text: &str) -> Outgoing {
    Outgoing {
        topic: format!("r2d/v1/{text}"),
        payload: text.as_bytes().to_vec(),
        retain: text.len().is_multiple_of(2),
        expiry_s: Some(60),
        correlation: Some(vec![0, 255]),
    }
}

fn fresh(limits: StoreLimits) -> (tempfile::TempDir, PathBuf, Store) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = Store::open_with(&path, limits).unwrap();
    (dir, path, store)
}

/// All messages in order.
fn outbox(store: &Store) -> Vec<(u64, Outgoing)> {
    let mut found: Vec<(u64, Outgoing)> = Vec::new();
    while let Some(row) = store.next(found.last().map(|(key, _)| *key)).unwrap() {
        found.push(row);
    }
    found
}

#[test]
fn applying_a_record_again_changes_nothing() {
    let (_dir, path, store) = fresh(StoreLimits::default());
    let keys = store.apply(1, Some(("a", b"yes")), &[message("one"), message("four")]).unwrap();
    assert_eq!(keys, 0..2);
    for _ in 0..2 {
        assert!(store.apply(1, Some(("b", b"no")), &[message("other")]).unwrap().is_empty());
    }
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(store.apply(1, Some(("b", b"no")), &[message("other")]).unwrap().is_empty());
    assert_eq!(outbox(&store), [(0, message("one")), (1, message("four"))]);
    let answer = store.answered("a").unwrap().unwrap();
    assert_eq!((answer.seq, &answer.payload[..]), (1, &b"yes"[..]));
    assert_eq!((store.answered("b").unwrap(), store.applied().unwrap()), (None, 1));
}

#[test]
fn a_record_out_of_turn_is_refused() {
    let (_dir, _, store) = fresh(StoreLimits::default());
    let error = store.apply(2, Some(("a", b"")), &[message("x")]).unwrap_err();
    assert!(matches!(error, StoreError::Gap { expected: 1, given: 2 }));
    assert_eq!((store.depth().unwrap(), store.applied().unwrap()), (0, 0));
    assert_eq!(store.answered("a").unwrap(), None);
}

#[test]
fn messages_leave_in_order_and_keys_are_never_given_twice() {
    let (_dir, path, store) = fresh(StoreLimits::default());
    store.apply(1, None, &[message("1")]).unwrap();
    assert_eq!(store.enqueue(&[message("2"), message("3")]).unwrap(), 1..3);
    assert_eq!(store.next(Some(0)).unwrap().unwrap().0, 1);
    for key in 0..3 {
        assert_eq!(store.next(None).unwrap().unwrap().0, key);
        store.delivered(key).unwrap();
        store.delivered(key).unwrap();
    }
    assert_eq!((store.next(None).unwrap(), store.depth().unwrap()), (None, 0));
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.enqueue(&[message("4")]).unwrap(), 3..4);
    assert_eq!(outbox(&store), [(3, message("4"))]);
}

#[test]
fn a_full_outbox_refuses_all_messages_and_the_record_can_be_applied_later() {
    let (_dir, _, store) = fresh(StoreLimits { outbox_max: 2, ..StoreLimits::default() });
    store.apply(1, None, &[message("1")]).unwrap();
    let error = store.apply(2, Some(("a", b"")), &[message("2"), message("3")]).unwrap_err();
    assert!(matches!(error, StoreError::OutboxFull { depth: 1, added: 2, max: 2 }));
    assert!(matches!(store.enqueue(&[message("2"), message("3")]), Err(StoreError::OutboxFull { .. })));
    assert_eq!((store.applied().unwrap(), store.depth().unwrap()), (1, 1));
    assert_eq!(store.answered("a").unwrap(), None);
    store.delivered(0).unwrap();
    assert_eq!(store.apply(2, Some(("a", b"")), &[message("2"), message("3")]).unwrap(), 1..3);
    // A record without messages never waits.
    store.apply(3, None, &[]).unwrap();
}

#[test]
fn the_oldest_answers_go_when_there_are_too_many() {
    let (_dir, path, store) = fresh(StoreLimits { done_max: 2, ..StoreLimits::default() });
    for (seq, id) in [(1, "z"), (2, "a"), (3, "m")] {
        store.apply(seq, Some((id, id.as_bytes())), &[]).unwrap();
    }
    let kept =
        |store: &Store| ["z", "a", "m", "k"].map(|id| store.answered(id).unwrap().map(|answer| answer.seq));
    assert_eq!(kept(&store), [None, Some(2), Some(3), None]);
    // Answered once more, "a" is the youngest.
    store.apply(4, Some(("a", b"again")), &[]).unwrap();
    store.apply(5, Some(("k", b"")), &[]).unwrap();
    assert_eq!(kept(&store), [None, Some(4), None, Some(5)]);
    drop(store);
    // A lower bound takes effect with the next answer.
    let store = Store::open_with(&path, StoreLimits { done_max: 1, ..StoreLimits::default() }).unwrap();
    store.apply(6, Some(("z", b"")), &[]).unwrap();
    assert_eq!(kept(&store), [Some(6), None, None, None]);
}

#[test]
fn a_request_is_pending_until_the_last_of_its_messages_is_delivered() {
    let (_dir, _, store) = fresh(StoreLimits::default());
    store.apply(1, Some(("a", b"")), &[message("1"), message("2")]).unwrap();
    store.apply(2, Some(("b", b"")), &[]).unwrap();
    store.enqueue(&[message("3")]).unwrap();
    let pending = || ["a", "b", "c"].map(|id| store.pending_for(id).unwrap());
    assert_eq!(pending(), [true, false, false]);
    store.delivered(0).unwrap();
    assert_eq!(pending(), [true, false, false]);
    store.delivered(1).unwrap();
    assert_eq!(pending(), [false, false, false]);
}

#[test]
fn a_record_logged_and_not_applied_is_applied_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log_dir, path) = (dir.path().join("audit"), dir.path().join("store.redb"));
    let (mut log, _) = AuditLog::open(&log_dir, AuditLimits::default()).unwrap();
    let store = Store::open(&path).unwrap();
    for n in 1..=3 {
        let link = log.append(&n).unwrap();
        if n < 3 {
            store.apply(link.seq, None, &[message(&n.to_string())]).unwrap();
        }
    }
    drop((log, store));

    // Once after the crash, and once more after the loss of the file.
    for lost in [false, true] {
        if lost {
            fs::remove_file(&path).unwrap();
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.applied().unwrap(), if lost { 0 } else { 2 });
        for record in read_from(&log_dir, store.applied().unwrap() + 1).unwrap() {
            let (link, record) = record.unwrap();
            store.apply(link.seq, None, &[message(record.get())]).unwrap();
        }
        assert_eq!(outbox(&store), [(0, message("1")), (1, message("2")), (2, message("3"))]);
    }
}

#[test]
fn only_a_new_store_can_skip() {
    let (_dir, _, store) = fresh(StoreLimits::default());
    store.skip_to(7).unwrap();
    assert_eq!(store.applied().unwrap(), 7);
    assert!(store.apply(7, None, &[message("old")]).unwrap().is_empty());
    store.apply(8, None, &[]).unwrap();
    assert!(matches!(store.skip_to(20), Err(StoreError::NotNew { applied: 8 })));
    assert_eq!(store.applied().unwrap(), 8);
}

#[test]
fn a_second_opener_is_told_that_the_store_is_busy() {
    let (_dir, path, store) = fresh(StoreLimits::default());
    assert!(matches!(Store::open(&path), Err(StoreError::Busy { .. })));
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn removals_are_durable_after_a_flush_and_after_closing() {
    for flush in [true, false] {
        let (_dir, path, store) = fresh(StoreLimits::default());
        store.apply(1, None, &[message("1"), message("2")]).unwrap();
        store.delivered(0).unwrap();
        let copy = path.with_extension("copy");
        if flush {
            // The file as it is on the disk, as a crash would leave it.
            fs::copy(&path, &copy).unwrap();
            assert_eq!(Store::open(&copy).unwrap().depth().unwrap(), 2);
            store.flush().unwrap();
            fs::copy(&path, &copy).unwrap();
        } else {
            drop(store);
            fs::copy(&path, &copy).unwrap();
        }
        assert_eq!(outbox(&Store::open(&copy).unwrap()), [(1, message("2"))]);
    }
}

#[test]
fn lazy_removals_are_bounded() {
    let (_dir, path, store) = fresh(StoreLimits::default());
    let messages: Vec<_> = (0..100).map(|n| message(&n.to_string())).collect();
    store.enqueue(&messages).unwrap();
    (0..100).for_each(|key| store.delivered(key).unwrap());
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(outbox(&Store::open(&copy).unwrap())[0].0, 64);
}

#[test]
fn threads_share_a_store() {
    let (_dir, _, store) = fresh(StoreLimits::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    store.enqueue(&[message("x")]).unwrap();
                }
            });
        }
    });
    let keys: Vec<u64> = outbox(&store).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_damaged_file_says_that_it_may_be_deleted() {
    let (_dir, path, store) = fresh(StoreLimits::default());
    let text = "y".repeat(3000);
    store.apply(1, Some(("a", b"")), &[message(&text)]).unwrap();
    drop(store);
    let good = fs::read(&path).unwrap();
    let payload = good.windows(8).position(|bytes| bytes == b"yyyyyyyy").unwrap();
    let mut flipped = good.clone();
    flipped[payload] ^= 1;
    for bad in [
        b"not a database, and long enough to be looked at".repeat(200),
        good[..good.len() / 2].to_vec(),
        flipped,
    ] {
        fs::write(&path, bad).unwrap();
        let error = Store::open(&path).err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("hint: it may be deleted"), "{error}");
    }
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    let (_dir, path, store) = fresh(StoreLimits::default());
    drop(store);
    let whole = fs::read(&path).unwrap();
    let draft = path.with_extension("redb.new");
    assert!(!draft.exists());
    for left in [vec![], vec![0; 8192], whole[..4096].to_vec(), whole] {
        fs::remove_file(&path).unwrap();
        fs::write(&draft, left).unwrap();
        let store = Store::open(&path).unwrap();
        store.apply(1, None, &[message("1")]).unwrap();
        drop(store);
        assert!(!draft.exists());
        assert_eq!(Store::open(&path).unwrap().applied().unwrap(), 1);
    }
}

#[test]
fn a_row_of_another_version_or_length_is_not_read() {
    let row = row::encode(&message("x")).unwrap();
    assert_eq!(row::decode::<Outgoing>(&row), Some(message("x")));
    let mut other = row.clone();
    other[0] += 1;
    assert_eq!(row::decode::<Outgoing>(&other), None);
    assert_eq!(row::decode::<Outgoing>(&[&row[..], b"x"].concat()), None);
    assert!((0..row.len()).all(|len| row::decode::<Outgoing>(&row[..len]).is_none()));
}
