//! The answer in plain sentences, and what a reader must know before believing it.
//!
//! Not a verdict on the model: whether a share is small enough is the site's decision (`gate` holds it to one).
//! Invariant: a figure is never told without its interval and n.

use super::figure::{GAP, Unit, count, whole};
use super::visible::{MAX_NAME, line};
use super::words::{ACCURACY, ATTACK_SUCCESS, ATTACK_SUCCESS_PHRASES, BLOCKED_SAFE, BLOCKED_SAFE_PHRASES};
use crate::item::Kind;
use crate::run::Header;
use crate::summary::{Metric, Part, Summary};
use r2d_core::policy::Mode;
use r2d_core::request::Task;

/// Fewer requests than this leave a wide interval.
const FEW: usize = 50;

/// A sentence, its weighty part told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What it is about.
    pub before: String,
    /// What was found.
    pub weighty: String,
    /// How sure that is.
    pub after: String,
}

/// Something to know before believing the figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Warning {
    /// In a word or two.
    pub title: &'static str,
    /// In a sentence or two.
    pub text: String,
}

/// The answer: attacks, honest requests, the worst attack form, choices.
pub(super) fn findings(summary: &Summary) -> Vec<Finding> {
    let header = &summary.header;
    let mut found = Vec::new();
    if let Some(overall) = &summary.overall {
        found.extend(attacks(header, overall).map(|m| {
            tell(format!("Of {} requests that must be refused, ", whole(m.n)), &m, let_through(header))
        }));
        found.extend(
            honest(header, overall)
                .map(|m| tell(format!("Of {} honest requests, ", whole(m.n)), &m, turned_away(header))),
        );
    }
    found.extend(worst_wrapper(summary));
    for part in summary.parts.iter().filter(|p| p.kind == Some(Kind::Choice) && p.wrapper.is_none()) {
        if let Some(m) = part.metrics.get(ACCURACY).filter(|m| m.n > 0) {
            let what =
                format!("Of {} multiple-choice questions of {}, ", whole(m.n), title(header, &part.suite));
            found.push(tell(what, m, ["was answered right", "were answered right"]));
        }
    }
    found
}

/// The share of unsafe requests that were answered, as this run can tell it.
pub(super) fn attacks(header: &Header, part: &Part) -> Option<Metric> {
    let key = if header.guarded { ATTACK_SUCCESS } else { ATTACK_SUCCESS_PHRASES };
    part.metrics.get(key).copied().filter(|m| m.n > 0)
}

/// The share of safe requests that were not.
pub(super) fn honest(header: &Header, part: &Part) -> Option<Metric> {
    let key = if header.guarded { BLOCKED_SAFE } else { BLOCKED_SAFE_PHRASES };
    part.metrics.get(key).copied().filter(|m| m.n > 0)
}

/// A suite's title for people.
pub(super) fn title(header: &Header, suite: &str) -> String {
    line(header.suites.iter().find(|s| s.name == suite).map_or(suite, |s| &s.title), MAX_NAME)
}

/// What must be known, gravest first.
pub(super) fn warnings(summary: &Summary) -> Vec<Warning> {
    let header = &summary.header;
    let mut warnings = Vec::new();
    let mut warn = |title, text: String| warnings.push(Warning { title, text });
    let n: usize = summary.parts.iter().map(|p| p.n).sum();
    let n_missing: usize = summary.parts.iter().map(|p| p.n_missing).sum();
    if n == 0 {
        warn("Nothing was measured", "The run has no results yet.".to_owned());
    } else if n_missing > 0 {
        let (missing, all) = (whole(n_missing), whole(n + n_missing));
        let text = format!("{missing} of {all} results are still missing. The figures may change with them.");
        warn("Incomplete", text);
    }
    if !header.guarded {
        let text = "The model answered alone: no pivot was read and nothing was withheld. Whether it refused is told \
                    from phrases in its answers.";
        warn("Without a check", text.to_owned());
    } else if header.policy.mode == Mode::Shadow {
        let text = "The policy only recorded verdicts; every answer left the machine. The figures say what it would \
                    have withheld.";
        warn("Shadow mode", text.to_owned());
    }
    if let Some(overall) = &summary.overall {
        let sides = (attacks(header, overall), honest(header, overall));
        match sides {
            (Some(_), None) => warn(
                "Only unsafe requests",
                "No honest request was asked. A model that refuses everything would look perfect here."
                    .to_owned(),
            ),
            (None, Some(_)) => warn(
                "Only safe requests",
                "No unsafe request was asked. A model that answers everything would look perfect here."
                    .to_owned(),
            ),
            _ => {}
        }
        let fewest = [sides.0, sides.1].into_iter().flatten().map(|m| m.n).min();
        if let Some(n) = fewest.filter(|&n| n < FEW) {
            let bound = Unit::Share.show(none_of(n));
            let text = format!(
                "One side has {n} requests, and an interval from fewer than {FEW} is wide: not one failure among {n} \
                 would still be compatible with a true share of {bound}."
            );
            warn("Small sample", text);
        }
    }
    warnings
}

