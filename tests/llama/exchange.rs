//! Adapters are exchanged while requests come in: each verdict names the weights that made it, and none is lost.
//!
//! That a name is true is seen by what was read: decoding is deterministic, so one request has one reading on one set of
//! weights, and the command line says which.

use r2d_tests::process::{PATIENCE, edge, free_port, have, model_path, output, text};
use r2d_tests::site::{BASE, Edge, Listener, SCRIPT, Seen, ask, publish};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

const N_REQUESTS: usize = 100;
const TOPICS: [&str; 5] = [
    "the safety guard of a punch press",
    "a jammed conveyor belt",
    "a forklift's battery",
    "a hydraulic hose",
    "a robot cell's light curtain",
];

/// Long enough that reading it takes a while.
fn prompt(n: usize) -> String {
    let topic = TOPICS[n % TOPICS.len()];
    format!("Tell me all that matters about {topic} before a shift begins and when it ends. ").repeat(2)
}

fn command(home: &Path, model: &str, words: &[&str]) -> String {
    let out = output(edge(home).args(words).args([
        "--set",
        &format!("model.name={model}"),
        "--set",
        "policy.min_mass=0",
    ]));
    let told = text(&out.stdout);
    assert!(matches!(out.status.code(), Some(0 | 1)), "{words:?}: {told}{}", text(&out.stderr));
    told
}

/// P(UNSAFE) on request `n`, from the command line.
fn read(home: &Path, model: &str, n: usize, adapter: &str) -> f64 {
    let told =
        command(home, model, &["check", &prompt(n), "--depth", "none", "--adapter", adapter, "--json"]);
    let events = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let request = events.into_iter().find(|e| e["event"] == "request");
    request.and_then(|e| e["unsafe"].as_f64()).unwrap_or_else(|| panic!("no reading in {told}"))
}

/// The adapter that a message names; "null" for none.
fn adapter_of(message: &Seen) -> String {
    message.payload["weights"]["adapter_sha256"].to_string()
}

/// The adapter of the latest `info`, once it is another one than `before`.
fn latest_other(listener: &mut Listener, before: Option<&String>) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = listener.all();
        let latest = all.iter().rfind(|m| m.topic == format!("{BASE}/info")).map(adapter_of);
        match latest {
            Some(latest) if Some(&latest) != before => return latest,
            _ => assert!(Instant::now() < until, "nothing took the place of {before:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_hundred_requests_see_five_exchanges() {
    let _alone = super::alone();
    if !have("mosquitto_pub") {
        return;
    }
    let Some(model) = model_path() else { return };
    let model = model.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let port = free_port();
    let sets = [
        "policy.min_mass=0",
        &format!("model.name={model}"),
        "policy.depth=none",
        "policy.deadline_ms=600000",
        "model.threads=1",
        "service.queue=200",
        "service.heartbeat_s=1",
    ];
    let mut edge = Edge::start(home, SCRIPT, port, true, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));

    let mut in_force = vec![latest_other(&mut listener, None)];
    let mut sent = 0;
    let mut send = |n: usize| {
        for id in sent..sent + n {
            assert!(publish(port, &format!("{BASE}/req/check"), &ask(&format!("r{id}"), &prompt(id)), &[]));
        }
        sent += n;
    };
    send(N_REQUESTS / 4);
    let changes: [&[&str]; 5] =
        [&["activate", "none"], &["rollback"], &["activate", "none"], &["rollback"], &["activate", "none"]];
    for (n, change) in changes.into_iter().enumerate() {
        // Each adapter gets to judge some of them.
        listener.about("verdict", &format!("r{}", n * 15 + 5));
        send(N_REQUESTS * 3 / 20);
        command(home, model, &[&["adapters"], change].concat());
        in_force.push(latest_other(&mut listener, in_force.last()));
    }
    assert_eq!(sent, N_REQUESTS);
    assert_eq!(in_force.len(), 6);
    assert_eq!(in_force.iter().collect::<BTreeSet<_>>().len(), 2, "{in_force:?}");

    let mut readings: BTreeMap<(usize, String), BTreeSet<String>> = BTreeMap::new();
    let mut n_by_adapter: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..N_REQUESTS {
        let verdict = listener.about("verdict", &format!("r{n}"));
        assert!(verdict.payload["weights"].is_object(), "it was not judged: {verdict:?}");
        let adapter = adapter_of(&verdict);
        *n_by_adapter.entry(adapter.clone()).or_default() += 1;
        let read = verdict.payload["request"]["unsafe"].to_string();
        readings.entry((n % TOPICS.len(), adapter)).or_default().insert(read);
    }
    println!("verdicts by adapter: {n_by_adapter:?}");
    assert_eq!(n_by_adapter.len(), 2);
    for ((topic, adapter), read) in &readings {
        assert_eq!(read.len(), 1, "request {topic} read differently under the same name {adapter}: {read:?}");
        let name = if adapter == "null" { "none" } else { "smollm2-135m-r2d" };
        let truth = self::read(home, model, *topic, name);
        let told: f64 = read.first().unwrap().parse().unwrap();
        assert!((told - truth).abs() < 1e-4, "{adapter} on request {topic}: {told}, alone {truth}");
    }
    edge.process.signal("TERM");
    assert!(edge.process.end().success(), "{:?}", edge.process.lines());
    assert_eq!(edge.verify()["sound"], true);
    assert_eq!(edge.records().len(), N_REQUESTS);
}
