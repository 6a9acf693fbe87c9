//! Where the state and the configuration file are.
//!
//! Not their contents, and no look at the real environment: both are functions of what they are given.
//! Invariant: an empty variable counts as one that is not set.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

const FOLDER: &str = "r2d-edge";
const SYSTEM_CONFIG: &str = "/etc/r2d-edge/config.toml";
const SYSTEM_STATE: &str = "/var/lib/r2d-edge";

/// Which customs for folders hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// XDG folders: Linux and all else.
    Xdg,
    /// macOS.
    MacOs,
}

impl Platform {
    /// The platform of this build.
    #[must_use]
    pub fn here() -> Self {
        if cfg!(target_os = "macos") { Self::MacOs } else { Self::Xdg }
    }
}

/// Looks a variable up; `std::env::var_os` outside tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The folder of the state: models, audit log, outbox.
///
/// `R2D_HOME`, else the folder that systemd gives a service, else the user's data folder, else `/var/lib`.
#[must_use]
pub fn state_home(env: Lookup<'_>, platform: Platform) -> PathBuf {
    if let Some(home) = set(env, "R2D_HOME") {
        return home.into();
    }
    // Before the user's folder: a service may have a HOME that it must not write to.
    if let Some(list) = set(env, "STATE_DIRECTORY")
        && let Some(first) = std::env::split_paths(&list).find(|path| path.is_absolute())
    {
        return first;
    }
    user_folder(env, platform, "XDG_DATA_HOME", ".local/share")
        .map_or_else(|| SYSTEM_STATE.into(), |data| data.join(FOLDER))
}

/// The configuration file: `flag`, else `R2D_CONFIG`, else the first that `exists` of the user's and the system's.
///
/// A file that was named is returned unseen, so that a wrong name is an error and not a silent default.
#[must_use]
pub fn config_file(
    flag: Option<&Path>,
    env: Lookup<'_>,
    platform: Platform,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<PathBuf> {
    if let Some(named) = flag.map(Path::to_owned).or_else(|| set(env, "R2D_CONFIG").map(PathBuf::from)) {
        return Some(named);
    }
    let user = user_folder(env, platform, "XDG_CONFIG_HOME", ".config");
    let of_user = user.map(|folder| folder.join(FOLDER).join("config.toml"));
    of_user.into_iter().chain([SYSTEM_CONFIG.into()]).find(|path| exists(path))
}

fn user_folder(env: Lookup<'_>, platform: Platform, xdg: &str, below_home: &str) -> Option<PathBuf> {
    let home = || set(env, "HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    match platform {
        Platform::MacOs => Some(home()?.join("Library/Application Support")),
        // The XDG specification has relative paths ignored.
        Platform::Xdg => set(env, xdg)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(home()?.join(below_home))),
    }
}

fn set(env: Lookup<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

/// The name of this machine, as the kernel has it.
#[must_use]
pub fn host_name() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set<'a> = &'a [(&'a str, &'a str)];

    fn lookup<'a>(set: Set<'a>) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn the_state_folder_follows_this_table() {
        use Platform::{MacOs, Xdg};
        let table: [(Set<'_>, Platform, &str); 9] = [
            (&[("R2D_HOME", "/r"), ("STATE_DIRECTORY", "/s"), ("HOME", "/h")], Xdg, "/r"),
            (&[("STATE_DIRECTORY", "/s"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Xdg, "/s"),
            (&[("STATE_DIRECTORY", "/s:/t")], Xdg, "/s"),
            (&[("R2D_HOME", ""), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Xdg, "/x/r2d-edge"),
            (&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")], Xdg, "/h/.local/share/r2d-edge"),
            (&[("HOME", "/h")], Xdg, "/h/.local/share/r2d-edge"),
            (&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")], MacOs, "/h/Library/Application Support/r2d-edge"),
            (&[("HOME", "")], Xdg, "/var/lib/r2d-edge"),
            (&[], MacOs, "/var/lib/r2d-edge"),
        ];
        for (env, platform, folder) in table {
            assert_eq!(state_home(&lookup(env), platform), Path::new(folder), "{env:?}");
        }
    }

    #[test]
    fn the_configuration_file_is_the_named_one_or_the_first_that_exists() {
        let user = "/h/.config/r2d-edge/config.toml";
        let env: Set<'_> = &[("HOME", "/h")];
        let named: Set<'_> = &[("HOME", "/h"), ("R2D_CONFIG", "/c.toml")];
        let find = |flag: Option<&str>, env, there: &[&str]| {
            let exists = |path: &Path| there.iter().any(|t| Path::new(t) == path);
            config_file(flag.map(Path::new), &lookup(env), Platform::Xdg, &exists)
        };
        assert_eq!(find(Some("/f.toml"), named, &[user]), Some("/f.toml".into()));
        assert_eq!(find(None, named, &[user]), Some("/c.toml".into()));
        assert_eq!(find(None, env, &[user, SYSTEM_CONFIG]), Some(user.into()));
        assert_eq!(find(None, env, &[SYSTEM_CONFIG]), Some(SYSTEM_CONFIG.into()));
        assert_eq!(find(None, env, &[]), None);
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(host_name().is_some_and(|name| !name.is_empty()));
    }
}
