//! The board's name, as its firmware tells it, and the profile that is applied.
//!
//! Not the profiles themselves (see [`crate::board`]). Invariant: a name has no control characters and is not empty.

use super::Check;
use crate::board::{Facts, Profile};
use std::path::Path;

/// A board's name and where it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardName {
    /// The name.
    pub name: String,
    /// The file that told it, below the root.
    pub source: &'static str,
}

/// The name of this board; `root` is `/` outside tests.
#[must_use]
pub fn board_name(root: &Path) -> Option<BoardName> {
    // The device tree first: ARM boards with UEFI have both, and the tree's name is the more exact.
    ["proc/device-tree/model", "sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name"]
        .into_iter()
        .find_map(|source| {
            let text = std::fs::read(root.join(source)).ok()?;
            // The device tree ends its texts with a NUL.
            let name: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect();
            let name = name.trim().to_owned();
            (!name.is_empty()).then_some(BoardName { name, source })
        })
}

/// Which profile the board got, and why.
#[must_use]
pub fn check_board(facts: &Facts, profile: Option<&Profile>) -> Check {
    let name = facts.name.as_deref().unwrap_or("a board that tells no name");
    let found = format!("{name}, {} MB, {} {}", facts.ram_mb, facts.os, facts.arch);
    match profile {
        Some(profile) => {
            let Profile { name, title, verified, notes, .. } = profile;
            Check::ok("board", format!("{found}: profile {name} ({title}; {verified}). {notes}"))
        }
        None => {
            Check::warn("board", found, "no profile fits: set model.threads and model.headroom_mb yourself")
        }
    }
}

/// Which of the known models fit the memory, with the sum.
#[must_use]
pub fn check_models(fits: &[crate::board::Fit]) -> Check {
    let one = |f: &crate::board::Fit| {
        let sign = if f.fits() { "fits" } else { "does not fit" };
        format!("{} {sign} ({} of {} MB)", f.model, f.need_mb, f.have_mb)
    };
    let told = fits.iter().map(one).collect::<Vec<_>>().join(", ");
    if fits.iter().any(crate::board::Fit::fits) {
        Check::ok("models", told)
    } else {
        Check::warn(
            "models",
            told,
            "none of the known models fits: take a smaller one, or lower model.headroom_mb",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, tests::fake_root};
    use super::*;

    #[test]
    fn boards_are_known_by_device_tree_or_dmi() {
        let boards: [(&[(&str, &str)], &str); 3] = [
            (
                &[("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")],
                "Raspberry Pi 5 Model B Rev 1.0",
            ),
            (
                &[
                    ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
                    ("sys/class/dmi/id/product_name", "Jetson\n"),
                ],
                "NVIDIA Jetson Orin Nano Developer Kit",
            ),
            (&[("sys/class/dmi/id/product_name", "OptiPlex 7090\n")], "OptiPlex 7090"),
        ];
        for (files, name) in boards {
            let found = board_name(fake_root(files).path()).unwrap();
            assert_eq!(found.name, name);
        }
    }

    #[test]
    fn a_board_may_tell_no_name() {
        for files in [&[][..], &[("proc/device-tree/model", "\0")]] {
            assert_eq!(board_name(fake_root(files).path()), None);
        }
    }

    #[test]
    fn the_profile_is_told_with_what_it_was_chosen_by() {
        let facts = Facts { name: Some("Radxa ROCK 5B".into()), ram_mb: 8000, os: "linux", arch: "aarch64" };
        let profile = crate::board::recognise(&facts);
        let check = check_board(&facts, profile.as_ref());
        assert_eq!(check.level, Level::Ok);
        for part in ["Radxa ROCK 5B, 8000 MB", "profile rock-5b", "not run on this board"] {
            assert!(check.detail.contains(part), "{part}: {}", check.detail);
        }
        assert_eq!(check_board(&facts, None).level, Level::Warn);
    }

    #[test]
    fn models_are_summed_against_the_memory() {
        let fit = |model: &str, need_mb| crate::board::Fit { model: model.into(), need_mb, have_mb: 3500 };
        let check = check_models(&[fit("small", 500), fit("large", 9000)]);
        assert_eq!(check.level, Level::Ok);
        assert!(check.detail.contains("large does not fit (9000 of 3500 MB)"), "{}", check.detail);
        assert_eq!(check_models(&[fit("large", 9000)]).level, Level::Warn);
    }
}
