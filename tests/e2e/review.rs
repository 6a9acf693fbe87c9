//! What the model leaves undecided, decided by a person: over MQTT, by a panel's button, over a crash.

use crate::panel::{Wired, ask_for};
use r2d_edge::wire::timestamp;
use r2d_firmware_host::button::Button;
use r2d_firmware_host::light::Light;
use r2d_firmware_host::message::Permit;
use r2d_tests::process::{edge, free_port, have, output, text};
use r2d_tests::site::{BASE, Edge, Listener, Mosquitto, Seen, ask, publish};
use serde_json::{Value, json};

/// Reads every request as one to think about again, but for those about a jam.
const SCRIPT: &str = r#"
decode_ms = 1
[[case]]
when = "jam"
says = "A worker asks about a jam.{open}{close}Stop it.{end}"
reads = [[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05]]
[[case]]
says = "It is not clear.{open}It is still not clear.{open}Nor now.{open}"
reads = [[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]]
"#;

fn decide(port: u16, request: &str, decision: &Value) {
    assert!(publish(port, &format!("{BASE}/review/decision/{request}"), &decision.to_string(), &[]));
}

fn outcomes(listener: &mut Listener, request: &str) -> Vec<Value> {
    let topic = format!("{BASE}/review/outcome/{request}");
    listener.all().into_iter().filter(|m| m.topic == topic).map(|m| m.payload).collect()
}

fn next_outcome(listener: &mut Listener, request: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let topic = format!("{BASE}/review/outcome/{request}");
    listener.wait_for("an outcome", |m: &Seen| m.topic == topic && wanted(&m.payload)).payload
}

#[test]
fn a_person_decides_once_what_the_model_left_undecided() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let mut edge_ = Edge::start(home.path(), SCRIPT, port, false, &["policy.review=undecided"]);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    for (id, prompt) in [("d-1", "do it"), ("d-2", "do that"), ("a-1", "how do I clear a jam?")] {
        assert!(publish(port, &format!("{BASE}/req/ask"), &ask(id, prompt), &[]));
    }
    let pending = listener.about("review/pending/d-1", "d-1").payload;
    assert_eq!((&pending["prompt"], &pending["decision"]), (&json!("do it"), &json!("undecided")));
    assert!(
        pending["steps"].as_array().is_some_and(|s| !s.is_empty()) && pending["until"].is_string(),
        "{pending}"
    );
    listener.about("review/pending/d-2", "d-2");
    listener.about("audit", "a-1");
    // Whoever cuts the judging short does not get to a person by it.
    let hasty = r#"{"id":"h-1","prompt":"do it at once","deadline_ms":1}"#;
    assert!(publish(port, &format!("{BASE}/req/ask"), hasty, &[]));
    assert_eq!(listener.about("verdict", "h-1").payload["reason"], "deadline");
    listener.about("audit", "h-1");

    // What cannot be read, or is about nothing that waits, is told so and decides nothing.
    decide(port, "d-1", &json!({"decision": "approve"}));
    let told = next_outcome(&mut listener, "d-1", |o| o["detail"].as_str().is_some_and(|d| d.contains("by")));
    assert!(told["decision"].is_null() && told["audit_hash"].is_null(), "{told}");
    for id in ["a-1", "h-1", "nobody"] {
        decide(port, id, &json!({"decision": "approve", "by": "Ana"}));
        let told = next_outcome(&mut listener, id, |_| true);
        assert!(told["decision"].is_null() && told["detail"].as_str().unwrap().contains("waits"), "{told}");
    }
    assert!(!listener.all().iter().any(|m| m.topic.ends_with("review/pending/a-1")));

    decide(port, "d-1", &json!({"decision": "approve", "by": "Ana", "note": "seen it"}));
    let taken = next_outcome(&mut listener, "d-1", |o| o["audit_hash"].is_string());
    assert_eq!(
        (&taken["decision"], &taken["by"], &taken["via"]),
        (&json!("approve"), &json!("Ana"), &json!("mqtt"))
    );

    // The first decision holds, over a crash too.
    edge_.crash();
    edge_.wait_until_listening();
    decide(port, "d-1", &json!({"decision": "deny", "by": "Bo"}));
    let late =
        next_outcome(&mut listener, "d-1", |o| o["detail"].as_str().is_some_and(|d| d.contains("before")));
    assert_eq!(late["decision"], "approve");
    decide(port, "d-2", &json!({"decision": "deny", "by": "Bo"}));
    next_outcome(&mut listener, "d-2", |o| o["decision"] == "deny");

    // The verdict is what it was, and nothing that was withheld has left.
    assert_eq!(listener.about("verdict", "d-1").payload["decision"], "undecided");
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("d-1", "do it"), &[]));
    listener.wait_for("the answer again", |m| m.topic.ends_with("ans/d-1/final"));
    // A crash may bring a message a second time, but it is the same one.
    let mut hashes: Vec<Value> =
        outcomes(&mut listener, "d-1").into_iter().map(|o| o["audit_hash"].clone()).collect();
    hashes.retain(Value::is_string);
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    crate::validate(&listener.all());
    assert_eq!(edge_.verify()["sound"], true);
    let records = edge_.records();
    let reviews: Vec<&Value> =
        records.iter().map(|r| &r["record"]).filter(|r| r["schema"] == "r2d.review/1").collect();
    assert_eq!(reviews.len(), 2, "{reviews:?}");
    assert_eq!(reviews[0]["note"], "seen it");
    drop(edge_);

    // The decisions are what training data is collected by.
    let out = output(
        edge(home.path()).args(["distill", "collect", "--json", "--out"]).arg(home.path().join("site.jsonl")),
    );
    let counts: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out.stderr)));
    assert_eq!((&counts["decisions"], &counts["todo"]), (&json!(2), &json!(2)), "{counts}");
}

