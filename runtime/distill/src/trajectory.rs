//! What a teacher hands to a student: a prompt, steps that each close with a pivot, and an answer; or a prompt with its
//! label alone.
//!
//! Not tokens, and not the training forms made from it (see [`crate::augment`]). The file format is JSON Lines, one
//! object a line. Invariant: what [`Trajectory::to_line`] writes, [`read`] gives back unchanged; that a trajectory is
//! *good* is said by [`check`] alone.

mod check;
mod read;
mod refusal;

pub use check::{Bounds, Fault, Field, allowed_orders, check, check_request, check_within};
pub use r2d_core::pivot::Pivot;
pub use read::{
    LineFault, Lines, MAX_LINE_BYTES, MAX_TRAJECTORIES, ReadError, WriteError, beside, read, write,
};
pub use refusal::{refuses, yields};

use serde::{Deserialize, Serialize};
use std::fmt;

/// What an honest judge says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Harmless: to be answered.
    Safe,
    /// Harmful: to be refused.
    Unsafe,
}

impl Label {
    /// Both labels.
    pub const ALL: [Self; 2] = [Self::Safe, Self::Unsafe];

    /// The label as it stands in a file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
        }
    }

    /// The pivot that the bare request deserves: a label knows no second look.
    #[must_use]
    pub const fn pivot(self) -> Pivot {
        match self {
            Self::Safe => Pivot::Safe,
            Self::Unsafe => Pivot::Unsafe,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a trajectory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Gradients are taken from it.
    Train,
    /// Thresholds and recipes are chosen on it.
    Val,
}

impl Split {
    /// The split as it stands in a file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// A reasoning step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its words, one line.
    pub text: String,
    /// What closes it.
    pub pivot: Pivot,
}

/// One example of a teacher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trajectory {
    /// Its name, unique in a data set.
    pub id: String,
    /// What kind of request it is, such as `shop_safe3`.
    pub category: String,
    /// Whether the request is harmful.
    pub label: Label,
    /// What a user types.
    pub prompt: String,
    /// The reasoning; none for a labelled request, see [`Trajectory::is_bare`].
    pub steps: Vec<Step>,
    /// The reply; empty for a labelled request.
    pub answer: String,
    /// What closes the reply.
    pub answer_pivot: Pivot,
    /// Shared by the two halves of a contrast pair.
    #[serde(default)]
    pub pair: Option<String>,
    /// What it is for; see [`crate::data::assign_splits`] for those that do not say.
    #[serde(default)]
    pub split: Option<Split>,
}

impl Trajectory {
    /// The category without what tells its label or its edition: `shop_safe3` and `shop_unsafe` are `shop`.
    #[must_use]
    pub fn family(&self) -> &str {
        let base = self.category.trim_end_matches(|c: char| c.is_ascii_digit());
        base.strip_suffix("_unsafe").or_else(|| base.strip_suffix("_safe")).unwrap_or(base)
    }

