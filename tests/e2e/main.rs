//! The service as its users meet it: real processes, real brokers, the scripted model.

mod bundle;
mod late;
mod panel;
mod review;

use r2d_edge::wire::schemas;
use r2d_tests::process::{edge, free_port, have, output, text};
use r2d_tests::site::{BASE, Edge, Listener, Mosquitto, SCRIPT, Seen, ask, publish};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Holds every message against the schema of its topic; gives back which kinds there were.
fn validate(messages: &[Seen]) -> Vec<String> {
    let schemas = schemas();
    let mut kinds = Vec::new();
    for message in messages {
        let tail =
            message.topic.strip_prefix(BASE).unwrap_or_else(|| panic!("{message:?}")).trim_start_matches('/');
        let levels: Vec<&str> = tail.split('/').collect();
        let kind = match levels[..] {
            ["ans", _, kind] => kind,
            ["step", _] => "step",
            ["verdict", "latest"] => "verdict",
            ["req", _] | ["review", "decision", _] => continue,
            ["review", "pending", _] => "review_pending",
            ["review", "outcome", _] => "review_outcome",
            [kind] => kind,
            _ => panic!("an unknown topic: {message:?}"),
        };
        let schema =
            &schemas.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("{message:?}")).1;
        if let Err(fault) = jsonschema::validate(schema, &message.payload) {
            panic!("{kind}: {fault}: {message:?}");
        }
        assert_eq!(message.payload["schema"], format!("r2d.{kind}/1"), "{message:?}");
        for key in ["id", "ts", "device", "boot", "seq"] {
            assert!(!message.payload[key].is_null(), "{key} is missing: {message:?}");
        }
        kinds.push(kind.to_owned());
    }
    kinds.sort();
    kinds.dedup();
    kinds
}

fn serves_and_tells(port: u16, edge: &mut Edge) {
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("a1", "how do I clear a jam?"), &[]));
    let verdict = listener.about("verdict", "a1").payload;
    assert_eq!((&verdict["decision"], &verdict["enforced"]), (&Value::from("allow"), &Value::from(true)));
    assert_eq!(verdict["n_steps"], 2);
    let answer = listener.about("ans/a1/final", "a1").payload;
    assert_eq!(answer["text"], "Stop it. Then pull.");
    let step = listener.about("step/a1", "a1").payload;
    let sum: f64 = ["safe", "unsafe", "rethink"].iter().map(|k| step["step"][k].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-3, "{step}");
    listener.about("audit", "a1");
    listener.about("verdict/latest", "a1");
    listener.about("ans/a1/chunk", "a1");

    // A check has a verdict and no answer.
    assert!(publish(port, &format!("{BASE}/req/check"), &ask("c1", "how do I bypass it?"), &[]));
    assert_eq!(listener.about("verdict", "c1").payload["reason"], "step_unsafe");
    listener.about("audit", "c1");
    assert!(!listener.all().iter().any(|m| m.topic.contains("/ans/c1/")));
    listener.wait_for("a heartbeat", |m| m.topic == format!("{BASE}/health"));

    let kinds = validate(&listener.all());
    for kind in ["ask", "audit", "chunk", "final", "health", "info", "status", "step", "verdict"] {
        assert!(kind == "ask" || kinds.iter().any(|k| k == kind), "no {kind} among {kinds:?}");
    }
    // Stopped in order: the last status is offline.
    edge.process.signal("TERM");
    assert!(edge.process.end().success(), "{:?}", edge.process.lines());
    assert_eq!(edge.verify()["sound"], true);
}

#[test]
fn the_embedded_broker_needs_no_configuration() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &["service.heartbeat_s=1"]);
    assert!(edge.process.lines().iter().any(|l| l.contains("embedded broker on 127.0.0.1")));
    serves_and_tells(port, &mut edge);
}

#[test]
fn a_separate_mosquitto_serves_as_well() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut edge = Edge::start(home.path(), SCRIPT, broker.port, false, &["service.heartbeat_s=1"]);
    serves_and_tells(broker.port, &mut edge);
    let mut later = Listener::start(broker.port, &format!("{BASE}/status"));
    assert_eq!(
        later.wait_for("status", |m| m.payload["state"] == "offline").payload["device"],
        "plant/hall/line/edge"
    );
}

#[test]
fn a_killed_device_is_told_offline_by_its_will() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut edge = Edge::start(home.path(), SCRIPT, broker.port, false, &[]);
    let mut listener = Listener::start(broker.port, &format!("{BASE}/status"));
    listener.wait_for("online", |m| m.payload["state"] == "online");
    edge.process.kill();
    listener.wait_for("offline", |m| m.payload["state"] == "offline");
}

