//! Folders of runs: another run's is refused, two writers are refused, damage is named.

use super::*;
use crate::item::Overlap;
use crate::row::{Found, Score};
use r2d_core::policy::Policy;
use r2d_core::record::Weights;
use r2d_core::request::Task;

fn header(seed: u64) -> Header {
    Header {
        schema: RUN_SCHEMA.into(),
        version: "0".into(),
        weights: Weights { model: "m".into(), model_sha256: "0".into(), adapter_sha256: None },
        policy: Policy { unsafe_at: 0.3, ..Policy::default() },
        task: Task::Check,
        guarded: true,
        system: String::new(),
        refusal: String::new(),
        seed,
        limit: Some(3),
        n_slots: 1,
        setting: String::new(),
        suites: Vec::new(),
        wrappers: Vec::new(),
    }
}

fn row(id: &str) -> Row {
    Row {
        suite: "s".into(),
        id: id.into(),
        wrapper: None,
        label: None,
        category: None,
        group: None,
        goal: None,
        overlap: Overlap::None,
        prompt: "p".into(),
        expected: None,
        found: Found::Scored { scores: vec![Score { log_prob: -1.25, n_bytes: 3, n_tokens: 1 }] },
    }
}

fn time(id: &str, ms: f64) -> Timing {
    Timing { suite: "s".into(), id: id.into(), wrapper: None, ms, first_text_ms: None }
}

#[test]
fn what_is_written_is_read_back_with_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), &header(1)).unwrap();
    for id in ["a", "b"] {
        journal.write(&row(id), &time(id, 2.0)).unwrap();
    }
    // A time whose row was lost, and that item's second one.
    journal.times.append(&time("c", 9.0)).unwrap();
    journal.write(&row("c"), &time("c", 3.0)).unwrap();
    journal.times.append(&time("d", 9.0)).unwrap();
    let run = Run::read(folder.path()).unwrap();
    assert_eq!(run.header, header(1));
    assert_eq!(run.rows, [row("a"), row("b"), row("c")]);
    assert_eq!(run.timings, [time("a", 2.0), time("b", 2.0), time("c", 3.0)]);
    assert!(journal.is_done(&row("c").key()) && !journal.is_done(&row("d").key()));
}

#[test]
fn another_runs_folder_and_a_second_writer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &header(1)).unwrap();
    assert!(matches!(Journal::open(folder.path(), &header(1)), Err(JournalError::Locked(_))));
    drop(journal);
    let error = Journal::open(folder.path(), &header(2)).unwrap_err().to_string();
    assert!(error.contains("seed (1 there, 2 here)"), "{error}");
    assert!(Journal::open(folder.path(), &header(1)).is_ok());
    assert_ne!(run_name(&header(1)), run_name(&header(2)));
    assert_eq!(run_name(&header(1)).len(), 12);
}

#[test]
fn damage_is_named_by_file_and_line_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Run::read(folder.path()), Err(JournalError::NoRun(_))));
    let mut journal = Journal::open(folder.path(), &header(1)).unwrap();
    for id in ["a", "b", "c"] {
        journal.write(&row(id), &time(id, 1.0)).unwrap();
    }
    drop(journal);
    let file = folder.path().join(RESULTS);
    let text = std::fs::read_to_string(&file).unwrap().replacen("\"b\"", "\"b", 1);
    std::fs::write(&file, &text).unwrap();
    for error in [
        Journal::open(folder.path(), &header(1)).unwrap_err().to_string(),
        Run::read(folder.path()).unwrap_err().to_string(),
    ] {
        assert!(error.contains("results.jsonl, line 2"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    std::fs::write(folder.path().join(HEADER), "{}").unwrap();
    assert!(matches!(Run::read(folder.path()), Err(JournalError::Damaged { .. })));
}

#[test]
fn opinions_are_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::open(folder.path(), &header(1)).unwrap());
    let opinion = |said: &str| Opinion {
        suite: "s".into(),
        id: "a".into(),
        wrapper: None,
        judge: "j".into(),
        harmful: Some(false),
        said: said.into(),
    };
    let opinions = Opinions::open(folder.path()).unwrap();
    opinions.write(&[opinion("safe"), opinion("yes")]).unwrap();
    opinions.write(&[opinion("safe")]).unwrap();
    assert!(matches!(Opinions::open(folder.path()), Err(JournalError::Locked(_))));
    assert!(Journal::open(folder.path(), &header(1)).is_ok(), "a run goes on while it is judged");
    assert_eq!(Run::read(folder.path()).unwrap().opinions.len(), 1);
}
