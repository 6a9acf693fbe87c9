//! Whole runs on tiny models: learning, breaking off, refusing.

use super::*;
use crate::adapter::{self, AdapterFormat, Provenance};
use crate::example::{Part, PivotAt, Span};
use crate::journal::Journal;
use crate::tiny;
use std::path::PathBuf;

struct Watch {
    rows: Vec<Row>,
    journal: Option<Journal>,
}

impl Observer for Watch {
    fn on_step(&mut self, row: &Row) -> Option<String> {
        self.rows.push(row.clone());
        self.journal.as_mut().and_then(|j| j.add(row).err()).map(|e| e.to_string())
    }
}

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(architecture: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny::write(&folder.path().join("tiny.gguf"), architecture, 7);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trainer(&self, recipe: Recipe) -> Trainer {
        let base = Base::open(&self.path("tiny.gguf")).unwrap();
        Trainer::new(base, recipe, examples(), Settings { n_threads: 2, max_bytes: None }).unwrap()
    }

    fn adapter(&self, trainer: &Trainer, name: &str) -> Vec<u8> {
        let path = self.path(name);
        let provenance = Provenance { date: "2026-11-26".into(), ..Provenance::default() };
        adapter::write(&path, trainer.base(), trainer.lora(), AdapterFormat::F32, &provenance).unwrap();
        std::fs::read(path).unwrap()
    }
}

/// Answers that repeat a token of the prompt, behind a pivot that says whether it is odd.
fn examples() -> Vec<Example> {
    (0..24_u32)
        .map(|i| {
            let (plus, minus) = if i % 2 == 0 { (40, 41) } else { (41, 40) };
            let mut tokens = vec![1, 2, i, 3, plus];
            tokens.extend(std::iter::repeat_n(i, 3 + (i % 4) as usize));
            let n = tokens.len() as u32;
            Example {
                tokens,
                spans: vec![
                    Span { positions: 4..5, part: Part::Reasoning, weight: 1.0 },
                    Span { positions: 5..n, part: Part::Answer, weight: 1.0 },
                ],
                pivots: vec![PivotAt { position: 4, plus, minus }],
            }
        })
        .collect()
}

fn recipe() -> Recipe {
    let (learning_rate, epochs) = (1e-2, 8);
    Recipe { rank: 4, alpha: 8.0, batch: 5, micro_tokens: 20, learning_rate, epochs, ..Recipe::default() }
}

fn run(trainer: &mut Trainer, limits: &Limits) -> (Ending, Vec<Row>) {
    let mut watch = Watch { rows: Vec::new(), journal: None };
    let ending = trainer.run(limits, &mut watch).unwrap();
    (ending, watch.rows)
}

#[test]
fn both_losses_go_down_on_a_toy_task() {
    for architecture in tiny::ARCHITECTURES {
        let site = Site::new(architecture);
        let mut trainer = site.trainer(Recipe { epochs: 24, ..recipe() });
        let before = trainer.evaluate(&examples()).unwrap();
        let (ending, rows) = run(&mut trainer, &Limits::default());
        assert_eq!(ending, Ending::Done);
        assert_eq!(rows.len() as u64, trainer.n_steps());
        let after = trainer.evaluate(&examples()).unwrap();
        println!("{architecture}: {before:?} -> {after:?}");
        assert!(after.swrd < 0.5 * before.swrd, "{architecture}: {before:?}, then {after:?}");
        assert!(after.cpo < 0.7 * before.cpo, "{architecture}: {before:?}, then {after:?}");
    }
}

