//! Offline bundles by the real program: keys, a bundle, its trial by the program in it, and the way back.

use r2d_tests::process::{PATIENCE, Process, binary, edge, have, output, text};
use r2d_tests::site::SCRIPT;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

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

/// A maker and a board with a scripted model, in one folder.
struct Board(TempDir);

impl Board {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(this.home()).unwrap();
        fs::write(this.at("script.toml"), SCRIPT).unwrap();
        let config = format!("[model]\nname = \"scripted:{}\"\n", this.at("script.toml"));
        fs::write(this.home().join("config.toml"), config).unwrap();
        this.done(&["keygen", "--secret-key", &this.at("b.key"), "--public-key", &this.at("b.pub")]);
        this
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// `bundle` with `words`: exit code, stdout and stderr.
    fn bundle(&self, words: &[&str]) -> (i32, String, String) {
        let out = output(edge(&self.home()).arg("bundle").args(words));
        (out.status.code().unwrap(), text(&out.stdout), text(&out.stderr))
    }

    fn done(&self, words: &[&str]) -> String {
        let (code, stdout, stderr) = self.bundle(words);
        assert_eq!(code, 0, "{words:?}: {stdout}{stderr}");
        stdout
    }

    /// Makes the bundle of version `n`, its program `script`.
    fn make(&self, n: &str, script: &str) {
        let deb = package(self.0.path(), script).display().to_string();
        let (out, key) = (self.at(n), self.at("b.key"));
        self.done(&["create", "--out", &out, "--version", n, "--deb", &deb, "--secret-key", &key]);
    }

    fn install(&self, n: &str, more: &[&str]) -> (i32, String, String) {
        let (file, key) = (self.at(n), self.at("b.pub"));
        let mut words = vec!["install", file.as_str(), "--public-key", key.as_str()];
        words.extend(more);
        self.bundle(&words)
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.done(&["status", "--json"])).unwrap()
    }
}

/// The program under test as a bundle's program.
fn real() -> String {
    format!("exec {} \"$@\"", binary().display())
}

#[test]
fn a_bundle_brings_a_board_to_a_release_that_tested_itself_and_back() {
    if !have("dpkg-deb") {
        return;
    }
    let board = Board::new();
    let real = real();
    for (n, script) in [("1", real.as_str()), ("2", real.as_str()), ("3", "echo 'error: broken' >&2; exit 1")]
    {
        board.make(n, script);
        let told = board.done(&["verify", &board.at(n), "--public-key", &board.at("b.pub")]);
        assert!(told.contains(&format!("version {n}")));
    }

    assert_eq!(board.status()["in_force"], Value::Null);
    // What the service is to run is asked of the command's own configuration.
    let (code, _, stderr) = board.install("1", &["--set", "model.name=absent"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("model.name is \"absent\"") && stderr.contains("hint: "), "{stderr}");
    assert_eq!(board.status()["in_force"], Value::Null);
    for n in ["1", "2"] {
        let (code, stdout, stderr) = board.install(n, &[]);
        assert_eq!(code, 0, "{stdout}{stderr}");
    }
    let (code, _, stderr) = board.install("3", &[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("failed its self-test") && stderr.contains("broken"), "{stderr}");
    assert_eq!(board.install("1", &[]).0, 1, "an older version");
    assert_eq!(board.status()["in_force"]["version"], 2);
    assert!(board.home().join("bundle/current/usr/bin/r2d-edge").exists());

    // The failed trial took the place of the first release: there is none to go back to.
    assert_eq!(board.bundle(&["rollback"]).0, 2);
    board.make("4", &real);
    assert_eq!(board.install("4", &[]).0, 0);
    board.done(&["rollback"]);
    let status = board.status();
    assert_eq!((&status["in_force"]["version"], &status["highest"]), (&2.into(), &4.into()));

    board.done(&["leave"]);
    let left = board.status();
    assert_eq!((&left["in_force"], &left["highest"]), (&Value::Null, &4.into()));
    assert_eq!(board.bundle(&["leave"]).0, 2);
    assert_eq!(board.install("4", &[]).0, 1, "a version that was in force before");

    let mut bytes = fs::read(board.at("4")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(board.at("4"), bytes).unwrap();
    assert_eq!(board.bundle(&["verify", &board.at("4"), "--public-key", &board.at("b.pub")]).0, 1);
}

#[test]
fn an_installation_that_is_interrupted_takes_its_trial_along() {
    if !have("dpkg-deb") || !have("mkfifo") {
        return;
    }
    let board = Board::new();
    // A script that never comes: the self-test waits for it.
    let (fifo, pid) = (board.at("fifo"), board.at("pid"));
    assert!(output(Command::new("mkfifo").arg(&fifo)).status.success());
    board.make("1", &format!("echo $$ >{pid}\n{}", real()));
    let until = Instant::now() + PATIENCE;
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        while !done() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let (file, key, model) = (board.at("1"), board.at("b.pub"), format!("model.name=scripted:{fifo}"));
    for signal in ["TERM", "KILL"] {
        let _fresh = fs::remove_file(&pid);
        let mut command = edge(&board.home());
        command.args(["bundle", "install", &file, "--public-key", &key, "--set", &model]);
        let mut install = Process::start(&mut command);
        let written = || fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'));
        wait("no trial began", &written);
        let trial = fs::read_to_string(&pid).unwrap();
        let commands = format!("/proc/{}/cmdline", trial.trim());
        // Nobody may have waited for it: then it is still listed, with no words.
        let runs = || fs::read(&commands).is_ok_and(|words| !words.is_empty());
        wait("the trial did not wait", &runs);
        install.signal(signal);
        assert!(!install.end().success());
        wait("the trial goes on", &|| !runs());
        assert_eq!(board.status()["in_force"], Value::Null);
    }
}

#[test]
fn a_trial_says_its_token_and_ends_when_nobody_holds_its_stdin() {
    let board = Board::new();
    let test = |model: &str| {
        let mut command = edge(&board.home());
        command
            .args(["self-test", "--token", "0123", "--model", &format!("scripted:{}", board.at(model))])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        command.spawn().unwrap()
    };
    let mut trial = test("script.toml");
    let stdin = trial.stdin.take();
    let out = trial.wait_with_output().unwrap();
    drop(stdin);
    assert!(out.status.success());
    assert!(text(&out.stdout).lines().any(|line| line == "passed 0123"), "{}", text(&out.stdout));
    let plain = output(edge(&board.home()).arg("self-test"));
    assert!(plain.status.success() && !text(&plain.stdout).contains("passed"));
    if have("mkfifo") {
        assert!(output(Command::new("mkfifo").arg(board.at("fifo"))).status.success());
        // `wait` closes stdin first.
        assert!(!test("fifo").wait().unwrap().success());
    }
}
