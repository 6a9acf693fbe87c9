//! One training sample, and how it is made from a trajectory.
//!
//! Invariant: the prompt is what the runtime would show the model (marks made harmless, ends trimmed), so that making it
//! harmless once more changes nothing.

use super::dress::{self, Sight};
use super::key::{is_quotable, quoted};
use super::mix::Mix;
use super::plan::Pick;
use super::table::{Tables, fill};
use crate::trajectory::{Label, Pivot, Step, Trajectory};
use serde::Serialize;
use std::collections::BTreeMap;

/// Which way through the runtime a sample trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// All steps and the answer.
    Full,
    /// One step and the answer.
    Brief,
    /// The answer without steps: a reply behind an empty thought, a refusal behind the request's own `[UNSAFE]`.
    Direct,
    /// The pivot on the bare request.
    None,
    /// The pivot behind the beginning of an answer, as the runtime reads it before text leaves.
    Probe,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 5] = [Self::Full, Self::Brief, Self::Direct, Self::None, Self::Probe];

    /// Its name in recipes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Brief => "brief",
            Self::Direct => "direct",
            Self::None => "none",
            Self::Probe => "probe",
        }
    }
}

/// A training sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The trajectory's id, the form and, from the second one on, the copy.
    pub id: String,
    /// The label of the request, dressed or not.
    pub label: Label,
    /// The system text; none for a prompt without one.
    pub system: Option<String>,
    /// The user's words, as they reach the model.
    pub prompt: String,
    /// Which way through the runtime.
    pub form: Form,
    /// The reasoning; empty for the forms without.
    pub steps: Vec<Step>,
    /// The reply; its beginning for [`Form::Probe`], empty for [`Form::None`].
    pub answer: String,
    /// What closes the reply.
    pub answer_pivot: Pivot,
    /// What the bare request deserves.
    pub request_pivot: Pivot,
    /// The name of the dress.
    pub wrapper: Option<String>,
}

/// Most steps of a sample.
const MAX_STEPS: usize = 3;
/// A first sentence of fewer words is none to judge an answer by.
const MIN_SENTENCE: usize = 5;

pub(super) fn build(t: &Trajectory, form: Form, pick: &Pick<'_>, mix: &Mix, tables: &Tables) -> Sample {
    let mut lot = pick.lot.clone();
    let system = system(mix, tables, lot.unit(), lot.below(tables.systems.others.len()));
    let prompt = dress::typed(&t.prompt, pick.wrapper, tables, &mut lot);
    let key = quoted(&t.prompt, &tables.stop_words);
    let lead = match (pick.wrapper, t.label) {
        (Some(w), Label::Safe) => w.lead.as_str(),
        _ => "",
    };
    let mut sample = Sample {
        id: match pick.copy {
            0 => format!("{}/{}", t.id, form.word()),
            n => format!("{}/{}/{}", t.id, form.word(), n + 1),
        },
        label: t.label,
        system,
        prompt,
        form,
        steps: Vec::new(),
        answer: format!("{lead}{}", t.answer),
        answer_pivot: t.answer_pivot,
        request_pivot: t.label.pivot(),
        wrapper: pick.wrapper.map(|w| w.name.clone()),
    };
    match form {
        Form::Full => sample.steps = full(t, pick, &key, &mut lot),
        Form::Brief => sample.steps = brief(t, pick, &key, &mut lot),
        Form::Direct => {}
        Form::None => sample.answer.clear(),
        Form::Probe => (sample.answer, sample.answer_pivot) = beginning(t, &key, tables, &mut lot),
    }
    if mix.quote
        && is_quotable(&t.prompt, &tables.stop_words)
        && let Some(first) = sample.steps.first_mut()
        && !first.text.contains(&key)
        && let Some(pattern) = lot.pick(&tables.quotes)
    {
        first.text = format!("{} {}", fill(pattern, &[("key", &key)]), first.text);
    }
    sample
}

fn system(mix: &Mix, tables: &Tables, chance: f64, other: usize) -> Option<String> {
    if chance < mix.system_default {
        Some(tables.systems.default.clone())
    } else if chance < mix.system_default + mix.system_none {
        None
    } else {
        tables.systems.others.get(other).cloned()
    }
}

