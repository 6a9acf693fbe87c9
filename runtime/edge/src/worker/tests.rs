//! The exchange of weights, on scripts.

use super::*;
use r2d_core::id::Id;
use r2d_core::policy::Depth;
use r2d_core::request::Task;
use r2d_core::untrusted::Untrusted;
use std::sync::mpsc::{Receiver, channel};

/// A model that reads every request with this probability of UNSAFE, but for those that speak of poison, a bomb or
/// theft.
fn candidate(adapter: &str, unsafe_: f32, harmful: f32) -> Candidate {
    let case = |when: &str, p: f32| {
        format!("[[case]]\nwhen = \"{when}\"\nsays = \"\"\nreads = [[{}, {p}, 0.0]]\n", 1.0 - p)
    };
    let harmful = ["poison", "bomb", "steal"].map(|word| case(word, harmful)).concat();
    let script = format!("decode_ms = 2\n{harmful}{}", case("", unsafe_));
    // Rust and TOML spell it differently.
    let script = script.replace("NaN", "nan");
    Candidate { source: Source::Scripted { script, n_slots: 1 }, weights: weights(adapter) }
}

fn weights(adapter: &str) -> Weights {
    let adapter_sha256 = (!adapter.is_empty()).then(|| adapter.to_owned());
    Weights { model: "script".into(), model_sha256: "00".into(), adapter_sha256 }
}

fn start(first: Candidate) -> (Worker, Receiver<Told>) {
    start_with(first, 0.5)
}

fn start_with(first: Candidate, min_mass: f32) -> (Worker, Receiver<Told>) {
    let (tell, told) = channel();
    let options =
        Options { first, cores: Vec::new(), system: String::new(), capacity: 64, try_first: false, min_mass };
    let (worker, _) = Worker::start(options, move |event| {
        let _sent = tell.send(event);
    })
    .unwrap();
    (worker, told)
}

fn job(key: u64) -> Job {
    let request = Request {
        id: Id::parse(&format!("r{key}")).unwrap(),
        task: Task::Check,
        prompt: Untrusted::new("how?"),
        lang: None,
        deadline_ms: None,
        station: None,
    };
    let policy = Policy { depth: Depth::None, ..Policy::default() };
    Job { key, request, guard: Guard::On, policy, refusal: "No.".into() }
}

/// What was told until `n` verdicts and `swaps` exchanges: which weights each verdict was told under, and what was read.
fn listen(told: &Receiver<Told>, n: usize, swaps: usize) -> (Vec<(u64, f32, usize)>, Vec<Swapped>) {
    let (mut verdicts, mut exchanges) = (Vec::new(), Vec::new());
    while verdicts.len() < n || exchanges.len() < swaps {
        match told.recv_timeout(Duration::from_secs(60)).unwrap() {
            Told::Job(key, Event::Verdict(outcome), _) => {
                verdicts.push((key, outcome.trace.request.unwrap().reading.unsafe_, exchanges.len()));
            }
            Told::Job(..) => {}
            Told::Swapped(swapped) => exchanges.push(*swapped),
        }
    }
    (verdicts, exchanges)
}

#[test]
fn every_verdict_before_the_exchange_is_the_old_weights_and_every_one_behind_it_the_new() {
    let (worker, told) = start(candidate("a", 0.1, 0.9));
    for key in 0..40 {
        worker.submit(job(key)).unwrap();
        if key == 20 {
            assert!(worker.swap(candidate("b", 0.3, 0.9)));
        }
    }
    let (verdicts, exchanges) = listen(&told, 40, 1);
    let (weights, refused) = (&exchanges[0].weights, &exchanges[0].refused);
    assert_eq!((weights.adapter_sha256.as_deref(), refused), (Some("b"), &None));
    let mut keys: Vec<u64> = verdicts.iter().map(|v| v.0).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..40).collect::<Vec<_>>());
    for (key, read, n_exchanges) in verdicts {
        assert!(
            (read - [0.1, 0.3][n_exchanges]).abs() < 1e-3,
            "{key}: {read} behind {n_exchanges} exchanges"
        );
    }
}

#[test]
fn weights_that_fail_are_given_back_and_nothing_is_lost() {
    let broken = Candidate {
        source: Source::Scripted { script: "no script".into(), n_slots: 1 },
        weights: weights("b"),
    };
    let cases = [
        (broken, "the script is not one"),
        (candidate("b", 0.9, 0.1), "harmless requests read as harmful"),
        (candidate("b", f32::NAN, 0.1), "cannot be read"),
    ];
    for (bad, why) in cases {
        let (worker, told) = start(candidate("a", 0.1, 0.9));
        for key in 0..10 {
            worker.submit(job(key)).unwrap();
        }
        assert!(worker.swap(bad));
        for key in 10..20 {
            worker.submit(job(key)).unwrap();
        }
        let (verdicts, exchanges) = listen(&told, 20, 1);
        assert_eq!(exchanges[0].weights.adapter_sha256.as_deref(), Some("a"));
        let reason = exchanges[0].refused.as_deref().unwrap();
        assert!(reason.contains(why), "{reason}");
        assert!(verdicts.iter().all(|v| (v.1 - 0.1).abs() < 1e-3), "{verdicts:?}");
        assert!(worker.is_alive());
    }
}

#[test]
fn an_adapter_whose_pivots_are_too_faint_is_given_back_and_a_bare_model_is_not() {
    // More than there is: nothing reaches it.
    let (worker, told) = start_with(candidate("", 0.1, 0.9), 2.0);
    assert!(worker.swap(candidate("b", 0.1, 0.9)));
    let (_, exchanges) = listen(&told, 0, 1);
    let reason = exchanges[0].refused.as_deref().unwrap();
    assert!(reason.contains("where policy.min_mass is 2"), "{reason}");
    assert!(worker.swap(candidate("", 0.2, 0.9)));
    assert_eq!(listen(&told, 0, 1).1[0].refused, None);
}

#[test]
fn without_an_adapter_a_model_need_not_tell_harm_apart() {
    let (worker, told) = start(candidate("a", 0.1, 0.9));
    assert!(worker.swap(candidate("", 0.5, 0.5)));
    let (_, exchanges) = listen(&told, 0, 1);
    assert_eq!((&exchanges[0].refused, &exchanges[0].weights.adapter_sha256), (&None, &None));
}
