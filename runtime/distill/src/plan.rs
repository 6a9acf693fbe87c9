//! The order of examples, and what each learnt token weighs in its step.
//!
//! All of it is a function of recipe and data, so a resumed run needs no more than the number of its step. Examples of
//! like length come together (with some chance in it), because steps of like size use memory and time evenly; then the
//! steps are shuffled. Within a step examples that begin alike run as one family. Invariant: the weights of a step's
//! cross-entropy add up to 1 (`tokens`), or to 1 per part and example, averaged over examples (`parts`), however the
//! step is cut.

use crate::example::{Example, Part};
use crate::head::{Contrast, LossRow};
use crate::pack::Pack;
use crate::random::Stream;
use crate::recipe::{Balance, Normalisation, Recipe};
use std::collections::BTreeMap;

/// How many tokens chance may add to a length when examples are put in order.
const JITTER: f32 = 20.0;
/// Fewer tokens than this are not worth sharing.
const LEAST_SHARED: usize = 8;

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

/// The rows of one example that have a loss, in order; `row` tells where a position of it stands in the pack.
fn loss_rows(example: &Example, row: impl Fn(usize) -> usize, weights: &Weights, rows: &mut Vec<LossRow>) {
    let begin = rows.len();
    for span in &example.spans {
        let weight = span.weight * weights.token(example, span.part);
        rows.extend(span.positions.clone().map(|position| {
            let at = position as usize;
            LossRow { row: row(at - 1), target: Some((example.tokens[at], weight)), contrast: None }
        }));
    }
    if weights.recipe.cpo > 0.0 {
        for pivot in &example.pivots {
            let weight = weights.contrast(pivot.plus);
            let contrast = Some(Contrast { plus: pivot.plus, minus: pivot.minus, weight });
            let row = row(pivot.position as usize - 1);
            match rows[begin..].binary_search_by_key(&row, |r| r.row) {
                Ok(i) => rows[begin + i].contrast = contrast,
                Err(i) => rows.insert(begin + i, LossRow { row, target: None, contrast }),
            }
        }
    }
}

/// How many tokens an example has before the first that predicts something learnt: what it may share.
fn n_prompt(example: &Example) -> usize {
    let span = example.spans.first().map(|s| s.positions.start);
    let pivot = example.pivots.first().map(|p| p.position);
    let first = span.into_iter().chain(pivot).min();
    first.map_or(example.tokens.len(), |position| position as usize).saturating_sub(1)
}

/// Cuts examples in order of their tokens into families, so that as few rows as possible are left: how many examples
/// each has, and how many tokens they share.
fn families(sorted: &[&Example]) -> Vec<(usize, usize)> {
    let alike = |i: usize| {
        let (a, b) = (&sorted[i - 1].tokens, &sorted[i].tokens);
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    };
    let alike: Vec<usize> = (1..sorted.len()).map(alike).collect();
    // Of the first so many examples: rows spared at best, and the last family of that cut.
    let mut best = vec![(0, 0, 0)];
    for end in 1..=sorted.len() {
        let mut shared = n_prompt(sorted[end - 1]);
        let mut choice = (best[end - 1].0, 1, 0);
        for begin in (0..end - 1).rev() {
            shared = shared.min(alike[begin]).min(n_prompt(sorted[begin]));
            if shared < LEAST_SHARED {
                break;
            }
            let n = end - begin;
            let spared = best[begin].0 + (n - 1) * shared;
            if spared > choice.0 {
                choice = (spared, n, shared);
            }
        }
        best.push(choice);
    }
    let mut cut = Vec::new();
    let mut end = sorted.len();
    while end > 0 {
        let (_, n, shared) = best[end];
        cut.push((n, shared));
        end -= n;
    }
    cut.reverse();
    cut
}

/// Cuts a step into parts of at most `micro_tokens` tokens, or of one example. What examples share counts in each.
pub(crate) fn micros(step: &[&Example], recipe: &Recipe) -> Vec<Micro> {
    let weights = Weights::of(step, recipe);
    let mut sorted = step.to_vec();
    sorted.sort_by(|a, b| a.tokens.cmp(&b.tokens));
    let mut micros = Vec::new();
    let mut rest = &sorted[..];
    while !rest.is_empty() {
        let mut n_tokens = 0;
        let fits = |e: &&&Example| {
            n_tokens += e.tokens.len();
            n_tokens <= recipe.micro_tokens as usize
        };
        let n = rest.iter().take_while(fits).count().max(1);
        let (part, behind) = rest.split_at(n);
        micros.push(micro(part, &weights));
        rest = behind;
    }
    micros
}

