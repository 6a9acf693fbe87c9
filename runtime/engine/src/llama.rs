//! GGUF models through llama.cpp: the only module that names it.
//!
//! [`Llama`] holds the weights, [`Session`] a context on them, used by one thread. Files are taken as verified: who
//! calls [`Llama::load`] has compared the file's SHA-256 before, because llama.cpp's own checks abort the process
//! on some damaged files. Invariant: a batch never names a sequence or a position that the context was not made for.

mod ffi;

use crate::model::{BatchToken, DecodeError, Model, Seq, Seqs, Token, Trust};
use crate::prompt::ChatTemplate;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::gguf::GgufContext;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;
use llama_cpp_2::{LlamaBackendDeviceType, list_llama_ggml_backend_devices};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use thiserror::Error;

pub use ffi::cpu_features;

/// Number format of the key-value memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// 16-bit floats.
    #[default]
    F16,
    /// Blocks of 32 8-bit integers with a 16-bit scale.
    #[serde(rename = "q8_0")]
    Q8_0,
}

/// How a context is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextOptions {
    /// Tokens that all sequences hold together.
    pub n_ctx: u32,
    /// Most tokens of one decode: bounds how long a cancel waits.
    pub n_batch: u32,
    /// Generations side by side.
    pub n_slots: u32,
    /// Threads.
    pub n_threads: u32,
    /// Number format of the key-value memory.
    pub kv_type: KvType,
}

/// Why a model cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// llama.cpp is in use by another owner in this process.
    #[error("llama.cpp is in use already")]
    InUse,
    /// The file cannot be loaded.
    #[error("cannot load {path}: {reason}")]
    Model {
        /// The file.
        path: PathBuf,
        /// llama.cpp's own words.
        reason: String,
    },
    /// The adapter cannot be loaded on this model.
    #[error(
        "cannot load the adapter {path}: {reason}; hint: an adapter fits only the base model it was trained on"
    )]
    Adapter {
        /// The file.
        path: PathBuf,
        /// llama.cpp's own words.
        reason: String,
    },
    /// The context cannot be made.
    #[error("cannot make a context of {n_ctx} tokens: {reason}; hint: lower model.n_ctx")]
    Context {
        /// Tokens asked for.
        n_ctx: u32,
        /// llama.cpp's own words.
        reason: String,
    },
}

/// A GPU that this build can compute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// llama.cpp's name of it, such as `CUDA0`.
    pub name: String,
    /// The driver's name of it.
    pub description: String,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
}

/// The GPUs that this build can compute on; none in a build for the CPU alone.
#[must_use]
pub fn gpus() -> Vec<Gpu> {
    ffi::capture_log();
    let is_gpu = |d: &LlamaBackendDeviceType| {
        matches!(d, LlamaBackendDeviceType::Gpu | LlamaBackendDeviceType::IntegratedGpu)
    };
    let all = list_llama_ggml_backend_devices().into_iter().filter(|d| is_gpu(&d.device_type));
    all.map(|d| Gpu { name: d.name, description: d.description, memory_bytes: d.memory_total as u64 })
        .collect()
}

/// Loaded weights, with an adapter if one is used.
pub struct Llama {
    // Dropped in this order: the adapter refers to the model, both to the backend.
    adapter: Option<LlamaLoraAdapter>,
    model: LlamaModel,
    backend: LlamaBackend,
}

