//! The shape of a model: what its metadata says, and what llama.cpp takes for granted of its architecture.
//!
//! Invariant: a [`Hyper`] in hand describes a model that this crate computes as llama.cpp does; whatever it does not
//! know is refused when the metadata is read.

use super::BaseError;
use crate::gguf::{Gguf, Value};

/// Which numbers of a head RoPE turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours: llama, whose q and k rows llama.cpp's converter permutes.
    Pairs,
    /// The first half with the second: qwen and gemma.
    Halves,
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Which numbers are turned together.
    pub style: RopeStyle,
    /// Base of the frequencies.
    pub base: f32,
    /// Factor on positions.
    pub scale: f32,
    /// Base in layers with a sliding window.
    pub local_base: f32,
    /// Divisors of the frequencies (llama 3), for every layer.
    pub factors: Option<Vec<f32>>,
}

/// What stands between gate and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x σ(x)
    Silu,
    /// GELU in its tanh form.
    Gelu,
}

/// Sizes and variations of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyper {
    /// `llama`, `qwen2`, `qwen3` or `gemma3`.
    pub architecture: String,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Numbers per token between the layers.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads, a divisor of the above.
    pub n_head_kv: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Of those, how many RoPE turns.
    pub n_rot: usize,
    /// Numbers per token inside the feed-forward part.
    pub n_ff: usize,
    /// Tokens that the model was trained to hold.
    pub n_ctx_train: usize,
    /// ε of the norms.
    pub eps: f32,
    /// Position embedding.
    pub rope: Rope,
    /// Factor on q·k.
    pub attention_scale: f32,
    /// Factor on the embeddings.
    pub embedding_scale: f32,
    /// What stands between gate and up.
    pub activation: Activation,
    /// Norms on q and k per head.
    pub has_head_norms: bool,
    /// Norms behind attention and feed-forward.
    pub has_post_norms: bool,
    /// A token sees itself and the `window - 1` before it, in local layers.
    pub window: usize,
    /// Per layer, whether it is local.
    pub is_local: Vec<bool>,
}

struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn find(&self, key: &str) -> (String, Option<&'a Value>) {
        let key = format!("{}.{key}", self.architecture);
        let value = self.gguf.value(&key);
        (key, value)
    }

    fn read<T>(&self, key: &str, as_type: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, BaseError> {
        let (key, value) = self.find(key);
        let Some(value) = value else { return Ok(None) };
        as_type(value).map(Some).ok_or_else(|| BaseError::Key { key, found: format!("{value:?}") })
    }

    /// A count, between 1 and 2^24: enough for any model, small enough that products of a few fit 64 bits.
    fn count(&self, key: &str) -> Result<Option<usize>, BaseError> {
        self.read(key, |v| v.as_usize().filter(|n| (1..=1 << 24).contains(n)))
    }

    fn float(&self, key: &str) -> Result<Option<f32>, BaseError> {
        self.read(key, |v| v.as_f32().filter(|x| x.is_finite()))
    }

    fn missing(&self, key: &str) -> BaseError {
        BaseError::Key { key: self.find(key).0, found: "missing".into() }
    }

    fn needed_count(&self, key: &str) -> Result<usize, BaseError> {
        self.count(key)?.ok_or_else(|| self.missing(key))
    }
}

