//! A disk that takes no record for a while: what is withheld meanwhile, and what of it still counts afterwards.
//!
//! Not how the log itself survives a failed write (see the audit log's own tests). The disk is made to refuse by a folder
//! in the place of the log's next segment. Invariant: no relay opens for what was stopped or is out of time.

use crate::panel::{Wired, ask_for};
use r2d_firmware_host::button::Button;
use r2d_firmware_host::light::Light;
use r2d_firmware_host::message::Permit;
use r2d_tests::process::{free_port, have};
use r2d_tests::site::{BASE, Edge, Listener, SCRIPT, ask, publish};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SEGMENT: u64 = 1 << 20;

/// Fills the log's first segment and puts a folder in the place of the second: from here on no record is taken.
fn refuse(home: &Path, port: u16, listener: &mut Listener) -> PathBuf {
    let audit = home.join("audit");
    let first = audit.join("audit-000000000001.jsonl");
    for n in 0.. {
        if std::fs::metadata(&first).is_ok_and(|m| m.len() >= SEGMENT) {
            break;
        }
        let id = format!("fill-{n}");
        assert!(publish(port, &format!("{BASE}/req/check"), &ask(&id, &"x".repeat(16_000)), &[]));
        listener.about("verdict", &id);
    }
    let n_lines = std::fs::read(&first).unwrap().iter().filter(|&&b| b == b'\n').count();
    let next = audit.join(format!("audit-{:012}.jsonl", n_lines + 1));
    std::fs::create_dir(&next).unwrap();
    next
}

#[test]
fn what_was_stopped_or_cancelled_before_its_record_was_written_opens_nothing_after_it() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (port, panel) = (free_port(), Wired::start("panel-1", "press-4"));
    // At this one nobody presses stop.
    let second = Wired::start("panel-2", "press-4");
    let lines = format!("panel.lines=[\"{}=press-4\",\"{}=press-4\"]", panel.line, second.line);
    let sets = [lines.as_str(), "service.audit_segment_mb=1", "service.heartbeat_s=1"];
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));
    let send = |payload: String| assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    let mut n_connected = 0;
    edge.process.wait_for("both panels", |l| {
        n_connected += usize::from(l.contains("at press-4 is connected"));
        (n_connected == 2).then_some(())
    });
    for panel in [&panel, &second] {
        panel.press(Button::Reset);
        panel.wait_for("release", |o| o.light != Light::Latched);
    }

    let folder = refuse(home.path(), port, &mut listener);
    send(ask_for("press-4", "u1", "how do I clear a jam?"));
    let withheld = "u1 is withheld until its record is written";
    edge.process.wait_for("a warning", |l| l.contains(withheld).then_some(()));
    assert_eq!(panel.outputs().permit, Permit::Closed);
    // What comes meanwhile waits, and can be told to end all the same.
    send(ask_for("press-4", "h1", "how do I clear a jam?"));
    send(ask("h2", "how do I clear a jam?"));
    send(ask("h3", "how do I clear a jam?"));
    assert!(publish(port, &format!("{BASE}/req/cancel"), r#"{"id":"h2"}"#, &[]));
    edge.process.wait_for("the cancel", |l| l.contains("h2 is cancelled before it began").then_some(()));
    panel.press(Button::Stop);
    panel.wait_for("latch", |o| o.light == Light::Latched);
    edge.process
        .wait_for("the stop", |l| l.contains("stop was pressed at press-4: 1 requests").then_some(()));
    panel.press(Button::Reset);
    panel.wait_for("release", |o| o.light != Light::Latched);

    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(listener.about("verdict", "u1").payload["decision"], "allow");
    for id in ["h1", "h2"] {
        assert_eq!(listener.about("verdict", id).payload["reason"], "cancelled", "{id}");
    }
    assert_eq!(listener.about("verdict", "h3").payload["decision"], "allow");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!([panel.outputs().permit, second.outputs().permit], [Permit::Closed; 2]);
    // A request made after the stop opens again.
    send(ask_for("press-4", "u2", "how do I clear a jam?"));
    panel.wait_for("permission", |o| o.permit == Permit::Open);
    second.wait_for("permission", |o| o.permit == Permit::Open);
    for id in ["u1", "h1", "h2", "h3", "u2"] {
        assert_eq!(edge.records().iter().filter(|r| r["record"]["id"] == id).count(), 1, "{id}");
    }
    assert_eq!(edge.verify()["sound"], true);
}

#[test]
fn an_allow_that_was_recorded_after_its_time_opens_nothing() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (port, panel) = (free_port(), Wired::start("panel-1", "press-4"));
    let lines = format!("panel.lines=[\"{}=press-4\"]", panel.line);
    let sets =
        [lines.as_str(), "service.audit_segment_mb=1", "service.heartbeat_s=1", "service.verdict_valid_s=1"];
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));
    edge.process.wait_for("panel", |l| l.contains("panel-1 at press-4 is connected").then_some(()));
    panel.press(Button::Reset);
    panel.wait_for("release", |o| o.light != Light::Latched);
    let folder = refuse(home.path(), port, &mut listener);
    let payload = ask_for("press-4", "u1", "how do I clear a jam?");
    assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    let withheld = "u1 is withheld until its record is written";
    edge.process.wait_for("a warning", |l| l.contains(withheld).then_some(()));
    std::thread::sleep(Duration::from_millis(1500));
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(listener.about("verdict", "u1").payload["decision"], "allow");
    for _ in 0..50 {
        assert_eq!(panel.outputs().permit, Permit::Closed);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_the_disk_did_not_take_by_the_end_is_named_and_left_to_the_next_run() {
    if !have("mosquitto") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let broker = r2d_tests::site::Mosquitto::start();
    let port = broker.port;
    let sets = ["service.audit_segment_mb=1", "service.heartbeat_s=1"];
    let mut edge = Edge::start(home.path(), SCRIPT, port, false, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));
    let folder = refuse(home.path(), port, &mut listener);
    assert!(publish(port, &format!("{BASE}/req/ask"), &ask("u1", "how do I clear a jam?"), &[]));
    let withheld = "u1 is withheld until its record is written";
    edge.process.wait_for("a warning", |l| l.contains(withheld).then_some(()));
    edge.process.signal("TERM");
    edge.process.wait_for("the last word", |l| l.contains("did not confirm a record of u1").then_some(()));
    assert!(edge.process.end().success());
    drop(edge);
    std::fs::remove_dir(&folder).unwrap();
    let edge = Edge::start(home.path(), SCRIPT, port, false, &sets);
    assert_eq!(listener.about("verdict", "u1").payload["decision"], "allow");
    assert_eq!(edge.verify()["sound"], true);
}
