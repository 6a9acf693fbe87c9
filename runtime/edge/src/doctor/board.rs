//! The board's name, as its firmware tells it.
//!
//! Not the profile (see the boards' own files). Invariant: a name has no control characters and is not empty.

use super::Check;
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

/// Whether the board tells its name.
#[must_use]
pub fn check_board(board: Option<&BoardName>) -> Check {
    match board {
        Some(board) => Check::ok("board", format!("{} (/{})", board.name, board.source)),
        None => Check::warn("board", "tells no name", "set board.profile to the profile that fits"),
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
            assert_eq!(check_board(Some(&found)).level, Level::Ok);
        }
    }

    #[test]
    fn a_board_without_a_name_warns() {
        for files in [&[][..], &[("proc/device-tree/model", "\0")]] {
            let found = board_name(fake_root(files).path());
            assert_eq!(found, None);
            assert_eq!(check_board(found.as_ref()).level, Level::Warn);
        }
    }
}
