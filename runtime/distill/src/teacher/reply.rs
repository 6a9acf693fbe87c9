//! From a teacher's words to a draft of a trajectory, or to the name of what is wrong with them.
//!
//! Not the check of a whole trajectory (that is [`crate::trajectory::check`]), only its form as text. Invariant: every
//! pivot of a draft stood at the end of its own line, and nothing of the reply is left over.

use crate::trajectory::Step;
use r2d_core::pivot::Pivot;
use r2d_core::untrusted::looks_forged;
use thiserror::Error;

/// Longest reply that is looked at, in bytes, a reasoning model's own thoughts included.
const MAX_REPLY_BYTES: usize = 64 << 10;
/// Most steps.
const MAX_STEPS: usize = 3;

/// What a reply says, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The reasoning.
    pub steps: Vec<Step>,
    /// The reply.
    pub answer: String,
    /// What closes it.
    pub answer_pivot: Pivot,
}

/// What is wrong with a reply's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplyFault {
    /// There is nothing.
    #[error("the reply is empty")]
    Empty,
    /// It is longer than any example.
    #[error("the reply is longer than {MAX_REPLY_BYTES} bytes")]
    TooLong,
    /// The teacher's own thoughts have no end.
    #[error("the reply opens thoughts and does not close them")]
    ThoughtsUnfinished,
    /// A line is neither a step nor the answer, or stands behind the answer.
    #[error("the reply holds text beside its steps and answer")]
    ExtraText,
    /// Steps are missing, out of order, or too many.
    #[error("the reply's steps are not numbered 1 to 2 or 3")]
    StepNumber,
    /// There is no answer.
    #[error("the reply has no answer")]
    NoAnswer,
    /// A step or the answer closes with no pivot.
    #[error("a step or the answer does not close with a pivot")]
    MissingPivot,
    /// A step or the answer holds a pivot, a marker or a square bracket before its end.
    #[error("a step or the answer holds a pivot, a marker or a bracket in its middle")]
    PivotInside,
}

impl ReplyFault {
    /// A name that stays, for counting.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "reply-empty",
            Self::TooLong => "reply-too-long",
            Self::ThoughtsUnfinished => "thoughts-unfinished",
            Self::ExtraText => "extra-text",
            Self::StepNumber => "step-number",
            Self::NoAnswer => "no-answer",
            Self::MissingPivot => "missing-pivot",
            Self::PivotInside => "pivot-inside",
        }
    }
}

/// Reads `reply` in the form that the context asks for.
///
/// The thoughts with which a reasoning model begins (`<think>…</think>`) are no part of it.
///
/// # Errors
/// The first [`ReplyFault`].
pub fn parse(reply: &str) -> Result<Draft, ReplyFault> {
    let mut steps = Vec::new();
    let mut answer = None;
    for line in without_thoughts(reply)?.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if answer.is_some() {
            return Err(ReplyFault::ExtraText);
        }
        if let Some(rest) = line.strip_prefix("Answer:") {
            if steps.len() < 2 {
                return Err(ReplyFault::StepNumber);
            }
            answer = Some(closed(rest)?);
        } else if let Some((number, rest)) = line.strip_prefix("Step ").and_then(|l| l.split_once(':')) {
            if steps.len() == MAX_STEPS || number != (steps.len() + 1).to_string() {
                return Err(ReplyFault::StepNumber);
            }
            let (text, pivot) = closed(rest)?;
            steps.push(Step { text, pivot });
        } else {
            return Err(ReplyFault::ExtraText);
        }
    }
    match answer {
        Some((answer, answer_pivot)) => Ok(Draft { steps, answer, answer_pivot }),
        None if steps.is_empty() => Err(ReplyFault::Empty),
        None => Err(ReplyFault::NoAnswer),
    }
}

/// The pivot that `reply` names, with or without brackets, when it is the only word.
#[must_use]
pub fn read_tag(reply: &str) -> Option<Pivot> {
    let said = without_thoughts(reply).ok()?.trim();
    let word = said.strip_prefix('[').and_then(|s| s.strip_suffix(']')).unwrap_or(said);
    let word = word.strip_suffix('.').unwrap_or(word);
    Pivot::ALL.into_iter().find(|p| word.eq_ignore_ascii_case(p.word()))
}

fn without_thoughts(reply: &str) -> Result<&str, ReplyFault> {
    if reply.len() > MAX_REPLY_BYTES {
        return Err(ReplyFault::TooLong);
    }
    let reply = reply.trim();
    match reply.strip_prefix("<think>") {
        None => Ok(reply),
        Some(rest) => rest.split_once("</think>").map(|(_, said)| said).ok_or(ReplyFault::ThoughtsUnfinished),
    }
}

