//! Numbers that macOS tells through its program `sysctl`.
//!
//! Elsewhere it knows nothing: Linux tells the same in files. Invariant: it returns within a second, and what
//! is no number is unknown.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/sbin/sysctl";
/// Longest wait for the program.
const PATIENCE: Duration = Duration::from_millis(900);
/// From one look at the program to the next.
const PAUSE: Duration = Duration::from_millis(2);
/// Most that is read of what it says, in bytes.
const MAX_BYTES: u64 = 64;

/// The number that the system has under `name`, in the unit that it has there; none where nobody knows. The
/// program speaks of this machine alone, so under any other `root` than `/` nothing is known.
pub(super) fn ask(root: &Path, name: &str) -> Option<u64> {
    if !cfg!(target_os = "macos") || root != Path::new("/") {
        return None;
    }
    number(&say(Command::new(PROGRAM).args(["-n", name]), PATIENCE)?)
}

/// The number in what the program says.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// What `command` says before it ends well, if it does within `patience`.
fn say(command: &mut Command, patience: Duration) -> Option<String> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let status = end(&mut child, patience)?;
    let mut text = String::new();
    child.stdout.take()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}

/// Waits for `child`; one that takes longer than `patience` is ended.
fn end(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(PAUSE),
            _ => {
                let _ended = child.kill().and_then(|()| child.wait());
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_one() {
        assert_eq!(number("17179869184\n"), Some(17_179_869_184));
        assert_eq!(number(" 8 "), Some(8));
        for bad in ["", "\n", "-1", "8 GB", "hw.memsize: 8", "99999999999999999999"] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_unknown() {
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(ask(elsewhere.path(), "hw.memsize"), None);
        assert_eq!(ask(Path::new("/"), "hw.no_such_name"), None);
    }

    #[test]
    fn a_program_is_heard_only_if_it_ends_well() {
        const MINUTE: Duration = Duration::from_secs(60);
        let shell = |words: &str, patience| say(Command::new("/bin/sh").args(["-c", words]), patience);
        assert_eq!(shell("echo 8", MINUTE).as_deref(), Some("8\n"));
        assert_eq!(shell("echo 8; exit 1", MINUTE), None);
        assert_eq!(shell("echo 8; exec sleep 60", Duration::ZERO), None);
        assert_eq!(say(&mut Command::new("/no/such/program"), MINUTE), None);
    }
}