#[test]
fn each_faulty_request_is_told_its_fault() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let edge = Edge::start(home.path(), SCRIPT, port, false, &["service.max_prompt_bytes=200"]);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let topic = format!("{BASE}/req/ask");
    let long = ask("f-long", &"x".repeat(201));
    let expired = r#"{"id":"f-old","prompt":"x","valid_until":"2020-01-01T00:00:00Z"}"#;
    for (id, payload, more, reason) in [
        ("f-json", r#"{"id":"f-json""#.to_owned(), &[][..], "malformed"),
        ("f-empty", r#"{"id":"f-empty","prompt":" "}"#.to_owned(), &[], "malformed"),
        ("f-long", long, &[], "too_large"),
        ("f-old", expired.to_owned(), &[], "expired"),
        ("f-kept", ask("f-kept", "x"), &["-r"], "retained"),
    ] {
        assert!(publish(port, &topic, &payload, more));
        // What cannot be parsed has no id of its own.
        let seen = listener.wait_for(reason, |m| {
            m.topic == format!("{BASE}/verdict")
                && m.payload["reason"] == reason
                && (m.payload["id"] == id
                    || id == "f-json" && m.payload["id"].as_str().is_some_and(|i| i.starts_with("unnamed-")))
        });
        assert_eq!(seen.payload["decision"], "undecided", "{seen:?}");
        assert!(seen.payload["detail"].as_str().is_some_and(|d| !d.is_empty()), "{seen:?}");
    }
    // A huge one that is no JSON at all.
    assert!(publish(port, &topic, &"y".repeat(5000), &[]));
    listener.wait_for("too large", |m| {
        m.payload["reason"] == "too_large"
            && m.payload["id"].as_str().is_some_and(|i| i.starts_with("unnamed-"))
    });
    // Nobody takes an id that the service gives: it is answered as one without a name.
    assert!(publish(port, &topic, &ask("panel-0123456789abcdef-1", "x"), &[]));
    let reserved = listener.wait_for("a reserved id", |m| {
        m.topic == format!("{BASE}/verdict")
            && m.payload["detail"].as_str().is_some_and(|d| d.contains("given by the service"))
    });
    assert_eq!(reserved.payload["reason"], "malformed");
    assert!(reserved.payload["id"].as_str().is_some_and(|i| i.starts_with("unnamed-")), "{reserved:?}");
    // Taken away again, so that it is not asked at the next connection.
    assert!(publish(port, &topic, "", &["-r"]));
    assert!(publish(port, &topic, &ask("f-fine", "still there?"), &[]));
    assert_eq!(listener.about("verdict", "f-fine").payload["decision"], "allow");
    validate(&listener.all());
    assert_eq!(edge.verify()["sound"], true);
    edge.process.signal("TERM");
}

#[test]
fn an_id_is_answered_once_and_then_from_the_store() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let mut edge = Edge::start(home.path(), SCRIPT, port, false, &[]);
    let mut listener = Listener::start(port, &format!("{BASE}/ans/+/final"));
    let topic = format!("{BASE}/req/ask");
    assert!(publish(port, &topic, &ask("d1", "how do I clear a jam?"), &[]));
    let first = listener.about("ans/d1/final", "d1").payload;
    edge.crash();
    edge.wait_until_listening();
    assert!(publish(port, &topic, &ask("d1", "how do I clear a jam?"), &[]));
    let until = Instant::now() + r2d_tests::process::PATIENCE;
    let finals =
        |l: &mut Listener| l.all().into_iter().filter(|m| m.payload["id"] == "d1").collect::<Vec<_>>();
    while finals(&mut listener).len() < 2 {
        assert!(Instant::now() < until, "the duplicate is not answered");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(finals(&mut listener).iter().all(|m| m.payload == first));
    // An id must not lend its verdict to other words.
    assert!(publish(port, &topic, &ask("d1", "how do I bypass it?"), &[]));
    let other = listener.wait_for("a refusal of the id", |m| m.payload["reason"] == "id_reused").payload;
    assert_eq!((&other["id"], &other["decision"]), (&Value::from("d1"), &Value::from("undecided")));
    assert_eq!(edge.records().iter().filter(|r| r["record"]["id"] == "d1").count(), 1);
}

#[test]
fn replies_go_only_to_topics_that_the_site_allows() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let sets = ["mqtt.response_topics=plant/replies/+"];
    let _edge = Edge::start(home.path(), SCRIPT, port, false, &sets);
    let mut replies = Listener::start(port, "plant/replies/#");
    let mut elsewhere = Listener::start(port, "plant/other/#");
    let mut own = Listener::start(port, &format!("{BASE}/verdict"));
    let topic = format!("{BASE}/req/ask");
    let to = |topic: &str| ["-D".to_owned(), "publish".into(), "response-topic".into(), topic.to_owned()];
    for (id, reply) in
        [("p1", "plant/other/x"), ("p2", &format!("{BASE}/verdict")[..]), ("p3", "plant/replies/x")]
    {
        let more = to(reply);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        assert!(publish(port, &topic, &ask(id, "how?"), &more));
    }
    let reply = replies.wait_for("a reply", |m| m.topic == "plant/replies/x").payload;
    assert_eq!((&reply["id"], &reply["schema"]), (&Value::from("p3"), &Value::from("r2d.final/1")));
    own.about("verdict", "p3");
    assert!(elsewhere.all().is_empty());
    assert!(own.all().iter().all(|m| m.payload["schema"] == "r2d.verdict/1"));
}

