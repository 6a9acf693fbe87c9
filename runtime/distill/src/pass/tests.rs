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
    let (mut pack, mut rows) = (Pack::default(), Vec::new());
    for tokens in tiny::sequences(3, 5) {
        let first = pack.push(&tokens);
        for t in 2..tokens.len() - 1 {
            let contrast =
                (t % 4 == 3).then_some(Contrast { plus: 5, minus: (t as u32 * 7) % 48, weight: 0.05 });
            let target = (t % 5 != 1).then_some((tokens[t + 1], 0.02 + 0.01 * (t % 3) as f32));
            if contrast.is_some() || target.is_some() {
                rows.push(LossRow { row: first + t, target, contrast });
            }
        }
    }
    let dropout = (dropout > 0.0).then_some(Dropout { rate: dropout, seed: 9, step: 1, micro: 0 });
    Setting { base, lora, pack, rows, dropout }
}

impl Setting {
    fn loss(&self, pass: &mut Pass) -> f64 {
        let batch =
            Batch { lora: Some(&self.lora), dropout: self.dropout, pack: &self.pack, rows: &self.rows };
        let sums = pass.losses(&self.base, &batch).unwrap();
        sums.swrd + sums.cpo
    }

    fn gradient(&self, n_kept: usize) -> (f64, Vec<f32>) {
        let batch =
            Batch { lora: Some(&self.lora), dropout: self.dropout, pack: &self.pack, rows: &self.rows };
        let mut grads = vec![0.0; self.lora.n_params()];
        let sums = Pass::new(&self.base, 64, n_kept).train(&self.base, &batch, &mut grads).unwrap();
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
    let mut pass = Pass::new(&setting.base, 64, 0);
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
    assert_eq!(n, 28);
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
        let (loss, grads) = setting.gradient(2);
        for n_kept in [0, 1] {
            let (again, same) = setting.gradient(n_kept);
            assert_eq!((loss.to_bits(), &grads), (again.to_bits(), &same), "{architecture}, {n_kept} kept");
        }
    }
}

#[test]
fn a_sequence_does_not_see_its_neighbours_in_the_pack() {
    for architecture in tiny::ARCHITECTURES {
        let mut setting = setting(architecture, 0.0);
        let together = setting.loss(&mut Pass::new(&setting.base, 64, 0));
        let (pack, rows) = (setting.pack.clone(), setting.rows.clone());
        let mut apart = 0.0;
        for range in pack.sequences {
            setting.pack = Pack::default();
            setting.pack.push(&pack.tokens[range.clone()]);
            setting.rows = rows.iter().filter(|r| range.contains(&r.row)).copied().collect();
            setting.rows.iter_mut().for_each(|r| r.row -= range.start);
            apart += setting.loss(&mut Pass::new(&setting.base, 64, 0));
        }
        assert!((together - apart).abs() < 1e-5, "{architecture}: {together} is {apart} one by one");
    }
}
