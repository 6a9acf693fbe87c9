//! Gradients against ggml's own: the whole tiny model as a graph of ggml's operations, and ggml's backward pass over it.
//!
//! The graph is written from the architecture's description and not from our code; it has both losses, every adapted
//! matrix and several sequences in one batch. gemma3 is left out, since ggml has no backward pass of GELU.

use super::*;
use crate::base::RopeStyle;
use crate::ffi::autograd::{Graph, Node, Rope};
use std::collections::BTreeMap;

/// A model's graph.
struct Model<'g> {
    graph: &'g Graph,
    base: &'g Base,
    /// A and B of each adapted matrix, by the name of its tensor.
    adapted: BTreeMap<String, (Node<'g>, Node<'g>)>,
    scale: f32,
    rope: Rope<'g>,
    mask: Node<'g>,
    n_rows: usize,
}

impl<'g> Model<'g> {
    fn weight(&self, name: &str) -> Node<'g> {
        let tensor = self.base.gguf().tensor(name).unwrap();
        let numbers = self.base.gguf().numbers(name).unwrap();
        self.graph.floats([tensor.n_cols(), tensor.n_rows()], &numbers)
    }

    /// W x + (α/r) B A x, and the bias if there is one.
    fn linear(&self, name: &str, x: Node<'g>) -> Node<'g> {
        let (g, tensor) = (self.graph, format!("{name}.weight"));
        let (a, b) = self.adapted[&tensor];
        let y = g.mul_mat(self.weight(&tensor), x);
        let y = g.add(y, g.scale(g.mul_mat(b, g.mul_mat(a, x)), self.scale));
        let bias = format!("{name}.bias");
        if self.base.gguf().has(&bias) { g.add(y, self.weight(&bias)) } else { y }
    }

    fn norm(&self, name: &str, x: Node<'g>) -> Node<'g> {
        let g = self.graph;
        g.mul(g.rms_norm(x, self.base.hyper().eps), self.weight(&format!("{name}.weight")))
    }

    /// Heads of what `part` gives: `[head_dim, n_rows, heads]`, turned to their positions.
    fn turned(&self, i: usize, part: &str, x: Node<'g>, n_heads: usize) -> Node<'g> {
        let (g, hyper) = (self.graph, self.base.hyper());
        let mut y = self.linear(&format!("blk.{i}.attn_{part}"), x);
        y = g.reshape(y, [hyper.head_dim, n_heads, self.n_rows]);
        if hyper.has_head_norms {
            y = self.norm(&format!("blk.{i}.attn_{part}_norm"), y);
        }
        g.cont(g.permute(g.rope(y, &self.rope), [0, 2, 1]))
    }

    fn block(&self, i: usize, x: Node<'g>) -> Node<'g> {
        let (g, hyper) = (self.graph, self.base.hyper());
        let name = |part: &str| format!("blk.{i}.{part}");
        let h = self.norm(&name("attn_norm"), x);
        let q = self.turned(i, "q", h, hyper.n_head);
        let k = self.turned(i, "k", h, hyper.n_head_kv);
        let v = self.linear(&name("attn_v"), h);
        let v = g.reshape(v, [hyper.head_dim, hyper.n_head_kv, self.n_rows]);
        let v = g.cont(g.permute(v, [1, 2, 0]));
        let scores = g.masked_soft_max(g.mul_mat(k, q), self.mask, hyper.attention_scale);
        let heads = g.cont(g.permute(g.mul_mat(v, scores), [0, 2, 1]));
        let heads = g.reshape(heads, [hyper.n_q(), self.n_rows, 1]);
        let x = g.add(self.linear(&name("attn_output"), heads), x);
        let h = self.norm(&name("ffn_norm"), x);
        let gate = g.silu(self.linear(&name("ffn_gate"), h));
        let m = g.mul(gate, self.linear(&name("ffn_up"), h));
        g.add(self.linear(&name("ffn_down"), m), x)
    }

    /// Both losses of all rows, added up.
    fn loss(&self, logits: Node<'g>, rows: &[LossRow]) -> Node<'g> {
        let (g, n_vocab) = (self.graph, self.base.hyper().n_vocab);
        let mut targets = vec![0.0; n_vocab * self.n_rows];
        // minus - plus of each row, and what its contrast weighs.
        let (mut sides, mut weights) = (targets.clone(), vec![0.0; self.n_rows]);
        for row in rows {
            let at = row.row * n_vocab;
            if let Some((token, weight)) = row.target {
                targets[at + token as usize] -= weight;
            }
            if let Some(contrast) = row.contrast {
                sides[at + contrast.minus as usize] += 1.0;
                sides[at + contrast.plus as usize] -= 1.0;
                weights[row.row] = contrast.weight;
            }
        }
        let shape = [n_vocab, self.n_rows];
        let swrd = g.mul(g.log(g.soft_max(logits)), g.floats(shape, &targets));
        let apart = g.sum_rows(g.mul(logits, g.floats(shape, &sides)));
        let cpo = g.mul(g.softplus(apart), g.floats([1, self.n_rows], &weights));
        g.add(g.sum(swrd), g.sum(cpo))
    }
}

/// Who sees whom, and where each row stands in its sequence.
fn mask_and_positions(pack: &Pack) -> (Vec<f32>, Vec<i32>) {
    let n = pack.n_rows();
    let mut mask = vec![f32::NEG_INFINITY; n * n];
    for (before, run) in pack.families.iter().flat_map(crate::pack::Family::runs) {
        for row in run.clone() {
            mask[row * n + before.start..row * n + before.end].fill(0.0);
            mask[row * n + run.start..=row * n + row].fill(0.0);
        }
    }
    (mask, pack.positions.iter().map(|&p| p as i32).collect())
}

/// The loss, and ggml's gradient of each tensor of the adapter, by name.
fn theirs(setting: &Setting) -> (f32, BTreeMap<String, Vec<f32>>) {
    let (graph, base, lora) = (Graph::new(), &setting.base, &setting.lora);
    let hyper = base.hyper();
    let n_rows = setting.pack.n_rows();
    let (mask, positions) = mask_and_positions(&setting.pack);
    let adapted: BTreeMap<_, _> =
        lora.matrices().map(|(name, a, b)| (name, (graph.param(a.0, a.1), graph.param(b.0, b.1)))).collect();
    let factors = hyper.rope.factors.as_ref().map(|f| graph.floats([f.len(), 1], f));
    let rope = Rope {
        positions: graph.ints(&positions),
        factors,
        n_dims: hyper.n_rot,
        halves: hyper.rope.style == RopeStyle::Halves,
        base: hyper.rope.base,
        scale: hyper.rope.scale,
    };
    let mask = graph.floats([n_rows, n_rows], &mask);
    let model =
        Model { graph: &graph, base, adapted: adapted.clone(), scale: lora.scale(), rope, mask, n_rows };
    let embedding = base.gguf().numbers("token_embd.weight").unwrap();
    let rows = setting.pack.tokens.iter().map(|&t| t as usize * hyper.n_embd);
    let rows: Vec<f32> = rows.flat_map(|at| embedding[at..at + hyper.n_embd].to_vec()).collect();
    let mut x = graph.floats([hyper.n_embd, n_rows], &rows);
    for i in 0..hyper.n_layer {
        x = model.block(i, x);
    }
    let head = if base.gguf().has("output.weight") { "output.weight" } else { "token_embd.weight" };
    let logits = graph.mul_mat(model.weight(head), model.norm("output_norm", x));
    let loss = model.loss(logits, &setting.rows);
    let params: Vec<Node<'_>> = adapted.values().flat_map(|(a, b)| [*a, *b]).collect();
    let (loss, grads) = graph.backward(loss, &params);
    let names = adapted.keys().flat_map(|n| [format!("{n}.lora_a"), format!("{n}.lora_b")]);
    (loss, names.zip(grads).collect())
}

fn length(x: impl Iterator<Item = f32>) -> f64 {
    x.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn compare(architecture: &str) {
    let setting = setting(architecture, 0.0);
    let (loss, grads) = setting.gradient(1);
    let (their_loss, mut their_grads) = theirs(&setting);
    assert!((loss - f64::from(their_loss)).abs() < 1e-5 * loss, "{architecture}: {loss}, {their_loss}");
    let (mut n, mut worst) = (0, 0.0_f64);
    for place in setting.lora.places() {
        let (ours, theirs) = (&grads[place.params], their_grads.remove(&place.name).unwrap());
        assert_eq!(ours.len(), theirs.len());
        let off = length(ours.iter().zip(&theirs).map(|(a, b)| a - b)) / length(theirs.iter().copied());
        assert!(off < 1e-4, "{architecture}: {} is off by {off}", place.name);
        (n, worst) = (n + 1, worst.max(off));
    }
    println!("{architecture}: loss {loss:.6}, {n} tensors, at most {worst:.1e} off");
    assert_eq!((n, their_grads.len()), (42, 0));
}

#[test]
fn gradients_of_llama_are_those_of_ggml() {
    compare("llama");
}

#[test]
fn gradients_of_qwen2_are_those_of_ggml() {
    compare("qwen2");
}

#[test]
fn gradients_of_qwen3_are_those_of_ggml() {
    compare("qwen3");
}
