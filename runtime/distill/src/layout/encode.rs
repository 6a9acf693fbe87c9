//! From pieces to a training example, with somebody else's tokeniser.
//!
//! Invariant: an example that is made has its pivots' telling tokens exactly where the engine's grammar has them; a
//! vocabulary in which they come out otherwise is an error, never a shifted position.

use super::{Piece, Role, Trust};
use crate::example::{Example, Part, PivotAt, Span};
use crate::trajectory::Pivot;
use thiserror::Error;

/// What is known of a model's pivots, as the engine's grammar looks it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The model's begin marker, for models that have one.
    pub begin: Option<u32>,
    /// What every pivot begins with.
    pub opening: Vec<u32>,
    /// The tokens that tell the pivots apart, in the order of [`Pivot::ALL`].
    pub first: [u32; 3],
}

/// Pieces that make no example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The pivot's text has other tokens here than in the grammar.
    #[error(
        "the pivot {text:?} became the tokens {tokens:?}, not those of the grammar; hint: give other pivot strings in the model's manifest, under [pivots]"
    )]
    Pivot {
        /// Its text.
        text: String,
        /// Its tokens.
        tokens: Vec<u32>,
    },
    /// It is longer than positions can count.
    #[error("{n} tokens; hint: drop the sample")]
    TooLong {
        /// How many.
        n: usize,
    },
}

