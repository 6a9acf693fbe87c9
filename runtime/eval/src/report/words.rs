//! Plain words for what the program calls by short names: figures, kinds, verdicts, policy settings.
//!
//! Not a translation table for machines: nothing reads these words back. A figure that has no entry here is shown under
//! its own name, so that a new one is never dropped.

use super::visible::{MAX_NAME, line};
use crate::item::{Kind, Overlap};
use crate::metric::JUDGE_PREFIX;
use crate::row::Row;
use crate::run::Header;
use r2d_core::pivot::Reading;
use r2d_core::policy::{Combine, Depth, Mode, OnRethink, Policy, RefusalKind};
use r2d_core::request::Task;
use r2d_core::trace::StepEnd;
use r2d_core::verdict::{Decision, Reason, Verdict};

/// A figure's name for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// As the summary calls it.
    pub key: &'static str,
    /// For the head of a column or row.
    pub title: &'static str,
    /// What it is, in a few words.
    pub hint: &'static str,
    /// Belongs to what everyone should see, not to what is folded away.
    pub is_main: bool,
}

const fn main(key: &'static str, title: &'static str, hint: &'static str) -> Named {
    Named { key, title, hint, is_main: true }
}

const fn more(key: &'static str, title: &'static str, hint: &'static str) -> Named {
    Named { key, title, hint, is_main: false }
}

/// Attack success by the verdict.
pub(super) const ATTACK_SUCCESS: &str = "attack_success";
/// Attack success by phrases of refusal in the answer.
pub(super) const ATTACK_SUCCESS_PHRASES: &str = "attack_success_phrases_answer";
/// Safe requests that were not answered.
pub(super) const BLOCKED_SAFE: &str = "blocked_safe";
/// Safe requests that were not answered, told from phrases.
pub(super) const BLOCKED_SAFE_PHRASES: &str = "phrases_refused_safe";
/// Requests whose judging did not finish.
pub(super) const UNDECIDED: &str = "undecided";
/// Accuracy of multiple choice.
pub(super) const ACCURACY: &str = "accuracy";
/// The same, with scores divided by the length of the choice.
pub(super) const ACCURACY_BYTES: &str = "accuracy_bytes";
/// Accuracy of exact questions.
pub(super) const EXACT: &str = "exact";

/// All figures with words, in the order in which a person wants them.
pub(super) const FIGURES: &[Named] = &[
    main(ATTACK_SUCCESS, "Attack success, by verdict", "unsafe requests that the check let pass"),
    main(
        ATTACK_SUCCESS_PHRASES,
        "Attack success, by phrases in the answer",
        "unsafe requests whose answer holds no phrase of refusal",
    ),
    main(
        "attack_success_phrases_text",
        "Attack success, by phrases in the full text",
        "the same over reasoning and answer",
    ),
    main(BLOCKED_SAFE, "Over-refusal, by verdict", "safe requests that were refused or left undecided"),
    main(
        BLOCKED_SAFE_PHRASES,
        "Over-refusal, by phrases",
        "safe requests without an answer, or with a phrase of refusal",
    ),
    main("recall_unsafe", "Recall", "unsafe requests that were blocked"),
    main("f1", "F1", "balance of blocking the unsafe and not the safe; 1 is best"),
    main(UNDECIDED, "Undecided", "left in doubt: neither passed nor refused, and withheld"),
    main(
        "first_pivot_accuracy",
        "First pivot right",
        "the reading of the bare request agrees with the label",
    ),
    main(ACCURACY, "Right answers", "the likeliest choice is the right one"),
    main(ACCURACY_BYTES, "Right answers, by length", "likeliest for its length in bytes"),
    main(EXACT, "Right answers", "after the suite's own reading of the answer"),
    main("ece_request", "Calibration error, bare request", "ECE: 0 is best"),
    main("ece_combined", "Calibration error, with reasoning", "ECE: 0 is best"),
    main("auc_request", "Area under the curve, bare request", "AUC: 1 is best, 0.5 is chance"),
    main("auc_combined", "Area under the curve, with reasoning", "AUC: 1 is best, 0.5 is chance"),
    main("verdict_ms_median", "Median time to the verdict", "half came faster"),
    main("verdict_ms_p95", "95th percentile of that time", "one in twenty took longer"),
    more("verdict_accuracy", "Verdict right", "unsafe and blocked, or safe and allowed"),
    more("first_step_pivot_accuracy", "First step's pivot right", "agrees with the label"),
    more("refused_unsafe", "Unsafe refused", "undecided ones not counted"),
    more("refused_safe", "Safe refused", "undecided ones not counted"),
    more("class_compliance", "Safe: full compliance", "by phrases"),
    more("class_partial", "Safe: partial", "by phrases"),
    more("class_refusal", "Safe: full refusal", "by phrases"),
    more("class_compliance_unsafe", "Unsafe: full compliance", "by phrases"),
    more("class_partial_unsafe", "Unsafe: partial", "by phrases"),
    more("class_refusal_unsafe", "Unsafe: full refusal", "by phrases"),
    more("truncated", "Answers cut", "at their token budget"),
    more("first_text_ms_median", "Median time to the first text", "of requests that were answered"),
    more("n_tokens_median", "Median length", "tokens written"),
    more("n_tokens_p95", "95th percentile of length", "tokens written"),
];

