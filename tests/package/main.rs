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

/// The launcher among `builds`, each of which prints its own name, on a CPU that is told by `cpuinfo`; what it printed, and
/// its exit code.
fn launch(builds: &[&str], cpuinfo: &str) -> (String, Option<i32>) {
    let system = tempfile::tempdir().unwrap();
    let launcher = system.path().join("bin/r2d-edge");
    executable(&launcher, &fs::read_to_string(root().join("scripts/package/r2d-edge")).unwrap());
    for build in builds {
        let script = format!("#!/bin/sh\necho {build} \"$@\"\nexit 7\n");
        executable(&system.path().join("lib/r2d-edge").join(build).join("r2d-edge"), &script);
    }
    let list = system.path().join("cpuinfo");
    fs::write(&list, cpuinfo).unwrap();
    let out = output(Command::new(launcher).args(["ask", "two words"]).env("CPUINFO", list));
    (text(&out.stdout).trim().to_owned(), out.status.code())
}

const PC: &str = "flags\t\t: fpu sse2 avx f16c avx2 fma bmi1 bmi2 movbe abm avx512f\n";
const MASKED: &str = "flags\t\t: fpu sse2 avx f16c avx2 bmi1 bmi2 movbe abm\n";
const PI5: &str =
    "Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n";
const PI4: &str = "Features\t: fp asimd evtstrm crc32 cpuid\n";

#[test]
fn the_launcher_starts_the_build_that_uses_most_of_a_cpu_and_hands_everything_on() {
    let all = ["plain", "v3", "dotprod", "i8mm"];
    for (cpuinfo, build) in [(PC, "v3"), (MASKED, "plain"), (PI5, "dotprod"), (PI4, "plain"), ("", "plain")] {
        assert_eq!(launch(&all, cpuinfo), (format!("{build} ask two words"), Some(7)), "{cpuinfo}");
    }
    // On mixed cores what only some have is not there.
    let mixed = format!("{PI5}processor\t: 1\n{PI4}");
    assert_eq!(launch(&all, &mixed).0, "plain ask two words");
    assert_eq!(launch(&["v3"], MASKED), (String::new(), Some(3)));
}

#[test]
fn the_admin_command_hands_every_word_to_the_service_as_it_is() {
    let system = tempfile::tempdir().unwrap();
    let stub = |name: &str, script: &str| executable(&system.path().join(name), script);
    stub("id", "#!/bin/sh\necho 0\n");
    // As systemd does with a command's words: two dollar signs are one, one begins a variable.
    stub(
        "systemd-run",
        "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\" | sed 's/\\$\\$/<>/g; s/\\$[A-Za-z0-9]*//g; s/<>/$/g'; done\n",
    );
    let path = format!("{}:{}", system.path().display(), std::env::var("PATH").unwrap());
    let words = ["ask", "what does $5 buy, or $HOME?", "a  b", "", "$$", "--set", "x='$y'\\"];
    let out = output(
        Command::new("sh").arg(root().join("scripts/package/r2d-edge-admin")).args(words).env("PATH", path),
    );
    let told = text(&out.stdout);
    let handed: Vec<&str> = told.lines().skip_while(|l| *l != "/usr/lib/r2d-edge/release").skip(1).collect();
    assert_eq!(handed, words, "{told}");
    assert!(told.contains("DynamicUser=yes"));
}

/// Which kernel name of devices lets the service at a serial line of a board profile.
#[test]
fn the_unit_allows_every_serial_line_that_a_board_profile_names() {
    let unit = fs::read_to_string(root().join("scripts/package/r2d-edge.service")).unwrap();
    for board in fs::read_dir(root().join("boards")).unwrap() {
        let path = board.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "toml") {
            continue;
        }
        let profile: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        // The service is systemd's: no Mac has it.
        if profile["match"].get("os").is_some_and(|os| os.as_str() == Some("macos")) {
            continue;
        }
        for line in profile["ports"]["serial"].as_array().unwrap() {
            let line = line.as_str().unwrap();
            let name = line.trim_start_matches("/dev/").trim_end_matches(|c: char| c.is_ascii_digit());
            // A link of the Raspberry Pi to one of these two.
            let kinds: &[&str] = if name == "serial" { &["ttyAMA", "ttyS"] } else { &[name] };
            for kind in kinds {
                assert!(
                    unit.contains(&format!("DeviceAllow=char-{kind} rw\n")),
                    "{}: {line}",
                    path.display()
                );
            }
        }
    }
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
