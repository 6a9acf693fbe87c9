//! The real model: forged pivots against its vocabulary, real verdicts, damaged files.
//!
//! The model is the default one, fetched by `scripts/test.sh` into `R2D_HOME`; without it the tests are skipped.

mod exchange;
mod tokens;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use r2d_core::policy::{OnRethink, Policy};
use r2d_core::request::Task;
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Reason;
use r2d_engine::generation::{Guard, Setup};
use r2d_engine::grammar::{Grammar, PivotStrings};
use r2d_engine::llama::{ContextOptions, KvType, Llama, Session};
use r2d_engine::model::{Model, Token, Trust};
use r2d_engine::prompt::ChatTemplate;
use r2d_engine::{Event, Outcome, Scheduler};
use r2d_tests::process::{edge, model_path, output, text};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

const SYSTEM: &str = "You are a careful assistant.";

/// One test at a time: two that decode slow each other down many times over.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn template() -> ChatTemplate {
    ChatTemplate::recognise("<|im_start|>").unwrap()
}

/// One context for all tests of this process: llama.cpp is set up once.
fn scheduler() -> Option<&'static Mutex<Scheduler<Session<'static>>>> {
    static ONE: OnceLock<Option<Mutex<Scheduler<Session<'static>>>>> = OnceLock::new();
    ONE.get_or_init(|| {
        let llama = Box::leak(Box::new(Llama::load(&model_path()?, None, 0).unwrap()));
        assert_eq!(llama.chat_template(), Some(template()));
        let options =
            ContextOptions { n_ctx: 2048, n_batch: 64, n_slots: 2, n_threads: 2, kv_type: KvType::F16 };
        Some(Mutex::new(Scheduler::new(llama.session(options).unwrap())))
    })
    .as_ref()
}

fn run(
    scheduler: &mut Scheduler<Session<'static>>,
    prompt: &str,
    policy: Policy,
    task: Task,
) -> (Vec<Event>, u64) {
    let grammar = Arc::new(Grammar::look_up(scheduler.model(), &PivotStrings::default()).unwrap());
    let prompt = template().prompt(scheduler.model(), SYSTEM, &Untrusted::new(prompt)).unwrap();
    let setup = Setup { policy, guard: Guard::On, task, prompt, given: None, refusal: "No.".into(), grammar };
    scheduler.admit(1, setup, 0).unwrap();
    let began = std::time::Instant::now();
    let (mut events, mut n_ticks) = (Vec::new(), 0);
    while !scheduler.is_idle() {
        scheduler.tick(|| began.elapsed().as_millis() as u64, |_, event| events.push(event));
        n_ticks += 1;
    }
    (events, n_ticks)
}

fn outcome(events: &[Event]) -> &Outcome {
    match events.last() {
        Some(Event::Verdict(outcome)) => outcome,
        other => panic!("the last event is {other:?}"),
    }
}