/// The words for the figure called `key`: title and what it is.
pub(super) fn figure(key: &str) -> (String, Option<String>) {
    if let Some(named) = FIGURES.iter().find(|named| named.key == key) {
        return (named.title.to_owned(), Some(named.hint.to_owned()));
    }
    match key.strip_prefix(JUDGE_PREFIX) {
        Some(judge) => {
            (format!("Attack success, by judge {judge}"), Some("harmful to that judge".to_owned()))
        }
        None => (key.replace('_', " "), None),
    }
}

/// The head of a column of the figure called `key`, where columns are narrow.
pub(super) fn column(key: &str) -> String {
    match key {
        ATTACK_SUCCESS => "Attack success".to_owned(),
        ATTACK_SUCCESS_PHRASES => "Attack success, by phrases".to_owned(),
        BLOCKED_SAFE => "Over-refusal".to_owned(),
        _ => figure(key).0,
    }
}

/// What a suite of this kind asks.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Harmful => "requests that must be refused",
        Kind::Contrast => "safe and unsafe requests that look alike",
        Kind::Benign => "requests that must be answered",
        Kind::Choice => "multiple choice, scored by probability",
        Kind::QaExact => "questions with one right answer",
    }
}

/// What was read for a plot's series.
pub(super) fn series(key: &str) -> String {
    match key {
        "request" => "bare request".to_owned(),
        "combined" => "with reasoning".to_owned(),
        other => line(other, 24).replace('_', " "),
    }
}

/// How an item overlaps a training set.
pub(super) fn overlap(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::None => "not in a training set",
        Overlap::Near => "nearly in a training set",
        Overlap::Exact => "word for word in a training set",
    }
}

/// A decision.
pub(super) fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allowed",
        Decision::Refuse => "refused",
        Decision::Undecided => "undecided",
    }
}

/// A verdict with its reason.
pub(super) fn verdict(verdict: &Verdict) -> String {
    let why = match verdict.reason {
        Reason::Passed => "request, steps and answer were all judged SAFE",
        Reason::RequestUnsafe => "the bare request read UNSAFE",
        Reason::StepUnsafe => "a reasoning step read UNSAFE",
        Reason::AnswerUnsafe => "a part of the answer read UNSAFE",
        Reason::LooksSpent => "the second looks were spent",
        Reason::Deadline => "the deadline passed",
        Reason::Cancelled => "it was cancelled",
        Reason::ContextFull => "the model's context was full",
        Reason::Unreadable => "a pivot could not be read",
        Reason::DecodeFailed => "the model failed to decode",
        Reason::Unguarded => "it was generated without any check",
        Reason::PromptTooLong => "the prompt does not fit the model's context",
        // Reasons of the service, which no evaluation meets, and those that are added later.
        other => return format!("{}: {other:?}", decision(verdict.decision)),
    };
    format!("{}: {why}", decision(verdict.decision))
}

/// How a step ended, where that is worth saying.
pub(super) fn step_end(end: StepEnd) -> Option<&'static str> {
    match end {
        StepEnd::Budget => Some("cut at its token budget"),
        StepEnd::Opened | StepEnd::Newline => None,
    }
}

/// What was done, in a sentence.
pub(super) fn run(header: &Header) -> String {
    let what = match (header.guarded, header.task) {
        (true, Task::Ask) => "Each request was judged and, where it passed, answered",
        (true, Task::Check) => "Each request was judged; no answers were written",
        (false, _) => "Each request was answered by the model alone, without any check",
    };
    let taken = match header.limit {
        Some(limit) => format!("at most {limit} items of each suite, chosen by seed {}", header.seed),
        None => "all items of each suite".to_owned(),
    };
    format!("{what}: {taken}.")
}

/// Where a request comes from: suite, id, category, form.
pub(super) fn place(row: &Row) -> String {
    let mut place = format!("{} {}", line(&row.suite, MAX_NAME), line(&row.id, MAX_NAME));
    if let Some(category) = &row.category {
        place.push_str(&format!(" · {}", line(category, MAX_NAME)));
    }
    if let Some(wrapper) = &row.wrapper {
        place.push_str(&format!(" · dressed up as {}", line(wrapper, MAX_NAME)));
    }
    if row.overlap != Overlap::None {
        place.push_str(&format!(" · {}", overlap(row.overlap)));
    }
    place
}

/// The three probabilities of a reading.
pub(super) fn reading(r: &Reading) -> String {
    format!("safe {:.2}, unsafe {:.2}, rethink {:.2}", r.safe, r.unsafe_, r.rethink)
}

/// `text` with a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).chain(['.']).collect())
}

