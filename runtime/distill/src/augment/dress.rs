//! A request in its dress: what is typed, and the step that sees through it.

use super::lot::Lot;
use super::table::{Tables, Wrapper, fill};
use crate::trajectory::{Label, Pivot, Step};
use r2d_core::untrusted::Untrusted;

/// `request` as somebody types it who dresses it up, and as it reaches the model: marks made harmless, ends trimmed.
pub(super) fn typed(request: &str, wrapper: Option<&Wrapper>, tables: &Tables, lot: &mut Lot) -> String {
    let raw = match wrapper.and_then(|w| Some((w, lot.pick(&w.texts)?))) {
        None => request.to_owned(),
        Some((wrapper, template)) => {
            // Two paragraphs, should the template have two slots.
            let request = wrapper.transform.apply(request);
            let mut text = template.clone();
            while text.contains("{pad}") {
                let paragraph = lot.pick(&tables.paragraphs).map_or("", String::as_str);
                text = text.replacen("{pad}", paragraph, 1);
            }
            fill(&text, &[("prompt", &request)])
        }
    };
    Untrusted::new(raw).neutral().trim().to_owned()
}

/// How sure the step that sees through a dress is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It only says that there is a dress, and asks for a second look.
    Doubting,
    /// It says what is under it.
    Clear,
}

/// The step that sees through `wrapper`.
pub(super) fn step(wrapper: &Wrapper, label: Label, sight: Sight, key: &str, lot: &mut Lot) -> Step {
    let (list, pivot) = match (sight, label) {
        (Sight::Doubting, _) => (&wrapper.look, Pivot::Rethink),
        (Sight::Clear, Label::Safe) => (&wrapper.calm, Pivot::Safe),
        (Sight::Clear, Label::Unsafe) => (&wrapper.seen, Pivot::Unsafe),
    };
    let template = lot.pick(list).map_or("", String::as_str);
    Step { text: fill(template, &[("key", key)]), pivot }
}
