//! Faults on real processes: nothing accepted is lost, and what is damaged is named.

use r2d_tests::process::{PATIENCE, have};
use r2d_tests::site::{BASE, Edge, Listener, Mosquitto, SCRIPT, ask, publish};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const N_REQUESTS: usize = 200;
const N_BROKER_RESTARTS: usize = 5;
const N_KILLS: usize = 10;

/// While requests come in, the broker is restarted and the service killed; each request still has one record and a
/// delivered verdict.
#[test]
fn no_request_is_lost_over_kills_and_broker_restarts() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut broker = Mosquitto::start();
    let port = broker.port;
    let mut edge =
        Edge::start(home.path(), SCRIPT, port, false, &["service.queue=256", "mqtt.receive_maximum=64"]);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));

    let publisher = std::thread::spawn(move || {
        for n in 0..N_REQUESTS {
            let prompt = if n % 10 == 3 { "how do I bypass it?" } else { "how do I clear a jam?" };
            let payload = ask(&format!("r{n}"), prompt);
            // Accepted means that the broker has acknowledged it; until then the asker tries again.
            let until = Instant::now() + PATIENCE;
            while !publish(port, &format!("{BASE}/req/ask"), &payload, &[]) {
                assert!(Instant::now() < until, "request {n} is not accepted");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    // Faults spread over the run by what has been recorded, not by the clock.
    let total = N_BROKER_RESTARTS + N_KILLS;
    for fault in 0..total {
        let due = (fault + 1) * N_REQUESTS / (total + 1);
        wait_until("records", || count_lines(&edge.home) >= due);
        if fault % 3 == 2 { broker.restart() } else { edge.crash() }
    }
    publisher.join().unwrap();
    wait_until("all records", || count_lines(&edge.home) >= N_REQUESTS);
    let all: BTreeSet<String> = (0..N_REQUESTS).map(|n| format!("r{n}")).collect();
    wait_until("all deliveries", || {
        let seen: BTreeSet<String> =
            listener.all().iter().filter_map(|m| m.payload["id"].as_str().map(str::to_owned)).collect();
        all.is_subset(&seen)
    });

    let mut records: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in edge.records() {
        let id = line["record"]["id"].as_str().unwrap().to_owned();
        records.entry(id).or_default().push(line["record"]["verdict"].clone());
    }
    for n in 0..N_REQUESTS {
        let verdicts = &records[&format!("r{n}")];
        let expected = if n % 10 == 3 { "refuse" } else { "allow" };
        assert_eq!(verdicts.len(), 1, "request {n} has {verdicts:?}");
        assert_eq!(verdicts[0]["decision"], expected, "request {n}");
    }
    assert_eq!(records.len(), N_REQUESTS);
    // Every delivery of a verdict says the same as the record.
    for message in listener.all() {
        let id = message.payload["id"].as_str().unwrap();
        assert_eq!(message.payload["decision"], records[id][0]["decision"], "{message:?}");
    }
    let report = edge.verify();
    assert_eq!(
        (&report["sound"], &report["checked"]),
        (&Value::Bool(true), &Value::from(N_REQUESTS)),
        "{report}"
    );
}

/// A log that was tampered with is found out, and the record named.
#[test]
fn verify_names_what_was_done_to_the_log() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let port = r2d_tests::process::free_port();
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &[]);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    for n in 0..6 {
        let id = format!("t{n}");
        assert!(publish(port, &format!("{BASE}/req/ask"), &ask(&id, "how?"), &[]));
        listener.about("verdict", &id);
    }
    edge.process.signal("TERM");
    assert!(edge.process.end().success());
    assert_eq!(edge.verify()["sound"], true);

    let file = segment(&edge.home);
    let whole = std::fs::read(&file).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|&b| b == b'\n').collect();
    assert_eq!(lines.len(), 6);
    let named = |bytes: Vec<u8>, record: &str| {
        std::fs::write(&file, bytes).unwrap();
        let report = edge.verify();
        assert_eq!(report["sound"], false, "{report}");
        let problems: Vec<&str> =
            report["problems"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(problems.iter().any(|p| p.contains(record)), "{record} is not named: {problems:?}");
    };
    // One byte of a verdict changed: from allow to something else.
    let mut altered = whole.clone();
    let third: usize = lines[..2].iter().map(|l| l.len()).sum();
    let at = third + find(lines[2], b"\"allow\"") + 1;
    altered[at] = b'A';
    named(altered, "record 3");
    // A line removed.
    named([&lines[..3], &lines[4..]].concat().concat(), "record 4");
    // The last line removed: only the head knows.
    named(lines[..5].concat(), "record 6");
    // The tail torn.
    named(whole[..whole.len() - 10].to_vec(), "record 6");
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(edge.verify()["sound"], true);
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|w| w == needle).unwrap()
}

fn segment(home: &Path) -> PathBuf {
    let files = std::fs::read_dir(home.join("audit")).unwrap().map(|e| e.unwrap().path());
    files.filter(|p| p.extension().is_some_and(|e| e == "jsonl")).min().unwrap()
}

fn count_lines(home: &Path) -> usize {
    let Ok(files) = std::fs::read_dir(home.join("audit")) else { return 0 };
    let logs = files.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl"));
    logs.map(|p| std::fs::read(p).map_or(0, |b| b.iter().filter(|&&b| b == b'\n').count())).sum()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE * 3;
    while !done() {
        assert!(Instant::now() < until, "{what} do not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
