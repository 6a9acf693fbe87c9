//! Gradients against finite differences, for each architecture and each adapted matrix.

mod autograd;

use super::*;
use crate::head::Contrast;
use crate::lora::{Group, Target};
use crate::tiny;
use crate::tiny::Draw;

struct Setting {
    base: Base,
    lora: Lora,
    pack: Pack,
    rows: Vec<LossRow>,
    dropout: Option<Dropout>,
}

fn setting(architecture: &str, dropout: f32) -> Setting {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    tiny::write(&path, architecture, 7);
    let base = Base::open(&path).unwrap();
    let mut lora = Lora::new(base.hyper(), 3, 6.0, &Target::ALL, 1);
    let mut draw = Draw(3);
    for i in 0..base.hyper().n_layer {
        for group in Group::ALL {
            for slot in lora.slots(i, group).slots.clone() {
                slot.b.for_each(|at| lora.params[at] = 0.1 * draw.next());
            }
        }
    }
    let (pack, rows) = batch(&tiny::sequences(3, 5), 6);
    let dropout = (dropout > 0.0).then_some(Dropout { rate: dropout, seed: 9, step: 1, micro: 0 });
    Setting { base, lora, pack, rows, dropout }
}

/// Sequences with losses, the first by itself, the others with their first `n_shared` tokens made the same.
fn batch(sequences: &[Vec<u32>], n_shared: usize) -> (Pack, Vec<LossRow>) {
    let (mut pack, mut rows) = (Pack::default(), Vec::new());
    let mut learn = |tokens: &[u32], own: std::ops::Range<usize>| {
        let n_before = tokens.len() - own.len();
        for t in n_before.max(2)..tokens.len() - 1 {
            let contrast =
                (t % 4 == 3).then_some(Contrast { plus: 5, minus: (t as u32 * 7) % 48, weight: 0.05 });
            let target = (t % 5 != 1).then_some((tokens[t + 1], 0.02 + 0.01 * (t % 3) as f32));
            if contrast.is_some() || target.is_some() {
                rows.push(LossRow { row: own.start + t - n_before, target, contrast });
            }
        }
    };
    let (alone, others) = sequences.split_first().unwrap();
    let first = pack.push(alone);
    learn(alone, first..pack.n_rows());
    let shared = &others[0][..n_shared];
    let family: Vec<Vec<u32>> = others.iter().map(|s| [shared, &s[n_shared..]].concat()).collect();
    let own = pack.push_family(n_shared, &family.iter().map(|s| &s[..]).collect::<Vec<_>>());
    family.iter().zip(own).for_each(|(tokens, own)| learn(tokens, own));
    (pack, rows)
}

impl Setting {
    fn loss(&self, pass: &mut Pass) -> f64 {
        let batch =
            Batch { lora: Some(&self.lora), dropout: self.dropout, pack: &self.pack, rows: &self.rows };
        let sums = pass.losses(&self.base, &batch).unwrap();
        sums.swrd + sums.cpo
    }

    /// With room for the inner results of so many layers.
    fn gradient(&self, n_places: usize) -> (f64, Vec<f32>) {
        let batch =
            Batch { lora: Some(&self.lora), dropout: self.dropout, pack: &self.pack, rows: &self.rows };
        let mut grads = vec![0.0; self.lora.n_params()];
        let mut pass = Pass::new(&self.base, 256);
        let n_rows = self.pack.n_rows();
        let n_inner = n_places * Inner::n_per_row(self.base.hyper()) * n_rows;
        pass.reserve(&self.base, n_rows, n_inner);
        let sums = pass.train(&self.base, &batch, &mut grads).unwrap();
        (sums.swrd + sums.cpo, grads)
    }

    /// The derivative along `direction`, which is of length 1, by central differences of two widths (Richardson).
    fn slope(&mut self, pass: &mut Pass, place: &std::ops::Range<usize>, direction: &[f32]) -> f64 {
        let before = self.lora.params.clone();
        let mut at = |h: f32| {
            for (i, d) in place.clone().zip(direction) {
                self.lora.params[i] = before[i] + h * d;
            }
            self.loss(pass)
        };
        let h = 0.02;
        let near = (at(h) - at(-h)) / f64::from(2.0 * h);
        let far = (at(2.0 * h) - at(-2.0 * h)) / f64::from(4.0 * h);
        self.lora.params = before;
        (4.0 * near - far) / 3.0
    }
}

