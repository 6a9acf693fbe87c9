//! Board profiles: what is known of a board, how it is recognised, and the configuration that fits it.
//!
//! One file a board in `boards/`, all of them part of the program. Not a probe of hardware beyond names and
//! sizes: nothing is measured here. Invariants: some profile fits every machine that the program is built
//! for, or none is applied; a profile sets defaults only, whatever a person configures wins; a profile that
//! is chosen asks for no core that this machine lacks.

mod adapt;
mod fit;

pub use fit::{Fit, fits};

use crate::config::BoardDefaults;
use crate::doctor::{board_name, compatible};
use serde::{Deserialize, Serialize};
use std::path::Path;
use thiserror::Error;

/// What stands for the profile that the board is recognised by.
pub const AUTO: &str = "auto";

/// What is known of a board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Name, as `board.profile` takes it.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// The chip and its cores.
    pub soc: String,
    /// Whether the profile was tried on the real board, in words.
    pub verified: String,
    /// What one should know.
    pub notes: String,
    /// How it is recognised.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What training may use.
    pub training: Training,
    /// Where a panel may hang.
    pub ports: Ports,
    /// Defaults of configuration keys.
    pub config: toml::Table,
    /// What of `config` was changed because this machine has less, a sentence each; see [`choose`].
    #[serde(skip)]
    pub adapted: Vec<String>,
}

/// How a board is recognised: all that is given must hold, but of the board's name and its chip one is
/// enough.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The name that the firmware tells begins with one of these.
    #[serde(default)]
    pub device_tree: Vec<String>,
    /// The device tree says that the board is compatible with one of these, written alike.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// Least memory, in MB; 16-GB boards show less than that.
    #[serde(default)]
    pub min_ram_mb: u64,
    /// Operating system, as Rust names it.
    pub os: Option<String>,
    /// Architecture, as Rust names it.
    pub arch: Option<String>,
}

/// What training may use.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Memory, in MB.
    pub max_memory_mb: u64,
    /// Temperature of the hottest sensor, in degrees Celsius.
    pub max_temperature: Option<u16>,
}

/// Where a panel may hang.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Serial lines, the likeliest first.
    pub serial: Vec<String>,
    /// The chip of the free pins.
    pub gpio: Option<String>,
}

/// Nobody knows the profile.
#[derive(Debug, Error)]
#[error("unknown board profile `{name}`; hint: auto, or one of {known}")]
pub struct UnknownProfile {
    name: String,
    known: String,
}

/// What a board is recognised by, and what it has.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The name that the firmware tells.
    pub name: Option<String>,
    /// What the device tree says the board is compatible with: the board itself first, then its chip.
    pub compatible: Vec<String>,
    /// All memory, in MB; none where nobody knows.
    pub ram_mb: Option<u64>,
    /// Operating system, as Rust names it.
    pub os: &'static str,
    /// Architecture, as Rust names it.
    pub arch: &'static str,
    /// Numbers of the cores that are switched on and that this process may run on; none where nobody knows.
    pub cores: Option<Vec<usize>>,
    /// Threads of this process that can run at once; none where nobody knows.
    pub usable: Option<usize>,
}

macro_rules! profiles {
    ($($name:literal),+ $(,)?) => {
        /// Name and text of each profile: the particular ones first, because the first that fits is taken.
        const PROFILES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../boards/", $name, ".toml"))),)+];
    };
}

profiles![
    "raspberrypi-5-8gb",
    "raspberrypi-4-4gb",
    "rock-5b",
    "jetson-orin-nano-8gb",
    "jetson-agx-orin",
    "apple-silicon",
    "generic-arm64",
    "generic-x86_64",
];

impl Facts {
    /// The facts of this machine; `root` is `/` outside tests. Cores, system and architecture are those that
    /// this program runs on, whatever `root` is.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        Self {
            name: board_name(root).map(|n| n.name),
            compatible: compatible(root),
            ram_mb: crate::doctor::total_memory(root).map(|bytes| bytes / 1_000_000),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cores: crate::affinity::allowed(),
            usable: std::thread::available_parallelism().ok().map(usize::from),
        }
    }
}

