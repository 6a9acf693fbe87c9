//! Runs on the scripted model: rows in order, a run that goes on where it was left, the same file twice.

use super::*;
use crate::item::{Label, Overlap};
use crate::journal::Run;
use r2d_core::verdict::{Decision, Reason, Verdict};
use r2d_engine::grammar::{Grammar, PivotStrings};
use r2d_engine::prompt::ChatTemplate;
use r2d_engine::scripted::Scripted;
use std::path::Path;
use std::sync::Arc;

/// Says harm is unsafe, a doubt is a doubt, and everything else is fine.
const SCRIPT: &str = r#"
[[case]]
when = "harm"
says = "This hurts somebody.{open}"
reads = [[0.1, 0.9, 0.0]]
[[case]]
when = "doubt"
says = "I cannot tell.{open}Still not.{open}And not.{open}"
reads = [[0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.4, 0.3, 0.3]]
[[case]]
says = "Harmless.{open}{close}Do this.{end}"
reads = [[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.95, 0.03, 0.02]]
"#;

fn header(n_slots: u32, policy: Policy) -> Header {
    Header {
        schema: RUN_SCHEMA.into(),
        version: "0".into(),
        weights: Weights { model: "scripted".into(), model_sha256: "0".into(), adapter_sha256: None },
        policy,
        task: Task::Ask,
        guarded: true,
        system: String::new(),
        refusal: "No.".into(),
        seed: 0,
        limit: None,
        n_slots,
        setting: String::new(),
        suites: Vec::new(),
        wrappers: Vec::new(),
    }
}

fn items(prompts: &[&str]) -> VecDeque<Planned> {
    let item = |(i, prompt): (usize, &&str)| Planned {
        suite: "s".into(),
        item: Item {
            id: i.to_string(),
            prompt: (*prompt).into(),
            label: Some(if prompt.contains("harm") { Label::Unsafe } else { Label::Safe }),
            category: None,
            group: None,
            wrapper: None,
            goal: None,
            overlap: Overlap::None,
            expected: None,
        },
        task: Task::Ask,
        given: None,
    };
    prompts.iter().enumerate().map(item).collect()
}

fn run_in(folder: &Path, header: &Header, planned: VecDeque<Planned>, stop_after: usize) -> bool {
    let model = Scripted::parse(SCRIPT, header.n_slots).unwrap();
    let template = ChatTemplate {
        system: String::new(),
        user: "<|user|>{text}<|end|>".into(),
        assistant: "<|assistant|>".into(),
    };
    let grammar = Arc::new(Grammar::look_up(&model, &PivotStrings::default()).unwrap());
    let intake = Intake { template, grammar, system: String::new() };
    let mut journal = Journal::open(folder, header).unwrap();
    run(model, &intake, header, planned, &mut journal, |p| {
        if p.n_done >= stop_after { Next::Stop } else { Next::Go }
    })
    .unwrap()
}

const PROMPTS: [&str; 6] = ["a", "harm b", "doubt c", "d", "", "f"];

fn results(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("results.jsonl")).unwrap()
}

#[test]
fn every_item_gets_a_row_with_its_verdict_in_order() {
    for n_slots in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let header = header(n_slots, Policy::default());
        assert!(run_in(folder.path(), &header, items(&PROMPTS), usize::MAX));
        let run = Run::read(folder.path()).unwrap();
        let verdicts: Vec<Verdict> = run.rows.iter().map(|r| r.judged().unwrap().verdict).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::allow(),
                Verdict::refuse(Reason::RequestUnsafe),
                Verdict::undecided(Reason::LooksSpent),
                Verdict::allow(),
                Verdict::undecided(Reason::Malformed),
                Verdict::allow(),
            ]
        );
        assert_eq!(run.rows[0].judged().unwrap().answer, "Do this.");
        assert_eq!(run.rows[1].judged().unwrap().answer, "No.");
        assert_eq!(run.rows[2].judged().unwrap().answer, "");
        assert_eq!(run.timings.len(), 6);
        assert!(run.rows.iter().map(|r| r.id.parse::<usize>().unwrap()).eq(0..6));
    }
}

#[test]
fn a_run_goes_on_where_it_stopped_and_writes_the_same_file() {
    let whole = tempfile::tempdir().unwrap();
    let header = header(1, Policy::default());
    assert!(run_in(whole.path(), &header, items(&PROMPTS), usize::MAX));
    let parts = tempfile::tempdir().unwrap();
    assert!(!run_in(parts.path(), &header, items(&PROMPTS), 2));
    assert_eq!(results(parts.path()).lines().count(), 2);
    // As a kill in the middle of a line leaves it.
    let torn = results(whole.path());
    let at = torn.match_indices('\n').nth(2).unwrap().0 + 20;
    std::fs::write(parts.path().join("results.jsonl"), &torn[..at]).unwrap();
    assert!(run_in(parts.path(), &header, items(&PROMPTS), usize::MAX));
    assert_eq!(results(parts.path()), torn);
    // A finished run is left alone.
    assert!(run_in(parts.path(), &header, items(&PROMPTS), usize::MAX));
    assert_eq!(results(parts.path()), torn);
}

#[test]
fn a_given_answer_is_judged_and_a_shadow_run_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy { mode: r2d_core::policy::Mode::Shadow, ..Policy::default() };
    let mut planned = items(&["a", "harm b"]);
    for p in &mut planned {
        p.given = Some("Said before. [SAFE]".into());
    }
    assert!(run_in(folder.path(), &header(1, policy), planned, usize::MAX));
    let run = Run::read(folder.path()).unwrap();
    let judged: Vec<_> = run.rows.iter().map(|r| r.judged().unwrap()).collect();
    assert_eq!(judged[0].verdict.decision, Decision::Allow);
    assert_eq!(judged[0].answer, "Said before. (SAFE)");
    assert_eq!(judged[1].verdict, Verdict::refuse(Reason::RequestUnsafe));
}
