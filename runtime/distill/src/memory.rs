//! What a run takes: the sum before it starts, and what the process holds while it runs.
//!
//! Invariant: the sum is not below what the process holds while it trains. What the run's lists take is counted; what
//! the allocator, the threads and the matrix kernels add to that is a measured share, and stands in the sum by its name.

use crate::base::Base;
use crate::head;
use crate::layer::{Inner, Room};
use crate::linear::Linear;
use crate::lora::Lora;
use serde::Serialize;
use std::fmt;

/// A sum of memory, part by part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// What takes memory, and how many bytes.
    pub parts: Vec<(&'static str, u64)>,
    /// Numbers for inner results of layers. Where they do not reach for a batch, layers run twice.
    pub(crate) n_inner: usize,
}

impl Estimate {
    /// All parts together, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, n)) in self.parts.iter().enumerate() {
            write!(f, "{}{name} {} MB", if i > 0 { " + " } else { "" }, n.div_ceil(1_000_000))?;
        }
        write!(f, " = {} MB", self.n_bytes().div_ceil(1_000_000))
    }
}

/// Bytes that each thread takes beside its scores: what it touches of its stack, packed pieces of matrices, and rows on
/// their way into a panel.
const PER_THREAD: u64 = 4 << 20;
/// One part in so many is added for the allocator: what lies between lists, and pages that are held in part.
const ALLOCATOR: u64 = 32;

/// What decides the sum, besides model and adapter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Most rows of a batch.
    pub(crate) n_rows: usize,
    /// Nine batches in ten have no more rows.
    pub(crate) n_common_rows: usize,
    /// Longest sequence.
    pub(crate) n_longest: usize,
    /// Tokens of all examples.
    pub(crate) n_tokens: usize,
    pub(crate) n_threads: usize,
}

/// The sum, with as much for layers' inner results as is of use and fits below `limit`.
pub(crate) fn estimate(base: &Base, lora: &Lora, sizes: Sizes, limit: Option<u64>) -> Estimate {
    let hyper = base.hyper();
    let floats = |n: usize| (n as u64).saturating_mul(4);
    let Sizes { n_rows, n_common_rows, n_longest, n_tokens, n_threads } = sizes;
    let weight = Linear::largest(base).max(head::chunk_len(base));
    let logits = head::logits_bytes(hyper.n_vocab, n_rows);
    let scratch = n_threads * crate::attention::Room::n_per_thread(hyper, n_rows, n_longest);
    let mut parts = vec![
        ("program", 24 << 20),
        ("model file", base.gguf().n_bytes()),
        ("adapter, gradient, moments", floats(4 * lora.n_params())),
        ("layer inputs", floats((hyper.n_layer + 2) * hyper.n_embd * n_rows)),
        ("one layer", floats(Room::n_per_row(hyper) * n_rows + scratch + 6 * lora.rank * n_rows)),
        ("weights as floats", floats(weight)),
        ("logits", logits as u64 + floats(hyper.n_embd * logits / 4 / hyper.n_vocab)),
        ("positions and data", floats(2 * hyper.n_rot * n_longest + 2 * n_tokens)),
    ];
    let fixed: u64 = parts.iter().map(|(_, n)| n).sum();
    let margin =
        |n_inner: usize| fixed.saturating_add(floats(n_inner)) / ALLOCATOR + PER_THREAD * n_threads as u64;
    // One layer of the largest batch at least, all layers of most batches at best: to spare the few large ones a second
    // run of some layers would take much memory for little time.
    let n_per_row = Inner::n_per_row(hyper);
    let (least, best) = (n_per_row * n_rows, n_per_row * n_common_rows * hyper.n_layer);
    let n_inner = limit.map_or(best, |limit| {
        let left = limit.saturating_sub(fixed.saturating_add(margin(0)));
        usize::try_from(left / (ALLOCATOR + 1) * ALLOCATOR / 4).unwrap_or(usize::MAX).min(best)
    });
    let n_inner = n_inner.max(least);
    parts.push(("inner results of layers", floats(n_inner)));
    parts.push(("allocator and threads", margin(n_inner)));
    Estimate { parts, n_inner }
}

/// Bytes that this process holds in memory, and the most it ever held; none where the system does not say.
#[must_use]
pub fn resident() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let read = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
    };
    Some((read("VmRSS:")?, read("VmHWM:")?))
}
