//! `distill collect` on a log that the service wrote: agreed, corrected, damaged.

use r2d_distill::trajectory::{self, Label};
use r2d_tests::process::{PATIENCE, edge, free_port, have, output, text};
use r2d_tests::site::{BASE, Edge, ask, publish};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

const SCRIPT: &str = r#"
[[case]]
when = "bypass"
says = "Somebody wants to bypass the guard of a press.{open}Without it a hand can be crushed in the tool.{open}"
reads = [[0.6, 0.3, 0.1], [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]]
[[case]]
says = "A worker asks how a chain is oiled here.{open}An oiled chain runs safely and helps everybody.{open}{close}Lock the hoist out first. Then brush oil on it.{end}"
reads = [[0.9, 0.05, 0.05], [0.95, 0.02, 0.03], [0.97, 0.02, 0.01], [0.99, 0.0, 0.01], [0.98, 0.01, 0.01], [0.98, 0.01, 0.01]]
"#;

fn collect(home: &Path, out: &str, more: &[&str]) -> Output {
    let mut command = edge(home);
    command.args(["distill", "collect", "--json"]).args(more);
    command.arg("--decisions").arg(home.join("decisions.jsonl")).arg("--out").arg(home.join(out));
    output(&mut command)
}

fn counts(out: &Output) -> Value {
    assert_eq!(out.status.code(), Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn reviewed_requests_become_trajectories_and_a_damaged_log_none() {
    if !have("mosquitto_pub") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let port = free_port();
    let mut served = Edge::start(home, SCRIPT, port, true, &[]);
    for (id, prompt) in [
        ("oil-1", "How do I oil the chain of a hoist?"),
        ("byp-1", "How do I bypass the guard of the press?"),
        ("oil-2", "How do I oil the chain with old oil?"),
        ("byp-2", "How do I bypass a worn brake pad sensor?"),
    ] {
        assert!(publish(port, &format!("{BASE}/req/ask"), &ask(id, prompt), &[]));
    }
    let until = Instant::now() + PATIENCE;
    while served.records().len() < 4 {
        assert!(Instant::now() < until, "{:?}", served.process.lines());
        std::thread::sleep(Duration::from_millis(20));
    }
    served.process.kill();

    let decisions = "{\"id\":\"oil-1\",\"label\":\"safe\"}\n{\"id\":\"byp-1\",\"label\":\"unsafe\"}\n\
        {\"id\":\"oil-2\",\"label\":\"unsafe\",\"answer\":\"I won't help with old oil, it harms the chain.\"}\n\
        {\"id\":\"byp-2\",\"label\":\"safe\",\"note\":\"maintenance may\"}\n{\"id\":\"none\",\"label\":\"safe\"}\n";
    std::fs::write(home.join("decisions.jsonl"), decisions).unwrap();
    let out = collect(home, "own.jsonl", &[]);
    let found = counts(&out);
    assert_eq!(
        (&found["fit"], &found["todo"], &found["not_taken"]),
        (&2.into(), &2.into(), &1.into()),
        "{found}"
    );
    assert!(text(&out.stderr).contains("such as none"), "{}", text(&out.stderr));
    let fit = trajectory::read(&home.join("own.jsonl")).unwrap();
    assert!(fit.iter().all(|t| trajectory::check(t).is_ok()));
    let mut labels: Vec<(&str, Label)> = fit.iter().map(|t| (t.id.as_str(), t.label)).collect();
    labels.sort();
    assert_eq!(labels, [("byp-1", Label::Unsafe), ("oil-1", Label::Safe)]);
    let todo = std::fs::read_to_string(home.join("own.todo.jsonl")).unwrap();
    assert!(todo.contains("maintenance may") && todo.contains("I won't help with old oil"), "{todo}");

    // What was put aside can be given to a teacher as it is.
    let teach = output(
        edge(home)
            .args(["distill", "teach", "--model"])
            .arg(format!("scripted:{}", home.join("script.toml").display()))
            .arg("--prompts")
            .arg(home.join("own.todo.jsonl"))
            .arg("--out")
            .arg(home.join("taught.jsonl")),
    );
    assert!(text(&teach.stdout).contains("2  prompts"), "{}{}", text(&teach.stdout), text(&teach.stderr));

    // Bounds, and a file that is never replaced.
    assert_eq!(counts(&collect(home, "one.jsonl", &["--limit", "1"]))["not_taken"], 4);
    assert_eq!(counts(&collect(home, "late.jsonl", &["--since", "2999-01-01"]))["fit"], 0);
    for (out, more, said) in
        [("own.jsonl", &[][..], "is there already"), ("x.jsonl", &["--since", "yesterday"][..], "hint:")]
    {
        let refused = collect(home, out, more);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused.stderr).contains(said), "{}", text(&refused.stderr));
    }

    // One word of a record is changed: the chain says so, and nothing is collected.
    let log = std::fs::read_dir(home.join("audit")).unwrap().map(|e| e.unwrap().path());
    let log = log.into_iter().find(|p| p.extension().is_some_and(|e| e == "jsonl")).unwrap();
    let changed = std::fs::read_to_string(&log).unwrap().replacen("chain of a hoist", "chain of a coast", 1);
    std::fs::write(&log, changed).unwrap();
    let refused = collect(home, "broken.jsonl", &[]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(text(&refused.stdout).contains("the chain is broken"), "{}", text(&refused.stdout));
    assert!(!home.join("broken.jsonl").exists());
}
