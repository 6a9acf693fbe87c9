//! `bench`: what the model costs on this machine, and what guarding it adds.
//!
//! Guarded and unguarded generation decode the same tokens in one run, taking turns, so that their ratio does not
//! depend on the machine's mood. Only medians are told. Not a test: nothing here passes or fails.

use crate::source::{Source, Use};
use crate::weights::{self, Loading};
use anyhow::bail;
use r2d_core::policy::{Mode, Policy};
use r2d_core::request::Task;
use r2d_core::untrusted::Untrusted;
use r2d_core::verdict::Reason;
use r2d_engine::generation::Setup;
use r2d_engine::intake::Intake;
use r2d_engine::llama::cpu_features;
use r2d_engine::model::{BatchToken, DecodeError, Model, Seq, Seqs, Token, Trust, argmax};
use r2d_engine::{Event, Guard, Scheduler};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The question that is asked.
const PROMPT: &str = "How do I reset an emergency stop after clearing a jam?";

/// What was measured; medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: &'static str,
    model: String,
    model_sha256: String,
    adapter_sha256: Option<String>,
    threads: u32,
    cpu_features: Vec<String>,
    rounds: usize,
    /// Milliseconds to load the weights and make the context.
    load_ms: f64,
    /// Tokens per second over a prompt of `n_prompt` tokens.
    prompt_tokens_per_s: f64,
    n_prompt: usize,
    /// Tokens per second, one token at a time, unguarded.
    generation_tokens_per_s: f64,
    n_generated: usize,
    /// From the request to the first token of the model's own, unguarded.
    first_token_ms: f64,
    /// From the request to the first released text, guarded.
    first_text_ms: f64,
    /// From the request to the verdict.
    verdict_ms: f64,
    /// Guarded over unguarded time for the same generated tokens.
    guard_ratio: f64,
    /// Resident memory of this process at its peak, in bytes.
    peak_rss_bytes: Option<u64>,
    /// Size of the model file plus key-value memory, to hold the peak against.
    model_and_kv_bytes: u64,
}

impl Report {
    /// The figures for people.
    pub(crate) fn table(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let rss = self.peak_rss_bytes.map_or("unknown".to_owned(), |b| format!("{:.0} MiB", mib(b)));
        format!(
            "model        {} on {} threads\n\
             load         {:.0} ms\n\
             prompt       {:.1} tokens/s ({} tokens)\n\
             generation   {:.1} tokens/s ({} tokens, unguarded)\n\
             first token  {:.0} ms unguarded, first released text {:.0} ms guarded\n\
             verdict      {:.0} ms\n\
             guarding     {:.3} times the unguarded time for the same tokens\n\
             memory       {rss} at its peak; model file and key-value memory are {:.0} MiB",
            self.model,
            self.threads,
            self.load_ms,
            self.prompt_tokens_per_s,
            self.n_prompt,
            self.generation_tokens_per_s,
            self.n_generated,
            self.first_token_ms,
            self.first_text_ms,
            self.verdict_ms,
            self.guard_ratio,
            mib(self.model_and_kv_bytes),
        )
    }
}

/// A model that notes which tokens its main sequence decodes.
struct Noted<M> {
    model: M,
    tokens: Vec<Token>,
}

impl<M: Model> Model for Noted<M> {
    fn tokenize(&self, text: &str, trust: Trust, out: &mut Vec<Token>) {
        self.model.tokenize(text, trust, out);
    }
    fn piece(&self, token: Token, out: &mut Vec<u8>) {
        self.model.piece(token, out);
    }
    fn is_end(&self, token: Token) -> bool {
        self.model.is_end(token)
    }
    fn is_control(&self, token: Token) -> bool {
        self.model.is_control(token)
    }
    fn begin(&self) -> Option<Token> {
        self.model.begin()
    }
    fn n_ctx(&self) -> u32 {
        self.model.n_ctx()
    }
    fn n_batch(&self) -> usize {
        self.model.n_batch()
    }
    fn n_seq(&self) -> u32 {
        self.model.n_seq()
    }
    fn fork(&mut self, from: Seq, to: Seq) -> Result<(), DecodeError> {
        self.model.fork(from, to)
    }
    fn trim(&mut self, seq: Seq, from: u32) -> Result<(), DecodeError> {
        self.model.trim(seq, from)
    }
    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        let main = batch.iter().filter(|b| matches!(b.seqs, Seqs::One(Seq(0)) | Seqs::Two(Seq(0), _)));
        self.tokens.extend(main.map(|b| b.token));
        self.model.decode(batch)
    }
    fn logits(&self, i: usize) -> &[f32] {
        self.model.logits(i)
    }
}

struct Guarded {
    total: Duration,
    first_text: Option<Duration>,
    tokens: Vec<Token>,
}

struct Plain {
    prompt: Duration,
    generation: Duration,
}

