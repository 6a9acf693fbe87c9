//! Tiny random models of each architecture, written as F32 GGUF files for tests.
//!
//! Small enough for finite differences, complete enough for llama.cpp. Not a part of the library.

use super::gguf::{Body, Writer};
use std::path::Path;

/// The architectures.
pub const ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];
/// Tokens of the vocabulary.
pub const N_VOCAB: usize = 48;
const N_LAYER: usize = 3;
const N_EMBD: usize = 32;
const N_HEAD: usize = 4;
const N_HEAD_KV: usize = 2;
const N_FF: usize = 40;

/// Numbers in ±1, a function of what was drawn before.
pub struct Draw(pub u64);

impl Draw {
    /// The next one.
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// Writes a model: random, but with the sizes and oddities of its architecture.
pub fn write(path: &Path, architecture: &str, seed: u64) {
    let mut writer = Writer::default();
    let key = |k: &str| format!("{architecture}.{k}");
    let gemma = architecture == "gemma3";
    // Heads of qwen3 and gemma3 may be wider than their share of the model.
    let head_dim = if matches!(architecture, "qwen3" | "gemma3") { 12 } else { N_EMBD / N_HEAD };
    writer.text("general.architecture", architecture);
    writer.text("general.name", "tiny");
    for (k, n) in [
        ("context_length", 128),
        ("embedding_length", N_EMBD),
        ("block_count", N_LAYER),
        ("feed_forward_length", N_FF),
        ("attention.head_count", N_HEAD),
        ("attention.head_count_kv", N_HEAD_KV),
        ("attention.key_length", head_dim),
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
        ("vocab_size", N_VOCAB),
    ] {
        writer.u32(&key(k), n as u32);
    }
    writer.f32(&key("attention.layer_norm_rms_epsilon"), 1e-5);
    writer.f32(&key("rope.freq_base"), if gemma { 50_000.0 } else { 10_000.0 });
    if gemma {
        writer.u32(&key("attention.sliding_window"), 5);
        // The first layer has the window, the second has not.
        writer.u32(&key("attention.sliding_window_pattern"), 2);
    }
    writer.text("tokenizer.ggml.model", "no_vocab");
    let mut draw = Draw(seed);
    let mut add = |writer: &mut Writer, name: String, shape: &[usize], middle: f32, spread: f32| {
        let n = shape.iter().product();
        let numbers = (0..n).map(|_| middle + spread * draw.next()).collect();
        writer.tensor(&name, shape, Body::F32(numbers));
    };
    add(&mut writer, "token_embd.weight".into(), &[N_EMBD, N_VOCAB], 0.0, 0.5);
    add(&mut writer, "output_norm.weight".into(), &[N_EMBD], 1.0, 0.3);
    if architecture != "gemma3" && architecture != "qwen3" {
        add(&mut writer, "output.weight".into(), &[N_EMBD, N_VOCAB], 0.0, 0.3);
    }
    if architecture == "llama" {
        add(&mut writer, "rope_freqs.weight".into(), &[head_dim / 2], 2.0, 0.9);
    }
    let (q, kv) = (N_HEAD * head_dim, N_HEAD_KV * head_dim);
    for i in 0..N_LAYER {
        let mut tensor = |part: &str, shape: &[usize]| {
            let norm = part.ends_with("norm");
            let spread = if part.ends_with("bias") { 0.3 } else { 0.25 };
            let suffix = if part.ends_with("bias") { "" } else { ".weight" };
            let middle = if norm { 1.0 } else { 0.0 };
            add(&mut writer, format!("blk.{i}.{part}{suffix}"), shape, middle, spread);
        };
        tensor("attn_norm", &[N_EMBD]);
        tensor("attn_q", &[N_EMBD, q]);
        tensor("attn_k", &[N_EMBD, kv]);
        tensor("attn_v", &[N_EMBD, kv]);
        tensor("attn_output", &[q, N_EMBD]);
        tensor("ffn_norm", &[N_EMBD]);
        tensor("ffn_gate", &[N_EMBD, N_FF]);
        tensor("ffn_up", &[N_EMBD, N_FF]);
        tensor("ffn_down", &[N_FF, N_EMBD]);
        if architecture == "qwen2" {
            tensor("attn_q.bias", &[q]);
            tensor("attn_k.bias", &[kv]);
            tensor("attn_v.bias", &[kv]);
        }
        if matches!(architecture, "qwen3" | "gemma3") {
            tensor("attn_q_norm", &[head_dim]);
            tensor("attn_k_norm", &[head_dim]);
        }
        if gemma {
            tensor("post_attention_norm", &[N_EMBD]);
            tensor("post_ffw_norm", &[N_EMBD]);
        }
    }
    writer.write(path).unwrap();
}

/// Sequences of different lengths, all tokens of the vocabulary among them.
pub fn sequences(n: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut draw = Draw(seed);
    let mut token = || ((draw.next() + 1.0) * 0.5 * N_VOCAB as f32) as u32 % N_VOCAB as u32;
    (0..n).map(|i| (0..7 + 5 * i).map(|_| token()).collect()).collect()
}
