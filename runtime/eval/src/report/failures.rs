//! Picks the failures that a person should read: the gravest of each sort first.
//!
//! Not a judge: the same outcomes that the figures count are listed here, so that the list is as long as the figure
//! says. Invariant: the order is total, so that the same rows give the same report.

use crate::metric::outcome::{Share, outcomes};
use crate::row::{Judged, Row};
use crate::run::Header;
use r2d_core::policy::{Evidence, Policy};
use r2d_core::trace::Trace;

/// A request on which the model failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    /// The request.
    pub row: &'a Row,
    /// What became of it.
    pub judged: &'a Judged,
    /// P(UNSAFE) of everything that was read before the answer; none when nothing was.
    pub p_unsafe: Option<f32>,
}

/// Failures of one sort.
#[derive(Clone, Debug, Default)]
pub(super) struct Cases<'a> {
    /// The gravest of them, gravest first.
    pub shown: Vec<Case<'a>>,
    /// How many there are.
    pub n: usize,
}

/// Both sorts.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures<'a> {
    /// Unsafe requests that were answered, the least suspected first.
    pub answered: Cases<'a>,
    /// Safe requests that were blocked, the most suspected first.
    pub blocked: Cases<'a>,
}

/// The failures among `rows`, at most `most` of each sort.
pub(super) fn find<'a>(rows: &'a [Row], header: &Header, most: usize) -> Failures<'a> {
    // Without a check, verdicts say nothing and phrases have to tell.
    let (attack, refusal) = if header.guarded {
        (Share::AttackSuccess, Share::BlockedSafe)
    } else {
        (Share::AttackSuccessPhrasesAnswer, Share::PhrasesRefusedSafe)
    };
    let (mut answered, mut blocked) = (Vec::new(), Vec::new());
    for row in rows {
        let Some(judged) = row.judged() else { continue };
        let outcomes = outcomes(header, row);
        let case = || Case { row, judged, p_unsafe: p_unsafe(&header.policy, &judged.trace) };
        if outcomes.contains(&(attack, true)) {
            answered.push(case());
        }
        if outcomes.contains(&(refusal, true)) {
            blocked.push(case());
        }
    }
    // Equals keep the order of the rows, which the run's header gives.
    answered.sort_by(|a, b| a.order().total_cmp(&b.order()));
    blocked.sort_by(|a, b| b.order().total_cmp(&a.order()));
    Failures { answered: cut(answered, most), blocked: cut(blocked, most) }
}

fn cut(mut cases: Vec<Case>, most: usize) -> Cases {
    let n = cases.len();
    cases.truncate(most);
    Cases { shown: cases, n }
}

impl Case<'_> {
    fn order(&self) -> f32 {
        self.p_unsafe.unwrap_or(0.0)
    }
}

/// What the policy makes of the request's pivot and the steps' pivots together.
fn p_unsafe(policy: &Policy, trace: &Trace) -> Option<f32> {
    if trace.request.is_none() && trace.steps.is_empty() {
        return None;
    }
    let mut evidence = Evidence::default();
    if let Some(request) = trace.request {
        evidence.add_request(request.reading);
    }
    for step in &trace.steps {
        evidence.add_step(step.reading);
    }
    Some(policy.unsafe_probability(&evidence))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::row::Found;
    use r2d_core::verdict::{Reason, Verdict};

    #[test]
    fn the_least_suspected_attack_and_the_most_suspected_honest_request_come_first() {
        let rows = fixture::rows();
        let failures = find(&rows, &fixture::summary().header, 100);
        let p = |cases: &Cases| cases.shown.iter().filter_map(|c| c.p_unsafe).collect::<Vec<_>>();
        let (answered, blocked) = (p(&failures.answered), p(&failures.blocked));
        assert!(answered.len() > 1 && answered.is_sorted(), "{answered:?}");
        assert!(blocked.len() > 1 && blocked.is_sorted_by(|a, b| a >= b), "{blocked:?}");
    }

    #[test]
    fn more_failures_than_wanted_are_counted_and_cut() {
        let rows = fixture::rows();
        let all = find(&rows, &fixture::summary().header, 100);
        let few = find(&rows, &fixture::summary().header, 1);
        assert_eq!((few.answered.shown.len(), few.answered.n), (1, all.answered.n));
    }

    #[test]
    fn rows_without_a_label_are_no_failures() {
        let mut rows = fixture::rows();
        rows.iter_mut().for_each(|row| row.label = None);
        let failures = find(&rows, &fixture::summary().header, 100);
        assert_eq!((failures.answered.n, failures.blocked.n), (0, 0));
    }

    #[test]
    fn without_a_check_phrases_tell_what_was_answered() {
        let header = Header { guarded: false, ..fixture::summary().header };
        let mut rows = fixture::rows();
        for row in &mut rows {
            if let Found::Judged(judged) = &mut row.found {
                judged.verdict = Verdict::undecided(Reason::Unguarded);
                judged.trace.request = None;
                judged.trace.steps.clear();
            }
        }
        let failures = find(&rows, &header, 100);
        assert!(failures.answered.n > 0);
        assert!(failures.answered.shown.iter().all(|case| case.p_unsafe.is_none()));
    }
}
