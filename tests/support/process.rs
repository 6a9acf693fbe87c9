//! Real processes: the built r2d-edge, mosquitto, and its command-line clients, each ended when its handle is dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything; far beyond what is needed, so that a busy machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The built binary beside the tests.
pub fn binary() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let path = me.ancestors().nth(2).unwrap().join("r2d-edge");
    assert!(path.exists(), "{} is missing; hint: cargo build --release -p r2d-edge", path.display());
    path
}

/// A command on the binary with a state folder of its own and nothing of this machine's settings.
pub fn edge(home: &Path) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("R2D_")) {
        command.env_remove(name);
    }
    command.env("R2D_HOME", home).env("NO_COLOR", "1").env("R2D_CONFIG", home.join("config.toml"));
    let config = home.join("config.toml");
    if !config.exists() {
        std::fs::create_dir_all(home).unwrap();
        // What scripts read was written for this threshold; the default belongs to the adapter that ships.
        std::fs::write(config, "[policy]\nunsafe_at = 0.5\n").unwrap();
    }
    command.stdin(Stdio::null());
    command
}

/// Runs to the end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether `program` can be started. A test without it prints SKIPPED; where all must run, it fails.
pub fn have(program: &str) -> bool {
    let found =
        Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

pub fn skip(why: &str) {
    assert!(std::env::var_os("R2D_REQUIRE_ALL").is_none(), "nothing may be skipped here: {why}");
    println!("SKIPPED: {why}");
}

/// The default model, which `scripts/test.sh` fetches into `R2D_HOME`.
pub fn model_path() -> Option<PathBuf> {
    let home = std::env::var_os("R2D_HOME").map(PathBuf::from);
    let path = home.map(|h| h.join("models/smollm2-135m-instruct/model.gguf")).filter(|p| p.exists());
    if path.is_none() {
        skip("the default model is not in R2D_HOME; hint: scripts/test.sh fetches it");
    }
    path
}

/// A process whose lines are read.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (tell, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// The first line, already read or still to come, for which `wanted` gives something.
    pub fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(|line| wanted(line)) {
            return found;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.seen.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what}; what came was:\n{}", self.seen.join("\n"));
                }
            }
        }
    }

    /// All lines so far.
    pub fn lines(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end.
    pub fn end(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the process does not end:\n{}", self.lines().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
