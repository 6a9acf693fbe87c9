//! Which package index this machine's pip uses, read the way pip reads it.
//!
//! Only the two settings that matter here: `index-url` and `cert` of `[global]`. Environment first, then the file
//! that PIP_CONFIG_FILE names, the user's file, and the machine's. Not read: extra indexes, find-links, proxies.
//! Invariant: without any configuration the index is the public one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::address::Address;
use super::error::ModelsError;

const PUBLIC_INDEX: &str = "https://pypi.org/simple";

/// Where packages come from and whom to trust for it.
#[derive(Debug, Clone)]
pub(crate) struct PipConfig {
    /// The root of the simple index.
    pub(crate) index: Address,
    /// A PEM file, or a folder of them, that replaces the system's certificates.
    pub(crate) cert: Option<PathBuf>,
}

impl PipConfig {
    /// The configuration of the machine and user that this process runs as.
    pub(crate) fn of_this_machine() -> Result<Self, ModelsError> {
        Self::read(&|name| std::env::var(name).ok(), &|path| std::fs::read_to_string(path).ok())
    }

    /// The same, with the environment and the files given.
    pub(crate) fn read(
        env: &dyn Fn(&str) -> Option<String>,
        file: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Self, ModelsError> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let mut settings = BTreeMap::new();
        for path in config_files(&env) {
            // As with pip: a file that is not there, or may not be read, says nothing.
            settings.extend(file(&path).map(|text| global_section(&text)).unwrap_or_default());
        }
        let index = env("PIP_INDEX_URL").or_else(|| settings.remove("index-url"));
        let index = index.as_deref().unwrap_or(PUBLIC_INDEX).trim().parse();
        let index = index.map_err(|reason| ModelsError::BadConfig {
            what: "the index address of pip (index-url)".into(),
            reason,
            hint: "set PIP_INDEX_URL to an https address, or bring the file with `r2d-edge models import`",
        })?;
        let cert = env("PIP_CERT")
            .or_else(|| settings.remove("cert"))
            .or_else(|| env("SSL_CERT_FILE"))
            .or_else(|| env("REQUESTS_CA_BUNDLE"));
        Ok(Self { index, cert: cert.map(PathBuf::from) })
    }
}

/// The files in the order in which a later one overrides an earlier one.
fn config_files(env: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let chosen = env("PIP_CONFIG_FILE").map(PathBuf::from);
    if chosen.as_deref() == Some(Path::new(if cfg!(windows) { "nul" } else { "/dev/null" })) {
        return Vec::new();
    }
    let mut files = Vec::new();
    let home = env("HOME").or_else(|| env("USERPROFILE")).map(PathBuf::from);
    if cfg!(windows) {
        files.extend(env("ProgramData").map(|folder| Path::new(&folder).join("pip/pip.ini")));
        files.extend(home.map(|home| home.join("pip/pip.ini")));
        files.extend(env("APPDATA").map(|folder| Path::new(&folder).join("pip/pip.ini")));
    } else {
        let shared = env("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
        let mut shared: Vec<_> = shared
            .split(':')
            .filter(|dir| !dir.is_empty())
            .map(|dir| Path::new(dir).join("pip/pip.conf"))
            .collect();
        shared.reverse();
        files.append(&mut shared);
        files.push("/etc/pip.conf".into());
        files.extend(home.as_ref().map(|home| home.join(".pip/pip.conf")));
        let user =
            env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".config")));
        files.extend(user.map(|folder| folder.join("pip/pip.conf")));
    }
    files.extend(chosen);
    files
}

/// The keys of `[global]`, with `_` read as `-` like pip does.
fn global_section(text: &str) -> BTreeMap<String, String> {
    let mut inside = false;
    let mut settings = BTreeMap::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = trimmed.strip_prefix('[') {
            inside = section.split(']').next().is_some_and(|name| name.trim() == "global");
        } else if let (true, Some((key, value))) = (inside, trimmed.split_once(['=', ':'])) {
            settings.insert(key.trim().to_lowercase().replace('_', "-"), value.trim().to_owned());
        }
    }
    settings.retain(|_, value| !value.is_empty());
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(env: &[(&str, &str)], files: &[(&str, &str)]) -> Result<PipConfig, ModelsError> {
        let find = |list: &[(&str, &str)], key: &str| {
            list.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        };
        PipConfig::read(&|name| find(env, name), &|path| find(files, path.to_str()?))
    }

    #[test]
    fn without_configuration_the_index_is_the_public_one() {
        let pip = read(&[], &[]).unwrap();
        assert_eq!((pip.index.to_string().as_str(), pip.cert), (PUBLIC_INDEX, None));
    }

    #[cfg(unix)]
    #[test]
    fn later_files_override_earlier_ones_and_the_environment_overrides_all() {
        let files = [
            ("/etc/pip.conf", "[global]\nindex-url = https://machine.example/simple\ncert = /machine.pem\n"),
            (
                "/home/u/.config/pip/pip.conf",
                "[install]\nindex-url=https://no.example\n[global]\nindex_url: https://user.example/simple\n",
            ),
            ("/chosen.conf", "; chosen\n[global]\n# no\nindex-url = https://chosen.example/simple\n"),
        ];
        let index = |env: &[(&str, &str)]| read(env, &files).unwrap().index.to_string();
        assert_eq!(index(&[]), "https://machine.example/simple");
        assert_eq!(index(&[("HOME", "/home/u")]), "https://user.example/simple");
        let chosen = [("HOME", "/home/u"), ("PIP_CONFIG_FILE", "/chosen.conf")];
        assert_eq!(index(&chosen), "https://chosen.example/simple");
        let both = [("PIP_INDEX_URL", "https://env.example/simple"), ("PIP_CONFIG_FILE", "/chosen.conf")];
        assert_eq!(index(&both), "https://env.example/simple");
        assert_eq!(index(&[("PIP_CONFIG_FILE", "/dev/null")]), PUBLIC_INDEX);
        assert_eq!(read(&[], &files).unwrap().cert, Some("/machine.pem".into()));
        assert_eq!(read(&[("PIP_CERT", "/env.pem")], &files).unwrap().cert, Some("/env.pem".into()));
    }

    #[test]
    fn certificates_named_for_other_programs_are_the_last_choice() {
        let both = [("REQUESTS_CA_BUNDLE", "/requests.pem"), ("SSL_CERT_FILE", "/ssl.pem")];
        assert_eq!(read(&both, &[]).unwrap().cert, Some("/ssl.pem".into()));
        assert_eq!(read(&both[..1], &[]).unwrap().cert, Some("/requests.pem".into()));
    }

    #[test]
    fn an_index_that_is_not_https_is_refused_without_showing_its_password() {
        let error = read(&[("PIP_INDEX_URL", "http://user:s3cret@mirror.example/simple")], &[]).unwrap_err();
        assert!(error.is_usage());
        assert!(
            error.to_string().contains("mirror.example") && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }
}