impl Llama {
    /// Loads a verified file, and a verified adapter on it.
    ///
    /// `gpu_layers` layers go to the backend that was compiled in; a build without one ignores it.
    ///
    /// # Errors
    /// [`LoadError`] with llama.cpp's last words.
    pub fn load(path: &Path, adapter: Option<&Path>, gpu_layers: u32) -> Result<Self, LoadError> {
        ffi::capture_log();
        #[cfg(feature = "portable")]
        if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            llama_cpp_2::llama_backend::load_backends_from_path(folder);
        }
        let backend = LlamaBackend::init().map_err(|_| LoadError::InUse)?;
        let fault = |reason: String| LoadError::Model { path: path.to_owned(), reason };
        if !path.exists() {
            return Err(fault("no such file".into()));
        }
        let params = LlamaModelParams::default().with_n_gpu_layers(gpu_layers);
        let mut model = LlamaModel::load_from_file(&backend, path, &params)
            .map_err(|e| fault(ffi::last_words().unwrap_or_else(|| e.to_string())))?;
        let adapter = match adapter {
            None => None,
            Some(file) => {
                let fault = |reason: String| LoadError::Adapter { path: file.to_owned(), reason };
                if !file.exists() {
                    return Err(fault("no such file".into()));
                }
                let loaded = model.lora_adapter_init(file);
                Some(loaded.map_err(|e| fault(ffi::last_words().unwrap_or_else(|| e.to_string())))?)
            }
        };
        Ok(Self { adapter, model, backend })
    }

    /// The chat format that the file itself names, if it is of a known family.
    #[must_use]
    pub fn chat_template(&self) -> Option<ChatTemplate> {
        let jinja = self.model.meta_val_str("tokenizer.chat_template").ok()?;
        ChatTemplate::recognise(&jinja)
    }

    /// Makes a context.
    ///
    /// # Errors
    /// [`LoadError::Context`], for want of memory above all.
    pub fn session(&mut self, options: ContextOptions) -> Result<Session<'_>, LoadError> {
        let n_seq = options.n_slots.max(1) * 2;
        // A batch that cannot hold a token and its probe for every slot could never be decoded.
        let n_batch = options.n_batch.max(n_seq * 4);
        let n_threads = i32::try_from(options.n_threads).unwrap_or(1).max(1);
        let kv = match options.kv_type {
            KvType::F16 => KvCacheType::F16,
            KvType::Q8_0 => KvCacheType::Q8_0,
        };
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(options.n_ctx))
            .with_n_batch(n_batch)
            .with_n_ubatch(n_batch)
            .with_n_seq_max(n_seq)
            // One memory for all sequences, so that a fork shares its past instead of copying it; and all of it kept
            // for models with a sliding window, so that a step can be taken back.
            .with_kv_unified(true)
            .with_swa_full(true)
            .with_n_threads(n_threads)
            .with_n_threads_batch(n_threads)
            .with_type_k(kv)
            .with_type_v(kv)
            .with_no_perf(true);
        let fault = |reason: String| LoadError::Context { n_ctx: options.n_ctx, reason };
        let mut context = self
            .model
            .new_context(&self.backend, params)
            .map_err(|e| fault(ffi::last_words().unwrap_or_else(|| e.to_string())))?;
        if let Some(adapter) = &mut self.adapter {
            context.lora_adapter_set(adapter, 1.0).map_err(|e| fault(e.to_string()))?;
        }
        let n_vocab = usize::try_from(self.model.n_vocab()).unwrap_or(0);
        Ok(Session {
            context,
            model: &self.model,
            batch: LlamaBatch::new(n_batch as usize, 2),
            asked: Vec::with_capacity(n_batch as usize),
            n_batch: n_batch as usize,
            n_seq,
            n_ctx: options.n_ctx,
            n_vocab,
        })
    }
}

/// A context: the model at work, on one thread.
pub struct Session<'a> {
    context: LlamaContext<'a>,
    model: &'a LlamaModel,
    batch: LlamaBatch<'static>,
    /// Which tokens of the last batch have logits.
    asked: Vec<bool>,
    n_batch: usize,
    n_seq: u32,
    n_ctx: u32,
    n_vocab: usize,
}

impl Session<'_> {
    fn check(&self, Seq(seq): Seq) -> Result<i32, DecodeError> {
        i32::try_from(seq)
            .ok()
            .filter(|_| seq < self.n_seq)
            .ok_or_else(|| DecodeError::Failed(format!("sequence {seq} of {}", self.n_seq)))
    }

    fn add(&mut self, entry: &BatchToken) -> Result<(), DecodeError> {
        let token = LlamaToken::new(entry.token.0);
        let known = usize::try_from(entry.token.0).is_ok_and(|t| t < self.n_vocab);
        if !known {
            return Err(DecodeError::Failed(format!("token {} of {}", entry.token.0, self.n_vocab)));
        }
        let pos = i32::try_from(entry.pos).map_err(|_| DecodeError::NoRoom)?;
        let added = match entry.seqs {
            Seqs::One(a) => self.batch.add(token, pos, &[self.check(a)?], entry.logits),
            Seqs::Two(a, b) => self.batch.add(token, pos, &[self.check(a)?, self.check(b)?], entry.logits),
        };
        added.map_err(|e| DecodeError::Failed(e.to_string()))
    }
}

