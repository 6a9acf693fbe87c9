//! What packages carry besides the program: the launcher, the unit, and the files for cross.
//!
//! Not the packages themselves, whose builds take half an hour: `scripts/check-package.sh` installs, upgrades and removes
//! them in a Debian system of its own.

use r2d_tests::process::{have, output, skip, text};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn executable(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The launcher among `builds`, each of which prints its own name; what it printed, and its exit code.
fn launch(builds: &[&str]) -> (String, Option<i32>) {
    let system = tempfile::tempdir().unwrap();
    let launcher = system.path().join("bin/r2d-edge");
    executable(&launcher, &fs::read_to_string(root().join("scripts/package/r2d-edge")).unwrap());
    for build in builds {
        let script = format!("#!/bin/sh\necho {build} \"$@\"\nexit 7\n");
        executable(&system.path().join("lib/r2d-edge").join(build).join("r2d-edge"), &script);
    }
    let out = output(Command::new(launcher).args(["ask", "two words"]));
    (text(&out.stdout).trim().to_owned(), out.status.code())
}

#[test]
fn the_launcher_starts_a_build_that_the_cpu_can_run_and_hands_everything_on() {
    assert_eq!(launch(&["plain"]), ("plain ask two words".into(), Some(7)));
    // Each architecture lists the other's features nowhere, so that build is passed over.
    let foreign = if cfg!(target_arch = "aarch64") { "v3" } else { "dotprod" };
    assert_eq!(launch(&[foreign, "plain"]), ("plain ask two words".into(), Some(7)));
    assert_eq!(launch(&[foreign]), (String::new(), Some(3)));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_launcher_prefers_the_build_that_uses_most_of_the_cpu() {
    let expected = if std::arch::is_x86_feature_detected!("avx2") { "v3" } else { "plain" };
    assert_eq!(launch(&["plain", "v3"]).0, format!("{expected} ask two words"));
}

#[test]
fn the_service_runs_the_release_that_is_in_force_and_else_the_packages() {
    let system = tempfile::tempdir().unwrap();
    let at = |path: &str| system.path().join(path);
    let script = fs::read_to_string(root().join("scripts/package/release")).unwrap();
    let packages = at("usr/bin/r2d-edge");
    let ours = script.replace("release=/usr/bin/r2d-edge", &format!("release={}", packages.display()));
    assert_ne!(ours, script);
    executable(&at("release"), &ours);
    executable(&packages, "#!/bin/sh\necho package \"$@\"\n");
    let run = |state: Option<&str>| {
        let mut command = Command::new(at("release"));
        command.args(["serve", "two words"]).env_remove("STATE_DIRECTORY");
        if let Some(state) = state {
            command.env("STATE_DIRECTORY", at(state));
        }
        text(&output(&mut command).stdout).trim().to_owned()
    };
    assert_eq!(run(None), "package serve two words");
    assert_eq!(run(Some("state")), "package serve two words");
    executable(&at("state/bundle/a/usr/bin/r2d-edge"), "#!/bin/sh\necho bundle \"$@\"\n");
    assert_eq!(run(Some("state")), "package serve two words");
    std::os::unix::fs::symlink("a", at("state/bundle/current")).unwrap();
    assert_eq!(run(Some("state")), "bundle serve two words");
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    if !have("systemd-analyze") {
        return skip("systemd-analyze is not installed");
    }
    // Only the program's place is not as on a board.
    let folder = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(root().join("scripts/package/r2d-edge.service")).unwrap();
    let unit =
        unit.replace("/usr/lib/r2d-edge/release", "/bin/true").replace("Documentation=man:r2d-edge(1)\n", "");
    let path = folder.path().join("r2d-edge.service");
    fs::write(&path, &unit).unwrap();
    let out = output(Command::new("systemd-analyze").arg("verify").arg(&path));
    assert!(out.status.success() && out.stderr.is_empty(), "{}", text(&out.stderr));
    // A key that systemd does not know is a warning there, and no failure.
    fs::write(&path, unit.replace("WatchdogSec", "WatchdogSecs")).unwrap();
    let out = output(Command::new("systemd-analyze").arg("verify").arg(&path));
    assert!(text(&out.stderr).contains("WatchdogSecs"), "{}", text(&out.stderr));
}

/// Keys of cross 0.2.5 (its docs/cross_toml.md) below `target.TARGET`.
const CROSS_TARGET: [&str; 7] = ["xargo", "build-std", "image", "dockerfile", "pre-build", "runner", "env"];

#[test]
fn cross_knows_every_key_and_its_dockerfile_is_there() {
    let text = fs::read_to_string(root().join("Cross.toml")).unwrap();
    let cross: toml::Table = text.parse().unwrap();
    let keys = |table: &toml::Table| table.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&cross), BTreeSet::from(["target".to_owned()]));
    for (triple, target) in cross["target"].as_table().unwrap() {
        assert_eq!(triple, "aarch64-unknown-linux-gnu");
        let target = target.as_table().unwrap();
        for key in target.keys() {
            assert!(CROSS_TARGET.contains(&key.as_str()), "cross has no key `{key}`");
        }
        let dockerfile = target["dockerfile"].as_table().unwrap();
        assert!(keys(dockerfile).iter().all(|k| ["file", "context", "build-args"].contains(&k.as_str())));
        let file = fs::read_to_string(root().join(dockerfile["file"].as_str().unwrap())).unwrap();
        // What it copies must be in its context, which is the top of the tree.
        for line in file.lines().filter_map(|line| line.strip_prefix("COPY ")) {
            assert!(root().join(line.split_whitespace().next().unwrap()).exists(), "{line}");
        }
        let env = target["env"].as_table().unwrap();
        assert!(keys(env).iter().all(|k| ["volumes", "passthrough"].contains(&k.as_str())));
        for name in env["passthrough"].as_array().unwrap() {
            assert!(file.contains(name.as_str().unwrap()), "{name} means nothing to the image");
        }
    }
}