/// Measures; `tell` is called before each round.
pub(crate) fn run(loading: &Loading<'_>, rounds: usize, tell: impl FnMut(usize)) -> anyhow::Result<Report> {
    let weights = weights::open(loading)?;
    let Source::Gguf { path, context, .. } = &weights.source else {
        bail!("a scripted model costs nothing; hint: bench a GGUF model");
    };
    let need = weights::memory_need(path, loading.config)?;
    // A shadow run goes through to its end whatever this model's verdicts are worth.
    // A base that never learnt pivots takes as long to read as one that did.
    let policy = Policy { mode: Mode::Shadow, min_mass: 0.0, ..loading.config.policy.rules() };
    let measuring = Measuring { rounds, tell, policy, began: Instant::now() };
    let Measured { load, n_prompt, guarded, plain } =
        weights.source.clone().open(loading.config.model.system.clone(), measuring)?;
    let n_generated = guarded[0].tokens.len().saturating_sub(n_prompt);
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let prompt_ms = median(plain.iter().map(|p| ms(p.prompt)));
    let generation_ms = median(plain.iter().map(|p| ms(p.generation)));
    let verdict_ms = median(guarded.iter().map(|g| ms(g.total)));
    let ratios = guarded.iter().zip(&plain).map(|(g, p)| (ms(g.total) - ms(p.prompt)) / ms(p.generation));
    Ok(Report {
        schema: "r2d.bench/1",
        threads: context.n_threads,
        model: weights.name,
        model_sha256: weights.sha256,
        adapter_sha256: weights.adapter_sha256,
        cpu_features: cpu_features(),
        rounds,
        load_ms: ms(load),
        prompt_tokens_per_s: n_prompt as f64 / prompt_ms * 1e3,
        n_prompt,
        generation_tokens_per_s: n_generated as f64 / generation_ms * 1e3,
        n_generated,
        first_token_ms: prompt_ms,
        first_text_ms: median(guarded.iter().filter_map(|g| g.first_text).map(ms)),
        verdict_ms,
        guard_ratio: median(ratios),
        peak_rss_bytes: peak_rss(),
        model_and_kv_bytes: need.model + need.kv,
    })
}

/// The measurement, waiting for its model.
struct Measuring<T> {
    rounds: usize,
    tell: T,
    policy: Policy,
    began: Instant,
}

/// What the rounds took.
struct Measured {
    load: Duration,
    n_prompt: usize,
    guarded: Vec<Guarded>,
    plain: Vec<Plain>,
}

impl<T: FnMut(usize)> Use for Measuring<T> {
    type Output = Measured;

    fn with<M: Model>(mut self, model: M, intake: Intake) -> anyhow::Result<Measured> {
        let load = self.began.elapsed();
        let prompt = intake.template.prompt(&model, &intake.system, &Untrusted::new(PROMPT))?;
        let mut scheduler = Scheduler::new(Noted { model, tokens: Vec::new() });
        let (mut guarded, mut plain) = (Vec::new(), Vec::new());
        // The first round warms caches and does not count.
        for round in 0..=self.rounds {
            (self.tell)(round);
            let setup = Setup {
                policy: self.policy,
                guard: Guard::On,
                task: Task::Ask,
                prompt: prompt.clone(),
                given: None,
                refusal: String::new(),
                grammar: Arc::clone(&intake.grammar),
            };
            let g = guarded_run(&mut scheduler, setup)?;
            let p = plain_run(&mut scheduler.model_mut().model, &g.tokens, prompt.len())?;
            if round > 0 {
                guarded.push(g);
                plain.push(p);
            }
        }
        Ok(Measured { load, n_prompt: prompt.len(), guarded, plain })
    }
}

fn guarded_run<M: Model>(scheduler: &mut Scheduler<Noted<M>>, setup: Setup) -> anyhow::Result<Guarded> {
    scheduler.model_mut().tokens.clear();
    let began = Instant::now();
    let (mut first_text, mut detail) = (None, None);
    scheduler.admit(0, setup, 0)?;
    while !scheduler.is_idle() {
        let clock = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        scheduler.tick(clock, |_, event| match event {
            Event::Segment(_) => {
                first_text.get_or_insert(began.elapsed());
            }
            Event::Verdict(o) => {
                let late = o.verdict.reason == Reason::Deadline;
                detail = o.detail.or_else(|| late.then(|| "its deadline passed".to_owned()));
            }
            _ => {}
        });
    }
    let total = began.elapsed();
    if let Some(detail) = detail {
        bail!("the guarded run failed: {detail}");
    }
    Ok(Guarded { total, first_text, tokens: std::mem::take(&mut scheduler.model_mut().tokens) })
}

/// Decodes the same tokens the plain way: the prompt in batches, then one at a time, sampling behind each.
fn plain_run(model: &mut impl Model, tokens: &[Token], n_prompt: usize) -> anyhow::Result<Plain> {
    let (prompt, generated) = tokens.split_at(n_prompt.min(tokens.len()));
    let entry = |pos: usize, token: Token, logits: bool| BatchToken {
        token,
        pos: u32::try_from(pos).unwrap_or(u32::MAX),
        seqs: Seqs::One(Seq(0)),
        logits,
    };
    // Sampling is part of generating, so it is done and timed here too.
    let mut sampled = 0;
    let began = Instant::now();
    let chunk = model.n_batch();
    for (n, part) in prompt.chunks(chunk).enumerate() {
        let at = n * chunk;
        let last = at + part.len() == prompt.len();
        let batch: Vec<_> = (at..)
            .zip(part)
            .map(|(pos, &token)| entry(pos, token, last && pos + 1 == prompt.len()))
            .collect();
        model.decode(&batch)?;
        if last {
            sampled += usize::from(argmax(model.logits(part.len() - 1), &[]).is_some());
        }
    }
    let prompt_time = began.elapsed();
    let start = Instant::now();
    for (i, &token) in generated.iter().enumerate() {
        model.decode(&[entry(n_prompt + i, token, true)])?;
        sampled += usize::from(argmax(model.logits(0), &[]).is_some());
    }
    let generation = start.elapsed();
    model.trim(Seq(0), 0)?;
    if sampled != generated.len() + 1 {
        bail!("some logits were no numbers");
    }
    Ok(Plain { prompt: prompt_time, generation })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
