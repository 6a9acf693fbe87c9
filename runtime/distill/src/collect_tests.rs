//! Records of the tests' own under decisions of the tests' own.

use super::*;
use r2d_core::pivot::Reading;
use r2d_core::trace::{Segment, Step as Traced, StepEnd, Trace};
use r2d_core::verdict::Verdict;
use serde_json::json;

fn traced(text: &str, pivot: Pivot) -> Traced {
    let reading = Reading { safe: 1.0, unsafe_: 0.0, rethink: 0.0, mass: 1.0 };
    Traced {
        index: 1,
        text: text.into(),
        reading,
        pivot,
        n_tokens: 9,
        end: StepEnd::Opened,
        rolled_back: false,
    }
}

fn record(verdict: Verdict, pivots: &[Pivot], answer: &str) -> Record {
    let text = "Somebody at the machine asks for something to be done.";
    let pivot = verdict.is_allow().then_some(Pivot::Safe);
    let segment = Segment { index: 1, text: answer.into(), reading: None, pivot, released: true };
    let trace = Trace {
        request: None,
        steps: pivots.iter().map(|p| traced(text, *p)).collect(),
        segments: vec![segment],
        truncated: false,
    };
    let mut record: Record = serde_json::from_value(json!({
        "schema": "r2d.record/1", "id": "r-1", "ts": "2026-05-01T06:00:00.000Z", "device": "a/b/c/d", "boot": "b",
        "origin": "mqtt", "task": "ask", "prompt": "How do I oil the chain?", "lang": null, "weights": null,
        "policy": null, "trace": Trace::default(), "verdict": verdict, "detail": null,
        "cost": {"n_prompt_tokens": 1, "n_tokens": 1, "first_text_ms": null, "verdict_ms": 1}, "reply_to": null
    }))
    .unwrap();
    record.trace = trace;
    record
}

const S: Pivot = Pivot::Safe;
const U: Pivot = Pivot::Unsafe;
const R: Pivot = Pivot::Rethink;
const HELP: &str = "Lock the hoist out first.\nThen brush oil on the slack chain.";
const NO: &str = "Diese Anfrage wird hier nicht beantwortet.";

fn allowed() -> Record {
    record(Verdict::allow(), &[R, S], HELP)
}

fn refused() -> Record {
    record(Verdict::refuse(Reason::StepUnsafe), &[S, U], NO)
}

fn decision(label: Label, answer: Option<&str>) -> Decision {
    Decision { id: "r-1".into(), label, answer: answer.map(str::to_owned), note: Some("seen".into()) }
}

fn outcome(record: &Record, label: Label, answer: Option<&str>) -> &'static str {
    match collect(record, &decision(label, answer)) {
        Collected::Fit(_) => "fit",
        Collected::Todo(todo) => todo.reason,
        Collected::NotStored => "not-stored",
    }
}

#[test]
fn what_a_person_agrees_with_becomes_a_trajectory_as_it_stands() {
    let Collected::Fit(t) = collect(&allowed(), &decision(Label::Safe, None)) else { panic!() };
    assert_eq!(
        (t.id.as_str(), t.category.as_str(), t.prompt.as_str()),
        ("r-1", "site_safe", "How do I oil the chain?")
    );
    assert_eq!(t.pivots().collect::<Vec<_>>(), [R, S]);
    assert_eq!(t.answer, "Lock the hoist out first. Then brush oil on the slack chain.");
    let Collected::Fit(t) = collect(&refused(), &decision(Label::Unsafe, None)) else { panic!() };
    assert_eq!((t.label, t.answer.as_str(), t.split.is_some()), (Label::Unsafe, NO, true));
}

#[test]
fn what_a_person_corrects_needs_an_answer_and_steps_that_lead_to_it() {
    assert_eq!(outcome(&allowed(), Label::Unsafe, None), "answer-missing");
    assert_eq!(outcome(&refused(), Label::Safe, None), "answer-missing");
    assert_eq!(
        outcome(&allowed(), Label::Unsafe, Some("I won't help with that.")),
        "unsafe-without-unsafe-step"
    );
    let Collected::Todo(todo) =
        collect(&refused(), &decision(Label::Safe, Some("Yes, with the guard closed.")))
    else {
        panic!()
    };
    assert_eq!(
        (todo.reason, todo.trajectory.answer.as_str()),
        ("safe-with-unsafe-step", "Yes, with the guard closed.")
    );
    let line = serde_json::to_string(&*todo).unwrap();
    assert!(line.contains("\"todo\":\"the label is safe") && line.contains("\"note\":\"seen\""), "{line}");
    assert!(
        serde_json::from_str::<Trajectory>(&line).is_err(),
        "nothing trains on it before it is completed"
    );
    // An answer alone that is put right leaves steps that fit.
    assert_eq!(outcome(&allowed(), Label::Safe, Some("Ask the hoist's owner first.")), "fit");
    let undecided = record(Verdict::undecided(Reason::Deadline), &[S, S], "");
    assert_eq!(outcome(&undecided, Label::Safe, None), "answer-missing");
    assert_eq!(outcome(&undecided, Label::Safe, Some("Ask the hoist's owner first.")), "fit");
}

