//! CPU features: what this program and its kernels use, and what this CPU has.
//!
//! Only the features that decide the speed of quantised kernels; not a full list. Invariant: a feature counts as
//! present only if every core has it.

use super::Check;

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

const REBUILD: &str = "build on this machine (`cargo build --release` uses its CPU), or install the package, which picks \
                       a build that fits";

/// The features of this program and of the CPU; `kernels` are the names that ggml lists.
#[must_use]
pub fn features(kernels: &[String]) -> Vec<Feature> {
    let uses = |kernel: &str| kernels.iter().any(|k| k.eq_ignore_ascii_case(kernel));
    // A feature's name for the compiler, and its name in ggml's list where it has one.
    macro_rules! features {
        ($detected:ident: $($name:tt $kernel:literal),+ $(,)?) => {
            vec![$(Feature {
                name: $name,
                used: cfg!(target_feature = $name) || uses($kernel),
                present: std::arch::$detected!($name),
            }),+]
        };
    }
    #[cfg(target_arch = "x86_64")]
    return features![is_x86_feature_detected:
        "sse4.2" "",
        "avx" "avx",
        "avx2" "avx2",
        "bmi2" "bmi2",
        "f16c" "f16c",
        "fma" "fma",
        "avxvnni" "avx_vnni",
        "avx512f" "avx512",
        "avx512vnni" "avx512_vnni",
    ];
    // What the kernel tells here is what every core has, on chips with big and little ones too.
    #[cfg(target_arch = "aarch64")]
    return features![is_aarch64_feature_detected:
        "neon" "neon",
        "dotprod" "dotprod",
        "fp16" "fp16_va",
        "i8mm" "matmul_int8",
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
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
    use super::super::Level;
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

    /// Packages leave Rust's own code plain: what the kernels use counts, and what they need must be there.
    #[test]
    fn what_the_kernels_use_is_used() {
        let (kernel, name) = if cfg!(target_arch = "aarch64") {
            ("MATMUL_INT8", "i8mm")
        } else {
            ("AVX512_VNNI", "avx512vnni")
        };
        let found = features(&[kernel.to_owned()]);
        assert!(found.iter().any(|f| f.name == name && f.used), "{found:?}");
    }

    #[test]
    fn the_cpu_that_runs_this_has_all_that_the_build_uses() {
        let found = features(&[]);
        assert!(!found.is_empty());
        assert_ne!(check_cpu(&found).level, Level::Fail);
    }
}
