//! The trained part: two thin matrices beside each frozen one.
//!
//! y = W x + (α/r) B A x; Hu et al., arXiv 2106.09685. All parameters lie in one list, which is what the optimiser, the
//! checkpoint and the gradients see; this module says where in it each matrix is. Matrices that read the same input (q, k, v;
//! gate, up) are a group, and their A lie together so that one product serves all. Layouts: A is `[rank][in]`, B is
//! `[out][rank]`, both as llama.cpp's adapter files have them.

use crate::base::Hyper;
use crate::ffi::View;
use crate::random::Stream;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A matrix that can be adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Output of attention.
    O,
    /// Gate of the feed-forward part.
    Gate,
    /// Its up projection.
    Up,
    /// Its down projection.
    Down,
}

impl Target {
    /// All of them, in the order of a layer.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The part of the tensor's name in a GGUF file that tells the matrix.
    #[must_use]
    pub fn tensor(self) -> &'static str {
        match self {
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::O => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }
}

/// Matrices that read the same input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Qkv,
    O,
    GateUp,
    Down,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];

    pub(crate) fn targets(self) -> &'static [Target] {
        match self {
            Self::Qkv => &[Target::Q, Target::K, Target::V],
            Self::O => &[Target::O],
            Self::GateUp => &[Target::Gate, Target::Up],
            Self::Down => &[Target::Down],
        }
    }

    /// Numbers that its matrices read per token.
    pub(crate) fn n_in(self, hyper: &Hyper) -> usize {
        match self {
            Self::Qkv | Self::GateUp => hyper.n_embd,
            Self::O => hyper.n_q(),
            Self::Down => hyper.n_ff,
        }
    }

    /// Numbers that each of its matrices gives per token.
    pub(crate) fn outs(self, hyper: &Hyper) -> Vec<usize> {
        match self {
            Self::Qkv => vec![hyper.n_q(), hyper.n_kv(), hyper.n_kv()],
            Self::O | Self::Down => vec![hyper.n_embd],
            Self::GateUp => vec![hyper.n_ff; 2],
        }
    }
}

/// One adapted matrix.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) target: Target,
    /// Its A among the parameters.
    pub(crate) a: Range<usize>,
    /// Its B.
    pub(crate) b: Range<usize>,
    pub(crate) n_in: usize,
    /// Its columns in what the group gives.
    pub(crate) columns: Range<usize>,
}

/// The adapted matrices of a group; their A follow each other in `a`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    pub(crate) slots: Vec<Slot>,
    pub(crate) a: Range<usize>,
}

/// A tensor of an adapter file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// In ggml's order.
    pub(crate) shape: [usize; 2],
    /// Its numbers among the parameters.
    pub(crate) params: Range<usize>,
}

/// Shape and parameters of an adapter.
#[derive(Clone, Debug)]
pub struct Lora {
    pub(crate) rank: usize,
    pub(crate) alpha: f32,
    /// Per layer, per group.
    places: Vec<[Slots; 4]>,
    /// All parameters.
    pub(crate) params: Vec<f32>,
}

impl Lora {
    /// A new adapter: A uniform within ±1/√in (Kaiming's with a = √5, as PEFT has it), B zero.
    #[must_use]
    pub fn new(hyper: &Hyper, rank: usize, alpha: f32, targets: &[Target], seed: u64) -> Self {
        let mut n = 0;
        let mut take = |size: usize| {
            n += size;
            n - size..n
        };
        let mut places = Vec::with_capacity(hyper.n_layer);
        for _ in 0..hyper.n_layer {
            places.push(Group::ALL.map(|group| {
                let n_in = group.n_in(hyper);
                let mut columns = 0..0;
                let mut slots = Vec::new();
                for (&target, n_out) in group.targets().iter().zip(group.outs(hyper)) {
                    columns = columns.end..columns.end + n_out;
                    if targets.contains(&target) {
                        let (a, b) = (take(rank * n_in), 0..0);
                        slots.push(Slot { target, a, b, n_in, columns: columns.clone() });
                    }
                }
                for slot in &mut slots {
                    slot.b = take(slot.columns.len() * rank);
                }
                let a = slots.first().zip(slots.last()).map_or(0..0, |(f, l)| f.a.start..l.a.end);
                Slots { slots, a }
            }));
        }
        let mut lora = Self { rank, alpha, places, params: vec![0.0; n] };
        let random = Stream::new(seed, &[0]);
        for place in lora.places.iter().flatten() {
            for slot in &place.slots {
                #[expect(clippy::cast_precision_loss, reason = "widths are below 2^24")]
                let bound = 1.0 / (slot.n_in as f32).sqrt();
                for i in slot.a.clone() {
                    lora.params[i] = bound * (2.0 * random.unit(i as u64) - 1.0);
                }
            }
        }
        lora
    }

    /// α/r
    #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
    pub(crate) fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }

    /// A of a matrix, rank x in.
    pub(crate) fn a(&self, slot: &Slot) -> View<'_> {
        View::new(&self.params[slot.a.clone()], self.rank, slot.n_in)
    }

    /// Some rows of a matrix's B, out x rank.
    pub(crate) fn b(&self, slot: &Slot, rows: Range<usize>) -> View<'_> {
        let b = &self.params[slot.b.clone()][rows.start * self.rank..rows.end * self.rank];
        View::new(b, rows.len(), self.rank)
    }

    pub(crate) fn slots(&self, layer: usize, group: Group) -> &Slots {
        &self.places[layer][group as usize]
    }

    /// Parameters in all.
    #[must_use]
    pub fn n_params(&self) -> usize {
        self.params.len()
    }

    /// Where each tensor of an adapter file is among the parameters.
    pub(crate) fn places(&self) -> Vec<Place> {
        let slots = self.places.iter().enumerate();
        let slots = slots.flat_map(|(i, groups)| groups.iter().flat_map(|g| &g.slots).map(move |s| (i, s)));
        slots
            .flat_map(|(i, slot)| {
                let name = |suffix| format!("blk.{i}.{}.weight.{suffix}", slot.target.tensor());
                let (a, b) = ([slot.n_in, self.rank], [self.rank, slot.columns.len()]);
                [
                    Place { name: name("lora_a"), shape: a, params: slot.a.clone() },
                    Place { name: name("lora_b"), shape: b, params: slot.b.clone() },
                ]
            })
            .collect()
    }

    /// Each adapted matrix: the name of its tensor in the model, its A and its B with their shapes in ggml's order.
    pub fn matrices(&self) -> impl Iterator<Item = (String, Matrix<'_>, Matrix<'_>)> {
        self.places.iter().enumerate().flat_map(move |(i, groups)| {
            groups.iter().flat_map(|g| &g.slots).map(move |slot| {
                let a = ([slot.n_in, self.rank], &self.params[slot.a.clone()]);
                let b = ([self.rank, slot.columns.len()], &self.params[slot.b.clone()]);
                (format!("blk.{i}.{}.weight", slot.target.tensor()), a, b)
            })
        })
    }
}

/// A shape in ggml's order, and the numbers.
pub type Matrix<'a> = ([usize; 2], &'a [f32]);
