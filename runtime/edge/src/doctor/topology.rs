//! Cores: how many there really are, and whether the configured threads fit on them.
//!
//! Not the affinity of threads (see `core_list`). Invariant: two threads of one core count as one core.

use super::{Check, sysctl};
use std::collections::BTreeSet;
use std::path::Path;

/// The cores of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Cores.
    pub physical: usize,
    /// Hardware threads.
    pub logical: usize,
}

/// Counts the cores that are online, on Apple silicon the performance cores alone; `root` is `/` outside
/// tests.
#[must_use]
pub fn count_cores(root: &Path) -> Option<Cores> {
    listed_cores(root).or_else(|| {
        // The other cores there would hold up the threads on these, and none has a second hardware thread.
        let physical = usize::try_from(sysctl::ask(root, "hw.perflevel0.physicalcpu")?).ok()?;
        (physical > 0).then_some(Cores { physical, logical: physical })
    })
}

/// The cores that Linux lists.
fn listed_cores(root: &Path) -> Option<Cores> {
    let folders = std::fs::read_dir(root.join("sys/devices/system/cpu")).ok()?;
    let siblings: Vec<String> = folders
        .filter_map(|folder| {
            let folder = folder.ok()?;
            let name = folder.file_name();
            let number = name.to_str()?.strip_prefix("cpu")?;
            number.parse::<u32>().ok()?;
            // Not core_id: on some ARM boards it repeats from one cluster to the next.
            let list = std::fs::read_to_string(folder.path().join("topology/thread_siblings_list")).ok()?;
            Some(list.trim().to_owned())
        })
        .collect();
    let physical = siblings.iter().collect::<BTreeSet<_>>().len();
    (physical > 0).then_some(Cores { physical, logical: siblings.len() })
}

/// Whether `threads` of the configuration (0 for one a core) fit; `usable` is how many the system lets this
/// process run at once.
#[must_use]
pub fn check_cores(cores: Option<Cores>, usable: Option<usize>, threads: usize) -> Check {
    const NAME: &str = "cores";
    let Some(Cores { physical, logical }) = cores else {
        let hint = "set model.threads to the number of cores";
        return Check::warn(NAME, format!("cannot tell how many there are; model.threads = {threads}"), hint);
    };
    let chosen = if threads == 0 { physical } else { threads };
    let confined = usable.filter(|usable| *usable < logical);
    let confined = confined.map_or_else(String::new, |n| format!(", {n} for this process"));
    let found = format!("{physical} cores, {logical} hardware threads{confined}; {chosen} threads decode");
    match usable {
        _ if chosen > physical => Check::warn(
            NAME,
            found,
            format!("more threads than cores are slower: set model.threads to {physical} or 0"),
        ),
        Some(usable) if chosen > usable => {
            let hint = format!("this process may use {usable}: set model.threads to {usable}");
            Check::warn(NAME, found, hint)
        }
        _ => Check::ok(NAME, found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, tests::fake_root};
    use super::*;

    #[test]
    fn hardware_threads_of_one_core_count_once() {
        let cpu = "sys/devices/system/cpu";
        let files: Vec<(String, &str)> = ["0,2", "1,3", "0,2", "1,3"]
            .iter()
            .enumerate()
            .map(|(i, list)| (format!("{cpu}/cpu{i}/topology/thread_siblings_list"), *list))
            .collect();
        let mut files: Vec<(&str, &str)> = files.iter().map(|(p, c)| (p.as_str(), *c)).collect();
        files.push(("sys/devices/system/cpu/cpufreq/topology/thread_siblings_list", "9"));
        files.push(("sys/devices/system/cpu/cpu4/online", "0"));
        assert_eq!(count_cores(fake_root(&files).path()), Some(Cores { physical: 2, logical: 4 }));
        assert_eq!(count_cores(fake_root(&[]).path()), None);
    }

    #[test]
    fn more_threads_than_cores_warn() {
        let pc = Some(Cores { physical: 2, logical: 4 });
        assert_eq!(check_cores(pc, Some(4), 0).level, Level::Ok);
        assert_eq!(check_cores(pc, Some(4), 2).level, Level::Ok);
        assert_eq!(check_cores(pc, Some(4), 3).level, Level::Warn);
        let confined = check_cores(pc, Some(1), 1);
        assert_eq!(confined.level, Level::Ok);
        assert!(confined.detail.contains("4 hardware threads, 1 for this process"), "{}", confined.detail);
        let confined = check_cores(pc, Some(1), 0);
        assert!(confined.hint.unwrap().contains("set model.threads to 1"));
        assert_eq!(check_cores(None, Some(4), 2).level, Level::Warn);
    }
}