/// A part's text and the pivot behind it.
fn closed(part: &str) -> Result<(String, Pivot), ReplyFault> {
    let part = part.trim();
    let close = |p: Pivot| part.strip_suffix(&p.to_string()).map(|text| (text.trim_end(), p));
    let (text, pivot) = match Pivot::ALL.into_iter().find_map(close) {
        Some(found) => found,
        None if looks_forged(part) => return Err(ReplyFault::PivotInside),
        None => return Err(ReplyFault::MissingPivot),
    };
    if text.contains(['[', ']']) || looks_forged(text) {
        return Err(ReplyFault::PivotInside);
    }
    Ok((text.to_owned(), pivot))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "Step 1: Something is asked. [RETHINK]\n\nStep 2: It helps. [SAFE]\nAnswer: Do this. [SAFE]\n";

    fn fault(reply: &str) -> &'static str {
        parse(reply).map_or_else(ReplyFault::name, |_| "good")
    }

    #[test]
    fn the_form_is_read() {
        let draft = parse(GOOD).unwrap();
        let step = |text: &str, pivot| Step { text: text.into(), pivot };
        assert_eq!(
            draft.steps,
            [step("Something is asked.", Pivot::Rethink), step("It helps.", Pivot::Safe)]
        );
        assert_eq!((draft.answer.as_str(), draft.answer_pivot), ("Do this.", Pivot::Safe));
        let thought = format!("<think>\nStep 9: [UNSAFE] or so?\n</think>\n\n{GOOD}");
        assert_eq!(parse(&thought), Ok(draft));
    }

    #[test]
    fn hostile_and_broken_replies_are_named() {
        let with = |from: &str, to: &str| fault(&GOOD.replacen(from, to, 1));
        for (found, name) in [
            (fault(""), "reply-empty"),
            (fault(" \n\u{a0}\n"), "reply-empty"),
            (fault(&"x".repeat(MAX_REPLY_BYTES + 1)), "reply-too-long"),
            (fault(&"Step 1: a [SAFE]\n".repeat(3000)), "step-number"),
            (fault("<think>\nStep 1: and so on"), "thoughts-unfinished"),
            (fault(&format!("{GOOD}</think>")), "extra-text"),
            (fault(&format!("thoughts</think>\n{GOOD}")), "extra-text"),
            (fault(&format!("Sure, here it is:\n{GOOD}")), "extra-text"),
            (fault(&format!("{GOOD}I hope this helps.")), "extra-text"),
            (fault(&format!("{GOOD}{GOOD}")), "extra-text"),
            (fault(&format!("```\n{GOOD}```")), "extra-text"),
            (with("\nStep 2", " \u{2028}Step 2"), "good"),
            (with("Step 1", "Step 2"), "step-number"),
            (with("Step 2", "Step 3"), "step-number"),
            (with("Step 1", "Step +1"), "step-number"),
            (fault("Answer: Do this. [SAFE]"), "step-number"),
            (fault("Step 1: One. [SAFE]\nAnswer: Do this. [SAFE]"), "step-number"),
            (with("Answer: Do this. [SAFE]", ""), "no-answer"),
            (with(" [RETHINK]", ""), "missing-pivot"),
            (with("Do this. [SAFE]", "Do this."), "missing-pivot"),
            (with("[RETHINK]", "[rethink]"), "pivot-inside"),
            (with("[RETHINK]", "[RETHINK] and more"), "pivot-inside"),
            (with("[RETHINK]", "[MAYBE]"), "missing-pivot"),
            (with("Something is", "Something [SAFE] is"), "pivot-inside"),
            (with("Something is", "Something ［ＳＡＦＥ］ is"), "pivot-inside"),
            (with("Something is", "Something [S\u{200b}AFE] is"), "pivot-inside"),
            (with("Do this.", "See [1]."), "pivot-inside"),
            (with("Do this.", "Do </think> this."), "pivot-inside"),
            (with("Do this.", "Do <|im_end|> this."), "pivot-inside"),
            (with("[SAFE]", "[SAFE] [SAFE]"), "pivot-inside"),
            (with("[SAFE]", "[UNSAFE][SAFE]"), "pivot-inside"),
        ] {
            assert_eq!(found, name);
        }
    }

    #[test]
    fn a_tag_is_one_word() {
        for said in ["RETHINK", " [RETHINK]\n", "rethink.", "<think>SAFE?</think>RETHINK"] {
            assert_eq!(read_tag(said), Some(Pivot::Rethink), "{said}");
        }
        for said in ["", "SAFE or UNSAFE", "It is SAFE", "[SAFE", "SAFE SAFE", "<think>SAFE", "un-safe"] {
            assert_eq!(read_tag(said), None, "{said}");
        }
    }
}
