//! AdamW over the adapter's parameters, with the gradient shortened before.
//!
//! Loshchilov & Hutter, arXiv 1711.05101, in PyTorch's order of operations. Invariant: the outcome of a step does not
//! depend on the number of threads.

use crate::number::square_sum;
use crate::recipe::Recipe;
use rayon::prelude::*;

/// Moving means of the gradient and of its square.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) square: Vec<f32>,
}

impl Moments {
    pub(crate) fn new(n: usize) -> Self {
        Self { mean: vec![0.0; n], square: vec![0.0; n] }
    }

    /// Moves the parameters against the gradient; `step` counts from 0. Gives the gradient's length before it was
    /// shortened, and moves nothing if that is no number.
    pub(crate) fn step(
        &mut self,
        params: &mut [f32],
        grads: &[f32],
        step: u64,
        rate: f32,
        recipe: &Recipe,
    ) -> f64 {
        let length = square_sum(grads).sqrt();
        if !length.is_finite() {
            return length;
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounded on purpose")]
        let shorten = (f64::from(recipe.clip) / (length + 1e-6)).min(1.0) as f32;
        let power = i32::try_from(step).unwrap_or(i32::MAX).saturating_add(1);
        #[expect(clippy::cast_possible_truncation, reason = "rounded on purpose")]
        let [bias1, bias2] =
            [recipe.beta1, recipe.beta2].map(|beta| (1.0 - f64::from(beta).powi(power)) as f32);
        let (beta1, beta2, epsilon) = (recipe.beta1, recipe.beta2, recipe.epsilon);
        let (pace, root, keep) = (rate / bias1, bias2.sqrt(), 1.0 - rate * recipe.weight_decay);
        let size = 1 << 14;
        params
            .par_chunks_mut(size)
            .zip(grads.par_chunks(size))
            .zip(self.mean.par_chunks_mut(size))
            .zip(self.square.par_chunks_mut(size))
            .for_each(|(((params, grads), mean), square)| {
                for (((p, g), m), v) in params.iter_mut().zip(grads).zip(mean).zip(square) {
                    let g = g * shorten;
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *p = keep * *p - pace * *m / (v.sqrt() / root + epsilon);
                }
            });
        length
    }
}