/// An RFC 3339 date as people say it; what is none stays as it is.
pub(super) fn date(rfc3339: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let said = || {
        let (day, time) = rfc3339.split_once(['T', 't', ' '])?;
        let mut parts = day.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
        let day: u8 = day.parse().ok()?;
        let clock = time.get(..5).filter(|clock| clock.as_bytes().get(2) == Some(&b':'))?;
        let zone = match time.find(['Z', 'z', '+', '-']).and_then(|at| time.get(at..))? {
            "Z" | "z" | "+00:00" | "-00:00" => "UTC".to_owned(),
            offset => format!("UTC{offset}"),
        };
        Some(format!("{day} {month} {year}, {clock} {zone}"))
    };
    said().unwrap_or_else(|| rfc3339.to_owned())
}

/// Terms and their meaning.
pub(super) const GLOSSARY: [(&str, &str); 10] = [
    (
        "Attack success",
        "The share of requests that must be refused and were answered all the same. Lower is better. By the verdict: \
         the check let the request pass. By phrases: the text that came out holds none of the usual phrases of \
         refusal. “Answer only” looks at what left the machine, “full text” at the reasoning too.",
    ),
    (
        "Over-refusal",
        "The share of honest requests that were not answered. Lower is better: people stop using, or work around, a \
         model that refuses honest questions.",
    ),
    ("Blocked", "Everything that was not allowed, refused and undecided alike: neither leaves the machine."),
    (
        "Undecided",
        "Left in doubt: the second looks or a budget were spent, or a reading was not clear. The answer is withheld, \
         and nothing is said about the request.",
    ),
    (
        "Pivot",
        "The mark [SAFE], [UNSAFE] or [RETHINK] that the runtime reads from the model after the request and after \
         each step, as three probabilities. The policy turns them into a verdict.",
    ),
    (
        "Recall and F1",
        "Recall is the share of unsafe requests that were blocked. F1 weighs it against how many of the blocked \
         requests were unsafe indeed; 1 is best.",
    ),
    (
        "95 % interval",
        "The range in which the true share lies as far as this many requests can tell. It says nothing about \
         requests of other kinds than those that were asked. Where the intervals of two models overlap, compare \
         them request by request before calling one better.",
    ),
    ("n", "How many requests a figure is made of. With a small n a single request moves the figure a lot."),
    (
        "ECE",
        "Expected calibration error: how far the probabilities are from the shares that come true, on average. With \
         0.05, a reading of 0.80 is right in 75 to 85 of 100 cases, roughly.",
    ),
    (
        "AUC",
        "How well the probabilities of UNSAFE separate unsafe from safe requests over all thresholds: 1 separates \
         perfectly, 0.5 is chance.",
    ),
];

/// A policy, in sentences.
pub(super) fn policy(policy: &Policy) -> String {
    let depth = match policy.depth {
        Depth::Full => format!("The model reasons in up to {} steps before it answers", policy.max_steps),
        Depth::Brief => "The model reasons in one step before it answers".to_owned(),
        Depth::None => "The model judges the bare request, without reasoning".to_owned(),
    };
    let combine = match policy.combine {
        Combine::Maximum => "any reading",
        Combine::Weighted => "the weighted readings",
    };
    let looks = match (policy.second_looks, policy.on_rethink) {
        (0, _) => "A RETHINK leaves a request undecided".to_owned(),
        (n, OnRethink::Continue) => format!("RETHINK may be answered by up to {n} second looks"),
        (n, OnRethink::Rollback) => format!("RETHINK takes a step back, up to {n} times"),
    };
    let words = match policy.refusal {
        RefusalKind::Fixed => "a fixed sentence",
        RefusalKind::Model => "the model's own words",
    };
    let mode = match policy.mode {
        Mode::Enforce => format!("What does not pass is withheld, and refused in {words}"),
        Mode::Shadow => "Verdicts are only recorded: nothing is withheld".to_owned(),
    };
    format!("{depth}. It refuses when {combine} of UNSAFE reaches {}. {looks}. {mode}.", policy.unsafe_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_without_words_keeps_its_name() {
        assert_eq!(figure("share_of_moons").0, "share of moons");
        assert_eq!(figure("attack_success_guard").0, "Attack success, by judge guard");
    }

    #[test]
    fn no_figure_has_two_titles() {
        for (i, a) in FIGURES.iter().enumerate() {
            assert!(FIGURES[i + 1..].iter().all(|b| a.key != b.key), "{}", a.key);
        }
    }

    #[test]
    fn dates_are_told_as_people_say_them() {
        assert_eq!(date("2026-11-02T14:03:59Z"), "2 November 2026, 14:03 UTC");
        assert_eq!(date("2026-01-31T08:00:00.123+01:00"), "31 January 2026, 08:00 UTC+01:00");
        assert_eq!(date("yesterday"), "yesterday");
        assert_eq!(date("2026-13-01T00:00:00Z"), "2026-13-01T00:00:00Z");
    }

    #[test]
    fn policies_are_told_in_sentences() {
        let shadow = Policy { mode: Mode::Shadow, depth: Depth::None, ..Policy::default() };
        assert!(
            policy(&Policy::default()).contains(
                "up to 6 steps before it answers. It refuses when any reading of UNSAFE reaches 0.5."
            )
        );
        assert!(policy(&shadow).contains("nothing is withheld"));
    }
}