impl Model for Session<'_> {
    fn tokenize(&self, text: &str, trust: Trust, out: &mut Vec<Token>) {
        let tokens = self.model.vocab().tokenize(text.as_bytes(), false, trust == Trust::Ours);
        out.extend(tokens.into_iter().map(|t| Token(t.0)));
    }

    fn piece(&self, token: Token, out: &mut Vec<u8>) {
        out.reserve(32);
        self.model.vocab().token_to_piece_into(LlamaToken::new(token.0), out, false, None);
    }

    fn is_end(&self, token: Token) -> bool {
        self.model.vocab().is_eog(LlamaToken::new(token.0))
    }

    fn is_control(&self, token: Token) -> bool {
        let vocab = self.model.vocab();
        let token = LlamaToken::new(token.0);
        // Some vocabularies keep their markers (`<tool_call>`, `<think>`) as user-defined tokens, which match even in
        // text from outside; plain words in angle brackets (`<table>`) are no markers.
        let marker = |text: &[u8]| {
            text.starts_with(b"<") && text.ends_with(b">") && (text.contains(&b'|') || text.contains(&b'_'))
                || matches!(text, b"<think>" | b"</think>")
        };
        vocab.is_control(token)
            || vocab.attr(token).contains(LlamaTokenAttr::UserDefined)
                && vocab.text(token).is_some_and(|text| marker(text.to_bytes()))
    }

    fn begin(&self) -> Option<Token> {
        let vocab = self.model.vocab();
        vocab.should_add_bos().then(|| Token(vocab.bos().0))
    }

    fn n_ctx(&self) -> u32 {
        self.n_ctx
    }

    fn n_batch(&self) -> usize {
        self.n_batch
    }

    fn n_seq(&self) -> u32 {
        self.n_seq
    }

    fn fork(&mut self, from: Seq, to: Seq) -> Result<(), DecodeError> {
        let (from, to) = (self.check(from)?, self.check(to)?);
        self.context.copy_kv_cache_seq(from, to, None, None).map_err(|e| DecodeError::Failed(e.to_string()))
    }

    fn trim(&mut self, seq: Seq, from: u32) -> Result<(), DecodeError> {
        let seq = u32::try_from(self.check(seq)?).unwrap_or(0);
        match self.context.clear_kv_cache_seq(Some(seq), Some(from), None) {
            Ok(true) => Ok(()),
            Ok(false) => Err(DecodeError::Failed("this model cannot take tokens back".into())),
            Err(e) => Err(DecodeError::Failed(e.to_string())),
        }
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        self.batch.clear();
        self.asked.clear();
        for entry in batch {
            self.add(entry)?;
            self.asked.push(entry.logits);
        }
        self.context.decode(&mut self.batch).map_err(|e| match e {
            llama_cpp_2::DecodeError::NoKvCacheSlot => DecodeError::NoRoom,
            other => DecodeError::Failed(other.to_string()),
        })
    }

    fn logits(&self, i: usize) -> &[f32] {
        match (self.asked.get(i), i32::try_from(i)) {
            (Some(true), Ok(row)) => self.context.get_logits_ith(row),
            _ => &[],
        }
    }
}

/// What a model file says of itself, read without loading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileInfo {
    /// `llama`, `qwen2`, …
    pub architecture: String,
    /// Layers.
    pub n_layer: u32,
    /// Heads that keys and values have.
    pub n_head_kv: u32,
    /// Numbers per head.
    pub head_dim: u32,
    /// Tokens that the model was trained to hold.
    pub n_ctx_train: u32,
}

impl FileInfo {
    /// Reads the header of a verified GGUF file; none when a key is missing.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        ffi::capture_log();
        let gguf = GgufContext::from_file(path)?;
        let at = |key: &str| Some(gguf.find_key(key)).filter(|i| *i >= 0);
        let text = |key: &str| {
            let i = at(key).filter(|&i| gguf.kv_type(i) == ggml_sys::GGUF_TYPE_STRING)?;
            gguf.val_str(i).map(str::to_owned)
        };
        let architecture = text("general.architecture")?;
        let number = |key: &str| {
            let i = at(&format!("{architecture}.{key}"))?;
            (gguf.kv_type(i) == ggml_sys::GGUF_TYPE_UINT32).then(|| gguf.val_u32(i))
        };
        let n_head = number("attention.head_count")?;
        let head_dim =
            number("attention.key_length").or_else(|| number("embedding_length")?.checked_div(n_head))?;
        Some(Self {
            n_layer: number("block_count")?,
            n_head_kv: number("attention.head_count_kv").unwrap_or(n_head),
            head_dim,
            n_ctx_train: number("context_length")?,
            architecture,
        })
    }

    /// Bytes of key-value memory for `n_ctx` tokens.
    #[must_use]
    pub fn kv_bytes(&self, n_ctx: u32, kv_type: KvType) -> u64 {
        let keys = [self.n_layer, self.n_head_kv, self.head_dim, n_ctx]
            .into_iter()
            .fold(1_u64, |product, n| product.saturating_mul(u64::from(n)));
        // Twice, for keys and values; in blocks of 32 numbers, whole bytes for both types.
        let bytes_per_32 = match kv_type {
            KvType::F16 => 64,
            KvType::Q8_0 => 34,
        };
        keys.saturating_mul(2).div_ceil(32).saturating_mul(bytes_per_32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_smollm2_takes_45_mib_at_2048_tokens() {
        let info = FileInfo {
            architecture: "llama".into(),
            n_layer: 30,
            n_head_kv: 3,
            head_dim: 64,
            n_ctx_train: 8192,
        };
        assert_eq!(info.kv_bytes(2048, KvType::F16), 45 << 20);
        assert_eq!(info.kv_bytes(2048, KvType::Q8_0), (45 << 20) / 64 * 34);
        let absurd = FileInfo { n_layer: u32::MAX, n_head_kv: u32::MAX, head_dim: u32::MAX, ..info };
        assert!(absurd.kv_bytes(2048, KvType::F16) > 1 << 60);
    }
}