#[test]
fn a_record_without_steps_becomes_a_labelled_request() {
    let bare = record(Verdict::refuse(Reason::RequestUnsafe), &[], NO);
    for label in [Label::Safe, Label::Unsafe] {
        let Collected::Fit(t) = collect(&bare, &decision(label, None)) else { panic!() };
        assert!(t.is_bare() && t.label == label && t.split.is_some());
    }
    assert_eq!(outcome(&bare, Label::Safe, Some("Yes, with the guard closed.")), "empty");
    // An answer that is not taken may have been cut at its budget, or be what a shadow run let out.
    let mut cut = record(Verdict::allow(), &[], HELP);
    cut.trace.truncated = true;
    let mut shadow = record(Verdict::refuse(Reason::AnswerUnsafe), &[], "First take the guard off.");
    shadow.policy = Some(r2d_core::policy::Policy { mode: Mode::Shadow, ..Default::default() });
    shadow.trace.segments[0].pivot = Some(U);
    for (record, label) in [(&cut, Label::Safe), (&cut, Label::Unsafe), (&shadow, Label::Unsafe)] {
        let Collected::Fit(t) = collect(record, &decision(label, None)) else { panic!() };
        assert!(t.is_bare() && t.label == label && t.answer_pivot == S);
    }
}

#[test]
fn records_that_make_no_example_are_put_aside() {
    let short = record(Verdict::refuse(Reason::StepUnsafe), &[U], NO);
    assert_eq!(outcome(&short, Label::Unsafe, None), "pivot-order");
    let begun = record(Verdict::refuse(Reason::AnswerUnsafe), &[S, U], "First take the guard off.");
    assert_eq!(outcome(&begun, Label::Unsafe, None), "answer-missing");
    let mut cut = allowed();
    cut.trace.truncated = true;
    assert_eq!(outcome(&cut, Label::Safe, None), "answer-truncated");
    let mut back = allowed();
    back.trace.steps[0].rolled_back = true;
    assert_eq!(outcome(&back, Label::Safe, None), "pivot-order");
    let mut shadow = refused();
    shadow.policy = Some(r2d_core::policy::Policy { mode: Mode::Shadow, ..Default::default() });
    assert_eq!(outcome(&shadow, Label::Unsafe, None), "answer-missing");
    let mut lines = allowed();
    lines.prompt = "One.\nTwo lines of it.".into();
    assert_eq!(outcome(&lines, Label::Safe, None), "not-one-line");
}

#[test]
fn a_record_without_its_words_is_never_used() {
    let mut hashed = allowed();
    hashed.prompt = format!("sha256:{}", "ab".repeat(32));
    assert_eq!(outcome(&hashed, Label::Safe, None), "not-stored");
    hashed.prompt = "  ".into();
    assert_eq!(outcome(&hashed, Label::Safe, None), "not-stored");
}

#[test]
fn decisions_are_read_once_for_each_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        read_decisions(&path).map_err(|e| e.to_string())
    };
    let all = read("{\"id\":\"a\",\"label\":\"safe\"}\n\n{\"id\":\"b\",\"label\":\"unsafe\",\"note\":\"n\"}")
        .unwrap();
    assert_eq!((all.len(), all["b"].label), (2, Label::Unsafe));
    for (bad, line) in [
        ("{\"id\":\"a\",\"label\":\"safe\"}\n{\"id\":\"a\",\"label\":\"unsafe\"}", ":2: "),
        ("{\"id\":\"a\",\"label\":\"maybe\"}", ":1: "),
        ("{\"id\":\"a\",\"label\":\"safe\",\"anwser\":\"x\"}", ":1: "),
        ("", "empty"),
    ] {
        let said = read(bad).unwrap_err();
        assert!(said.contains(line) && said.contains("hint:"), "{said}");
    }
}