impl Match {
    fn fits(&self, facts: &Facts) -> bool {
        // Memory that nobody knows is not taken for plenty.
        self.fits_board(facts)
            && facts.ram_mb.unwrap_or(0) >= self.min_ram_mb
            && self.os.as_ref().is_none_or(|os| os == facts.os)
            && self.arch.as_ref().is_none_or(|arch| arch == facts.arch)
    }

    /// By the board's name, or by its chip: mainline kernels and vendors' name one board differently.
    fn fits_board(&self, facts: &Facts) -> bool {
        let named =
            |prefix: &String| facts.name.as_ref().is_some_and(|name| name.starts_with(prefix.as_str()));
        (self.device_tree.is_empty() && self.compatible.is_empty())
            || self.device_tree.iter().any(named)
            || self.compatible.iter().any(|chip| facts.compatible.contains(chip))
    }
}

/// All profiles, in the order in which they are tried. One that cannot be read is left out; a test reads all.
#[must_use]
pub fn all() -> Vec<Profile> {
    PROFILES.iter().filter_map(|(_, text)| toml::from_str(text).ok()).collect()
}

/// The profile that `facts` fit, as it is written; [`choose`] adapts it to what the machine has.
#[must_use]
pub fn recognise(facts: &Facts) -> Option<Profile> {
    all().into_iter().find(|p| p.matches.fits(facts))
}

/// The profile that `name` means on a machine with `facts`: its cores are those of them that are there, its
/// threads no more than can run at once, and [`Profile::adapted`] says what was changed for that.
///
/// # Errors
/// Nobody knows the name.
pub fn choose(name: &str, facts: &Facts) -> Result<Option<Profile>, UnknownProfile> {
    let found = if name == AUTO { recognise(facts) } else { Some(named(name)?) };
    Ok(found.map(|profile| adapt::to_machine(profile, facts)))
}

fn named(name: &str) -> Result<Profile, UnknownProfile> {
    let all = all();
    let known = || all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    match all.iter().find(|p| p.name == name) {
        Some(profile) => Ok(profile.clone()),
        None => Err(UnknownProfile { name: name.to_owned(), known: known() }),
    }
}

/// Why a service's memory cannot be limited.
#[derive(Debug, Error)]
pub enum UnitError {
    /// Not even the smallest model would fit.
    #[error(
        "{ram_mb} MB of memory less model.headroom_mb = {headroom_mb} MB leaves no room to serve; \
         hint: lower model.headroom_mb"
    )]
    NoRoom {
        /// All memory, in MB.
        ram_mb: u64,
        /// What is to stay free, in MB.
        headroom_mb: u64,
    },
    /// Nobody knows how much memory there is.
    #[error("nobody knows how much memory this machine has; hint: write MemoryMax into the unit yourself")]
    Unknown,
}

/// The least that a unit may be limited to, in MB: the default model with its context.
const LEAST_MB: u64 = 256;

/// A drop-in for the service's systemd unit: all memory but the headroom, in MB, so that a service that grows
/// is ended, and started again, before the board is short of memory.
///
/// # Errors
/// The headroom leaves nothing to serve with, or nobody knows how much memory there is.
pub fn unit(facts: &Facts, profile: Option<&Profile>, headroom_mb: u64) -> Result<String, UnitError> {
    let ram_mb = facts.ram_mb.ok_or(UnitError::Unknown)?;
    let limit = ram_mb.saturating_sub(headroom_mb);
    if limit < LEAST_MB {
        return Err(UnitError::NoRoom { ram_mb, headroom_mb });
    }
    let title = profile.map_or("a board of no known profile", |p| &p.title);
    Ok(format!(
        "# {title}: {ram_mb} MB of memory, {headroom_mb} MB of it kept free.\n[Service]\nMemoryMax={}\n",
        limit * 1_000_000
    ))
}

