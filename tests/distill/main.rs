//! The trainer's model against llama.cpp's: logits of tiny models of each architecture, of the real one, and with
//! adapters.
//!
//! llama.cpp is set to what can be compared: keys and values in 32 bits and no flash attention. Numbers are compared in
//! parts of the largest logit.

mod collect;
mod command;
mod teach;
#[path = "../../runtime/distill/src/tiny.rs"]
mod tiny;

use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use r2d_distill::adapter::{self, AdapterFormat, Provenance};
use r2d_distill::base::Base;
use r2d_distill::example::{Example, Part, PivotAt, Span};
use r2d_distill::gguf;
use r2d_distill::inspect;
use r2d_distill::recipe::Recipe;
use r2d_distill::trainer::{Settings, Trainer};
use r2d_tests::process::model_path;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

fn backend() -> &'static Mutex<LlamaBackend> {
    static ONE: OnceLock<Mutex<LlamaBackend>> = OnceLock::new();
    ONE.get_or_init(|| {
        let mut backend = LlamaBackend::init().unwrap();
        backend.void_logs();
        Mutex::new(backend)
    })
}

/// llama.cpp's logits behind every token, and the tokens of `text` if there is one.
fn theirs(model: &Path, adapter: Option<&Path>, tokens: &[u32]) -> Vec<f32> {
    let backend = backend().lock().unwrap_or_else(PoisonError::into_inner);
    let mut model = LlamaModel::load_from_file(&backend, model, &LlamaModelParams::default()).unwrap();
    let adapter = adapter.map(|path| model.lora_adapter_init(path).unwrap());
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(512))
        .with_n_batch(512)
        .with_n_ubatch(512)
        .with_n_threads(2)
        .with_n_threads_batch(2)
        .with_type_k(KvCacheType::F32)
        .with_type_v(KvCacheType::F32)
        // LLAMA_FLASH_ATTN_TYPE_DISABLED
        .with_flash_attention_policy(0);
    let mut context = model.new_context(&backend, params).unwrap();
    if let Some(mut adapter) = adapter {
        context.lora_adapter_set(&mut adapter, 1.0).unwrap();
        return decode(&mut context, tokens);
    }
    decode(&mut context, tokens)
}

fn decode(context: &mut llama_cpp_2::context::LlamaContext, tokens: &[u32]) -> Vec<f32> {
    let mut batch = LlamaBatch::new(512, 1);
    for (i, token) in tokens.iter().enumerate() {
        batch.add(LlamaToken::new(*token as i32), i as i32, &[0], true).unwrap();
    }
    context.decode(&mut batch).unwrap();
    (0..tokens.len()).flat_map(|i| context.get_logits_ith(i as i32).to_vec()).collect()
}

/// The largest difference, in parts of the largest logit.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// How far apart logits of F32 models may be. llama.cpp looks GELU up in a table of 16-bit floats.
fn bound(architecture: &str) -> f32 {
    if architecture == "gemma3" { 2e-3 } else { 1e-4 }
}

fn tiny_model(folder: &Path, architecture: &str) -> PathBuf {
    let path = folder.join(format!("{architecture}.gguf"));
    tiny::write(&path, architecture, 21);
    path
}

/// Examples of nothing in particular: what counts is that the adapter moves.
fn examples(sequences: &[Vec<u32>]) -> Vec<Example> {
    sequences
        .iter()
        .map(|tokens| Example {
            tokens: tokens.clone(),
            spans: vec![Span { positions: 2..tokens.len() as u32, part: Part::Answer, weight: 1.0 }],
            pivots: vec![PivotAt { position: 3, plus: tokens[3], minus: 1 }],
        })
        .collect()
}

/// A run of some steps, at a rate that moves the logits visibly.
fn trained(model: &Path, sequences: &[Vec<u32>], learning_rate: f32) -> Trainer {
    let recipe = Recipe { learning_rate, epochs: 4, batch: 4, warmup: 0.0, ..Recipe::default() };
    let settings = Settings { n_threads: 2, max_bytes: None };
    let mut trainer =
        Trainer::new(Base::open(model).unwrap(), recipe, examples(sequences), settings).unwrap();
    while trainer.step().unwrap().is_some() {}
    trainer
}

fn write_adapter(trainer: &Trainer, path: &Path, format: AdapterFormat) {
    adapter::write(path, trainer.base(), trainer.lora(), format, &Provenance::default()).unwrap();
}

#[test]
fn logits_of_f32_models_are_those_of_llama_cpp() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in tiny::ARCHITECTURES {
        let path = tiny_model(folder.path(), architecture);
        let base = Base::open(&path).unwrap();
        let tokens = tiny::sequences(9, 4).pop().unwrap();
        let ours = inspect::logits(&base, None, &tokens).unwrap();
        let off = apart(&ours, &theirs(&path, None, &tokens));
        println!("{architecture}: {off:.1e} over {} tokens", tokens.len());
        assert!(off < bound(architecture), "{architecture}: {off}");
    }
}

