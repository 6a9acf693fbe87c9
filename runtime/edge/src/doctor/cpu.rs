//! CPU features: what this program and its kernels use, and what this CPU has.
//!
//! Only the features that decide the speed of quantised kernels; not a full list. Invariant: a feature counts
//! as present only if every core has it.

use super::Check;
use std::collections::BTreeSet;
use std::path::Path;

/// One feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Name as the compiler has it.
    pub name: &'static str,
    /// Whether this program uses it, in Rust's code or in the kernels.
    pub used: bool,
    /// Whether the CPU has it.
    pub present: bool,
}

const REBUILD: &str = "build on this machine (`cargo build --release` uses its CPU), or install the \
                       package, which picks a build that fits";

/// The features of this program and of the CPU; `kernels` are the names that ggml lists, `root` is `/`
/// outside tests.
///
/// What the kernel lists comes first: the standard library answers for what it was compiled with itself
/// without a look.
#[must_use]
pub fn features(root: &Path, kernels: &[String]) -> Vec<Feature> {
    let cpuinfo = std::fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let listed = listed(&cpuinfo);
    let uses = |kernel: &str| kernels.iter().any(|k| k.eq_ignore_ascii_case(kernel));
    // A feature's name for the compiler, in /proc/cpuinfo, and in ggml's list where it has one.
    macro_rules! features {
        ($detected:ident: $($name:tt $in_list:literal $kernel:literal),+ $(,)?) => {
            vec![$(Feature {
                name: $name,
                used: cfg!(target_feature = $name) || uses($kernel),
                present: listed
                    .as_ref()
                    .map_or_else(|| std::arch::$detected!($name), |listed| listed.contains($in_list)),
            }),+]
        };
    }
    #[cfg(target_arch = "x86_64")]
    return features![is_x86_feature_detected:
        "sse4.2" "sse4_2" "",
        "avx" "avx" "avx",
        "avx2" "avx2" "avx2",
        "bmi2" "bmi2" "bmi2",
        "f16c" "f16c" "f16c",
        "fma" "fma" "fma",
        "avxvnni" "avx_vnni" "avx_vnni",
        "avx512f" "avx512f" "avx512",
        "avx512vnni" "avx512_vnni" "avx512_vnni",
    ];
    #[cfg(target_arch = "aarch64")]
    return features![is_aarch64_feature_detected:
        "neon" "asimd" "neon",
        "dotprod" "asimddp" "dotprod",
        "fp16" "asimdhp" "fp16_va",
        "i8mm" "i8mm" "matmul_int8",
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
}

/// What this architecture's list in /proc/cpuinfo is called: an emulator shows that of the machine below it.
const LIST: &str = if cfg!(target_arch = "aarch64") { "Features" } else { "flags" };

/// The features that every core lists; none where there is no list.
fn listed(cpuinfo: &str) -> Option<BTreeSet<&str>> {
    let of_cores = cpuinfo.lines().filter_map(|line| {
        let (name, words) = line.split_once(':')?;
        (name.trim() == LIST).then(|| words.split_whitespace().collect::<BTreeSet<_>>())
    });
    // Boards mix cores, and a thread may run on any: only what all have counts.
    of_cores.reduce(|a, b| &a & &b)
}

/// Whether this program fits this CPU: nothing it needs is missing, and nothing that makes it fast lies idle.
#[must_use]
pub fn check_cpu(features: &[Feature]) -> Check {
    const NAME: &str = "cpu code";
    let names = |keep: &dyn Fn(&Feature) -> bool| -> Vec<&str> {
        features.iter().filter(|f| keep(f)).map(|f| f.name).collect()
    };
    let missing = names(&|f| f.used && !f.present);
    let unused = names(&|f| !f.used && f.present);
    let used = names(&|f| f.used && f.present);
    if !missing.is_empty() {
        let detail = format!("this build needs {}, which this cpu lacks", missing.join(", "));
        Check::fail(NAME, detail, REBUILD)
    } else if features.is_empty() {
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

    fn feature(name: &'static str, used: bool, present: bool) -> Feature {
        Feature { name, used, present }
    }

    #[test]
    fn a_missing_feature_fails_and_an_unused_one_warns() {
        let missing = [feature("avx2", true, false), feature("fma", false, true)];
        assert_eq!(check_cpu(&missing).detail, "this build needs avx2, which this cpu lacks");
        assert_eq!(check_cpu(&missing).level, Level::Fail);
        let unused = [feature("avx2", false, true), feature("fma", true, true)];
        assert_eq!(check_cpu(&unused).level, Level::Warn);
        assert!(check_cpu(&unused).detail.contains("avx2"));
        let used = [feature("avx2", true, true), feature("fma", false, false)];
        assert_eq!(check_cpu(&used), Check::ok("cpu code", "uses avx2"));
        assert_eq!(check_cpu(&[]).level, Level::Warn);
    }

    fn on(cpuinfo: &str, kernels: &[&str]) -> Vec<Feature> {
        let root = fake_root(&[("proc/cpuinfo", cpuinfo)]);
        features(root.path(), &kernels.iter().map(|&k| k.to_owned()).collect::<Vec<_>>())
    }

    /// A plain program with kernels for more: what they need must be there, whatever the CPU is that runs
    /// this test.
    #[test]
    fn what_the_kernels_use_must_be_on_every_core() {
        let (kernel, name, all) = match cfg!(target_arch = "aarch64") {
            true => ("MATMUL_INT8", "i8mm", "fp asimd asimddp asimdhp i8mm"),
            false => {
                ("AVX512_VNNI", "avx512vnni", "sse4_2 avx avx2 bmi2 f16c fma avx_vnni avx512f avx512_vnni")
            }
        };
        let of = |words: &str| format!("processor\t: 0\n{LIST}\t: {words}\n");
        let last = |found: &[Feature]| found.iter().find(|f| f.name == name).copied().unwrap();
        let found = on(&of(all), &[kernel]);
        assert_eq!(last(&found), feature(name, true, true));
        assert_ne!(check_cpu(&found).level, Level::Fail);
        let found = on(&of("nothing"), &[kernel]);
        assert_eq!(last(&found), feature(name, true, false));
        assert_eq!(check_cpu(&found).level, Level::Fail);
        assert!(check_cpu(&found).detail.contains(name));
        let mixed = of(all) + &of("nothing");
        assert_eq!(last(&on(&mixed, &[kernel])), feature(name, true, false));
    }

    #[test]
    fn without_a_list_the_standard_library_answers() {
        let other = if LIST == "flags" { "Features" } else { "flags" };
        let found = on(&format!("{other}\t: nothing\n"), &[]);
        assert!(found.iter().any(|f| f.present), "{found:?}");
    }

    #[test]
    fn the_cpu_that_runs_this_has_all_that_the_build_uses() {
        let found = features(Path::new("/"), &[]);
        assert!(!found.is_empty());
        assert_ne!(check_cpu(&found).level, Level::Fail, "{found:?}");
    }
}
