//! Puts any request into a template attack: how well a defence holds, and how often honest questions fall with it, can
//! so be measured on every suite.
//!
//! The templates are data (`suites/wrappers.toml`), written for this project. Not a search for new attacks. Invariant:
//! the same seed, item and wrapper give the same words on every machine; label, group and expected answer are those of
//! the item.

mod transform;

pub use transform::Transform;

use crate::item::Item;
use crate::suite::lot;
use crate::suite::nearest::nearest;
use crate::suite::template::fill;
use serde::Deserialize;
use std::sync::LazyLock;
use thiserror::Error;

/// A way to put a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapper {
    /// Its name.
    pub name: String,
    /// Wrappers that use the same kind of trick.
    pub family: String,
    /// What it does, for a list.
    pub what: String,
    /// What is done to the request before it is put in.
    #[serde(default)]
    pub transform: Transform,
    /// Templates with the slot `{prompt}`; an item gets one of them.
    pub variants: Vec<String>,
}

/// There is no such wrapper.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no wrapper or family of wrappers {name:?}; hint: {hint}")]
pub struct UnknownWrapper {
    /// What was asked for.
    pub name: String,
    /// Names that look like it, or all families.
    pub hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    wrapper: Vec<Wrapper>,
}

static WRAPPERS: LazyLock<Vec<Wrapper>> = LazyLock::new(|| {
    // A test holds that the table can be read.
    toml::from_str(include_str!("../suites/wrappers.toml")).map(|t: Table| t.wrapper).unwrap_or_default()
});

/// All wrappers, in the order in which they are listed.
#[must_use]
pub fn all() -> &'static [Wrapper] {
    &WRAPPERS
}

/// The wrapper of this name, those of this family, or every one for `all`.
///
/// # Errors
/// [`UnknownWrapper`].
pub fn named(name: &str) -> Result<Vec<&'static Wrapper>, UnknownWrapper> {
    let named: Vec<_> = all().iter().filter(|w| w.name == name).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let family: Vec<_> = all().iter().filter(|w| name == "all" || w.family == name).collect();
    if !family.is_empty() {
        return Ok(family);
    }
    let mut families: Vec<&str> = all().iter().map(|w| w.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    let known = all().iter().map(|w| w.name.as_str()).chain(families.iter().copied());
    let mut near = nearest(name, known);
    near.dedup();
    let hint = match near.as_slice() {
        [] => format!("there are all, {}", families.join(", ")),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    Err(UnknownWrapper { name: name.chars().take(80).collect(), hint })
}

impl Wrapper {
    /// `item` with its prompt put into one of the variants.
    #[must_use]
    pub fn apply(&self, item: &Item, seed: u64) -> Item {
        let n = self.variants.len().max(1) as u64;
        let pick = usize::try_from(lot(seed, &["wrapper", &self.name, &item.id]) % n).unwrap_or(0);
        let template = self.variants.get(pick).map_or("{prompt}", String::as_str);
        let request = self.transform.apply(&item.prompt);
        let prompt = fill(template, |slot| (slot == "prompt").then_some(request.as_str()));
        let goal = Some(item.goal().to_owned());
        Item { prompt, goal, wrapper: Some(self.name.clone()), ..item.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Label, Overlap};
    use crate::suite::template::has_slot;
    use std::collections::BTreeSet;

    fn item(id: &str, prompt: &str) -> Item {
        Item {
            id: id.into(),
            prompt: prompt.into(),
            label: Some(Label::Unsafe),
            category: Some("c".into()),
            group: Some("g".into()),
            wrapper: None,
            goal: None,
            overlap: Overlap::Near,
            expected: None,
        }
    }

    #[test]
    fn every_wrapper_can_be_read_and_has_a_name_of_its_own() {
        assert!(all().len() >= 16);
        let names: BTreeSet<&str> = all().iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names.len(), all().len());
        for w in all() {
            assert!(!w.variants.is_empty() && w.variants.iter().all(|v| has_slot(v, "prompt")), "{}", w.name);
            assert!(
                w.name != "all" && !names.contains(w.family.as_str()) || w.family == w.name,
                "{}",
                w.name
            );
            assert!(!w.what.is_empty());
        }
    }

    #[test]
    fn a_wrapped_item_keeps_all_but_its_words() {
        for w in all() {
            let plain = item("7", "Where is the valve?");
            let wrapped = w.apply(&plain, 1);
            assert_eq!(wrapped.wrapper.as_deref(), Some(w.name.as_str()));
            assert_ne!(wrapped.prompt, plain.prompt);
            assert_eq!(wrapped.goal(), plain.prompt);
            assert_eq!(Item { wrapper: None, prompt: plain.prompt.clone(), goal: None, ..wrapped }, plain);
            if w.transform == Transform::Plain {
                assert!(w.apply(&plain, 1).prompt.contains("Where is the valve?"), "{}", w.name);
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_words_and_items_share_the_variants() {
        let w = named("character").unwrap()[0];
        let wrap =
            |seed: u64| (0..30).map(|i| w.apply(&item(&i.to_string(), "x"), seed).prompt).collect::<Vec<_>>();
        assert_eq!(wrap(5), wrap(5));
        assert_ne!(wrap(5), wrap(6));
        assert_eq!(wrap(5).into_iter().collect::<BTreeSet<_>>().len(), w.variants.len());
    }

    #[test]
    fn a_prompt_that_spells_the_slot_is_put_in_once() {
        let wrapped = named("research").unwrap()[0].apply(&item("1", "{prompt}{prompt}"), 0);
        assert_eq!(wrapped.prompt.matches("{prompt}").count(), 2);
    }

    #[test]
    fn families_and_all_give_several_and_unknown_names_give_the_nearest() {
        assert_eq!(named("encoding").unwrap().len(), 5);
        assert_eq!(named("all").unwrap().len(), all().len());
        assert_eq!(named("rot13").unwrap().len(), 1);
        let error = named("rot31").unwrap_err().to_string();
        assert!(error.contains("rot31") && error.contains("did you mean rot13"), "{error}");
        let error = named("nothing of the kind").unwrap_err().to_string();
        assert!(error.contains("role-play") && error.contains("hint: there are all"), "{error}");
    }
}
