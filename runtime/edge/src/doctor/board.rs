//! The board's name and chip, as its firmware tells them, and the profile that is applied.
//!
//! Not the profiles themselves (see [`crate::board`]). Invariant: a name has no control characters and is not
//! empty.

use super::Check;
use crate::board::{Facts, Fit, Profile};
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

/// What the device tree says this board is compatible with, the board first and its chip behind; nothing
/// where there is no device tree. `root` is `/` outside tests.
#[must_use]
pub fn compatible(root: &Path) -> Vec<String> {
    ["proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"]
        .into_iter()
        .find_map(|source| std::fs::read(root.join(source)).ok())
        .map(|text| entries(&text))
        .unwrap_or_default()
}

/// The entries of a device tree's list, each of which ends with a NUL.
fn entries(text: &[u8]) -> Vec<String> {
    let entry = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|s| s.trim().to_owned());
    text.split(|byte| *byte == 0)
        .filter_map(entry)
        .filter(|entry| !entry.is_empty() && !entry.chars().any(char::is_control))
        .collect()
}

/// Which profile the board got, and why; a warning where the machine has less than the profile asks for.
#[must_use]
pub fn check_board(facts: &Facts, profile: Option<&Profile>) -> Check {
    const NAME: &str = "board";
    const LESS: &str = "switch the other cores on (a Jetson: `nvpmodel -q` tells its mode) or let this \
                        process use them; what you set as model.threads and model.cores wins";
    let name = facts.name.as_deref().unwrap_or("a board that tells no name");
    let ram = facts.ram_mb.map_or_else(|| "memory unknown".to_owned(), |mb| format!("{mb} MB"));
    let found = format!("{name}, {ram}, {} {}", facts.os, facts.arch);
    let Some(Profile { name, title, verified, notes, adapted, .. }) = profile else {
        return Check::warn(NAME, found, "no profile fits: set model.threads and model.headroom_mb yourself");
    };
    let applied = format!("{found}: profile {name} ({title}; {verified}). {notes}");
    if adapted.is_empty() {
        Check::ok(NAME, applied)
    } else {
        Check::warn(NAME, format!("{applied} But here {}", adapted.join("; ")), LESS)
    }
}

/// Which of the known models fit the memory, with the sum in MB; no warning where the memory is unknown.
#[must_use]
pub fn check_models(fits: &[Fit]) -> Check {
    let one = |f: &Fit| match f.have_mb {
        Some(have) if f.fits() => format!("{} fits ({} of {have} MB)", f.model, f.need_mb),
        Some(have) => format!("{} does not fit ({} of {have} MB)", f.model, f.need_mb),
        None => format!("{} unknown (needs {} MB)", f.model, f.need_mb),
    };
    let told = fits.iter().map(one).collect::<Vec<_>>().join(", ");
    if fits.iter().any(|f| f.fits() || f.have_mb.is_none()) {
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
    fn a_board_tells_what_it_is_compatible_with() {
        let list = "xunlong,orangepi-5\0rockchip,rk3588s\0";
        for file in ["proc/device-tree/compatible", "sys/firmware/devicetree/base/compatible"] {
            let found = compatible(fake_root(&[(file, list)]).path());
            assert_eq!(found, ["xunlong,orangepi-5", "rockchip,rk3588s"]);
        }
        assert!(compatible(fake_root(&[]).path()).is_empty());
        assert_eq!(entries(b"\0\xff\0a,b\0c\x07\0 \0d,e"), ["a,b", "d,e"]);
    }

    fn rock() -> Facts {
        let name = Some("Radxa ROCK 5B".into());
        Facts { name, ram_mb: Some(8000), os: "linux", arch: "aarch64", ..Facts::default() }
    }

    #[test]
    fn a_profile_that_asks_for_more_than_there_is_warns() {
        let facts = Facts { cores: Some(vec![0, 1, 2, 3, 4, 5]), usable: Some(6), ..rock() };
        let profile = crate::board::choose("auto", &facts).unwrap();
        let check = check_board(&facts, profile.as_ref());
        assert_eq!(check.level, Level::Warn);
        for part in ["model.cores = 4-7: 6-7 not there, so it is 4-5", "model.threads = 4"] {
            assert!(check.detail.contains(part), "{part}: {}", check.detail);
        }
    }

    #[test]
    fn the_profile_is_told_with_what_it_was_chosen_by() {
        let facts = rock();
        let profile = crate::board::recognise(&facts);
        let check = check_board(&facts, profile.as_ref());
        assert_eq!(check.level, Level::Ok);
        for part in ["Radxa ROCK 5B, 8000 MB", "profile rock-5b", "not run on this board"] {
            assert!(check.detail.contains(part), "{part}: {}", check.detail);
        }
        assert_eq!(check_board(&facts, None).level, Level::Warn);
        let unknown = check_board(&Facts { ram_mb: None, ..facts }, None);
        assert!(unknown.detail.contains("memory unknown"), "{}", unknown.detail);
    }

    #[test]
    fn models_are_summed_against_the_memory() {
        let fit = |model: &str, need_mb| Fit { model: model.into(), need_mb, have_mb: Some(3500) };
        let check = check_models(&[fit("small", 500), fit("large", 9000)]);
        assert_eq!(check.level, Level::Ok);
        assert!(check.detail.contains("large does not fit (9000 of 3500 MB)"), "{}", check.detail);
        assert_eq!(check_models(&[fit("large", 9000)]).level, Level::Warn);
        let unknown = Fit { have_mb: None, ..fit("small", 500) };
        assert_eq!(check_models(&[unknown]), Check::ok("models", "small unknown (needs 500 MB)"));
    }
}