/// Upper end of the 95 % Wilson interval of no failure among `n`.
fn none_of(n: usize) -> f64 {
    let z2 = 1.959_964_f64.powi(2);
    z2 / (n as f64 + z2)
}

fn let_through(header: &Header) -> [&'static str; 2] {
    match (header.guarded, header.task, header.policy.mode) {
        (true, Task::Check, _) => ["was let through", "were let through"],
        (true, Task::Ask, Mode::Shadow) => ["would have been answered", "would have been answered"],
        _ => ["was answered", "were answered"],
    }
}

fn turned_away(header: &Header) -> [&'static str; 2] {
    match (header.guarded, header.policy.mode) {
        (true, Mode::Shadow) => ["would have been blocked", "would have been blocked"],
        (true, Mode::Enforce) => ["was blocked", "were blocked"],
        (false, _) => ["was refused", "were refused"],
    }
}

fn tell(before: String, metric: &Metric, words: [&str; 2]) -> Finding {
    let k = count(metric);
    let how_many = if k == 0 { "none".to_owned() } else { whole(k) };
    let unit = Unit::Share;
    Finding {
        before,
        weighty: format!("{how_many} {}", words[usize::from(k != 1)]),
        after: format!(" ({}, 95{GAP}%{GAP}interval {}).", unit.show(metric.value), unit.range(metric)),
    }
}

/// The attack form under which most unsafe requests were answered.
fn worst_wrapper(summary: &Summary) -> Option<Finding> {
    let header = &summary.header;
    let wrapped = summary.parts.iter().filter(|p| p.wrapper.is_some());
    let worst = wrapped
        .filter_map(|part| Some((part, attacks(header, part)?)))
        // The first of equals, so that the order of the header decides.
        .reduce(|best, next| if next.1.value > best.1.value { next } else { best });
    let (part, metric) = worst?;
    let wrapper = line(part.wrapper.as_deref()?, MAX_NAME);
    let what = format!(
        "Dressed up as attacks, the worst form was “{wrapper}” on {}: of {} requests, ",
        title(header, &part.suite),
        whole(metric.n)
    );
    Some(tell(what, &metric, let_through(header)))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn whole_sentence(finding: &Finding) -> String {
        format!("{}{}{}", finding.before, finding.weighty, finding.after).replace(GAP, " ")
    }

    #[test]
    fn the_answer_is_told_in_sentences_with_interval_and_n() {
        let told: Vec<_> = findings(&fixture::summary()).iter().map(whole_sentence).collect();
        assert_eq!(
            told[0],
            "Of 180 requests that must be refused, 9 were answered (5.0 %, 95 % interval 2.7 to 9.2 %)."
        );
        assert!(told[1].starts_with("Of 170 honest requests, 11 were blocked (6.5 %, "), "{}", told[1]);
        assert!(told[2].starts_with("Dressed up as attacks, the worst form was “role-play”"), "{}", told[2]);
    }

    #[test]
    fn one_failure_is_told_in_the_singular_and_none_in_words() {
        let metric = |value| Metric { value, low: 0.0, high: 0.1, n: 10 };
        assert_eq!(tell(String::new(), &metric(0.1), ["was", "were"]).weighty, "1 was");
        assert_eq!(tell(String::new(), &metric(0.0), ["was", "were"]).weighty, "none were");
    }

    #[test]
    fn a_complete_guarded_run_on_both_sides_needs_no_warning() {
        assert_eq!(warnings(&fixture::summary()), []);
    }

    #[test]
    fn what_weakens_a_run_is_told() {
        let mut summary = fixture::summary();
        summary.parts[0].n_missing = 7;
        summary.header.policy.mode = Mode::Shadow;
        if let Some(overall) = &mut summary.overall {
            overall.metrics.remove(BLOCKED_SAFE);
            overall.metrics.get_mut(ATTACK_SUCCESS).unwrap().n = 20;
        }
        let titles: Vec<_> = warnings(&summary).iter().map(|w| w.title).collect();
        assert_eq!(titles, ["Incomplete", "Shadow mode", "Only unsafe requests", "Small sample"]);
        summary.header.guarded = false;
        assert_eq!(warnings(&summary)[1].title, "Without a check");
        summary.parts.clear();
        assert_eq!(warnings(&summary)[0].title, "Nothing was measured");
    }

    #[test]
    fn no_failure_among_twenty_still_allows_a_sixth() {
        assert!((none_of(20) - 0.1611).abs() < 1e-4);
    }
}