#[test]
fn a_run_that_is_broken_off_and_resumed_gives_the_same_bytes() {
    for dropout in [0.0, 0.2] {
        let site = Site::new("llama");
        let recipe = Recipe { dropout, epochs: 3, ..recipe() };
        let mut whole = site.trainer(recipe.clone());
        let (_, rows) = run(&mut whole, &Limits::default());
        let bytes = site.adapter(&whole, "whole.gguf");

        let checkpoint = site.path("run.ckpt");
        let limits =
            |n_steps| Limits { n_steps, checkpoint: Some((checkpoint.clone(), 4)), ..Limits::default() };
        let mut broken = site.trainer(recipe.clone());
        run(&mut broken, &limits(Some(6)));
        // Steps behind the last checkpoint are lost with the process, and made again.
        broken.step().unwrap();
        drop(broken);
        let mut again = site.trainer(recipe.clone());
        again.resume(&checkpoint).unwrap();
        assert_eq!(again.position(), 6);
        let (ending, rest) = run(&mut again, &limits(None));
        assert_eq!(ending, Ending::Done);
        assert_eq!(site.adapter(&again, "again.gguf"), bytes, "dropout {dropout}");
        for (a, b) in rows[6..].iter().zip(&rest) {
            assert_eq!(
                (a.step, a.loss.to_bits(), a.gradient.to_bits()),
                (b.step, b.loss.to_bits(), b.gradient.to_bits())
            );
        }
        // And once more from the start: not even the first run was a matter of luck.
        let mut same = site.trainer(recipe);
        run(&mut same, &Limits::default());
        assert_eq!(site.adapter(&same, "same.gguf"), bytes);
    }
}

#[test]
fn a_checkpoint_of_another_run_or_a_damaged_one_is_refused() {
    let site = Site::new("llama");
    let path = site.path("run.ckpt");
    let mut trainer = site.trainer(recipe());
    trainer.step().unwrap();
    trainer.save(&path).unwrap();
    let refused = |trainer: &mut Trainer, words: &str| {
        let before = trainer.lora().params.clone();
        let error = trainer.resume(&path).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("hint: "), "{error}");
        assert_eq!((trainer.position(), &trainer.lora().params), (0, &before));
    };
    refused(&mut site.trainer(Recipe { seed: 1, ..recipe() }), "another recipe");
    refused(&mut Site::new("qwen2").trainer(recipe()), "another model");
    let base = Base::open(&site.path("tiny.gguf")).unwrap();
    let fewer = examples()[1..].to_vec();
    refused(&mut Trainer::new(base, recipe(), fewer, Settings::default()).unwrap(), "another data set");
    let bytes = std::fs::read(&path).unwrap();
    for at in [0, 9, 700, bytes.len() / 2, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        assert!(site.trainer(recipe()).resume(&path).is_err(), "byte {at}");
    }
    for n in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..n]).unwrap();
        refused(&mut site.trainer(recipe()), "damaged");
    }
}

#[test]
fn limits_end_a_run_between_two_steps() {
    let site = Site::new("llama");
    let path = site.path("run.ckpt");
    let mut trainer = site.trainer(recipe());
    let none = Limits { time: Some(std::time::Duration::ZERO), ..Limits::default() };
    assert_eq!(run(&mut trainer, &none), (Ending::Stopped(Stop::Time), vec![]));
    let tight =
        Limits { resident_bytes: Some(1), checkpoint: Some((path.clone(), 100)), ..Limits::default() };
    let (ending, rows) = run(&mut trainer, &tight);
    assert!(matches!(ending, Ending::Stopped(Stop::Memory(n)) if n > 1) && rows.len() == 1, "{ending:?}");
    let mut next = site.trainer(recipe());
    next.resume(&path).unwrap();
    assert_eq!(next.position(), 1);
    struct Impatient;
    impl Observer for Impatient {
        fn on_step(&mut self, _: &Row) -> Option<String> {
            Some("too hot".into())
        }
    }
    let ending = next.run(&Limits::default(), &mut Impatient).unwrap();
    assert_eq!(ending, Ending::Stopped(Stop::Asked("too hot".into())));
}

