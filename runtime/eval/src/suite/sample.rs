//! A part of a suite, the same on every machine.
//!
//! Invariants: a group is taken whole or not at all; a larger sample of one seed is drawn in the same order; what is
//! drawn stands in the suite's own order.

use crate::item::{Item, Label};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// A number that depends on `seed` and `parts` and on nothing else, spread evenly over all of `u64`.
pub(crate) fn lot(seed: u64, parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}

/// Items that are taken together.
struct Unit {
    indices: Vec<usize>,
    n_safe: i64,
    n_unsafe: i64,
    lot: u64,
}

pub(super) fn sample(items: &[Item], limit: Option<usize>, seed: u64) -> Vec<Item> {
    let Some(limit) = limit.filter(|limit| *limit < items.len()) else { return items.to_vec() };
    let mut strata: BTreeMap<(bool, bool), Vec<Unit>> = BTreeMap::new();
    for unit in units(items, seed) {
        strata.entry((unit.n_safe > 0, unit.n_unsafe > 0)).or_default().push(unit);
    }
    let mut strata: Vec<Vec<Unit>> = strata.into_values().collect();
    for units in &mut strata {
        // The last is drawn first.
        units.sort_by_key(|u| std::cmp::Reverse(u.lot));
    }
    let (mut taken, mut n_safe, mut n_unsafe) = (Vec::new(), 0, 0);
    loop {
        let room = limit - taken.len();
        for units in &mut strata {
            while units.last().is_some_and(|u| u.indices.len() > room) {
                units.pop();
            }
        }
        // The unit that leaves the labels most even; of several, the one with the lower lot.
        let best = strata
            .iter()
            .enumerate()
            .filter_map(|(i, units)| units.last().map(|u| (i, u)))
            .min_by_key(|(_, u)| ((n_safe + u.n_safe).abs_diff(n_unsafe + u.n_unsafe), u.lot));
        let Some(best) = best.map(|(i, _)| i) else { break };
        let Some(unit) = strata[best].pop() else { break };
        n_safe += unit.n_safe;
        n_unsafe += unit.n_unsafe;
        taken.extend(unit.indices);
    }
    taken.sort_unstable();
    taken.into_iter().map(|i| items[i].clone()).collect()
}

fn units(items: &[Item], seed: u64) -> Vec<Unit> {
    let mut of_group: HashMap<&str, usize> = HashMap::new();
    let mut units: Vec<Unit> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let known = item.group.as_deref().and_then(|g| of_group.get(g)).copied();
        let at = known.unwrap_or_else(|| {
            let lot = match &item.group {
                Some(group) => lot(seed, &["group", group]),
                None => lot(seed, &["item", &item.id]),
            };
            units.push(Unit { indices: Vec::new(), n_safe: 0, n_unsafe: 0, lot });
            units.len() - 1
        });
        if let Some(group) = &item.group {
            of_group.insert(group, at);
        }
        let unit = &mut units[at];
        unit.indices.push(index);
        unit.n_safe += i64::from(item.label == Some(Label::Safe));
        unit.n_unsafe += i64::from(item.label == Some(Label::Unsafe));
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Overlap;

    fn item(id: usize, label: Option<Label>, group: Option<usize>) -> Item {
        Item {
            id: id.to_string(),
            prompt: format!("prompt {id}"),
            label,
            category: None,
            group: group.map(|g| format!("g{g}")),
            wrapper: None,
            goal: None,
            overlap: Overlap::None,
            expected: None,
        }
    }

    fn n_safe(items: &[Item]) -> usize {
        items.iter().filter(|i| i.label == Some(Label::Safe)).count()
    }

    #[test]
    fn pairs_stay_together_and_the_suites_order_stays() {
        let label = |i: usize| Some(if i.is_multiple_of(2) { Label::Safe } else { Label::Unsafe });
        let items: Vec<Item> = (0..40).map(|i| item(i, label(i), Some(i / 2))).collect();
        let part = sample(&items, Some(11), 7);
        assert_eq!(part.len(), 10, "the eleventh would be half a pair");
        for pair in part.chunks(2) {
            assert_eq!(pair[0].group, pair[1].group);
        }
        let ids: Vec<usize> = part.iter().map(|i| i.id.parse().unwrap()).collect();
        assert!(ids.is_sorted());
        assert_eq!(part, sample(&items, Some(11), 7));
        assert_ne!(part, sample(&items, Some(11), 8));
    }

    #[test]
    fn labels_are_balanced_until_one_of_them_is_used_up() {
        let label = |i: usize| Some(if i < 5 { Label::Unsafe } else { Label::Safe });
        let items: Vec<Item> = (0..50).map(|i| item(i, label(i), None)).collect();
        assert_eq!(n_safe(&sample(&items, Some(8), 1)), 4);
        assert_eq!(n_safe(&sample(&items, Some(9), 1)) / 4, 1);
        assert_eq!(n_safe(&sample(&items, Some(20), 1)), 15);
    }

    #[test]
    fn a_smaller_sample_of_single_items_is_part_of_a_larger_one() {
        let items: Vec<Item> = (0..100).map(|i| item(i, None, None)).collect();
        let small = sample(&items, Some(10), 3);
        let large = sample(&items, Some(30), 3);
        assert!(small.iter().all(|i| large.contains(i)));
        assert_eq!(sample(&items, Some(0), 3), []);
        assert_eq!(sample(&items, Some(100), 3), items);
        assert_eq!(sample(&items, None, 3), items);
    }

    #[test]
    fn lots_are_the_same_on_every_machine() {
        // Both computed with another implementation of SHA-256.
        assert_eq!(lot(0, &["a"]), 15_710_096_957_630_639_915);
        assert_ne!(lot(0, &["ab", "c"]), lot(0, &["a", "bc"]));
        let items: Vec<Item> = (0..8).map(|i| item(i, None, None)).collect();
        let ids: Vec<String> = sample(&items, Some(3), 42).into_iter().map(|i| i.id).collect();
        assert_eq!(ids, ["0", "6", "7"]);
    }
}