#[test]
fn llama_cpp_applies_our_adapter_as_we_do() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in tiny::ARCHITECTURES {
        let path = tiny_model(folder.path(), architecture);
        let trainer = trained(&path, &tiny::sequences(6, 8), 2e-2);
        let tokens = tiny::sequences(7, 4).pop().unwrap();
        let ours = inspect::logits(trainer.base(), Some(trainer.lora()), &tokens).unwrap();
        let plain = inspect::logits(trainer.base(), None, &tokens).unwrap();
        let moved = apart(&plain, &ours);
        assert!(moved > 0.1, "{architecture}: the adapter moves logits by {moved} only");
        let file = folder.path().join("adapter.gguf");
        for (format, bound) in [(AdapterFormat::F32, bound(architecture)), (AdapterFormat::F16, 4e-3)] {
            write_adapter(&trainer, &file, format);
            let off = apart(&ours, &theirs(&path, Some(&file), &tokens));
            println!("{architecture}, {format:?}: {off:.1e}, of {moved:.1e} moved");
            assert!(off < bound, "{architecture}, {format:?}: {off}");
        }
    }
}

fn tokens_of(model: &Path, text: &str) -> Vec<u32> {
    let backend = backend().lock().unwrap_or_else(PoisonError::into_inner);
    let params = LlamaModelParams::default().with_vocab_only(true);
    let model = LlamaModel::load_from_file(&backend, model, &params).unwrap();
    model.vocab().tokenize(text.as_bytes(), false, true).iter().map(|t| t.0 as u32).collect()
}

const TEXT: &str = "<|im_start|>user\nHow do I reset an emergency stop after clearing a jam?<|im_end|>\n\
    <|im_start|>assistant\n<think>\nThe request is about a safety device on a machine. [SAFE]\n</think>\n\
    Find out why it was pressed, make sure nobody is in the danger zone, then turn the button. [SAFE]<|im_end|>";

/// The root mean square difference, in parts of the largest logit.
fn apart_on_the_whole(a: &[f32], b: &[f32]) -> f64 {
    let square: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let largest = b.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    (square / b.len() as f64).sqrt() / f64::from(largest)
}

/// The same weights as 32-bit floats, so that llama.cpp rounds no activations either.
fn dequantised(base: &Base, path: &Path) {
    let mut writer = gguf::Writer::default();
    for (key, value) in base.gguf().values().filter(|(key, _)| !key.starts_with("tokenizer.")) {
        match value {
            gguf::Value::Unsigned(n) => writer.u32(key, *n as u32),
            gguf::Value::Float(x) => writer.f32(key, *x as f32),
            gguf::Value::Text(text) => writer.text(key, text),
            _ => {}
        }
    }
    writer.text("tokenizer.ggml.model", "no_vocab");
    for tensor in base.gguf().tensors() {
        let mut shape = vec![tensor.n_cols()];
        if tensor.n_rows() > 1 {
            shape.push(tensor.n_rows());
        }
        let numbers = base.gguf().numbers(tensor.name()).unwrap();
        writer.tensor(tensor.name(), &shape, gguf::Body::F32(numbers));
    }
    writer.write(path).unwrap();
}

#[test]
fn logits_of_the_real_model_are_those_of_llama_cpp_with_and_without_an_adapter() {
    let Some(path) = model_path() else { return };
    let tokens = tokens_of(&path, TEXT);
    let base = Base::open(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let floats = folder.path().join("f32.gguf");
    dequantised(&base, &floats);
    let plain = inspect::logits(&base, None, &tokens).unwrap();
    let trainer = trained(&path, std::slice::from_ref(&tokens), 1e-3);
    let adapted = inspect::logits(trainer.base(), Some(trainer.lora()), &tokens).unwrap();
    let moved = apart_on_the_whole(&plain, &adapted);
    let file = folder.path().join("adapter.gguf");
    for (ours, format) in [(&plain, None), (&adapted, Some(AdapterFormat::F16))] {
        if let Some(format) = format {
            write_adapter(&trainer, &file, format);
        }
        let adapter = format.map(|_| &*file);
        let exact = apart(ours, &theirs(&floats, adapter, &tokens));
        // llama.cpp rounds activations to 8 bits before it multiplies them by quantised weights: the floats above show
        // that the difference is that. Of 3.5 million logits the unluckiest is three times as far off as usual.
        let quantised = theirs(&path, adapter, &tokens);
        let (whole, largest) = (apart_on_the_whole(ours, &quantised), apart(ours, &quantised));
        println!(
            "{format:?}: {exact:.1e} as floats; quantised {whole:.1e}, at most {largest:.1e}; moved {moved:.1e}"
        );
        let bound = if format == Some(AdapterFormat::F16) { 1e-3 } else { 1e-4 };
        assert!(exact < bound && whole < 2e-2 && largest < 5e-2, "{exact} {whole} {largest}");
        assert!(moved > 5.0 * whole, "the adapter moves logits by {moved} only");
    }
}
