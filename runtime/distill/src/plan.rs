//! The order of examples, and what each learnt token weighs in its step.
//!
//! All of it is a function of recipe and data, so a resumed run needs no more than the number of its step. Examples of
//! like length come together (with some chance in it), because steps of like size use memory and time evenly; then the
//! steps are shuffled. Invariant: the weights of a step's cross-entropy add up to 1 (`tokens`), or to 1 per part and
//! example, averaged over examples (`parts`), however the step is cut.

use crate::example::{Example, Part};
use crate::head::{Contrast, LossRow};
use crate::pack::Pack;
use crate::random::Stream;
use crate::recipe::{Balance, Normalisation, Recipe};
use std::collections::BTreeMap;

/// How many tokens chance may add to a length when examples are put in order.
const JITTER: f32 = 20.0;

/// Steps of one epoch.
pub(crate) fn steps_per_epoch(n_examples: usize, recipe: &Recipe) -> u64 {
    n_examples.div_ceil(recipe.batch.max(1) as usize) as u64
}

/// The examples of each step of an epoch.
pub(crate) fn epoch(examples: &[Example], recipe: &Recipe, epoch: u64) -> Vec<Vec<usize>> {
    let jitter = Stream::new(recipe.seed, &[2, epoch]);
    let mut order: Vec<(f32, usize)> = examples
        .iter()
        .enumerate()
        .map(|(i, e)| {
            #[expect(clippy::cast_precision_loss, reason = "lengths are below 2^24")]
            let length = e.tokens.len() as f32;
            (length + JITTER * jitter.unit(i as u64), i)
        })
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut steps: Vec<Vec<usize>> =
        order.chunks(recipe.batch.max(1) as usize).map(|c| c.iter().map(|(_, i)| *i).collect()).collect();
    Stream::new(recipe.seed, &[3, epoch]).shuffle(&mut steps);
    steps
}

/// A part of a step that runs through the model at once.
#[derive(Debug, Default)]
pub(crate) struct Micro {
    pub(crate) pack: Pack,
    pub(crate) rows: Vec<LossRow>,
}

/// What one learnt token weighs, by example, and what one contrast weighs, by kind.
struct Weights<'a> {
    recipe: &'a Recipe,
    tokens: f64,
    n_examples: f64,
    classes: BTreeMap<u32, f64>,
    pivots: f64,
}