#[test]
fn a_decision_that_comes_too_late_changes_nothing() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let sets = ["policy.review=undecided", "service.review_s=1"];
    let edge = Edge::start(home.path(), SCRIPT, port, false, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    assert!(publish(port, &format!("{BASE}/req/check"), &ask("d-1", "do it"), &[]));
    let until = listener.about("review/pending/d-1", "d-1").payload["until"].as_str().unwrap().to_owned();
    while timestamp(std::time::SystemTime::now()) <= until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    decide(port, "d-1", &json!({"decision": "approve", "by": "Ana"}));
    let told = next_outcome(&mut listener, "d-1", |_| true);
    assert!(
        told["decision"].is_null() && told["detail"].as_str().unwrap().contains("counted until"),
        "{told}"
    );
    assert_eq!(edge.records().len(), 1);
}

#[test]
fn nobody_is_asked_unless_the_site_wants_it() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let edge = Edge::start(home.path(), SCRIPT, port, false, &[]);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("d-1", "do it"), &[]));
    listener.about("audit", "d-1");
    decide(port, "d-1", &json!({"decision": "approve", "by": "Ana"}));
    // Answered behind it, so the decision was there and nobody took it.
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("a-1", "how do I clear a jam?"), &[]));
    listener.about("audit", "a-1");
    assert!(!listener.all().iter().any(|m| m.topic.contains("/review/") && !m.topic.contains("/decision/")));
    assert_eq!(edge.records().len(), 2);
}

#[test]
fn approve_on_the_panel_opens_what_a_person_was_asked_about() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (port, panel) = (free_port(), Wired::start("panel-1", "press-4"));
    let lines = format!("panel.lines=[\"{}=press-4\"]", panel.line);
    let sets = [lines.as_str(), "policy.review=undecided"];
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let send = |payload: String| assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    edge.process.wait_for("panel", |l| l.contains("panel-1 at press-4 is connected").then_some(()));
    panel.press(Button::Reset);
    panel.wait_for("release", |o| o.light != Light::Latched);

    send(ask_for("press-4", "d-1", "do it"));
    panel.wait_for("the question", |o| o.light == Light::Blue);
    assert_eq!(panel.outputs().permit, Permit::Closed);
    panel.press(Button::Approve);
    panel.wait_for("permission", |o| o.permit == Permit::Open && o.light == Light::Green);
    let taken = next_outcome(&mut listener, "d-1", |_| true);
    assert_eq!(
        (&taken["decision"], &taken["by"], &taken["via"]),
        (&json!("approve"), &json!("press-4"), &json!("panel"))
    );

    // Approved over MQTT as well; a request that the station has left behind opens and closes nothing.
    send(ask_for("press-4", "d-3", "do it"));
    panel.wait_for("the question", |o| o.light == Light::Blue && o.permit == Permit::Closed);
    decide(port, "d-3", &json!({"decision": "approve", "by": "Ana"}));
    panel.wait_for("permission", |o| o.permit == Permit::Open);
    send(ask_for("press-4", "d-4", "do it"));
    panel.wait_for("the question", |o| o.light == Light::Blue && o.permit == Permit::Closed);
    send(ask_for("press-4", "a-1", "how do I clear a jam?"));
    panel.wait_for("permission", |o| o.permit == Permit::Open);
    decide(port, "d-4", &json!({"decision": "deny", "by": "Ana"}));
    next_outcome(&mut listener, "d-4", |o| o["decision"] == "deny");
    assert_eq!(panel.outputs().permit, Permit::Open);

    // Denied over MQTT, it is red; approving it afterwards is not possible any more.
    send(ask_for("press-4", "d-2", "do that"));
    panel.wait_for("the question", |o| o.light == Light::Blue && o.permit == Permit::Closed);
    decide(port, "d-2", &json!({"decision": "deny", "by": "Ana"}));
    panel.wait_for("the denial", |o| o.light == Light::Red && o.permit == Permit::Closed);
    assert!(panel.try_press(Button::Approve).is_err());
    assert_eq!(edge.verify()["sound"], true);
}

#[test]
fn a_decision_that_only_the_log_knows_is_told_by_the_next_run() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start();
    let port = broker.port;
    let start = || Edge::start(home.path(), SCRIPT, port, false, &["policy.review=undecided"]);
    let stop = |mut edge: Edge| {
        edge.process.signal("TERM");
        assert!(edge.process.end().success());
    };
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let edge = start();
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("d-1", "do it"), &[]));
    listener.about("review/pending/d-1", "d-1");
    stop(edge);
    let (store, before) = (home.path().join("store.redb"), home.path().join("before.redb"));
    std::fs::copy(&store, &before).unwrap();
    let edge = start();
    decide(port, "d-1", &json!({"decision": "approve", "by": "Ana"}));
    let first = next_outcome(&mut listener, "d-1", |o| o["audit_hash"].is_string());
    stop(edge);

    // As a crash between record and outbox leaves it.
    std::fs::rename(&before, &store).unwrap();
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let edge = start();
    assert_eq!(next_outcome(&mut listener, "d-1", |_| true), first);
    decide(port, "d-1", &json!({"decision": "deny", "by": "Bo"}));
    let late = next_outcome(&mut listener, "d-1", |o| o["detail"].is_string());
    assert_eq!(late["decision"], "approve");
    assert_eq!(edge.records().len(), 2);
}
