//! A site: a broker, an r2d-edge that serves on it, and somebody who listens.

use crate::process::{Process, edge, free_port, output, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Base of the topics of every test device.
pub const BASE: &str = "r2d/v1/plant/hall/line/edge";

/// A mosquitto of the test's own.
pub struct Mosquitto {
    process: Option<Process>,
    folder: TempDir,
    pub port: u16,
}

impl Mosquitto {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let conf = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             user root\nmax_queued_messages 0\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("mosquitto.conf"), conf).unwrap();
        let mut this = Self { process: None, folder, port };
        this.up();
        this
    }

    fn up(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.folder.path().join("mosquitto.conf"));
        let mut process = Process::start(&mut command);
        process.wait_for("running mosquitto", |line| line.contains("running").then_some(()));
        self.process = Some(process);
    }

    /// Ends it in order, so that it writes its sessions down, and starts it again.
    pub fn restart(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal("TERM");
        process.end();
        self.up();
    }
}

/// A served device.
pub struct Edge {
    pub home: PathBuf,
    pub process: Process,
    pub port: u16,
    sets: Vec<String>,
}

impl Edge {
    /// Serves `script` on the broker at `port`, or on its own broker there.
    pub fn start(home: &Path, script: &str, port: u16, own_broker: bool, sets: &[&str]) -> Self {
        let file = home.join("script.toml");
        std::fs::create_dir_all(home).unwrap();
        std::fs::write(&file, script).unwrap();
        let mut all = vec![
            format!("model.name=scripted:{}", file.display()),
            "device.site=plant".into(),
            "device.area=hall".into(),
            "device.line=line".into(),
            "device.device=edge".into(),
            "policy.segment_min_tokens=4".into(),
            if own_broker {
                format!("mqtt.listen=127.0.0.1:{port}")
            } else {
                format!("mqtt.url=mqtt://127.0.0.1:{port}")
            },
        ];
        all.extend(sets.iter().map(|s| (*s).to_owned()));
        let process = Self::spawn(home, &all);
        let mut this = Self { home: home.to_owned(), process, port, sets: all };
        this.wait_until_listening();
        this
    }

    fn spawn(home: &Path, sets: &[String]) -> Process {
        let mut command = edge(home);
        command.arg("serve");
        for set in sets {
            command.arg("--set").arg(set);
        }
        Process::start(&mut command)
    }

    pub fn wait_until_listening(&mut self) {
        self.process.wait_for("connection", |line| line.contains("listening for requests").then_some(()));
    }

    /// kill -9 and start again, without waiting for it to be up.
    pub fn crash(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.home, &self.sets);
    }

    /// `audit verify --json`.
    pub fn verify(&self) -> Value {
        let out = output(edge(&self.home).args(["audit", "verify", "--json"]));
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", text(&out.stdout), text(&out.stderr)))
    }

    /// All audit records.
    pub fn records(&self) -> Vec<Value> {
        let out = output(edge(&self.home).args(["audit", "show", "--json", "--last", "60000"]));
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A message as a subscriber sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub topic: String,
    pub payload: Value,
}

/// Somebody who listens to everything below the base, with a session that outlives the broker.
pub struct Listener {
    process: Process,
}

impl Listener {
    pub fn start(port: u16, filter: &str) -> Self {
        let mut command = Command::new("mosquitto_sub");
        let id = format!("listener-{}", std::process::id() as u64 * 100_000 + u64::from(free_port()));
        command.args([
            "-V",
            "5",
            "-c",
            "-x",
            "3600",
            "-q",
            "1",
            "-h",
            "127.0.0.1",
            "-i",
            &id,
            "-p",
            &port.to_string(),
        ]);
        command.args(["-t", filter, "-F", "%t %p"]);
        let mut this = Self { process: Process::start(&mut command) };
        // What is retained, or a note sent to ourselves, shows that the subscription stands.
        let topic = filter.replace(['#', '+'], "listening");
        let until = Instant::now() + crate::process::PATIENCE;
        while !this.process.lines().iter().any(|l| l.starts_with(&topic)) {
            assert!(Instant::now() < until, "the listener hears nothing: {:?}", this.process.lines());
            publish(port, &topic, "\"?\"", &[]);
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }

    /// The first message, seen or to come, that `wanted` takes.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        self.process.wait_for(what, |line| parse(line).filter(&wanted))
    }

    /// The message on `topic` about request `id`.
    pub fn about(&mut self, topic: &str, id: &str) -> Seen {
        let topic = format!("{BASE}/{topic}");
        self.wait_for(&format!("{topic} about {id}"), |m| m.topic == topic && m.payload["id"] == id)
    }

    /// All messages so far.
    pub fn all(&mut self) -> Vec<Seen> {
        self.process.lines().iter().filter_map(|l| parse(l)).collect()
    }
}

fn parse(line: &str) -> Option<Seen> {
    let (topic, payload) = line.split_once(' ')?;
    let payload: Value = serde_json::from_str(payload).ok()?;
    // The listener's own note to itself is no message.
    (payload != "?").then(|| Seen { topic: topic.to_owned(), payload })
}

/// Publishes once with QoS 1; whether the broker took it.
pub fn publish(port: u16, topic: &str, payload: &str, more: &[&str]) -> bool {
    let mut command = Command::new("mosquitto_pub");
    command.args([
        "-V",
        "5",
        "-q",
        "1",
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-t",
        topic,
        "-m",
        payload,
    ]);
    output(command.args(more)).status.success()
}

/// A request's payload.
pub fn ask(id: &str, prompt: &str) -> String {
    serde_json::json!({ "schema": "r2d.ask/1", "id": id, "prompt": prompt }).to_string()
}

/// A script that answers everything, refuses what says "bypass", and takes long over what says "slow".
pub const SCRIPT: &str = r#"
decode_ms = 1
[[case]]
when = "bypass"
says = "Wants to bypass a guard.{open}"
reads = [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]]
[[case]]
when = "slow"
says = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
reads = [[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.9, 0.05, 0.05]]
[[case]]
says = "Asks a harmless thing.{open}It helps.{open}{close}Stop it. Then pull.{end}"
reads = [[0.9, 0.05, 0.05], [0.95, 0.02, 0.03], [0.97, 0.02, 0.01], [0.99, 0.0, 0.01], [0.98, 0.01, 0.01]]
"#;