impl<'a> Weights<'a> {
    fn of(step: &[&Example], recipe: &'a Recipe) -> Self {
        let mut classes = BTreeMap::new();
        for pivot in step.iter().flat_map(|e| &e.pivots) {
            *classes.entry(pivot.plus).or_insert(0.0) += 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a step has few examples")]
        Self {
            recipe,
            tokens: step.iter().flat_map(|e| &e.spans).map(span_weight).sum(),
            n_examples: step.len() as f64,
            pivots: classes.values().sum(),
            classes,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded on purpose")]
    fn token(&self, example: &Example, part: Part) -> f32 {
        let over = match self.recipe.normalisation {
            Normalisation::Tokens => self.tokens,
            Normalisation::Parts => {
                let own: f64 = example.spans.iter().filter(|s| s.part == part).map(span_weight).sum();
                own * self.n_examples
            }
        };
        (1.0 / over) as f32
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounded on purpose")]
    fn contrast(&self, plus: u32) -> f32 {
        let over = match self.recipe.balance {
            Balance::Classes => self.classes.get(&plus).copied().unwrap_or(1.0),
            Balance::Pivots => self.pivots,
        };
        (f64::from(self.recipe.cpo) / over) as f32
    }
}

fn span_weight(span: &crate::example::Span) -> f64 {
    f64::from(span.weight) * f64::from(span.positions.end - span.positions.start)
}

/// The rows of one example that have a loss, in order; `first` is its first row in the pack.
fn loss_rows(example: &Example, first: usize, weights: &Weights, rows: &mut Vec<LossRow>) {
    let begin = rows.len();
    for span in &example.spans {
        let weight = span.weight * weights.token(example, span.part);
        rows.extend(span.positions.clone().map(|position| {
            let at = position as usize;
            LossRow { row: first + at - 1, target: Some((example.tokens[at], weight)), contrast: None }
        }));
    }
    if weights.recipe.cpo > 0.0 {
        for pivot in &example.pivots {
            let weight = weights.contrast(pivot.plus);
            let contrast = Some(Contrast { plus: pivot.plus, minus: pivot.minus, weight });
            let row = first + pivot.position as usize - 1;
            match rows[begin..].binary_search_by_key(&row, |r| r.row) {
                Ok(i) => rows[begin + i].contrast = contrast,
                Err(i) => rows.insert(begin + i, LossRow { row, target: None, contrast }),
            }
        }
    }
}

/// Cuts a step into parts of at most `micro_tokens` tokens, or of one example.
pub(crate) fn micros(step: &[&Example], recipe: &Recipe) -> Vec<Micro> {
    let weights = Weights::of(step, recipe);
    let mut micros: Vec<Micro> = Vec::new();
    for example in step {
        let room =
            micros.last().map_or(0, |m| (recipe.micro_tokens as usize).saturating_sub(m.pack.n_rows()));
        if room < example.tokens.len() || micros.is_empty() {
            micros.push(Micro::default());
        }
        if let Some(micro) = micros.last_mut() {
            let first = micro.pack.push(&example.tokens);
            loss_rows(example, first, &weights, &mut micro.rows);
        }
    }
    micros
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{PivotAt, Span};

    fn example(n: u32) -> Example {
        Example {
            tokens: (0..n).collect(),
            spans: vec![
                Span { positions: 2..n - 2, part: Part::Reasoning, weight: 1.0 },
                Span { positions: n - 2..n, part: Part::Answer, weight: 2.0 },
            ],
            pivots: vec![PivotAt { position: 1, plus: 1 + n % 2, minus: 0 }],
        }
    }

    #[test]
    fn each_example_comes_once_an_epoch_and_epochs_differ() {
        let examples: Vec<Example> = (6..50).map(example).collect();
        let recipe = Recipe { batch: 5, ..Recipe::default() };
        let orders: Vec<Vec<usize>> = (0..3).map(|e| epoch(&examples, &recipe, e).concat()).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..examples.len()).collect::<Vec<_>>());
        }
        assert!(orders[0] != orders[1] && orders[1] != orders[2]);
        assert_eq!(epoch(&examples, &recipe, 1).concat(), orders[1]);
        assert_eq!(steps_per_epoch(examples.len(), &recipe), epoch(&examples, &recipe, 0).len() as u64);
    }

    #[test]
    fn weights_add_up_however_a_step_is_cut() {
        let examples: Vec<Example> = (6..14).map(example).collect();
        let step: Vec<&Example> = examples.iter().collect();
        for (normalisation, sum) in [(Normalisation::Tokens, 1.0), (Normalisation::Parts, 2.0)] {
            for (balance, contrasts) in [(Balance::Classes, 1.0), (Balance::Pivots, 0.5)] {
                for micro_tokens in [1, 25, 1000] {
                    let recipe =
                        Recipe { normalisation, balance, micro_tokens, cpo: 0.5, ..Recipe::default() };
                    let micros = micros(&step, &recipe);
                    assert_eq!(micros.len(), if micro_tokens == 1000 { 1 } else { micros.len().max(3) });
                    let rows = micros.iter().flat_map(|m| &m.rows);
                    let swrd: f32 = rows.clone().filter_map(|r| r.target).map(|t| t.1).sum();
                    let cpo: f32 = rows.clone().filter_map(|r| r.contrast).map(|c| c.weight).sum();
                    assert!((swrd - sum).abs() < 1e-5 && (cpo - contrasts).abs() < 1e-5, "{swrd} {cpo}");
                    for micro in &micros {
                        assert!(micro.rows.is_sorted_by(|a, b| a.row < b.row));
                        for row in &micro.rows {
                            let next = micro.pack.tokens[row.row + 1];
                            assert!(row.target.is_none_or(|t| t.0 == next));
                        }
                    }
                }
            }
        }
    }
}
