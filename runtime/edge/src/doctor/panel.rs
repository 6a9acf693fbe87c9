//! Whether the panels' serial lines are there for this user.
//!
//! Not whether a panel answers: no line is opened, for opening one restarts some boards, and nothing is sent.
//! Invariant: a device that is named twice fails, whatever its names are.

use super::Check;
use crate::board::Ports;
use rustix::fs::Access;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

const NAME: &str = "panel";

/// What keeps a line from being used.
#[derive(Debug)]
enum Fault {
    /// No such file.
    Absent,
    /// It cannot be looked at.
    Hidden(String),
    /// It is something else.
    NotSerial,
    /// This user may not read and write it.
    Closed(String),
}

/// One check for each of `panel.lines`; `ports` are the serial lines of the board, the likeliest first.
/// `root`, where the kernel's lists are looked up, is `/` outside tests.
#[must_use]
pub fn check_panel(root: &Path, lines: &[String], ports: Option<&Ports>) -> Vec<Check> {
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut checks = Vec::new();
    // A text that is no line was refused with the configuration.
    for (device, station) in lines.iter().filter_map(|line| crate::serial::parse_line(line)) {
        let told = format!("{device} for {station}");
        // /dev/serial0 and names by id or path are links.
        let real = std::fs::canonicalize(device).unwrap_or_else(|_| PathBuf::from(device));
        if seen.contains(&real) {
            let detail = format!("{told}: panel.lines names this device twice ({})", real.display());
            checks.push(Check::fail(
                NAME,
                detail,
                "a device has one panel: give each station a line of its own",
            ));
            continue;
        }
        seen.push(real);
        checks.push(judge(&told, look(root, Path::new(device)), ports));
    }
    checks
}

fn judge(told: &str, found: Result<(), Fault>, ports: Option<&Ports>) -> Check {
    let Err(fault) = found else {
        return Check::ok(NAME, format!("{told}: this user may open it (not tried)"));
    };
    let (reason, hint) = match fault {
        Fault::Absent => ("is not there".to_owned(), other_ports(ports)),
        Fault::Hidden(reason) => (format!("cannot be looked at: {reason}"), other_ports(ports)),
        Fault::NotSerial => ("is no serial line".to_owned(), other_ports(ports)),
        Fault::Closed(reason) => (
            format!("this user may not open it: {reason}"),
            "add the service's user to the group that owns it, often dialout".to_owned(),
        ),
    };
    Check::warn(NAME, format!("{told}: {reason}"), hint)
}

/// Where else the panel may hang, and which of that is there.
fn other_ports(ports: Option<&Ports>) -> String {
    const HINT: &str = "plug it in, or name its device in panel.lines";
    let name = |port: &String| match Path::new(port).exists() {
        true => format!("{port} (is there)"),
        false => port.clone(),
    };
    match ports {
        Some(ports) if !ports.serial.is_empty() => {
            format!(
                "{HINT}; on this board one of {}",
                ports.serial.iter().map(name).collect::<Vec<_>>().join(", ")
            )
        }
        _ => HINT.to_owned(),
    }
}

/// Looks at `device` without opening it.
fn look(root: &Path, device: &Path) -> Result<(), Fault> {
    let found = std::fs::metadata(device).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Fault::Absent,
        _ => Fault::Hidden(e.to_string()),
    })?;
    let other = || subsystem(root, &found).is_some_and(|name| name != "tty");
    if !found.file_type().is_char_device() || other() {
        return Err(Fault::NotSerial);
    }
    rustix::fs::access(device, Access::READ_OK | Access::WRITE_OK).map_err(|e| Fault::Closed(e.to_string()))
}

/// The kernel's kind of a character device, where it is told: not for pseudo-terminals, nor outside Linux.
#[cfg(target_os = "linux")]
fn subsystem(root: &Path, device: &Metadata) -> Option<String> {
    let number = std::os::unix::fs::MetadataExt::rdev(device);
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let link = std::fs::read_link(root.join(format!("sys/dev/char/{major}:{minor}/subsystem"))).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

#[cfg(not(target_os = "linux"))]
fn subsystem(_root: &Path, _device: &Metadata) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Level, tests::fake_root};
    use super::*;

    fn ports() -> Ports {
        Ports { serial: vec!["/dev/null".into(), "/dev/no-such-line".into()], gpio: None }
    }

    fn check(root: &Path, lines: &[&str]) -> Vec<Check> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        check_panel(root, &lines, Some(&ports()))
    }

    #[test]
    fn each_line_gets_a_check_and_no_line_none() {
        let root = fake_root(&[("file", "")]);
        assert!(check(root.path(), &[]).is_empty());
        let file = format!("{}=press-5", root.path().join("file").display());
        // A character device that everybody may open; what kind it is nobody tells below this root.
        let found = check(root.path(), &["/dev/null=press-3", "/dev/no-such-thing=press-4", &file]);
        let levels: Vec<Level> = found.iter().map(|c| c.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Warn, Level::Warn]);
        assert!(found[1].detail.ends_with("/dev/no-such-thing for press-4: is not there"), "{:?}", found[1]);
        assert!(found[2].detail.ends_with("is no serial line"), "{:?}", found[2]);
        let hint = found[1].hint.as_ref().unwrap();
        assert!(hint.ends_with("one of /dev/null (is there), /dev/no-such-line"), "{hint}");
    }

    #[test]
    fn a_device_that_is_named_twice_fails_by_whatever_name() {
        let root = fake_root(&[]);
        let link = root.path().join("serial0");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let link = format!("{}=press-5", link.display());
        let found = check(root.path(), &["/dev/null=press-4", &link, "/dev/no-such-thing=press-4"]);
        assert_eq!(found[1].level, Level::Fail);
        assert!(found[1].detail.contains("twice (/dev/null)"), "{}", found[1].detail);
        assert_eq!((found[0].level, found[2].level), (Level::Ok, Level::Warn));
        let twice = check(root.path(), &["/dev/no-such-thing=press-4", "/dev/no-such-thing=press-5"]);
        assert_eq!(twice[1].level, Level::Fail);
    }

    #[test]
    fn a_line_that_this_user_may_not_open_warns_with_what_to_do() {
        let check = judge("/dev/x for press-4", Err(Fault::Closed("denied".into())), None);
        assert_eq!(
            (check.level, check.detail.as_str()),
            (Level::Warn, "/dev/x for press-4: this user may not open it: denied")
        );
        assert!(check.hint.unwrap().contains("dialout"));
        let hidden = judge("/dev/x for press-4", Err(Fault::Hidden("denied".into())), None);
        assert!(hidden.hint.unwrap().ends_with("panel.lines"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_character_device_that_is_no_terminal_warns() {
        // /dev/null's number, and what the kernel may say of it.
        for (kind, level) in [("mem", Level::Warn), ("tty", Level::Ok)] {
            let root = fake_root(&[("sys/dev/char/1:3/dev", "1:3\n")]);
            let link = root.path().join("sys/dev/char/1:3/subsystem");
            std::os::unix::fs::symlink(format!("../../../../class/{kind}"), link).unwrap();
            assert_eq!(check(root.path(), &["/dev/null=press-4"])[0].level, level, "{kind}");
        }
    }
}