#[test]
fn a_run_pauses_while_it_is_hot_and_stops_when_it_stays_so() {
    struct Hot(Vec<Option<f32>>, Vec<u64>);
    impl Observer for Hot {
        fn on_step(&mut self, _: &Row) -> Option<String> {
            None
        }
        fn on_checkpoint(&mut self, position: u64) {
            self.1.push(position);
        }
        fn on_heat(&mut self, celsius: Option<f32>) {
            self.0.push(celsius);
        }
    }
    let site = Site::new("llama");
    let zone = site.path("zones").join("thermal_zone0");
    let heat = |text: &str| {
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("temp"), text).unwrap();
    };
    let limits = Limits {
        checkpoint: Some((site.path("run.ckpt"), 1000)),
        n_steps: Some(2),
        heat: Some(Heat {
            zones: site.path("zones"),
            poll: std::time::Duration::from_millis(1),
            patience: std::time::Duration::from_millis(30),
            ..Heat::below(60.0)
        }),
        ..Limits::default()
    };
    let mut trainer = site.trainer(recipe());
    let mut go = |limits: &Limits| {
        let mut hot = Hot(Vec::new(), Vec::new());
        let ending = trainer.run(limits, &mut hot).unwrap();
        (ending, hot.0, hot.1, trainer.position())
    };
    // Without a sensor it is said once; below the budget nothing is.
    assert_eq!(go(&limits), (Ending::Stopped(Stop::Steps), vec![None], vec![2], 2));
    heat("60000\n");
    assert_eq!(go(&limits), (Ending::Stopped(Stop::Steps), vec![], vec![4], 4));
    heat("61500\n");
    assert_eq!(go(&limits), (Ending::Stopped(Stop::Heat(61.5)), vec![Some(61.5)], vec![], 4));
    // It cools down in the pause.
    let patient = Heat { patience: std::time::Duration::from_secs(60), ..limits.heat.clone().unwrap() };
    let limits = Limits { heat: Some(patient), ..limits };
    let cooling = std::thread::spawn({
        let zone = zone.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::fs::write(zone.join("temp"), "55000\n").unwrap();
        }
    });
    assert_eq!(go(&limits), (Ending::Stopped(Stop::Steps), vec![Some(61.5)], vec![6], 6));
    cooling.join().unwrap();
}

#[test]
fn a_run_that_will_not_fit_is_refused_with_the_sum() {
    let site = Site::new("llama");
    let base = || Base::open(&site.path("tiny.gguf")).unwrap();
    let settings = |max_bytes| Settings { n_threads: 1, max_bytes: Some(max_bytes) };
    let error = Trainer::new(base(), recipe(), examples(), settings(1_000_000)).unwrap_err().to_string();
    assert!(error.contains("model file") && error.contains("logits") && error.contains("= "), "{error}");
    let all = Trainer::new(base(), recipe(), examples(), settings(1 << 30)).unwrap();
    let tight = all.estimate().n_bytes() - 1;
    let some = Trainer::new(base(), recipe(), examples(), settings(tight)).unwrap();
    assert!(some.estimate().n_inner < all.estimate().n_inner);
    assert!(some.estimate().n_bytes() <= tight);
}

#[test]
fn examples_that_name_what_is_not_there_are_refused() {
    let site = Site::new("llama");
    let refused = |change: fn(&mut Example), words: &str| {
        let mut bad = examples();
        change(&mut bad[3]);
        let base = Base::open(&site.path("tiny.gguf")).unwrap();
        let error = Trainer::new(base, recipe(), bad, Settings::default()).unwrap_err().to_string();
        assert!(error.starts_with("example 3: ") && error.contains(words), "{error}");
    };
    refused(|e| e.tokens[2] = 48, "token 48");
    refused(|e| e.pivots[0].minus = u32::MAX, "token 4294967295");
    refused(|e| e.spans[0].positions = 0..2, "0..2");
    refused(|e| e.spans[1].positions = 4..6, "4..6");
    refused(|e| e.spans[1].positions.end += 1, "cannot be learnt");
    refused(|e| e.pivots[0].position = 99, "99..100");
    refused(|e| e.spans[0].weight = -1.0, "a weight of -1");
    refused(|e| (e.spans, e.pivots) = (vec![], vec![]), "none of them is learnt");
    refused(|e| e.tokens = vec![1; 129], "129 tokens");
}