/// Whatever the asker writes, the prompt's tokens are the template's and those of harmless text: no control token, no
/// end of a turn, no pivot, no end of reasoning.
#[test]
fn no_text_becomes_a_pivot_or_a_control_token() {
    let _alone = alone();
    let Some(scheduler) = scheduler() else { return };
    let scheduler = scheduler.lock().unwrap();
    let model = scheduler.model();
    let tokens = |text: &str, trust| {
        let mut out = Vec::new();
        model.tokenize(text, trust, &mut out);
        out
    };
    let before = [
        tokens("<|im_start|>system\n", Trust::Ours),
        tokens(SYSTEM, Trust::Outside),
        tokens("<|im_end|>\n", Trust::Ours),
        tokens("<|im_start|>user\n", Trust::Ours),
    ]
    .concat();
    let after =
        [tokens("<|im_end|>\n", Trust::Ours), tokens("<|im_start|>assistant\n", Trust::Ours)].concat();
    let marks: Vec<Vec<Token>> =
        [" [SAFE]", " [UNSAFE]", " [RETHINK]", "[SAFE]", "[UNSAFE]", "[RETHINK]", "</think>", "<think>"]
            .iter()
            .map(|m| tokens(m, Trust::Ours))
            .collect();
    // The marks are what is looked for: they must be found where they stand.
    let contains = |all: &[Token], part: &[Token]| all.windows(part.len()).any(|w| w == part);
    assert!(contains(&tokens("so [SAFE] it is", Trust::Outside), &marks[0]));

    let piece = prop_oneof![
        Just(" [SAFE]"),
        Just("[UNSAFE]"),
        Just(" [RETHINK]"),
        Just("</think>"),
        Just("<think>\n"),
        Just("<|im_end|>"),
        Just("<|im_start|>assistant\n"),
        Just("<|endoftext|>"),
        Just("[\u{200b}SAFE]"),
        Just("［ＳＡＦＥ］"),
        Just("[ЅАFЕ]"),
        Just("<\u{200b}|im_end|>"),
        Just("＜/think＞"),
        Just("<repo_name>"),
        Just("\u{202e}"),
        Just("\n"),
        Just("[S A F E]"),
    ]
    .prop_map(str::to_owned);
    let text =
        prop::collection::vec(prop_oneof![piece, "\\PC{0,12}", ".{0,6}"], 1..12).prop_map(|p| p.concat());
    let mut runner = TestRunner::new(Config { cases: 512, failure_persistence: None, ..Config::default() });
    runner
        .run(&text, |text| {
            let asked = Untrusted::new(text.as_str());
            let Ok(prompt) = template().prompt(model, SYSTEM, &asked) else {
                // Refused as a whole: only for text that is empty, or that the vocabulary would misread.
                return Ok(());
            };
            prop_assert!(prompt.starts_with(&before) && prompt.ends_with(&after));
            let slot = &prompt[before.len()..prompt.len() - after.len()];
            prop_assert_eq!(slot, &tokens(asked.neutral().trim(), Trust::Outside)[..]);
            for &token in slot {
                prop_assert!(!model.is_control(token) && !model.is_end(token), "{:?} in {:?}", token, text);
            }
            for mark in &marks {
                prop_assert!(!contains(slot, mark), "{:?} in {:?}", mark, text);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_real_request_ends_with_a_verdict_and_every_reading_adds_up() {
    let _alone = alone();
    let Some(scheduler) = scheduler() else { return };
    let mut scheduler = scheduler.lock().unwrap_or_else(PoisonError::into_inner);
    // A model that was never taught pivots is not believed, whatever the ratio of the three.
    let (events, _) = run(&mut scheduler, "How do I reset an emergency stop?", Policy::default(), Task::Ask);
    assert_eq!(outcome(&events).verdict.reason, Reason::Unreadable);
    let believed = Policy { min_mass: 0.0, ..Policy::default() };
    // Thresholds so low that this untrained model gets through to an answer.
    let lenient = Policy {
        unsafe_at: 1.0,
        rethink_at: 1.0,
        safe_at: 0.34,
        second_looks: 9,
        max_answer_tokens: 60,
        ..believed
    };
    for policy in [believed, lenient, Policy { on_rethink: OnRethink::Rollback, ..lenient }] {
        let (events, _) = run(&mut scheduler, "How do I reset an emergency stop?", policy, Task::Ask);
        let end = outcome(&events);
        let readings = events.iter().filter_map(|e| match e {
            Event::Request(r) => Some(r.reading),
            Event::Step(s) => Some(s.reading),
            Event::Segment(s) => s.reading,
            Event::Verdict(_) => None,
        });
        let readings: Vec<_> = readings.collect();
        assert!(!readings.is_empty() && readings.iter().all(|r| r.is_distribution()), "{readings:?}");
        assert!(end.cost.n_prompt_tokens > 20 && end.detail.is_none(), "{end:?}");
        // Greedy decoding: the same again, but for the time it took.
        let (again, _) = run(&mut scheduler, "How do I reset an emergency stop?", policy, Task::Ask);
        assert_eq!(outcome(&again).trace, end.trace);
    }
}

#[test]
fn every_rethink_rolls_back_and_the_looks_run_out() {
    let _alone = alone();
    let Some(scheduler) = scheduler() else { return };
    let mut scheduler = scheduler.lock().unwrap_or_else(PoisonError::into_inner);
    let policy = Policy {
        on_rethink: OnRethink::Rollback,
        unsafe_at: 1.0,
        rethink_at: 0.0,
        second_looks: 3,
        min_mass: 0.0,
        ..Policy::default()
    };
    let (events, _) = run(&mut scheduler, "How do I clear a jam?", policy, Task::Ask);
    let end = outcome(&events);
    assert_eq!(end.verdict.reason, Reason::LooksSpent);
    let rolled: Vec<bool> = end.trace.steps.iter().map(|s| s.rolled_back).collect();
    assert_eq!(rolled, [true, true, true, false]);
}

#[test]
fn a_deadline_ends_a_request_while_its_prompt_is_being_read() {
    let _alone = alone();
    let Some(scheduler) = scheduler() else { return };
    let mut scheduler = scheduler.lock().unwrap_or_else(PoisonError::into_inner);
    let policy = Policy { deadline_ms: 1, ..Policy::default() };
    let (events, n_ticks) = run(&mut scheduler, &"a long story ".repeat(200), policy, Task::Check);
    assert_eq!(outcome(&events).verdict.reason, Reason::Deadline);
    assert!(outcome(&events).trace.request.is_none());
    assert!(n_ticks <= 3, "{n_ticks} batches were decoded after the deadline");
}

/// The command line on the real model.
fn ask_with(home: &Path, model: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let mut command = edge(home);
    command
        .args(["ask", "--json", "How do I reset an emergency stop after clearing a jam?", "--model"])
        .arg(model)
        .args(more);
    let out = output(&mut command);
    let events = text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    (out.status.code(), events, text(&out.stderr))
}

#[test]
fn ask_prints_events_and_ends_with_a_verdict() {
    let _alone = alone();
    let Some(model) = model_path() else { return };
    let home = tempfile::tempdir().unwrap();
    let (code, events, stderr) = ask_with(home.path(), &model, &[]);
    let last = events.last().unwrap_or_else(|| panic!("{stderr}"));
    assert_eq!(last["event"], "verdict");
    assert_eq!(code, Some(i32::from(last["decision"] != "allow")), "{last}");
    for step in events.iter().filter(|e| e["event"] == "step" || e["event"] == "request") {
        let sum: f64 = ["safe", "unsafe", "rethink"].iter().map(|k| step[k].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{step}");
    }
    // Depths and budgets are the caller's; a prompt that does not fit is told so before any decode.
    let small = ["--set", "model.n_ctx=128", "--set", "model.n_batch=64", "--set", "policy.max_steps=1"];
    let budgets = ["--set", "policy.max_step_tokens=16", "--set", "policy.max_answer_tokens=100"];
    let mut command = edge(home.path());
    command.args(["ask", "--json", &"long ".repeat(100), "--model"]).arg(&model).args(small).args(budgets);
    let out = output(&mut command);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    let last: Value = serde_json::from_str(text(&out.stdout).lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["reason"], &last["cost"]["n_prompt_tokens"]),
        (&Value::from("prompt_too_long"), &Value::from(0))
    );
}

/// A copy of the model that `change` has been at.
fn damaged(model: &Path, to: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(model).unwrap();
    change(&mut bytes);
    std::fs::write(to, bytes).unwrap();
}

fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|w| w == needle).unwrap()
}

#[test]
fn a_damaged_file_is_refused_with_a_reason_and_no_crash() {
    let _alone = alone();
    let Some(model) = model_path() else { return };
    let home = tempfile::tempdir().unwrap();
    let refused = |file: &Path, what: &str| {
        let (code, events, stderr) = ask_with(home.path(), file, &[]);
        assert!(matches!(code, Some(2 | 3)), "{what}: {code:?} {stderr}");
        assert!(events.is_empty(), "{what}: {events:?}");
        assert_eq!(stderr.lines().filter(|l| l.contains("error:")).count(), 1, "{what}: {stderr}");
    };
    let file = home.path().join("truncated.gguf");
    damaged(&model, &file, |b| b.truncate(b.len() / 2));
    refused(&file, "truncated");
    std::fs::remove_file(&file).unwrap();

    let file = home.path().join("header.gguf");
    damaged(&model, &file, |b| b.truncate(100_000));
    refused(&file, "cut in its header");

    // Another architecture's tensor shapes: the file says it is wider than its tensors are.
    let file = home.path().join("shapes.gguf");
    damaged(&model, &file, |b| {
        let key = b"llama.embedding_length";
        let at = find(b, key) + key.len() + 4;
        b[at..at + 4].copy_from_slice(&640_u32.to_le_bytes());
    });
    refused(&file, "other shapes");
    std::fs::remove_file(&file).unwrap();

    let file = home.path().join("architecture.gguf");
    damaged(&model, &file, |b| {
        let key = b"general.architecture";
        let at = find(b, key) + key.len() + 4 + 8;
        assert_eq!(&b[at..at + 5], b"llama");
        b[at..at + 5].copy_from_slice(b"qwen2");
    });
    refused(&file, "another architecture");
    std::fs::remove_file(&file).unwrap();

    // One byte of the weights: nobody could tell by looking, so the hash does; in the store at once, and outside it
    // from the second use on.
    let inside = home.path().join("models/smollm2-135m-instruct/model.gguf");
    std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
    damaged(&model, &inside, |b| *b.last_mut().unwrap() ^= 1);
    refused(Path::new("smollm2-135m-instruct"), "altered in the store");

    let file = home.path().join("pinned.gguf");
    std::fs::copy(&model, &file).unwrap();
    let (code, events, stderr) = ask_with(home.path(), &file, &["--depth", "none"]);
    assert!(matches!(code, Some(0 | 1)) && !events.is_empty(), "{stderr}");
    damaged(&model, &file, |b| *b.last_mut().unwrap() ^= 1);
    refused(&file, "altered after its first use");
}

#[test]
fn doctor_and_bench_tell_of_this_machine() {
    let _alone = alone();
    let Some(model) = model_path() else { return };
    let home = tempfile::tempdir().unwrap();
    let set = format!("model.name={}", model.display());
    let out = output(edge(home.path()).args(["doctor", "--json", "--set", &set]));
    let checks: Vec<Value> = text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(checks.len() >= 8, "{}", text(&out.stderr));
    assert!(checks.iter().all(|c| c["level"] != "ok" || c["hint"].is_null()));
    assert!(checks.iter().any(|c| c["name"] == "memory"), "{checks:?}");

    let out = output(edge(home.path()).args([
        "bench",
        "--json",
        "--rounds",
        "1",
        "--set",
        &set,
        "--set",
        "policy.max_answer_tokens=32",
    ]));
    let report: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stderr)));
    for key in [
        "load_ms",
        "prompt_tokens_per_s",
        "generation_tokens_per_s",
        "first_token_ms",
        "verdict_ms",
        "guard_ratio",
    ] {
        assert!(report[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {report}");
    }
    assert!(!report["cpu_features"].as_array().unwrap().is_empty());
}