fn unit(mut x: Vec<f32>) -> Vec<f32> {
    let length = x.iter().map(|x| x * x).sum::<f32>().sqrt();
    x.iter_mut().for_each(|x| *x /= length);
    x
}

fn check(architecture: &str, dropout: f32) {
    let mut setting = setting(architecture, dropout);
    let (loss, grads) = setting.gradient(1);
    let mut pass = Pass::new(&setting.base, 64);
    assert!((setting.loss(&mut pass) - loss).abs() < 1e-6);
    let mut draw = Draw(11);
    let mut n = 0;
    let mut worst = 0.0_f64;
    for i in 0..setting.base.hyper().n_layer {
        for group in Group::ALL {
            for slot in setting.lora.slots(i, group).slots.clone() {
                for (name, place) in [("A", &slot.a), ("B", &slot.b)] {
                    let gradient = &grads[place.clone()];
                    let length = f64::from(gradient.iter().map(|x| x * x).sum::<f32>().sqrt());
                    let mut directions = vec![unit(gradient.to_vec())];
                    for _ in 0..3 {
                        directions.push(unit(gradient.iter().map(|_| draw.next()).collect()));
                    }
                    for direction in directions {
                        let ours: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
                        let theirs = setting.slope(&mut pass, place, &direction);
                        let off = (ours - theirs).abs() / length;
                        worst = worst.max(off);
                        assert!(
                            off < 1e-3,
                            "{architecture}, layer {i}, {:?} {name}: {ours} is {theirs} by differences",
                            slot.target
                        );
                    }
                    n += 1;
                }
            }
        }
    }
    println!("{architecture}: {n} tensors, at most {worst:.1e} off");
    assert_eq!(n, 42);
}

#[test]
fn gradients_of_llama_agree_with_finite_differences() {
    check("llama", 0.0);
}

#[test]
fn gradients_of_qwen2_agree_with_finite_differences() {
    check("qwen2", 0.0);
}

#[test]
fn gradients_of_qwen3_agree_with_finite_differences() {
    check("qwen3", 0.0);
}

#[test]
fn gradients_of_gemma3_agree_with_finite_differences() {
    check("gemma3", 0.0);
}

#[test]
fn gradients_under_dropout_agree_with_finite_differences() {
    check("llama", 0.3);
    check("gemma3", 0.3);
}

#[test]
fn layers_that_run_again_give_the_same_bits() {
    for architecture in tiny::ARCHITECTURES {
        let setting = setting(architecture, 0.0);
        let (loss, grads) = setting.gradient(3);
        for n_places in [0, 1, 2] {
            let (again, same) = setting.gradient(n_places);
            assert_eq!(
                (loss.to_bits(), &grads),
                (again.to_bits(), &same),
                "{architecture}, {n_places} places"
            );
        }
    }
}

#[test]
fn a_sequence_does_not_see_its_neighbours_in_the_pack() {
    // Short ones, and such that take several windows of queries in what is shared and in what is not.
    for (n_longer, n_shared) in [(0, 6), (120, 110)] {
        let sequences = tiny::sequences(3 + n_longer / 5, 5);
        let sequences = &sequences[n_longer / 5..];
        for architecture in tiny::ARCHITECTURES {
            let mut setting = setting(architecture, 0.0);
            let (pack, rows) = batch(sequences, n_shared);
            (setting.pack, setting.rows) = (pack.clone(), rows.clone());
            let mut pass = Pass::new(&setting.base, 256);
            let (together, grads) = (setting.loss(&mut pass), setting.gradient(0).1);
            let (mut apart, mut sum) = (0.0, vec![0.0; grads.len()]);
            for family in &pack.families {
                for own in &family.own {
                    let whole = family.shared.clone().chain(own.clone());
                    let tokens: Vec<u32> = whole.map(|row| pack.tokens[row]).collect();
                    setting.pack = Pack::default();
                    setting.pack.push(&tokens);
                    setting.rows = rows.iter().filter(|r| own.contains(&r.row)).copied().collect();
                    setting.rows.iter_mut().for_each(|r| r.row = r.row + tokens.len() - own.end);
                    apart += setting.loss(&mut pass);
                    sum.iter_mut().zip(setting.gradient(0).1).for_each(|(sum, g)| *sum += g);
                }
            }
            assert!(
                (together - apart).abs() < 1e-5 * together,
                "{architecture}: {together} is {apart} apart"
            );
            let off = grads.iter().zip(&sum).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
            let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(off < 1e-5 * length, "{architecture}: the gradient is {off} of {length} off");
        }
    }
}