#[test]
fn the_log_has_each_step_once_after_a_crash() {
    let site = Site::new("llama");
    let path = site.path("run.jsonl");
    let mut trainer = site.trainer(recipe());
    let mut watch =
        Watch { rows: Vec::new(), journal: Some(Journal::open(&path, &trainer.identity(), 0).unwrap()) };
    trainer.run(&Limits { n_steps: Some(5), ..Limits::default() }, &mut watch).unwrap();
    use std::io::Write as _;
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\":6,").unwrap();
    let mut journal = Journal::open(&path, &trainer.identity(), 3).unwrap();
    for row in &watch.rows[3..] {
        journal.add(row).unwrap();
    }
    let steps = |rows: &[Row]| rows.iter().map(|r| (r.step, r.n_tokens)).collect::<Vec<_>>();
    assert_eq!(steps(&Journal::read(&path).unwrap()), steps(&watch.rows));
}

#[test]
fn an_adapter_file_says_what_it_was_made_of() {
    let site = Site::new("qwen3");
    let trainer = site.trainer(recipe());
    let path = site.path("adapter.gguf");
    let provenance = Provenance {
        name: "test".into(),
        base_sha256: trainer.base().sha256().into(),
        data_sha256: trainer.data_sha256().into(),
        parent_sha256: "77".into(),
        recipe: trainer.recipe().to_toml().unwrap(),
        metrics: "{\"loss\":1.5}".into(),
        date: "2026-11-26".into(),
    };
    for format in [AdapterFormat::F16, AdapterFormat::F32] {
        adapter::write(&path, trainer.base(), trainer.lora(), format, &provenance).unwrap();
        let info = adapter::read(&path).unwrap();
        assert_eq!(info.provenance, provenance);
        assert_eq!((info.architecture.as_str(), info.rank, info.alpha), ("qwen3", 4, 8.0));
        assert_eq!(info.n_matrices, 21);
        info.check_base(trainer.base().sha256()).unwrap();
        assert!(info.check_base("00").unwrap_err().to_string().contains("hint: "));
    }
    assert!(adapter::read(&site.path("tiny.gguf")).is_err());
}

#[test]
fn a_run_goes_on_from_an_adapter_as_its_file_has_it() {
    let site = Site::new("qwen2");
    let mut first = site.trainer(Recipe { epochs: 1, ..recipe() });
    run(&mut first, &Limits::default());
    let (file, again) = (site.path("first.gguf"), site.path("again.gguf"));
    // In either format: a 16-bit float is exact as a 32-bit one, and rounds to itself.
    for format in [AdapterFormat::F32, AdapterFormat::F16] {
        let provenance = Provenance { base_sha256: first.base().sha256().into(), ..Provenance::default() };
        adapter::write(&file, first.base(), first.lora(), format, &provenance).unwrap();
        let mut next = site.trainer(recipe());
        next.step().unwrap();
        next.start_from(&file).unwrap();
        assert_eq!(next.position(), 0);
        adapter::write(&again, next.base(), next.lora(), format, &provenance).unwrap();
        assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(), "{format:?}");
        let whole: [u8; 32] = Sha256::digest(std::fs::read(&file).unwrap()).into();
        assert_eq!(next.identity().parent_sha256, Some(hex(&whole)));
    }
}