impl Hyper {
    /// Reads and checks the metadata.
    ///
    /// # Errors
    /// [`BaseError`] for what is missing, absurd or not known here.
    pub fn read(gguf: &Gguf) -> Result<Self, BaseError> {
        let unknown = |what: String| Err(BaseError::Unknown { what });
        let architecture = gguf.value("general.architecture").and_then(Value::as_text).unwrap_or("");
        let gemma = match architecture {
            "llama" | "qwen2" | "qwen3" => false,
            "gemma3" => true,
            other => return unknown(format!("its architecture is \"{other}\"")),
        };
        let keys = Keys { gguf, architecture };
        let n_embd = keys.needed_count("embedding_length")?;
        let n_layer = keys.needed_count("block_count")?;
        let n_head = keys.needed_count("attention.head_count")?;
        let n_head_kv = keys.count("attention.head_count_kv")?.unwrap_or(n_head);
        if n_head % n_head_kv != 0 || n_layer > 4096 {
            return unknown(format!("{n_layer} layers, {n_head} heads on {n_head_kv}"));
        }
        let head_dim = keys.count("attention.key_length")?.unwrap_or(n_embd / n_head);
        let value_dim = keys.count("attention.value_length")?.unwrap_or(n_embd / n_head);
        let n_rot = keys.count("rope.dimension_count")?.unwrap_or(head_dim);
        if value_dim != head_dim || n_rot != head_dim || head_dim % 2 != 0 || head_dim == 0 {
            return unknown(format!("heads of {head_dim} and {value_dim} numbers, {n_rot} of them turned"));
        }
        for (key, harmless) in [("expert_count", 0.0), ("final_logit_softcapping", 0.0)] {
            let (key, value) = keys.find(key);
            let plain = match value {
                None => true,
                #[expect(clippy::cast_precision_loss, reason = "compared with zero")]
                Some(v) => v.as_usize().map(|n| n as f32).or(v.as_f32()) == Some(harmless),
            };
            if !plain {
                return unknown(format!("its {key} is {value:?}"));
            }
        }
        let scaling = keys.read("rope.scaling.type", |v| v.as_text().map(str::to_owned))?;
        if scaling.as_deref().is_some_and(|s| !matches!(s, "linear" | "none")) {
            return unknown(format!("its rope.scaling.type is {scaling:?}"));
        }
        let factor = keys.float("rope.scaling.factor")?.or(keys.float("rope.scale_linear")?);
        let scaled = scaling.as_deref() != Some("none");
        let scale = factor.filter(|f| scaled && *f > 0.0).map_or(1.0, |f| 1.0 / f);
        let window = keys.count("attention.sliding_window")?.filter(|_| gemma).unwrap_or(usize::MAX);
        let embedding = gguf.tensor("token_embd.weight")?;
        let rope = Rope {
            style: if architecture == "llama" { RopeStyle::Pairs } else { RopeStyle::Halves },
            base: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
            scale,
            local_base: keys.float("rope.freq_base_swa")?.unwrap_or(10_000.0),
            factors: None,
        };
        // llama.cpp scales gemma3 27B, which it knows by its 62 layers, by the width instead of the head's.
        let scale_dim = if gemma && n_layer == 62 { n_embd / n_head } else { head_dim };
        #[expect(clippy::cast_precision_loss, reason = "counts are below 2^24")]
        Ok(Self {
            n_vocab: embedding.n_rows(),
            n_ff: keys.needed_count("feed_forward_length")?,
            n_ctx_train: keys.needed_count("context_length")?,
            eps: keys
                .float("attention.layer_norm_rms_epsilon")?
                .filter(|eps| *eps >= 0.0)
                .ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?,
            attention_scale: keys
                .float("attention.scale")?
                .filter(|s| *s != 0.0 && architecture == "llama")
                .unwrap_or_else(|| 1.0 / (scale_dim as f32).sqrt()),
            embedding_scale: if gemma { (n_embd as f32).sqrt() } else { 1.0 },
            activation: if gemma { Activation::Gelu } else { Activation::Silu },
            has_head_norms: matches!(architecture, "qwen3" | "gemma3"),
            has_post_norms: gemma,
            is_local: local_layers(&keys, n_layer, window)?,
            architecture: architecture.to_owned(),
            n_embd,
            n_layer,
            n_head,
            n_head_kv,
            head_dim,
            n_rot,
            rope,
            window,
        })
    }

    /// Whether llama.cpp uses a tensor of RoPE divisors for this architecture.
    pub(crate) fn takes_rope_factors(&self) -> bool {
        self.architecture == "llama"
    }

    /// Numbers per token of q, k and v together.
    #[must_use]
    pub fn n_qkv(&self) -> usize {
        (self.n_head + 2 * self.n_head_kv) * self.head_dim
    }

    /// Numbers per token of all query heads.
    #[must_use]
    pub fn n_q(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Numbers per token of all key heads, or all value heads.
    #[must_use]
    pub fn n_kv(&self) -> usize {
        self.n_head_kv * self.head_dim
    }
}

/// Which layers have a sliding window: listed, or all but each n-th (6 if not said).
fn local_layers(keys: &Keys, n_layer: usize, window: usize) -> Result<Vec<bool>, BaseError> {
    if window == usize::MAX {
        return Ok(vec![false; n_layer]);
    }
    let key = "attention.sliding_window_pattern";
    match keys.find(key).1 {
        Some(Value::Numbers(list)) if list.len() >= n_layer => {
            Ok(list.iter().take(n_layer).map(|x| *x != 0.0).collect())
        }
        _ => {
            let n = keys.count(key)?.unwrap_or(6);
            Ok((0..n_layer).map(|i| i % n < n - 1).collect())
        }
    }
}
