//! Offline bundles by the real program: keys, a bundle, its trial by the program in it, and the way back.

use r2d_tests::process::{edge, have, output, text};
use r2d_tests::site::SCRIPT;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package whose program is `script`.
fn package(folder: &Path, script: &str) -> PathBuf {
    let arch = Command::new("dpkg").arg("--print-architecture").output().unwrap();
    let arch = text(&arch.stdout).trim().to_owned();
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    let control = format!(
        "Package: r2d-edge\nVersion: 1.0\nArchitecture: {arch}\nMaintainer: nobody <n@example.com>\nDescription: test\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let program = tree.join("usr/bin/r2d-edge");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.join(format!("r2d-edge_1.0_{arch}.deb"));
    let made = output(Command::new("dpkg-deb").arg("-b").args([&tree, &path]));
    assert!(made.status.success(), "{}", text(&made.stderr));
    path
}

#[test]
fn a_bundle_brings_a_board_to_a_release_that_tested_itself_and_back() {
    if !have("dpkg-deb") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let home = folder.path().join("home");
    fs::create_dir_all(&home).unwrap();
    fs::write(at("script.toml"), SCRIPT).unwrap();
    let config = format!("[model]\nname = \"scripted:{}\"\n", at("script.toml"));
    fs::write(home.join("config.toml"), config).unwrap();
    let (key, public) = (at("b.key"), at("b.pub"));
    let bundle = |words: &[&str]| {
        let out = output(edge(&home).arg("bundle").args(words));
        (out.status.code().unwrap(), text(&out.stdout), text(&out.stderr))
    };
    let done = |words: &[&str]| {
        let (code, stdout, stderr) = bundle(words);
        assert_eq!(code, 0, "{words:?}: {stdout}{stderr}");
        stdout
    };
    done(&["keygen", "--secret-key", &key, "--public-key", &public]);
    let real = r2d_tests::process::binary();
    let good = format!("exec {} \"$@\"", real.display());
    for (n, script) in [("1", good.as_str()), ("2", good.as_str()), ("3", "echo 'error: broken' >&2; exit 1")]
    {
        let deb = package(folder.path(), script).display().to_string();
        done(&["create", "--out", &at(n), "--version", n, "--deb", &deb, "--secret-key", &key]);
        assert!(done(&["verify", &at(n), "--public-key", &public]).contains(&format!("version {n}")));
    }
    let install = |n: &str| bundle(&["install", &at(n), "--public-key", &public]);
    let status = || serde_json::from_str::<Value>(&done(&["status", "--json"])).unwrap();

    assert_eq!(status()["in_force"], Value::Null);
    for n in ["1", "2"] {
        let (code, stdout, stderr) = install(n);
        assert_eq!(code, 0, "{stdout}{stderr}");
    }
    let (code, _, stderr) = install("3");
    assert_eq!(code, 1);
    assert!(stderr.contains("failed its self-test") && stderr.contains("broken"), "{stderr}");
    assert_eq!(install("1").0, 1, "an older version");
    assert_eq!(status()["in_force"]["version"], 2);
    assert!(home.join("bundle/current/usr/bin/r2d-edge").exists());

    // The failed trial took the place of the first release: there is none to go back to.
    assert_eq!(bundle(&["rollback"]).0, 2);
    let deb = package(folder.path(), &good).display().to_string();
    done(&["create", "--out", &at("4"), "--version", "4", "--deb", &deb, "--secret-key", &key]);
    assert_eq!(install("4").0, 0);
    done(&["rollback"]);
    let status = status();
    assert_eq!((&status["in_force"]["version"], &status["highest"]), (&2.into(), &4.into()));

    done(&["leave"]);
    let left: Value = serde_json::from_str(&done(&["status", "--json"])).unwrap();
    assert_eq!((&left["in_force"], &left["highest"]), (&Value::Null, &4.into()));
    assert_eq!(bundle(&["leave"]).0, 2);
    assert_eq!(install("4").0, 1, "a version that was in force before");

    let mut bytes = fs::read(at("4")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(at("4"), bytes).unwrap();
    assert_eq!(bundle(&["verify", &at("4"), "--public-key", &public]).0, 1);
}
