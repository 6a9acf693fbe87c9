//! Checks of the machine and of what the service needs of it.
//!
//! Not a repair and not the rendering: each check is a function of what it is given, returns a [`Check`] and
//! changes nothing. Invariant: a check that cannot find out says so with a warning; it never passes by
//! default. Only the list of models that would fit says "unknown" instead: nothing runs or fails by it.

mod board;
mod broker;
mod clock;
mod core_list;
mod cpu;
mod gpu;
mod memory;
mod model;
mod panel;
mod storage;
mod sysctl;
mod topology;

pub use board::{BoardName, board_name, check_board, check_models, compatible};
pub use broker::check_broker;
pub use clock::check_clock;
pub use core_list::check_core_list;
pub use cpu::{Feature, check_cpu, features};
pub use gpu::check_gpu;
pub use memory::{MemoryFound, MemoryNeed, available_memory, check_memory, check_memory_limit, total_memory};
pub use model::check_model;
pub use panel::check_panel;
pub use storage::{check_free_space, check_home, free_bytes};
pub use topology::{Cores, check_cores, count_cores};

use serde::Serialize;

/// How a check came out, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It runs, but slower, or not for long, or nobody knows.
    Warn,
    /// It will not run.
    Fail,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found, with its numbers.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, detail: detail.into(), hint: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, detail: detail.into(), hint: Some(hint.into()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, detail: detail.into(), hint: Some(hint.into()) }
    }
}

/// The worst level of `checks`; [`Level::Warn`] when there are none, for then nothing is known.
#[must_use]
pub fn worst(checks: &[Check]) -> Level {
    checks.iter().map(|check| check.level).max().unwrap_or(Level::Warn)
}

/// `bytes` for people.
fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
pub(crate) use tests::fake_root;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::Path;

    /// Writes `files` below `root`, each as path and content.
    pub(crate) fn fake_root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_worst_check_decides() {
        let ok = Check::ok("a", "");
        let (warn, fail) = (Check::warn("b", "", ""), Check::fail("c", "", ""));
        assert_eq!(worst(&[ok.clone(), warn.clone(), ok.clone()]), Level::Warn);
        assert_eq!(worst(&[fail, warn, ok.clone()]), Level::Fail);
        assert_eq!(worst(&[ok]), Level::Ok);
        assert_eq!(worst(&[]), Level::Warn);
    }

    #[test]
    fn a_check_is_plain_data() {
        let json = serde_json::to_string(&Check::fail("disk", "full", "delete")).unwrap();
        assert_eq!(json, r#"{"name":"disk","level":"fail","detail":"full","hint":"delete"}"#);
        assert_eq!(
            serde_json::to_string(&Check::ok("disk", "free")).unwrap(),
            r#"{"name":"disk","level":"ok","detail":"free"}"#
        );
    }
}
