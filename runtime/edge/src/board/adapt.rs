//! A profile's cores and threads, cut to what this machine has.
//!
//! Boards come with cores switched off (a Jetson in a mode of less power, an RK3582), and containers with
//! fewer still: threads that share a core wait for each other by spinning. Not for what a person configures.
//! Invariants: what is not known changes nothing; everything that is changed is told.

use super::{Facts, Profile};
use crate::affinity::{list, parse};
use toml::{Table, Value};

/// `profile` as the machine with `facts` can run it; [`Profile::adapted`] says what was changed.
pub(super) fn to_machine(mut profile: Profile, facts: &Facts) -> Profile {
    if let Some(model) = profile.config.get_mut("model").and_then(Value::as_table_mut) {
        let (kept, cores) = cut_cores(model, facts);
        // Threads that are kept on some cores have no more room than those.
        let room = [facts.usable, kept].into_iter().flatten().min();
        let threads = room.and_then(|room| cut_threads(model, room));
        profile.adapted = cores.into_iter().chain(threads).collect();
    }
    profile
}

/// Leaves the cores that are there: their number where the model is kept on any, and what was changed.
fn cut_cores(model: &mut Table, facts: &Facts) -> (Option<usize>, Option<String>) {
    let asked = model.get("cores").and_then(Value::as_str).and_then(parse).unwrap_or_default();
    let Some(there) = facts.cores.as_ref().filter(|_| !asked.is_empty()) else { return (None, None) };
    let (kept, missing): (Vec<usize>, Vec<usize>) =
        asked.iter().copied().partition(|core| there.contains(core));
    if missing.is_empty() {
        return (Some(kept.len()), None);
    }
    let told = format!("the profile's model.cores = {}: {} not there", list(&asked), list(&missing));
    if kept.is_empty() {
        model.remove("cores");
        return (None, Some(format!("{told}, so the model runs on any core")));
    }
    model.insert("cores".into(), Value::from(list(&kept)));
    (Some(kept.len()), Some(format!("{told}, so it is {}", list(&kept))))
}

/// Leaves no more threads than `room` cores can run, and says so if there were more.
fn cut_threads(model: &mut Table, room: usize) -> Option<String> {
    let threads = model.get("threads").and_then(Value::as_integer)?;
    let room = i64::try_from(room).ok().filter(|room| (1..threads).contains(room))?;
    model.insert("threads".into(), Value::from(room));
    Some(format!("the profile's model.threads = {threads}: {room} cores are usable, so it is {room}"))
}

#[cfg(test)]
mod tests {
    use super::super::choose;
    use super::*;

    /// Cores and threads that `profile` comes to on a machine with `cores`, and how much was told.
    fn on(profile: &str, cores: &[usize], usable: usize) -> (Option<String>, Option<i64>, usize) {
        let facts = Facts { cores: Some(cores.to_vec()), usable: Some(usable), ..Facts::default() };
        let profile = choose(profile, &facts).unwrap().unwrap();
        let model = profile.config.get("model").unwrap();
        let cores = model.get("cores").and_then(Value::as_str).map(str::to_owned);
        (cores, model.get("threads").and_then(Value::as_integer), profile.adapted.len())
    }

    #[test]
    fn the_cores_and_threads_of_a_whole_board_stay() {
        assert_eq!(on("rock-5b", &[0, 1, 2, 3, 4, 5, 6, 7], 8), (Some("4-7".into()), Some(4), 0));
        assert_eq!(on("jetson-agx-orin", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 12), (None, Some(8), 0));
    }

    #[test]
    fn cores_that_are_not_there_are_left_out_and_their_threads_with_them() {
        assert_eq!(on("rock-5b", &[0, 1, 2, 3, 4, 5], 6), (Some("4-5".into()), Some(2), 2));
        assert_eq!(on("rock-5b", &[0, 1, 2, 3, 5, 7], 6), (Some("5,7".into()), Some(2), 2));
        assert_eq!(on("rock-5b", &[0, 1], 2), (None, Some(2), 2));
    }

    #[test]
    fn threads_are_no_more_than_can_run_at_once() {
        assert_eq!(on("jetson-agx-orin", &[0, 1, 2, 3], 4), (None, Some(4), 1));
        // A container may have all cores and time for fewer.
        assert_eq!(on("rock-5b", &[0, 1, 2, 3, 4, 5, 6, 7], 1), (Some("4-7".into()), Some(1), 1));
        // A profile that leaves the number open asks for no more than there are anyway.
        assert_eq!(on("generic-arm64", &[0], 1), (None, None, 0));
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let profile = choose("rock-5b", &Facts::default()).unwrap().unwrap();
        assert!(profile.adapted.is_empty());
        assert_eq!(profile.config["model"]["cores"].as_str(), Some("4-7"));
    }
}