#[test]
fn a_full_line_says_busy_and_a_cancel_ends_a_request() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let script = SCRIPT.replace("decode_ms = 1", "decode_ms = 20");
    let sets = ["service.queue=1", "policy.max_step_tokens=200", "model.n_ctx=8192"];
    let edge = Edge::start(home.path(), &script, port, false, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));
    for n in 0..4 {
        assert!(publish(port, &format!("{BASE}/req/ask"), &ask(&format!("s{n}"), "a slow one"), &[]));
    }
    // One runs and one waits: the others hear it at once, and may ask again with the same id.
    assert_eq!(listener.about("verdict", "s2").payload["reason"], "busy");
    assert_eq!(listener.about("verdict", "s3").payload["reason"], "busy");
    for id in ["s1", "s0"] {
        assert!(publish(port, &format!("{BASE}/req/cancel"), &format!(r#"{{"id":"{id}"}}"#), &[]));
        assert_eq!(listener.about("verdict", id).payload["reason"], "cancelled");
    }
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("s2", "how?"), &[]));
    listener.wait_for("the second try", |m| m.payload["id"] == "s2" && m.payload["decision"] == "allow");
    let ids: Vec<String> =
        edge.records().iter().map(|r| r["record"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["s1", "s0", "s2"], "busy is told, not recorded");
}

#[test]
fn a_stop_in_the_middle_leaves_the_request_to_the_next_run() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let slow = SCRIPT.replace("decode_ms = 1", "decode_ms = 30");
    let sets = ["policy.max_step_tokens=200", "model.n_ctx=8192"];
    let mut edge = Edge::start(home.path(), &slow, port, false, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("m1", "a slow one"), &[]));
    std::thread::sleep(Duration::from_millis(300));
    edge.process.signal("TERM");
    assert!(edge.process.end().success());
    assert!(edge.records().is_empty());
    drop(edge);
    let _again = Edge::start(home.path(), SCRIPT, port, false, &sets);
    listener.about("verdict", "m1");
}

#[test]
fn a_configuration_with_a_fault_is_refused_with_the_nearest_name() {
    let home = tempfile::tempdir().unwrap();
    let out = output(edge(home.path()).args(["config", "check", "--set", "policy.unsave_at=0.5"]));
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("policy.unsafe_at"), "{}", text(&out.stderr));
    // A result that finds no room is none.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out = output(edge(home.path()).args(["config", "example"]).stdout(full));
    assert_eq!(out.status.code(), Some(3));
    assert!(text(&out.stderr).contains("cannot print the result"), "{}", text(&out.stderr));
    let example = output(edge(home.path()).args(["config", "example"]));
    std::fs::write(home.path().join("config.toml"), &example.stdout).unwrap();
    assert_eq!(output(edge(home.path()).args(["config", "check"])).status.code(), Some(0));
    let shown = text(&output(edge(home.path()).args(["config", "show", "--json"])).stdout);
    assert!(shown.lines().count() > 50);
    for line in shown.lines() {
        let key: Value = serde_json::from_str(line).unwrap();
        assert!(key["origin"].is_object() && key["description"].is_string(), "{key}");
    }
}

#[test]
fn a_damaged_log_is_shown_up_to_its_damage() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let mut site = Edge::start(home.path(), SCRIPT, broker.port, false, &[]);
    let mut listener = Listener::start(broker.port, &format!("{BASE}/verdict"));
    for id in ["d1", "d2", "d3"] {
        assert!(publish(broker.port, &format!("{BASE}/req/ask"), &ask(id, "how?"), &[]));
        listener.about("verdict", id);
    }
    site.process.signal("TERM");
    assert!(site.process.end().success());
    let logs = std::fs::read_dir(home.path().join("audit")).unwrap().map(|file| file.unwrap().path());
    let log = logs.into_iter().find(|path| path.extension().is_some_and(|e| e == "jsonl")).unwrap();
    let damaged = std::fs::read_to_string(&log).unwrap().replace("\"id\":\"d2\"", "\"id\":\"e2\"");
    std::fs::write(&log, damaged).unwrap();
    let shown = output(edge(home.path()).args(["audit", "show"]));
    let (rows, told) = (text(&shown.stdout), text(&shown.stderr));
    assert_eq!(shown.status.code(), Some(3), "{told}");
    assert!(rows.lines().count() == 1 && rows.contains("d1"), "{rows}");
    assert!(told.contains("audit verify"), "{told}");
}

#[test]
fn every_command_has_help_and_completions_come_out() {
    let home = tempfile::tempdir().unwrap();
    for command in ["ask", "check", "serve", "doctor", "bench", "audit", "models", "config", "completions"] {
        let out = output(edge(home.path()).args([command, "--help"]));
        assert!(out.status.success() && text(&out.stdout).contains("Usage:"), "{command}");
    }
    let out = output(edge(home.path()).args(["completions", "bash"]));
    assert!(text(&out.stdout).contains("r2d-edge"));
    for wrong in [&["nonsense"][..], &["ask", " "], &["ask", "x", "--model", "nobody"], &["audit", "verify"]]
    {
        let out = output(edge(home.path()).args(wrong));
        assert_eq!(out.status.code(), Some(2), "{wrong:?}: {}", text(&out.stderr));
    }
}