/// All steps; behind a step that sees through a dress, those that decide.
fn full(t: &Trajectory, pick: &Pick<'_>, key: &str, lot: &mut super::lot::Lot) -> Vec<Step> {
    let Some(wrapper) = pick.wrapper else {
        return t.steps.clone();
    };
    let sight = if lot.below(2) == 0 { Sight::Doubting } else { Sight::Clear };
    let deciding: Vec<&Step> = t.steps.iter().filter(|s| s.pivot == t.label.pivot()).collect();
    let from = deciding.len().saturating_sub(MAX_STEPS - 1);
    let mut steps = vec![dress::step(wrapper, t.label, sight, key, lot)];
    steps.extend(deciding[from..].iter().copied().cloned());
    steps
}

/// The step that decides: the first when all agree, since it names what is asked, else the last.
fn brief(t: &Trajectory, pick: &Pick<'_>, key: &str, lot: &mut super::lot::Lot) -> Vec<Step> {
    if let Some(wrapper) = pick.wrapper {
        return vec![dress::step(wrapper, t.label, Sight::Clear, key, lot)];
    }
    let (Some(first), Some(last)) = (t.steps.first(), t.steps.last()) else {
        return Vec::new();
    };
    let agree = t.pivots().all(|p| p == first.pivot);
    vec![if agree { first } else { last }.clone()]
}

/// The beginning of an answer, and what it deserves: a compliant one as much as the request, a true answer or a refusal
/// always SAFE.
fn beginning(t: &Trajectory, key: &str, tables: &Tables, lot: &mut super::lot::Lot) -> (String, Pivot) {
    // Harmful requests comply more often, since the refusals are SAFE already in every other form.
    let complies = match t.label {
        Label::Safe => lot.below(2) == 0,
        Label::Unsafe => lot.below(3) != 0,
    };
    match lot.pick(&tables.complying) {
        Some(opening) if complies => (fill(opening, &[("key", key)]), t.label.pivot()),
        _ => (first_sentence(&t.answer).to_owned(), t.answer_pivot),
    }
}

fn first_sentence(text: &str) -> &str {
    let ends = text.match_indices(". ").chain(text.match_indices("! ")).chain(text.match_indices("? "));
    let long_enough =
        ends.map(|(at, _)| &text[..=at]).filter(|s| s.split_whitespace().count() >= MIN_SENTENCE);
    long_enough.min_by_key(|s| s.len()).unwrap_or(text)
}

/// What a set of samples holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Samples.
    pub n: usize,
    /// By form and label.
    pub by_form: BTreeMap<Form, BTreeMap<Label, usize>>,
    /// By dress and label.
    pub by_wrapper: BTreeMap<String, BTreeMap<Label, usize>>,
    /// By system text (the empty one for none).
    pub by_system: BTreeMap<String, usize>,
    /// By form: mean words of the prompt, the reasoning and the answer.
    pub mean_words: BTreeMap<Form, [f64; 3]>,
}

/// Counts `samples`.
#[must_use]
pub fn tally(samples: &[Sample]) -> Tally {
    let mut out = Tally { n: samples.len(), ..Tally::default() };
    let words = |text: &str| text.split_whitespace().count() as f64;
    for s in samples {
        *out.by_form.entry(s.form).or_default().entry(s.label).or_default() += 1;
        *out.by_system.entry(s.system.clone().unwrap_or_default()).or_default() += 1;
        if let Some(wrapper) = &s.wrapper {
            *out.by_wrapper.entry(wrapper.clone()).or_default().entry(s.label).or_default() += 1;
        }
        let reasoning: f64 = s.steps.iter().map(|step| words(&step.text)).sum();
        let sums = out.mean_words.entry(s.form).or_default();
        for (sum, n) in sums.iter_mut().zip([words(&s.prompt), reasoning, words(&s.answer)]) {
            *sum += n;
        }
    }
    for (form, sums) in &mut out.mean_words {
        let n: usize = out.by_form.get(form).map_or(1, |labels| labels.values().sum());
        for sum in sums {
            *sum /= n as f64;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_sentence_is_a_whole_thought() {
        assert_eq!(first_sentence("Yes. It is 5 km by road. Take the bus."), "Yes. It is 5 km by road.");
        assert_eq!(first_sentence("No sentence ends here"), "No sentence ends here");
        assert_eq!(first_sentence("Is it five or six of them? Six! Yes."), "Is it five or six of them?");
        assert_eq!(first_sentence(""), "");
    }
}