impl Profile {
    /// The part that sets configuration keys.
    #[must_use]
    pub fn defaults(&self) -> BoardDefaults {
        BoardDefaults { profile: self.name.clone(), table: self.config.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};
    use crate::doctor::fake_root;

    /// What firmware and kernel tell on each board, and the profile that follows.
    const BOARDS: [(&str, &str, u64, &str, &str); 12] = [
        (
            "proc/device-tree/model",
            "Raspberry Pi 5 Model B Rev 1.0\0",
            8_256_000,
            "aarch64",
            "raspberrypi-5-8gb",
        ),
        (
            "proc/device-tree/model",
            "Raspberry Pi 5 Model B Rev 1.1\0",
            16_700_000,
            "aarch64",
            "raspberrypi-5-8gb",
        ),
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0", 4_100_000, "aarch64", "generic-arm64"),
        (
            "proc/device-tree/model",
            "Raspberry Pi 4 Model B Rev 1.4\0",
            3_885_000,
            "aarch64",
            "raspberrypi-4-4gb",
        ),
        (
            "proc/device-tree/model",
            "Raspberry Pi Compute Module 4 Rev 1.0\0",
            7_998_000,
            "aarch64",
            "raspberrypi-4-4gb",
        ),
        ("proc/device-tree/model", "Radxa ROCK 5B\0", 16_200_000, "aarch64", "rock-5b"),
        ("proc/device-tree/model", "Orange Pi 5 Plus\0", 8_100_000, "aarch64", "rock-5b"),
        (
            "proc/device-tree/model",
            "NVIDIA Jetson Orin Nano Developer Kit\0",
            7_620_000,
            "aarch64",
            "jetson-orin-nano-8gb",
        ),
        (
            "proc/device-tree/model",
            "NVIDIA Jetson AGX Orin Developer Kit\0",
            64_300_000,
            "aarch64",
            "jetson-agx-orin",
        ),
        ("proc/device-tree/model", "Some Other Board\0", 2_000_000, "aarch64", "generic-arm64"),
        ("sys/class/dmi/id/product_name", "OptiPlex 7090\n", 16_000_000, "x86_64", "generic-x86_64"),
        ("unused", "", 1_000_000, "x86_64", "generic-x86_64"),
    ];

    /// Names as mainline kernels write them, with what the device tree is compatible with.
    const RK3588: [(&str, &str); 6] = [
        ("Xunlong Orange Pi 5\0", "xunlong,orangepi-5\0rockchip,rk3588s\0"),
        ("Xunlong Orange Pi 5 Plus\0", "xunlong,orangepi-5-plus\0rockchip,rk3588\0"),
        ("FriendlyElec NanoPi R6S\0", "friendlyarm,nanopi-r6s\0rockchip,rk3588s\0"),
        ("FriendlyElec CM3588 NAS\0", "friendlyarm,cm3588-nas\0friendlyarm,cm3588\0rockchip,rk3588\0"),
        ("Khadas Edge2\0", "khadas,edge2\0rockchip,rk3588s\0"),
        ("Radxa E52C\0", "radxa,e52c\0rockchip,rk3582\0rockchip,rk3588s\0"),
    ];

    const MEMORY: &str = "MemTotal:       8100000 kB\nMemAvailable:   1000 kB\n";

    fn recognised(files: &[(&str, &str)]) -> String {
        let root = fake_root(files);
        let facts = Facts { arch: "aarch64", os: "linux", ..Facts::read(root.path()) };
        recognise(&facts).unwrap().name
    }

    #[test]
    fn an_rk3588_is_recognised_by_its_chip_whatever_the_board_is_called() {
        let (model, chip) = ("proc/device-tree/model", "proc/device-tree/compatible");
        for (name, told) in RK3588 {
            let found = recognised(&[(model, name), (chip, told), ("proc/meminfo", MEMORY)]);
            assert_eq!(found, "rock-5b", "{name}");
            let found =
                recognised(&[(model, "A name of tomorrow\0"), (chip, told), ("proc/meminfo", MEMORY)]);
            assert_eq!(found, "rock-5b", "{told}");
        }
        // Where only the name is told, the names that are known do.
        for &(name, _) in &RK3588[..5] {
            assert_eq!(recognised(&[(model, name), ("proc/meminfo", MEMORY)]), "rock-5b", "{name}");
        }
        // Part of an entry is another chip.
        for other in ["rockchip,rk3588x\0", "some,rockchip,rk3588\0", "rockchip,rk3566\0", ""] {
            let found = recognised(&[(model, "Other\0"), (chip, other), ("proc/meminfo", MEMORY)]);
            assert_eq!(found, "generic-arm64", "{other}");
        }
    }

    #[test]
    fn every_profile_is_recognised_by_what_its_board_tells() {
        let mut seen = vec!["apple-silicon".to_owned()];
        for (file, name, kilobytes, arch, wanted) in BOARDS {
            let memory = format!("MemTotal:       {kilobytes} kB\nMemAvailable:   1000 kB\n");
            let root = fake_root(&[(file, name), ("proc/meminfo", &memory)]);
            let facts = Facts { arch, os: "linux", ..Facts::read(root.path()) };
            let found = recognise(&facts).unwrap();
            assert_eq!(found.name, wanted, "{facts:?}");
            seen.push(found.name);
        }
        let mac = Facts { os: "macos", arch: "aarch64", ..Facts::default() };
        assert_eq!(recognise(&mac).unwrap().name, "apple-silicon");
        assert!(PROFILES.iter().all(|(name, _)| seen.iter().any(|s| s == name)), "{seen:?}");
        assert!(recognise(&Facts { arch: "riscv64", os: "linux", ..mac }).is_none());
    }

    #[test]
    fn every_profile_is_whole_and_sets_only_keys_that_there_are() {
        assert_eq!(all().len(), PROFILES.len());
        for ((name, _), profile) in PROFILES.iter().zip(all()) {
            assert_eq!(*name, profile.name);
            let sources = Sources { board: Some(profile.defaults()), ..Sources::default() };
            let loaded = Config::load(&sources).unwrap_or_else(|e| panic!("{name}: {e}"));
            // Of a board that nobody knows there is nothing to set but what everybody gets.
            let generic = name.starts_with("generic-");
            assert_eq!(loaded.config == Config::default(), generic, "{name}");
            assert!(!profile.verified.is_empty() && !profile.ports.serial.is_empty());
            assert!(profile.adapted.is_empty());
        }
    }

    #[test]
    fn a_profile_may_be_named() {
        let facts = Facts { ram_mb: Some(1), os: "linux", arch: "x86_64", ..Facts::default() };
        assert_eq!(choose("rock-5b", &facts).unwrap().unwrap().name, "rock-5b");
        assert_eq!(choose(AUTO, &facts).unwrap().unwrap().name, "generic-x86_64");
        let error = choose("pi9", &facts).unwrap_err().to_string();
        assert!(error.contains("`pi9`") && error.contains("raspberrypi-4-4gb"), "{error}");
    }

    #[test]
    fn the_unit_may_use_all_memory_but_the_headroom() {
        let facts = Facts { ram_mb: Some(8_000), os: "linux", arch: "aarch64", ..Facts::default() };
        let drop_in = unit(&facts, None, 512).unwrap();
        assert!(drop_in.ends_with("[Service]\nMemoryMax=7488000000\n"), "{drop_in}");
        assert!(matches!(unit(&facts, None, 7_900), Err(UnitError::NoRoom { ram_mb: 8_000, .. })));
        assert!(matches!(unit(&Facts { ram_mb: None, ..facts }, None, 512), Err(UnitError::Unknown)));
    }

    #[test]
    fn a_chosen_profile_asks_for_no_more_than_the_machine_has() {
        let facts = Facts { cores: Some(vec![0, 1, 2, 3]), usable: Some(4), ..Facts::default() };
        let orin = choose("jetson-agx-orin", &facts).unwrap().unwrap();
        assert!(orin.adapted.len() == 1 && orin.adapted[0].contains("model.threads"), "{:?}", orin.adapted);
        let sources = Sources { board: Some(orin.defaults()), ..Sources::default() };
        assert_eq!(Config::load(&sources).unwrap().config.model.threads, 4);
        // What a person sets is left alone, and wins.
        let by_hand = Sources { sets: vec!["model.threads=8".into()], ..sources };
        assert_eq!(Config::load(&by_hand).unwrap().config.model.threads, 8);
    }
}