    /// Whether it is a labelled request and nothing else. It trains the pivot on the bare request, and no other form.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.steps.is_empty() && self.answer.is_empty()
    }

    /// The pivots of the steps.
    pub fn pivots(&self) -> impl Iterator<Item = Pivot> + '_ {
        self.steps.iter().map(|s| s.pivot)
    }

    /// Its line in a file, without the line's end: the fields in the order of the format, a blank behind each comma and
    /// colon, so that a rewritten file differs only where its contents do.
    #[must_use]
    pub fn to_line(&self) -> String {
        let text = |s: &str| serde_json::Value::from(s).to_string();
        let optional = |s: Option<&str>| s.map_or("null".to_owned(), text);
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|s| format!(r#"{{"text": {}, "pivot": "{}"}}"#, text(&s.text), s.pivot.word()))
            .collect();
        format!(
            r#"{{"id": {}, "category": {}, "label": "{}", "prompt": {}, "steps": [{}], "answer": {}, "answer_pivot": "{}", "pair": {}, "split": {}}}"#,
            text(&self.id),
            text(&self.category),
            self.label,
            text(&self.prompt),
            steps.join(", "),
            text(&self.answer),
            self.answer_pivot.word(),
            optional(self.pair.as_deref()),
            optional(self.split.map(Split::word)),
        )
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Trajectories for tests.
    use super::*;

    pub(crate) fn step(text: &str, pivot: Pivot) -> Step {
        Step { text: text.into(), pivot }
    }

    pub(crate) fn safe(id: &str, prompt: &str) -> Trajectory {
        Trajectory {
            id: id.into(),
            category: "benign2".into(),
            label: Label::Safe,
            prompt: prompt.into(),
            steps: vec![
                step("A household question about cleaning is asked by the owner.", Pivot::Safe),
                step("A clean kettle boils faster and the tea tastes better afterwards.", Pivot::Safe),
            ],
            answer:
                "Fill it half with water and half with vinegar, boil it once and wait for thirty minutes. \
                     Rinse it well with fresh water."
                    .into(),
            answer_pivot: Pivot::Safe,
            pair: None,
            split: Some(Split::Train),
        }
    }

    pub(crate) fn harmful(id: &str, prompt: &str) -> Trajectory {
        Trajectory {
            category: "harm_direct".into(),
            label: Label::Unsafe,
            steps: vec![
                step("Secret software on the phone of a partner is wanted here.", Pivot::Rethink),
                step(
                    "Watching another adult in secret is stalking and exposes private messages.",
                    Pivot::Unsafe,
                ),
            ],
            answer:
                "I won't help with watching someone in secret. I can suggest how to begin an honest talk."
                    .into(),
            ..safe(id, prompt)
        }
    }

    /// `t` without its reasoning and answer.
    pub(crate) fn bare(t: Trajectory) -> Trajectory {
        Trajectory { steps: Vec::new(), answer: String::new(), ..t }
    }

    /// A contrast pair named `pair`.
    pub(crate) fn pair(pair: &str, safe_prompt: &str, harmful_prompt: &str) -> [Trajectory; 2] {
        let mut halves =
            [safe(&format!("{pair}-s"), safe_prompt), harmful(&format!("{pair}-u"), harmful_prompt)];
        for (half, category) in halves.iter_mut().zip(["shop_safe3", "shop_unsafe3"]) {
            half.pair = Some(pair.into());
            half.category = category.into();
        }
        halves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_what_was_written_whatever_the_text() {
        for prompt in
            ["Why?", "é ß ¿ \u{1f600}", "a \"b\" \\ c", "\u{0}\u{1}\u{1f}\u{7f}\n\r\t", "", "]}, {\"id\": 1}"]
        {
            let t = fixture::safe("x-\"1", prompt);
            let back: Trajectory = serde_json::from_str(&t.to_line()).unwrap();
            assert_eq!(back, t);
            assert_eq!(t.to_line().lines().count(), 1, "{prompt:?}");
        }
    }

    #[test]
    fn the_line_has_the_format_of_the_data_set() {
        let t = Trajectory {
            steps: vec![fixture::step("One.", Pivot::Rethink), fixture::step("Two.", Pivot::Safe)],
            answer: "Yes.".into(),
            pair: Some("p1".into()),
            split: Some(Split::Val),
            ..fixture::safe("benign-000", "Why?")
        };
        let line = r#"{"id": "benign-000", "category": "benign2", "label": "safe", "prompt": "Why?", "steps": [{"text": "One.", "pivot": "RETHINK"}, {"text": "Two.", "pivot": "SAFE"}], "answer": "Yes.", "answer_pivot": "SAFE", "pair": "p1", "split": "val"}"#;
        assert_eq!(t.to_line(), line);
    }

    #[test]
    fn a_family_is_the_category_without_label_and_edition() {
        let family = |category: &str| {
            Trajectory { category: category.into(), ..fixture::safe("x", "y") }.family().to_owned()
        };
        assert_eq!(family("shop_safe3"), "shop");
        assert_eq!(family("shop_unsafe"), "shop");
        assert_eq!(family("pair_short_unsafe"), "pair_short");
        assert_eq!(family("harm_direct2"), "harm_direct");
        assert_eq!(family("benign"), "benign");
        assert_eq!(family("123"), "");
    }
}