/// Examples in order of their tokens, as rows.
fn micro(mut sorted: &[&Example], weights: &Weights) -> Micro {
    let mut micro = Micro::default();
    for (n, n_shared) in families(sorted) {
        let (family, rest) = sorted.split_at(n);
        let sequences: Vec<&[u32]> = family.iter().map(|e| &e.tokens[..]).collect();
        for (example, own) in family.iter().zip(micro.pack.push_family(n_shared, &sequences)) {
            loss_rows(example, |position| own.start + position - n_shared, weights, &mut micro.rows);
        }
        sorted = rest;
    }
    micro
}

/// How large the parts of a whole run's steps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Most rows.
    pub(crate) n_rows: usize,
    /// Nine in ten have no more rows.
    pub(crate) n_common_rows: usize,
}

/// Goes through a whole run without the model.
pub(crate) fn extent(examples: &[Example], recipe: &Recipe) -> Extent {
    let mut n_rows = Vec::new();
    for step in (0..u64::from(recipe.epochs)).flat_map(|e| epoch(examples, recipe, e)) {
        let step: Vec<&Example> = step.iter().map(|&i| &examples[i]).collect();
        n_rows.extend(micros(&step, recipe).iter().map(|micro| micro.pack.n_rows()));
    }
    n_rows.sort_unstable();
    let at =
        |part: usize| n_rows.get((n_rows.len() * part).div_ceil(10).saturating_sub(1)).copied().unwrap_or(0);
    Extent { n_rows: at(10), n_common_rows: at(9) }
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
    fn examples_that_begin_alike_share_the_rows_of_it() {
        let begins = |head: &[u32], n_prompt: u32, tail: u32| {
            let n = n_prompt + 3;
            let mut tokens: Vec<u32> = (0..n).map(|i| 1000 * tail + i).collect();
            tokens[..head.len()].copy_from_slice(head);
            Example {
                tokens,
                spans: vec![Span { positions: n_prompt..n, part: Part::Answer, weight: 1.0 }],
                pivots: vec![],
            }
        };
        let (system, other): (Vec<u32>, Vec<u32>) = ((0..20).collect(), (0..9).chain(500..511).collect());
        // Three begin with one text, two with another that shares a little with it, one shares its whole prompt with
        // none, and two are the same.
        let examples = [
            begins(&system, 30, 1),
            begins(&other, 25, 2),
            begins(&system, 40, 3),
            begins(&[], 30, 4),
            begins(&system, 22, 5),
            begins(&other, 21, 6),
            begins(&[], 30, 7),
            begins(&[], 30, 7),
        ];
        let step: Vec<&Example> = examples.iter().collect();
        let recipe = Recipe { micro_tokens: 10_000, ..Recipe::default() };
        let micros = micros(&step, &recipe);
        let [micro] = &micros[..] else { panic!("{} parts", micros.len()) };
        let mut shared: Vec<(usize, usize)> =
            micro.pack.families.iter().map(|f| (f.own.len(), f.shared.len())).collect();
        shared.sort_unstable();
        // The last token of a prompt predicts what is learnt, so it is each one's own.
        assert_eq!(shared, [(1, 0), (2, 20), (2, 29), (3, 20)]);
        let n_tokens: usize = examples.iter().map(|e| e.tokens.len()).sum();
        assert_eq!(micro.pack.n_rows(), n_tokens - 2 * 20 - 20 - 29);
        assert_eq!(micro.rows.len(), 3 * examples.len());
        let own = |row: usize| micro.pack.families.iter().flat_map(|f| &f.own).any(|own| own.contains(&row));
        assert!(micro.rows.iter().all(|r| own(r.row)));
        let n_rows = micro.pack.n_rows();
        let whole = Extent { n_rows, n_common_rows: n_rows };
        assert_eq!(extent(&examples, &Recipe { batch: 8, ..recipe }), whole);
    }

    #[test]
    fn a_few_large_steps_do_not_count_as_common() {
        let examples: Vec<Example> = (11..31).map(example).collect();
        let recipe = Recipe { batch: 1, epochs: 2, ..Recipe::default() };
        assert_eq!(extent(&examples, &recipe), Extent { n_rows: 30, n_common_rows: 28 });
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