#[test]
fn a_run_from_an_adapter_is_the_same_when_broken_off_and_is_no_other_run() {
    let site = Site::new("llama");
    let mut first = site.trainer(Recipe { epochs: 1, ..recipe() });
    run(&mut first, &Limits::default());
    let write = |name: &str, trainer: &Trainer| {
        let provenance = Provenance { base_sha256: trainer.base().sha256().into(), ..Provenance::default() };
        adapter::write(&site.path(name), trainer.base(), trainer.lora(), AdapterFormat::F16, &provenance)
            .unwrap();
    };
    write("a.gguf", &first);
    run(&mut first, &Limits::default());
    let from = |name: Option<&str>| {
        let mut trainer = site.trainer(Recipe { epochs: 2, seed: 5, ..recipe() });
        if let Some(name) = name {
            trainer.start_from(&site.path(name)).unwrap();
        }
        trainer
    };
    let mut whole = from(Some("a.gguf"));
    let (_, rows) = run(&mut whole, &Limits::default());
    let bytes = site.adapter(&whole, "whole.gguf");
    let mut plain = from(None);
    let (_, other) = run(&mut plain, &Limits::default());
    assert!(rows[0].loss < 0.9 * other[0].loss, "{} {}", rows[0].loss, other[0].loss);

    let checkpoint = site.path("run.ckpt");
    let mut broken = from(Some("a.gguf"));
    let limits = Limits { n_steps: Some(3), checkpoint: Some((checkpoint.clone(), 9)), ..Limits::default() };
    run(&mut broken, &limits);
    let mut again = from(Some("a.gguf"));
    again.resume(&checkpoint).unwrap();
    assert_eq!((again.position(), again.identity()), (3, whole.identity()));
    run(&mut again, &Limits::default());
    assert!(site.adapter(&again, "again.gguf") == bytes);

    write("b.gguf", &whole);
    for (mut other, theirs) in [(from(Some("b.gguf")), false), (from(None), true)] {
        let error = other.resume(&checkpoint).unwrap_err().to_string();
        assert!(error.contains("another parent adapter") && error.contains("not none") == theirs, "{error}");
        assert_eq!(other.position(), 0);
    }
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_with_both_sides() {
    let site = Site::new("llama");
    let first = site.trainer(recipe());
    let file = site.path("a.gguf");
    let write = |base: &str| {
        let provenance = Provenance { base_sha256: base.into(), ..Provenance::default() };
        adapter::write(&file, first.base(), first.lora(), AdapterFormat::F16, &provenance).unwrap();
    };
    write(first.base().sha256());
    let refused = |recipe: Recipe, words: [&str; 2]| {
        let mut trainer = site.trainer(recipe);
        let before = trainer.lora().params.clone();
        let error = trainer.start_from(&file).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)) && error.contains("hint: "), "{error}");
        assert!(trainer.lora().params == before && trainer.identity().parent_sha256.is_none());
    };
    refused(Recipe { rank: 8, ..recipe() }, ["rank is 4", "the recipe's 8"]);
    refused(Recipe { alpha: 16.0, ..recipe() }, ["alpha is 8", "the recipe's 16"]);
    let targets = vec![crate::lora::Target::Q, crate::lora::Target::Down];
    refused(Recipe { targets, ..recipe() }, ["in 42 tensors", "the recipe's attn_q, ffn_down in 12 tensors"]);
    write("00");
    refused(recipe(), ["SHA-256 00", first.base().sha256()]);
    write("");
    refused(recipe(), ["(it names none)", first.base().sha256()]);
}

#[test]
fn a_log_of_another_run_is_not_gone_on_with() {
    let site = Site::new("llama");
    let path = site.path("run.jsonl");
    let mut trainer = site.trainer(recipe());
    let run = trainer.identity();
    let row = trainer.step().unwrap().unwrap();
    Journal::open(&path, &run, 0).unwrap().add(&row).unwrap();
    let other = Identity { parent_sha256: Some("77".into()), ..run.clone() };
    for position in [0, 1] {
        let error = Journal::open(&path, &other, position).unwrap_err().to_string();
        assert!(error.contains("not the log of this run"), "{error}");
    }
    drop(Journal::open(&path, &run, 1).unwrap());
    assert_eq!(Journal::read(&path).unwrap(), std::slice::from_ref(&row));
    // A run that begins anew drops its own steps; a first line that a crash tore is nobody's.
    drop(Journal::open(&path, &run, 0).unwrap());
    assert_eq!(Journal::read(&path).unwrap(), []);
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &whole[..9]).unwrap();
    drop(Journal::open(&path, &other, 0).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"run\":{") && text.contains("\"parent_sha256\":\"77\""), "{text}");
    // Somebody else's file stays as it is.
    for theirs in ["{\"id\":1}\n", "{\"id\":1}"] {
        std::fs::write(&path, theirs).unwrap();
        assert!(Journal::open(&path, &run, 0).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
    }
}
