//! Which trajectories give a sample of a form in an epoch, and which of them wear which dress.
//!
//! Quotas, not dice: shares are met exactly, epochs take turns, and each dress is worn by as many single harmless as
//! single harmful requests (pairs are even by themselves). Invariant: the halves of a pair are picked together and get
//! the same [`Pick`] but for the trajectory; only balancing repeats single trajectories.

use super::lot::Lot;
use super::mix::Mix;
use super::sample::Form;
use super::table::{Tables, Wrapper};
use crate::data::units;
use crate::trajectory::{Label, Trajectory};
use std::collections::BTreeMap;

/// Families whose prompts come dressed: a second dress would bury them.
const DRESSED: [&str; 2] = ["wrap", "harm_jailbreak"];

pub(super) struct Plan<'a> {
    pub(super) trajectories: &'a [Trajectory],
    pub(super) mix: &'a Mix,
    pub(super) tables: &'a Tables,
    pub(super) seed: u64,
    pub(super) epoch: u32,
    pub(super) form: Form,
}

/// A sample to be made.
#[derive(Clone, Debug)]
pub(super) struct Pick<'a> {
    /// Of this trajectory.
    pub(super) trajectory: usize,
    /// Which one of this form, from 0.
    pub(super) copy: usize,
    /// In this dress.
    pub(super) wrapper: Option<&'a Wrapper>,
    /// Chance for all else; the same for the halves of a pair.
    pub(super) lot: Lot,
}

/// The place in the order of chance, the name and the members of what is picked together.
type Turn = (u64, String, Vec<usize>);

/// What is picked together.
struct Group {
    members: Vec<usize>,
    name: String,
    copy: usize,
}

impl<'a> Plan<'a> {
    /// The picks, in no order that matters.
    pub(super) fn picks(&self) -> Vec<Pick<'a>> {
        let mut groups = self.turns();
        if self.mix.balance {
            self.level(&mut groups);
        }
        let dresses = self.dresses(&groups);
        let mut out = Vec::new();
        for (group, wrapper) in groups.iter().zip(dresses) {
            let lot = self.lot("sample", &group.name, group.copy);
            let pick = |&trajectory| Pick { trajectory, copy: group.copy, wrapper, lot: lot.clone() };
            out.extend(group.members.iter().map(pick));
        }
        out
    }

    fn lot(&self, what: &str, name: &str, copy: usize) -> Lot {
        let (epoch, copy) = (self.epoch.to_string(), copy.to_string());
        Lot::of(self.seed, &[what, self.form.word(), name, &epoch, &copy])
    }

    /// Who has a turn in this epoch. Within a family and label, each has its place in a fixed order of chance; the share
    /// moves on over them from epoch to epoch.
    fn turns(&self) -> Vec<Group> {
        let mut strata: BTreeMap<(&str, Option<Label>), Vec<Turn>> = BTreeMap::new();
        // A labelled request has a pivot on itself and nothing else to be trained.
        let gives = |&i: &usize| self.form == Form::None || !self.trajectories[i].is_bare();
        for members in units(self.trajectories).into_iter().filter(|unit| unit.iter().all(gives)) {
            let first = &self.trajectories[members[0]];
            let name = first.pair.clone().unwrap_or_else(|| first.id.clone());
            let label = first.pair.is_none().then_some(first.label);
            // Without the epoch: the order is one for all of them.
            let place = Lot::of(self.seed, &["turn", self.form.word(), &name]).next();
            strata.entry((first.family(), label)).or_default().push((place, name, members));
        }
        let mut out = Vec::new();
        for ((family, _), mut stratum) in strata {
            stratum.sort_unstable();
            let share = self.mix.share(self.form) * self.mix.families.get(family).copied().unwrap_or(1.0);
            let n = stratum.len() as f64;
            for (rank, (_, name, members)) in stratum.into_iter().enumerate() {
                let phase = (rank as f64 + 0.5) / n;
                let until = |epoch: f64| (epoch * share + phase).floor();
                let epoch = f64::from(self.epoch);
                // Shares are bounded, so this is a small whole number.
                let copies = (until(epoch + 1.0) - until(epoch)) as usize;
                out.extend((0..copies).map(|copy| Group {
                    members: members.clone(),
                    name: name.clone(),
                    copy,
                }));
            }
        }
        out
    }

    /// Repeats single trajectories of the scarcer label until both labels have as many samples.
    fn level(&self, groups: &mut Vec<Group>) {
        let label = |i: usize| self.trajectories[i].label;
        let count = |groups: &[Group], wanted| {
            groups.iter().flat_map(|g| &g.members).filter(|&&i| label(i) == wanted).count()
        };
        let (n_safe, n_unsafe) = (count(groups, Label::Safe), count(groups, Label::Unsafe));
        let scarce = if n_safe < n_unsafe { Label::Safe } else { Label::Unsafe };
        let mut singles: Vec<(u64, usize)> = Vec::new();
        let mut copies: BTreeMap<usize, usize> = BTreeMap::new();
        for group in groups.iter() {
            if let [i] = group.members[..] {
                let seen = copies.entry(i).or_default();
                if *seen == 0 && label(i) == scarce {
                    singles.push((self.lot("level", &group.name, 0).next(), i));
                }
                *seen += 1;
            }
        }
        singles.sort_unstable();
        let missing = n_safe.abs_diff(n_unsafe);
        for &(_, i) in singles.iter().cycle().take(if singles.is_empty() { 0 } else { missing }) {
            let copy = copies.entry(i).or_default();
            groups.push(Group { members: vec![i], name: self.trajectories[i].id.clone(), copy: *copy });
            *copy += 1;
        }
    }

    /// The dress of each group.
    fn dresses(&self, groups: &[Group]) -> Vec<Option<&'a Wrapper>> {
        let mut out = vec![None; groups.len()];
        // Pairs, single harmless and single harmful requests.
        let mut kinds: [Vec<(u64, usize)>; 3] = Default::default();
        for (at, group) in groups.iter().enumerate() {
            let first = &self.trajectories[group.members[0]];
            if !DRESSED.contains(&first.family()) {
                let kind = match (group.members.len(), first.label) {
                    (1, Label::Safe) => 1,
                    (1, Label::Unsafe) => 2,
                    _ => 0,
                };
                kinds[kind].push((self.lot("dress", &group.name, group.copy).next(), at));
            }
        }
        let [n_pairs, n_safe, n_harmful] = [0, 1, 2].map(|kind: usize| kinds[kind].len());
        let of = |n: usize| (self.mix.wrapped * n as f64).round() as usize;
        let n_single = of((n_safe + n_harmful) / 2).min(n_safe).min(n_harmful);
        for (kind, n) in kinds.iter_mut().zip([of(n_pairs), n_single, n_single]) {
            kind.sort_unstable();
            for (rank, &(_, at)) in kind.iter().take(n).enumerate() {
                out[at] = self.wrapper_at((rank as f64 + 0.5) / n as f64);
            }
        }
        out
    }

    /// The dress that stands at `place`, from 0 to 1, when all are laid out by their weights.
    fn wrapper_at(&self, place: f64) -> Option<&'a Wrapper> {
        let weight = |w: &Wrapper| w.weight * self.mix.wrappers.get(&w.family).copied().unwrap_or(1.0);
        let total: f64 = self.tables.wrappers.iter().map(weight).sum();
        let mut left = place * total;
        self.tables.wrappers.iter().find(|w| {
            left -= weight(w);
            left < 0.0
        })
    }
}