/// The example of `pieces`, each tokenised by itself with `tokenise`, which appends to its last argument. The telling
/// token of a pivot weighs `pivot_weight` in the cross-entropy (0 leaves it to the contrast alone), any other 1. RETHINK
/// has no contrast: it takes part in the cross-entropy only.
///
/// # Errors
/// [`EncodeError`].
pub fn encode(
    pieces: &[Piece<'_>],
    marks: &Marks,
    pivot_weight: f32,
    mut tokenise: impl FnMut(&str, Trust, &mut Vec<u32>),
) -> Result<Example, EncodeError> {
    let mut out =
        Example { tokens: marks.begin.into_iter().collect(), spans: Vec::new(), pivots: Vec::new() };
    for piece in pieces {
        let start = out.tokens.len();
        tokenise(piece.text, piece.trust, &mut out.tokens);
        if let Role::Probe(_) = piece.role {
            out.tokens.truncate(start + marks.opening.len() + 1);
        }
        let (Role::Pivot(pivot) | Role::Probe(pivot)) = piece.role else {
            learn(&mut out, piece.learn, start, None, 1.0)?;
            continue;
        };
        let telling = start + marks.opening.len();
        let [safe, unsafe_, _] = marks.first;
        let own = marks.first[pivot as usize];
        let tokens = &out.tokens[start..];
        if !tokens.starts_with(&marks.opening) || out.tokens.get(telling) != Some(&own) {
            return Err(EncodeError::Pivot { text: piece.text.into(), tokens: tokens.to_vec() });
        }
        if let Role::Pivot(_) = piece.role {
            learn(&mut out, piece.learn, start, Some(telling), 1.0)?;
        }
        learn(&mut out, piece.learn, telling, Some(telling + 1), pivot_weight)?;
        learn(&mut out, piece.learn, telling + 1, None, 1.0)?;
        let other = match pivot {
            Pivot::Safe => Some(unsafe_),
            Pivot::Unsafe => Some(safe),
            Pivot::Rethink => None,
        };
        if let (Some(minus), Some(_)) = (other, piece.learn) {
            out.pivots.push(PivotAt { position: position(telling)?, plus: own, minus });
        }
    }
    Ok(out)
}

/// Adds the positions from `start` to `end` (or the end of the tokens) to what is learnt.
fn learn(
    out: &mut Example,
    part: Option<Part>,
    start: usize,
    end: Option<usize>,
    weight: f32,
) -> Result<(), EncodeError> {
    let end = end.unwrap_or(out.tokens.len());
    let (Some(part), true) = (part, start < end && weight > 0.0) else {
        return Ok(());
    };
    let positions = position(start)?..position(end)?;
    match out.spans.last_mut() {
        // Neighbours that count alike are one span.
        Some(last) if (last.positions.end, last.part, last.weight) == (positions.start, part, weight) => {
            last.positions.end = positions.end;
        }
        _ => out.spans.push(Span { positions, part, weight }),
    }
    Ok(())
}

fn position(n: usize) -> Result<u32, EncodeError> {
    u32::try_from(n).map_err(|_| EncodeError::TooLong { n })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{sample, steps};
    use super::super::{Frame, Pivots};
    use super::*;
    use crate::augment::{Form, Sample};
    use crate::trajectory::fixture::{harmful, safe};

    const MARKS: [&str; 4] = [" [", "SAFE", "UNSAFE", "RETHINK"];

    /// One token a character, but for the parts of pivots.
    fn tokenise(text: &str, trust: Trust, out: &mut Vec<u32>) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let mark = MARKS.iter().position(|m| rest.starts_with(m)).filter(|_| trust == Trust::Ours);
            match mark {
                Some(at) => {
                    out.push(1000 + u32::try_from(at).unwrap());
                    rest = &rest[MARKS[at].len()..];
                }
                None => {
                    out.push(c.into());
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
    }

    fn marks() -> Marks {
        Marks { begin: Some(1), opening: vec![1000], first: [1001, 1002, 1003] }
    }

    fn encoded(sample: &Sample, weight: f32) -> Example {
        let frame = Frame::chatml().unwrap();
        encode(&frame.layout(sample, Pivots::Written), &marks(), weight, tokenise).unwrap()
    }

    fn text(example: &Example, positions: std::ops::Range<u32>) -> String {
        let shown = |&t: &u32| match t {
            1000..=1003 => MARKS[t as usize - 1000].to_owned(),
            _ => char::from_u32(t).unwrap().to_string(),
        };
        example.tokens[positions.start as usize..positions.end as usize].iter().map(shown).collect()
    }

    #[test]
    fn spans_hold_what_is_learnt_and_pivots_stand_at_their_telling_tokens() {
        let e = encoded(&sample(&safe("a", "Why?"), Form::Full, &steps()), 1.0);
        assert_eq!(e.check(2000, 4000), Ok(()));
        assert_eq!(e.tokens[0], 1);
        let spans: Vec<_> = e.spans.iter().map(|s| (text(&e, s.positions.clone()), s.part)).collect();
        assert_eq!(
            spans,
            [
                ("<think>\nLook. [RETHINK]\nFine. [SAFE]\n</think>\n".into(), Part::Reasoning),
                ("An answer. [SAFE]<|im_end|>".into(), Part::Answer)
            ]
        );
        // The RETHINK has no contrast.
        let pivots: Vec<_> =
            e.pivots.iter().map(|p| (e.tokens[p.position as usize], p.plus, p.minus)).collect();
        assert_eq!(pivots, [(1001, 1001, 1002), (1001, 1001, 1002)]);
    }

    #[test]
    fn a_pivots_telling_token_can_weigh_more_or_nothing() {
        let s = sample(&safe("a", "Why?"), Form::Brief, &steps()[1..]);
        let e = encoded(&s, 4.0);
        let spans: Vec<_> = e.spans.iter().map(|s| (text(&e, s.positions.clone()), s.weight)).collect();
        let wanted = [
            ("Fine. [", 1.0),
            ("SAFE", 4.0),
            ("]\n", 1.0),
            ("An answer. [", 1.0),
            ("SAFE", 4.0),
            ("]<|im_end|>", 1.0),
        ];
        assert_eq!(spans, wanted.map(|(text, weight)| (text.to_owned(), weight)));
        let e = encoded(&s, 0.0);
        assert_eq!((e.check(2000, 4000), e.spans.len(), e.pivots.len()), (Ok(()), 4, 2));
    }

    #[test]
    fn a_probe_ends_with_its_telling_token_and_learns_no_other() {
        for (t, token) in [(safe("a", "Why?"), 1001), (harmful("a", "Why?"), 1002)] {
            let e = encoded(&sample(&t, Form::None, &[]), 1.0);
            assert_eq!(e.check(2000, 4000), Ok(()));
            assert_eq!(e.tokens[e.tokens.len() - 2..], [1000, token]);
            let last = u32::try_from(e.tokens.len()).unwrap();
            assert_eq!((e.spans.len(), e.spans[0].positions.clone()), (1, last - 1..last));
            assert_eq!((e.pivots.len(), e.pivots[0].plus), (1, token));
        }
    }

    #[test]
    fn a_pivot_in_the_context_is_not_learnt() {
        let e = encoded(&sample(&harmful("a", "Why?"), Form::Direct, &[]), 1.0);
        assert_eq!(e.spans.len(), 1);
        assert_eq!(text(&e, e.spans[0].positions.clone()), "An answer. [SAFE]<|im_end|>");
        assert_eq!(e.pivots.len(), 1);
    }

    #[test]
    fn a_vocabulary_that_cuts_pivots_otherwise_is_refused() {
        let frame = Frame::chatml().unwrap();
        let s = sample(&safe("a", "Why?"), Form::Full, &steps());
        let pieces = frame.layout(&s, Pivots::Written);
        for bad in [Marks { opening: vec![7], ..marks() }, Marks { first: [7, 1002, 7], ..marks() }] {
            let said = encode(&pieces, &bad, 1.0, tokenise).unwrap_err().to_string();
            assert!(said.contains("RETHINK") && said.contains("hint:"), "{said}");
        }
        let nothing = |_: &str, _: Trust, _: &mut Vec<u32>| ();
        assert!(encode(&pieces, &marks(), 1.0, nothing).is_err());
    }
}
