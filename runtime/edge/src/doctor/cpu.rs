//! CPU features: what this build uses, what this CPU has, and what the kernels were compiled with.
//!
//! Only the features that decide the speed of quantised kernels; not a full list. Invariant: a feature counts as
//! present only if every core has it.

use super::Check;
use std::collections::BTreeSet;
use std::path::Path;

/// Whether the CPU has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Every core has it.
    Present,
    /// Some core lacks it.
    Absent,
    /// Nobody says.
    Unknown,
}

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Name as the compiler has it.
    pub name: &'static str,
    /// Name in ggml's list; empty when it has none.
    pub kernel: &'static str,
    /// Whether this build uses it.
    pub compiled: bool,
    /// Whether the CPU has it.
    pub presence: Presence,
}

const REBUILD: &str =
    "build on this machine (`cargo build --release` uses its CPU) or take the package made for it";

/// The features of this build and of the CPU; `root` is `/` outside tests.
#[must_use]
pub fn features(root: &Path) -> Vec<Feature> {
    if cfg!(target_arch = "aarch64") { arm_features(&listed_features(root)) } else { x86_features() }
}

#[cfg(target_arch = "x86_64")]
fn x86_features() -> Vec<Feature> {
    macro_rules! feature {
        ($name:tt, $kernel:literal) => {
            Feature {
                name: $name,
                kernel: $kernel,
                compiled: cfg!(target_feature = $name),
                presence: if std::arch::is_x86_feature_detected!($name) {
                    Presence::Present
                } else {
                    Presence::Absent
                },
            }
        };
    }
    vec![
        feature!("sse4.2", ""),
        feature!("avx", "avx"),
        feature!("avx2", "avx2"),
        feature!("bmi2", "bmi2"),
        feature!("f16c", "f16c"),
        feature!("fma", "fma"),
        feature!("avxvnni", "avx_vnni"),
        feature!("avx512f", "avx512"),
        feature!("avx512vnni", "avx512_vnni"),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_features() -> Vec<Feature> {
    Vec::new()
}

/// Compiler name, name in `/proc/cpuinfo`, name in ggml's list, whether compiled in.
const ARM: [(&str, &str, &str, bool); 4] = [
    ("neon", "asimd", "neon", cfg!(all(target_arch = "aarch64", target_feature = "neon"))),
    ("dotprod", "asimddp", "dotprod", cfg!(all(target_arch = "aarch64", target_feature = "dotprod"))),
    ("fp16", "asimdhp", "fp16_va", cfg!(all(target_arch = "aarch64", target_feature = "fp16"))),
    ("i8mm", "i8mm", "matmul_int8", cfg!(all(target_arch = "aarch64", target_feature = "i8mm"))),
];

fn arm_features(listed: &BTreeSet<String>) -> Vec<Feature> {
    ARM.map(|(name, in_cpuinfo, kernel, compiled)| {
        let presence = match listed.contains(in_cpuinfo) {
            true => Presence::Present,
            // Every 64-bit core has asimd, so a list without any word was not read at all.
            false if listed.is_empty() => Presence::Unknown,
            false => Presence::Absent,
        };
        Feature { name, kernel, compiled, presence }
    })
    .into()
}

/// The features that `/proc/cpuinfo` lists for every core.
fn listed_features(root: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let of_cores = text.lines().filter_map(|line| {
        let (name, words) = line.split_once(':')?;
        (name.trim() == "Features").then(|| words.split_whitespace().map(str::to_owned).collect())
    });
    // Boards mix cores, and a thread may run on any: only what all have counts.
    of_cores.reduce(|a: BTreeSet<String>, b| &a & &b).unwrap_or_default()
}

/// Whether this build fits this CPU.
#[must_use]
pub fn check_compiled(features: &[Feature]) -> Check {
    const NAME: &str = "cpu features";
    let names = |keep: &dyn Fn(&Feature) -> bool| -> Vec<&str> {
        features.iter().filter(|f| keep(f)).map(|f| f.name).collect()
    };
    let missing = names(&|f| f.compiled && f.presence == Presence::Absent);
    let unused = names(&|f| !f.compiled && f.presence == Presence::Present);
    let unknown = names(&|f| f.presence == Presence::Unknown);
    let used = names(&|f| f.compiled && f.presence == Presence::Present);
    if !missing.is_empty() {
        let detail = format!("this build needs {}, which this cpu lacks", missing.join(", "));
        Check::fail(NAME, detail, REBUILD)
    } else if features.is_empty() || !unknown.is_empty() {
        Check::warn(NAME, format!("cannot tell what this {} cpu has", std::env::consts::ARCH), REBUILD)
    } else if !unused.is_empty() {
        Check::warn(
            NAME,
            format!("this cpu has {}, which this build does not use", unused.join(", ")),
            REBUILD,
        )
    } else {
        Check::ok(NAME, format!("uses {}", used.join(", ")))
    }
}

/// Whether the model's kernels use what this CPU has; `kernels` is ggml's own list of names and answers.
#[must_use]
pub fn check_kernels(features: &[Feature], kernels: &[(&str, bool)]) -> Check {
    const NAME: &str = "kernels";
    let answer = |name: &str| kernels.iter().find(|(kernel, _)| *kernel == name).map(|(_, has)| *has);
    let idle: Vec<&str> = features
        .iter()
        .filter(|f| f.presence == Presence::Present && answer(f.kernel) == Some(false))
        .map(|f| f.kernel)
        .collect();
    let on: Vec<&str> = kernels.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    if kernels.is_empty() {
        Check::warn(NAME, "the kernels list no features", "without llama.cpp only scripted models run")
    } else if idle.is_empty() {
        Check::ok(NAME, if on.is_empty() { "plain".to_owned() } else { on.join(", ") })
    } else {
        Check::warn(NAME, format!("compiled without {}, which this cpu has", idle.join(", ")), REBUILD)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, tests::fake_root};
    use super::*;

    const PI5: &str = "processor\t: 0\nBogoMIPS\t: 108.00\n\
        Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n\
        CPU part\t: 0xd0b\n";

    fn feature(name: &'static str, compiled: bool, presence: Presence) -> Feature {
        Feature { name, kernel: name, compiled, presence }
    }

    #[test]
    fn a_pi_5_has_dotprod_but_no_i8mm() {
        let root = fake_root(&[("proc/cpuinfo", PI5)]);
        let found = arm_features(&listed_features(root.path()));
        let presence = |name| found.iter().find(|f| f.name == name).unwrap().presence;
        assert_eq!(presence("dotprod"), Presence::Present);
        assert_eq!(presence("i8mm"), Presence::Absent);
    }

    #[test]
    fn a_feature_that_only_some_cores_have_is_absent() {
        let mixed = format!("{PI5}\nprocessor\t: 1\nFeatures\t: fp asimd\n");
        let root = fake_root(&[("proc/cpuinfo", &mixed)]);
        let found = arm_features(&listed_features(root.path()));
        assert_eq!(found[0].presence, Presence::Present);
        assert_eq!(found[1].presence, Presence::Absent);
    }

    #[test]
    fn without_cpuinfo_nothing_is_known() {
        let root = fake_root(&[]);
        let found = arm_features(&listed_features(root.path()));
        assert!(found.iter().all(|f| f.presence == Presence::Unknown));
        assert_eq!(check_compiled(&found).level, Level::Warn);
        assert_eq!(check_compiled(&[]).level, Level::Warn);
    }

    #[test]
    fn a_missing_feature_fails_and_an_unused_one_warns() {
        use Presence::{Absent, Present};
        let missing = [feature("avx2", true, Absent), feature("fma", false, Present)];
        assert_eq!(check_compiled(&missing).detail, "this build needs avx2, which this cpu lacks");
        assert_eq!(check_compiled(&missing).level, Level::Fail);
        let unused = [feature("avx2", false, Present), feature("fma", true, Present)];
        assert_eq!(check_compiled(&unused).level, Level::Warn);
        assert!(check_compiled(&unused).detail.contains("avx2"));
        let used = [feature("avx2", true, Present), feature("fma", false, Absent)];
        assert_eq!(check_compiled(&used), Check::ok("cpu features", "uses avx2"));
    }

    #[test]
    fn kernels_without_what_the_cpu_has_warn() {
        let found = [feature("avx2", true, Presence::Present), feature("avx512", false, Presence::Absent)];
        let slow = check_kernels(&found, &[("avx2", false), ("avx512", false)]);
        assert_eq!(
            (slow.level, slow.detail.as_str()),
            (Level::Warn, "compiled without avx2, which this cpu has")
        );
        assert_eq!(check_kernels(&found, &[("avx2", true), ("avx512", false)]).level, Level::Ok);
        assert_eq!(check_kernels(&found, &[]).level, Level::Warn);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_cpu_that_runs_this_has_all_that_the_build_uses() {
        let found = features(Path::new("/"));
        assert!(!found.is_empty());
        assert_ne!(check_compiled(&found).level, Level::Fail);
    }
}
