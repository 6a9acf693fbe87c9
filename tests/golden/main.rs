//! Golden transcripts: what the model would say, in; what leaves the machine and why, out.
//!
//! A case is `cases/NAME.toml` (policy keys, task, script) with `cases/NAME.jsonl` beside it, the events that must
//! follow. Each failure path has one.

use r2d_core::policy::{Mode, Policy};
use r2d_core::request::Task;
use r2d_core::verdict::Decision;
use r2d_engine::Event;
use r2d_engine::generation::Guard;
use r2d_tests::golden;
use r2d_tests::scripted::Run;
use std::path::Path;

fn policy(overrides: Option<&toml::Table>) -> Policy {
    let base = Policy { segment_min_tokens: 4, ..Policy::default() };
    let mut table = toml::Table::try_from(base).unwrap();
    table.extend(overrides.cloned().unwrap_or_default());
    let policy: Policy = table.try_into().unwrap();
    assert_eq!(policy.check(), Ok(()));
    policy
}

#[test]
fn each_transcript_gives_its_stored_events() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cases");
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        n += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let script =
            toml::to_string(&toml::Table::from_iter([("case".to_owned(), table["case"].clone())])).unwrap();
        let flag = |key: &str| table.get(key).and_then(toml::Value::as_bool).unwrap_or(false);
        let run = Run {
            policy: policy(table.get("policy").and_then(toml::Value::as_table)),
            task: if flag("check") { Task::Check } else { Task::Ask },
            guard: if flag("unguarded") { Guard::Off } else { Guard::On },
            cancel_at: table.get("cancel_at").and_then(toml::Value::as_integer).map(|t| t as u64),
            given: table.get("given").and_then(toml::Value::as_str),
            ..Run::new(&script)
        };
        let events = run.events();
        withheld_unless_allowed(&path, &run, &events);
        let lines: String = events.iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect();
        golden::check(&path.with_extension("jsonl"), &lines);
    }
    assert!(n >= 20, "only {n} transcripts were found");
}

/// Whatever a stored result says: enforced and guarded, an undecided answer never leaves, and what leaves under a
/// refusal passed its own reading or is the site's sentence.
fn withheld_unless_allowed(path: &Path, run: &Run<'_>, events: &[Event]) {
    if run.policy.mode == Mode::Shadow || run.guard == Guard::Off {
        return;
    }
    for event in events {
        if let Event::Segment(s) = event
            && s.released
        {
            let passed = s.reading.is_some_and(|r| run.policy.judge(&r) == Ok(r2d_core::pivot::Pivot::Safe));
            assert!(
                passed || s.reading.is_none() && s.text.trim_start() == "No.",
                "{}: {s:?}",
                path.display()
            );
        }
    }
    if let Some(Event::Verdict(o)) = events.last()
        && o.verdict.decision == Decision::Allow
    {
        let request = o.trace.request.expect("an allowed request has a reading");
        assert_ne!(request.pivot, r2d_core::pivot::Pivot::Unsafe, "{}", path.display());
        assert!(o.trace.segments.iter().all(|s| s.released), "{}", path.display());
        let last = o.trace.steps.last().map_or(request.pivot, |s| s.pivot);
        assert_eq!(last, r2d_core::pivot::Pivot::Safe, "allowed behind no SAFE: {}", path.display());
    }
}
