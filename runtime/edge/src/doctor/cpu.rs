//! CPU features: what this program and its kernels use, and what this CPU has.
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
    /// Whether this program uses it, in Rust's code or in the kernels.
    pub used: bool,
    /// Whether the CPU has it.
    pub presence: Presence,
}

const REBUILD: &str = "build on this machine (`cargo build --release` uses its CPU) or take the package, which picks a build that fits";

/// The features of this program and of the CPU; `kernels` are the names that ggml lists, `root` is `/` outside tests.
#[must_use]
pub fn features(root: &Path, kernels: &[String]) -> Vec<Feature> {
    let listed = listed_features(root);
    let known = if cfg!(target_arch = "aarch64") { ARM.to_vec() } else { x86_features() };
    let with_presence = known.into_iter().map(|known| Feature {
        name: known.name,
        used: known.compiled || kernels.iter().any(|kernel| kernel.eq_ignore_ascii_case(known.kernel)),
        presence: known.presence.unwrap_or_else(|| presence(&listed, known.listed)),
    });
    with_presence.collect()
}

/// What is known of a feature before anything is looked at.
#[derive(Clone, Copy)]
struct Known {
    /// Name as the compiler has it.
    name: &'static str,
    /// Name in ggml's list; empty when it has none.
    kernel: &'static str,
    /// Name in `/proc/cpuinfo`.
    listed: &'static str,
    /// Whether Rust's own code was compiled for it.
    compiled: bool,
    /// Whether the CPU has it, where that can be asked.
    presence: Option<Presence>,
}

const ARM: [Known; 4] = {
    const fn known(name: &'static str, listed: &'static str, kernel: &'static str, compiled: bool) -> Known {
        Known { name, kernel, listed, compiled, presence: None }
    }
    const ARM64: bool = cfg!(target_arch = "aarch64");
    [
        known("neon", "asimd", "neon", ARM64 && cfg!(target_feature = "neon")),
        known("dotprod", "asimddp", "dotprod", ARM64 && cfg!(target_feature = "dotprod")),
        known("fp16", "asimdhp", "fp16_va", ARM64 && cfg!(target_feature = "fp16")),
        known("i8mm", "i8mm", "matmul_int8", ARM64 && cfg!(target_feature = "i8mm")),
    ]
};

#[cfg(target_arch = "x86_64")]
fn x86_features() -> Vec<Known> {
    macro_rules! feature {
        ($name:tt, $kernel:literal) => {
            Known {
                name: $name,
                kernel: $kernel,
                listed: "",
                compiled: cfg!(target_feature = $name),
                presence: Some(match std::arch::is_x86_feature_detected!($name) {
                    true => Presence::Present,
                    false => Presence::Absent,
                }),
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
fn x86_features() -> Vec<Known> {
    Vec::new()
}

fn presence(listed: &BTreeSet<String>, name: &str) -> Presence {
    match listed.contains(name) {
        true => Presence::Present,
        // Every 64-bit core has asimd, so a list without any word was not read at all.
        false if listed.is_empty() => Presence::Unknown,
        false => Presence::Absent,
    }
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

/// Whether this program fits this CPU: nothing it needs is missing, and nothing that makes it fast lies idle.
#[must_use]
pub fn check_cpu(features: &[Feature]) -> Check {
    const NAME: &str = "cpu code";
    let names = |keep: &dyn Fn(&Feature) -> bool| -> Vec<&str> {
        features.iter().filter(|f| keep(f)).map(|f| f.name).collect()
    };
    let missing = names(&|f| f.used && f.presence == Presence::Absent);
    let unused = names(&|f| !f.used && f.presence == Presence::Present);
    let unknown = names(&|f| f.presence == Presence::Unknown);
    let used = names(&|f| f.used && f.presence == Presence::Present);
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

#[cfg(test)]
mod tests {
    use super::super::{Level, tests::fake_root};
    use super::*;

    const PI5: &str = "processor\t: 0\nBogoMIPS\t: 108.00\n\
        Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n\
        CPU part\t: 0xd0b\n";

    fn feature(name: &'static str, used: bool, presence: Presence) -> Feature {
        Feature { name, used, presence }
    }

    fn arm(cpuinfo: &str) -> Vec<Presence> {
        let root = fake_root(&[("proc/cpuinfo", cpuinfo)]);
        let listed = listed_features(root.path());
        ARM.iter().map(|known| presence(&listed, known.listed)).collect()
    }

    #[test]
    fn a_pi_5_has_dotprod_but_no_i8mm() {
        use Presence::{Absent, Present};
        assert_eq!(arm(PI5), [Present, Present, Present, Absent]);
    }

    #[test]
    fn a_feature_that_only_some_cores_have_is_absent() {
        use Presence::{Absent, Present};
        let mixed = format!("{PI5}\nprocessor\t: 1\nFeatures\t: fp asimd\n");
        assert_eq!(arm(&mixed), [Present, Absent, Absent, Absent]);
    }

    #[test]
    fn without_cpuinfo_nothing_is_known() {
        assert_eq!(arm(""), [Presence::Unknown; 4]);
        assert_eq!(check_cpu(&[feature("neon", true, Presence::Unknown)]).level, Level::Warn);
        assert_eq!(check_cpu(&[]).level, Level::Warn);
    }

    #[test]
    fn a_missing_feature_fails_and_an_unused_one_warns() {
        use Presence::{Absent, Present};
        let missing = [feature("avx2", true, Absent), feature("fma", false, Present)];
        assert_eq!(check_cpu(&missing).detail, "this build needs avx2, which this cpu lacks");
        assert_eq!(check_cpu(&missing).level, Level::Fail);
        let unused = [feature("avx2", false, Present), feature("fma", true, Present)];
        assert_eq!(check_cpu(&unused).level, Level::Warn);
        assert!(check_cpu(&unused).detail.contains("avx2"));
        let used = [feature("avx2", true, Present), feature("fma", false, Absent)];
        assert_eq!(check_cpu(&used), Check::ok("cpu code", "uses avx2"));
    }

    /// Packages leave Rust's own code plain: what the kernels use counts, and what they need must be there.
    #[test]
    fn what_the_kernels_use_is_used() {
        let named = |kernels: &[String]| {
            let found = features(Path::new("/"), kernels);
            found.iter().filter(|f| f.used).map(|f| f.name).collect::<Vec<_>>()
        };
        let all = if cfg!(target_arch = "aarch64") { "MATMUL_INT8" } else { "AVX512_VNNI" };
        let name = if cfg!(target_arch = "aarch64") { "i8mm" } else { "avx512vnni" };
        assert!(named(&[all.to_owned()]).contains(&name));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_cpu_that_runs_this_has_all_that_the_build_uses() {
        let found = features(Path::new("/"), &[]);
        assert!(!found.is_empty());
        assert_ne!(check_cpu(&found).level, Level::Fail);
    }
}
