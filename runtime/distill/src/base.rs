//! The frozen model: its shape and where its weights are in the file.
//!
//! Knows the architectures llama, qwen2, qwen3 and gemma3 as llama.cpp computes them, and refuses a file with anything
//! else in it: a tensor or a setting that is passed over would be trained around silently. Norm weights and biases are
//! held as floats, matrices stay in the file. Invariant: every tensor has the shape that [`Hyper`] says.

mod hyper;

pub use hyper::{Activation, Hyper, Rope, RopeStyle};

use crate::gguf::{Gguf, GgufError, Tensor};
use std::collections::BTreeSet;
use std::path::Path;
use thiserror::Error;

/// Why a model cannot be trained on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BaseError {
    /// The file is unsound or lacks something.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A setting is missing or of another kind.
    #[error("the model's {key} is {found}; hint: the file may be damaged, or its converter too old")]
    Key {
        /// The key.
        key: String,
        /// What is there.
        found: String,
    },
    /// The architecture or one of its variations is not known here.
    #[error("cannot train on this model: {what}; hint: known are llama, qwen2, qwen3 and gemma3, all dense")]
    Unknown {
        /// What is not known.
        what: String,
    },
    /// A tensor has another shape than the settings say.
    #[error("tensor {name} has {n_rows} rows of {n_cols} numbers, where {rows} rows of {cols} belong")]
    Shape {
        /// The tensor.
        name: String,
        /// Its rows.
        n_rows: usize,
        /// Numbers in each.
        n_cols: usize,
        /// Rows expected.
        rows: usize,
        /// Numbers expected.
        cols: usize,
    },
}

/// The matrices and vectors of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) q: Tensor,
    pub(crate) k: Tensor,
    pub(crate) v: Tensor,
    pub(crate) o: Tensor,
    pub(crate) gate: Tensor,
    pub(crate) up: Tensor,
    pub(crate) down: Tensor,
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) ffn_norm: Vec<f32>,
    /// On what attention gives, before it is added (gemma3).
    pub(crate) post_attention_norm: Option<Vec<f32>>,
    /// On what the feed-forward part gives, before it is added (gemma3).
    pub(crate) post_ffn_norm: Option<Vec<f32>>,
    /// Per head, before RoPE (qwen3, gemma3).
    pub(crate) q_norm: Option<Vec<f32>>,
    pub(crate) k_norm: Option<Vec<f32>>,
    /// Biases of q, k and v one behind the other (qwen2).
    pub(crate) qkv_bias: Option<Vec<f32>>,
    /// Whether attention sees only the sliding window.
    pub(crate) is_local: bool,
}

/// A frozen model in a mapped file.
#[derive(Debug)]
pub struct Base {
    gguf: Gguf,
    hyper: Hyper,
    pub(crate) embedding: Tensor,
    pub(crate) head: Tensor,
    pub(crate) output_norm: Vec<f32>,
    pub(crate) layers: Vec<Layer>,
    sha256: String,
}

/// Looks tensors up and remembers which were.
struct Shelf<'a> {
    gguf: &'a Gguf,
    used: BTreeSet<String>,
}

impl Shelf<'_> {
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Tensor, BaseError> {
        let tensor = self.gguf.tensor(name)?;
        if (tensor.n_rows(), tensor.n_cols()) != (rows, cols) {
            let (n_rows, n_cols) = (tensor.n_rows(), tensor.n_cols());
            return Err(BaseError::Shape { name: name.to_owned(), n_rows, n_cols, rows, cols });
        }
        self.used.insert(name.to_owned());
        Ok(tensor.clone())
    }

    fn vector(&mut self, name: &str, n: usize) -> Result<Vec<f32>, BaseError> {
        self.matrix(name, 1, n)?;
        Ok(self.gguf.numbers(name)?)
    }

    fn vector_if(&mut self, wanted: bool, name: &str, n: usize) -> Result<Option<Vec<f32>>, BaseError> {
        wanted.then(|| self.vector(name, n)).transpose()
    }
}

impl Base {
    /// Opens a model file.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn open(path: &Path) -> Result<Self, BaseError> {
        let gguf = Gguf::open(path)?;
        let mut hyper = Hyper::read(&gguf)?;
        let mut shelf = Shelf { gguf: &gguf, used: BTreeSet::new() };
        let embedding = shelf.matrix("token_embd.weight", hyper.n_vocab, hyper.n_embd)?;
        let output_norm = shelf.vector("output_norm.weight", hyper.n_embd)?;
        let head = match gguf.has("output.weight") {
            true => shelf.matrix("output.weight", hyper.n_vocab, hyper.n_embd)?,
            false => embedding.clone(),
        };
        let factors = gguf.has("rope_freqs.weight") && hyper.takes_rope_factors();
        hyper.rope.factors = shelf.vector_if(factors, "rope_freqs.weight", hyper.n_rot / 2)?;
        let layers = (0..hyper.n_layer).map(|i| layer(&mut shelf, &hyper, i)).collect::<Result<_, _>>()?;
        if let Some(tensor) = gguf.tensors().find(|t| !shelf.used.contains(t.name())) {
            return Err(BaseError::Unknown { what: format!("it has a tensor {}", tensor.name()) });
        }
        let sha256 = gguf.sha256();
        Ok(Self { gguf, hyper, embedding, head, output_norm, layers, sha256 })
    }

    /// The model's shape.
    #[must_use]
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// The file.
    #[must_use]
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// SHA-256 of the file, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

fn layer(shelf: &mut Shelf, hyper: &Hyper, i: usize) -> Result<Layer, BaseError> {
    let name = |part: &str| format!("blk.{i}.{part}");
    let (d, ff, head_dim) = (hyper.n_embd, hyper.n_ff, hyper.head_dim);
    let (q, kv) = (hyper.n_head * head_dim, hyper.n_head_kv * head_dim);
    let qkv_bias = match shelf.gguf.has(&name("attn_q.bias")) {
        false => None,
        true => {
            let mut bias = shelf.vector(&name("attn_q.bias"), q)?;
            bias.extend(shelf.vector(&name("attn_k.bias"), kv)?);
            bias.extend(shelf.vector(&name("attn_v.bias"), kv)?);
            Some(bias)
        }
    };
    Ok(Layer {
        q: shelf.matrix(&name("attn_q.weight"), q, d)?,
        k: shelf.matrix(&name("attn_k.weight"), kv, d)?,
        v: shelf.matrix(&name("attn_v.weight"), kv, d)?,
        o: shelf.matrix(&name("attn_output.weight"), d, q)?,
        gate: shelf.matrix(&name("ffn_gate.weight"), ff, d)?,
        up: shelf.matrix(&name("ffn_up.weight"), ff, d)?,
        down: shelf.matrix(&name("ffn_down.weight"), d, ff)?,
        attention_norm: shelf.vector(&name("attn_norm.weight"), d)?,
        ffn_norm: shelf.vector(&name("ffn_norm.weight"), d)?,
        post_attention_norm: shelf.vector_if(hyper.has_post_norms, &name("post_attention_norm.weight"), d)?,
        post_ffn_norm: shelf.vector_if(hyper.has_post_norms, &name("post_ffw_norm.weight"), d)?,
        q_norm: shelf.vector_if(hyper.has_head_norms, &name("attn_q_norm.weight"), head_dim)?,
        k_norm: shelf.vector_if(hyper.has_head_norms, &name("attn_k_norm.weight"), head_dim)?,
        qkv_bias,
        is_local: hyper.is_local.get(i).copied().unwrap_or(false),
    })
}
