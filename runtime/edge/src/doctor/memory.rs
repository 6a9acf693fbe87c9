//! Memory: what the model needs against what is there.
//!
//! An estimate from sizes, not a trial. Invariant: the limit of a container counts as much as the machine's
//! memory, and what is not known is never taken for plenty.

use super::{Check, mebibytes, sysctl};
use std::path::{Path, PathBuf};

/// What is needed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// The model's file.
    pub model: u64,
    /// The key-value cache.
    pub kv: u64,
    /// What stays free beside them.
    pub headroom: u64,
}

/// What is there, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFound {
    /// What the machine can give without swapping.
    pub available: u64,
    /// What the tightest control group above this process still allows, if one has a limit.
    pub allowed: Option<u64>,
}

impl MemoryFound {
    /// The smaller of the two.
    #[must_use]
    pub fn usable(&self) -> u64 {
        self.allowed.map_or(self.available, |allowed| allowed.min(self.available))
    }
}

/// The memory that this process may take; `root` is `/` outside tests.
#[must_use]
pub fn available_memory(root: &Path) -> Option<MemoryFound> {
    let available = memory_line(root, "MemAvailable:")?;
    Some(MemoryFound { available, allowed: control_group_allows(root) })
}

/// All memory of this machine, in bytes; none where nobody knows. `root` is `/` outside tests.
#[must_use]
pub fn total_memory(root: &Path) -> Option<u64> {
    memory_line(root, "MemTotal:").or_else(|| sysctl::ask(root, "hw.memsize"))
}

/// One line of `/proc/meminfo`, in bytes.
fn memory_line(root: &Path, name: &str) -> Option<u64> {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    meminfo.lines().find_map(|line| {
        let kibibytes = line.strip_prefix(name)?.trim().strip_suffix("kB")?;
        kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    })
}

/// What the control groups (version 2) above this process still allow.
fn control_group_allows(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = root.join("sys/fs/cgroup");
    let mut folder: PathBuf = mount.join(path);
    let mut tightest = None;
    // A limit holds for all below it, so each one on the way up counts.
    while folder.starts_with(&mount) {
        let number = |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
        // "max" is no number: no limit here.
        if let Some(limit) = number("memory.max") {
            let left = limit.saturating_sub(number("memory.current").unwrap_or(0));
            tightest = Some(tightest.map_or(left, |t: u64| t.min(left)));
        }
        if !folder.pop() {
            break;
        }
    }
    tightest
}

/// Warns where the kernel's control groups (version 2) do not count memory: then a service's limit has no
/// effect. Nothing where there are no such groups, and so no such limit either.
#[must_use]
pub fn check_memory_limit(root: &Path) -> Option<Check> {
    let controllers = std::fs::read_to_string(root.join("sys/fs/cgroup/cgroup.controllers")).ok()?;
    let counts = controllers.split_whitespace().any(|name| name == "memory");
    let detail = "the kernel counts no memory for control groups, so the service's MemoryMax has no effect";
    let hint =
        "a Raspberry Pi leaves that out by itself: add cgroup_enable=memory to its cmdline.txt and restart";
    (!counts).then(|| Check::warn("memory limit", detail, hint))
}

/// Whether `need` fits in what was found.
#[must_use]
pub fn check_memory(need: MemoryNeed, found: Option<MemoryFound>) -> Check {
    const NAME: &str = "memory";
    const SMALLER: &str = "take a smaller model, lower model.n_ctx or set model.kv_type to q8_0";
    let bare = need.model.saturating_add(need.kv);
    let whole = bare.saturating_add(need.headroom);
    let sum = format!(
        "{} model + {} cache + {} headroom = {}",
        mebibytes(need.model),
        mebibytes(need.kv),
        mebibytes(need.headroom),
        mebibytes(whole)
    );
    let Some(found) = found else {
        return Check::warn(
            NAME,
            format!("{sum}; cannot tell what is available"),
            "see that this much is free",
        );
    };
    let limited = if found.usable() < found.available { " (limit of the control group)" } else { "" };
    let detail = format!("{sum}; available {}{limited}", mebibytes(found.usable()));
    if bare > found.usable() {
        Check::fail(NAME, detail, SMALLER)
    } else if whole > found.usable() {
        Check::warn(NAME, detail, format!("it fits without headroom only: {SMALLER}"))
    } else {
        Check::ok(NAME, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, tests::fake_root};
    use super::*;

    const MIB: u64 = 1 << 20;
    const MEMINFO: &str =
        "MemTotal:        8245248 kB\nMemFree:          100000 kB\nMemAvailable:    1048576 kB\n";

    #[test]
    fn available_memory_is_what_the_kernel_says() {
        let root = fake_root(&[("proc/meminfo", MEMINFO)]);
        assert_eq!(available_memory(root.path()), Some(MemoryFound { available: 1024 * MIB, allowed: None }));
        assert_eq!(available_memory(fake_root(&[]).path()), None);
    }

    #[test]
    fn all_memory_is_what_the_kernel_says_or_unknown() {
        let root = fake_root(&[("proc/meminfo", MEMINFO)]);
        assert_eq!(total_memory(root.path()), Some(8_245_248 * 1024));
        assert_eq!(total_memory(fake_root(&[]).path()), None);
        assert_eq!(total_memory(fake_root(&[("proc/meminfo", "MemTotal: many\n")]).path()), None);
    }

    #[test]
    fn the_tightest_control_group_on_the_way_up_counts() {
        let root = fake_root(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/system.slice/r2d-edge.service\n"),
            ("sys/fs/cgroup/system.slice/r2d-edge.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "104857600\n"),
        ]);
        let found = available_memory(root.path()).unwrap();
        assert_eq!(found.allowed, Some(412 * MIB));
        assert_eq!(found.usable(), 412 * MIB);
        let need = MemoryNeed { model: 400 * MIB, kv: 45 * MIB, headroom: 0 };
        assert!(
            check_memory(need, Some(found))
                .detail
                .ends_with("available 412 MiB (limit of the control group)")
        );
    }

    #[test]
    fn a_container_that_sees_its_own_group_as_the_root_is_limited_too() {
        let root = fake_root(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1048576\n"),
        ]);
        assert_eq!(available_memory(root.path()).unwrap().usable(), MIB);
    }

    #[test]
    fn a_kernel_that_counts_no_memory_for_groups_is_told() {
        let with = |controllers| fake_root(&[("sys/fs/cgroup/cgroup.controllers", controllers)]);
        assert_eq!(check_memory_limit(with("cpuset cpu io memory pids\n").path()), None);
        let check = check_memory_limit(with("cpuset cpu io pids\n").path()).unwrap();
        assert_eq!(check.level, Level::Warn);
        assert_eq!(check_memory_limit(fake_root(&[]).path()), None);
    }

    #[test]
    fn memory_passes_warns_and_fails_with_the_sum_shown() {
        let need = MemoryNeed { model: 100 * MIB, kv: 45 * MIB, headroom: 256 * MIB };
        let level =
            |mib: u64| check_memory(need, Some(MemoryFound { available: mib * MIB, allowed: None })).level;
        assert_eq!(
            [level(401), level(400), level(145), level(144)],
            [Level::Ok, Level::Warn, Level::Warn, Level::Fail]
        );
        let unknown = check_memory(need, None);
        assert_eq!(unknown.level, Level::Warn);
        assert!(unknown.detail.starts_with("100 MiB model + 45 MiB cache + 256 MiB headroom = 401 MiB"));
    }
}
