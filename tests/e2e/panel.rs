//! A panel on the served device's serial line: the library's panel at the other end of a pseudo terminal, on real time.

use r2d_firmware_host::Id;
use r2d_firmware_host::button::Button;
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::light::Light;
use r2d_firmware_host::message::Permit;
use r2d_firmware_host::panel::{Outputs, Panel, PressError};
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::{SILENCE, Tick};
use r2d_tests::process::{PATIENCE, Process, free_port, have, skip};
use r2d_tests::site::{BASE, Edge, Listener, SCRIPT, ask, publish};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A panel that runs on a thread.
pub(crate) struct Wired {
    panel: Arc<Mutex<Panel>>,
    began: Instant,
    pub(crate) line: String,
    over: Arc<AtomicBool>,
    /// While it is set the line carries noise besides, as much as it takes.
    noisy: Arc<AtomicBool>,
    n_noise: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    /// Keeps the line in being while nobody has it open.
    _slave: File,
}

impl Wired {
    pub(crate) fn start(name: &str, station: &str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let line = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(&line).unwrap();
        let mut raw = tcgetattr(&slave).unwrap();
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let panel = Panel::new(id(name), id(station), Nonce(7));
        let panel = Arc::new(Mutex::new(panel));
        let (began, over) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let (noisy, n_noise) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = std::thread::spawn({
            let (panel, over, mut port) = (Arc::clone(&panel), Arc::clone(&over), File::from(master));
            let (noisy, n_noise) = (Arc::clone(&noisy), Arc::clone(&n_noise));
            move || {
                let (mut input, mut wire) = ([0; 256], [0; MAX_WIRE]);
                let mut seed = 1_u32;
                while !over.load(Ordering::Relaxed) {
                    let n = port.read(&mut input).unwrap_or(0);
                    let mut panel = panel.lock().unwrap();
                    let now = ticks(began);
                    for byte in &input[..n] {
                        panel.receive(now, *byte);
                    }
                    panel.tick(now);
                    while let Some(bytes) = panel.transmit(now, &mut wire) {
                        // What a full line does not take is lost, as on a real one.
                        let _lost = port.write(bytes);
                    }
                    drop(panel);
                    if noisy.load(Ordering::Relaxed) {
                        // Every byte comes up, the zero that ends a frame too; now and then it meets the panel's own frames.
                        let noise = [0; 512].map(|_: u8| {
                            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                            (seed >> 24) as u8
                        });
                        n_noise.fetch_add(port.write(&noise).unwrap_or(0), Ordering::Relaxed);
                    } else if n == 0 {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            }
        });
        Self { panel, began, line, over, noisy, n_noise, thread: Some(thread), _slave: slave }
    }

    pub(crate) fn outputs(&self) -> Outputs {
        self.panel.lock().unwrap().outputs(ticks(self.began))
    }

    pub(crate) fn press(&self, button: Button) {
        let until = Instant::now() + PATIENCE;
        // A hand is slower: a reset waits until the panel knows that the host has heard the stop.
        loop {
            match self.try_press(button) {
                Err(PressError::StopUnheard) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                pressed => return pressed.unwrap(),
            }
        }
    }

    pub(crate) fn try_press(&self, button: Button) -> Result<(), PressError> {
        self.panel.lock().unwrap().press(ticks(self.began), button)
    }

    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(Outputs) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(self.outputs()) {
            assert!(Instant::now() < until, "no {what}: {:?}", self.outputs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn ticks(began: Instant) -> Tick {
    Tick(began.elapsed().as_millis() as u64)
}

/// A request of a station.
pub(crate) fn ask_for(station: &str, name: &str, prompt: &str) -> String {
    let mut payload: serde_json::Value = serde_json::from_str(&ask(name, prompt)).unwrap();
    payload["station"] = station.into();
    payload.to_string()
}

#[test]
fn a_panel_permits_only_by_its_own_stations_verdicts_and_latches_when_the_service_is_gone() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (port, panel) = (free_port(), Wired::start("panel-1", "press-4"));
    let sets = [
        &format!("panel.lines=[\"{}=press-4\"]", panel.line),
        "panel.prompts=[\"how do I clear a jam?\", \"how do I bypass it?\"]",
    ];
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let send = |payload: String| assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    edge.process.wait_for("panel", |l| l.contains("panel-1 at press-4 is connected").then_some(()));
    assert_eq!(panel.outputs().permit, Permit::Closed);

    // Latched at power-up: a verdict opens nothing before somebody pressed reset.
    send(ask_for("press-4", "a1", "how do I clear a jam?"));
    listener.about("audit", "a1");
    panel.wait_for("latch", |o| o.light == Light::Latched);
    panel.press(Button::Reset);
    panel.wait_for("release", |o| o.light != Light::Latched);
    assert_eq!(panel.outputs().permit, Permit::Closed);
    send(ask_for("press-4", "a2", "how do I clear a jam?"));
    panel.wait_for("permission", |o| o.permit == Permit::Open);

    // Other stations' verdicts and those of nobody's are not its business.
    send(ask_for("press-5", "b1", "how do I bypass it?"));
    send(ask("b2", "how do I bypass it?"));
    listener.about("audit", "b1");
    listener.about("audit", "b2");
    assert_eq!(panel.outputs().permit, Permit::Open);
    send(ask_for("press-4", "a3", "how do I bypass it?"));
    panel.wait_for("refusal", |o| o.permit == Permit::Closed && o.light == Light::Red);

    // Buttons ask, and stop.
    panel.press(Button::Ask(1));
    panel.wait_for("permission", |o| o.permit == Permit::Open);
    let asked = listener.wait_for("a verdict", |m| {
        m.topic == format!("{BASE}/verdict")
            && m.payload["id"].as_str().is_some_and(|i| i.starts_with("panel-"))
    });
    assert_eq!(asked.payload["decision"], "allow");
    send(ask_for("press-4", "slow", "slow"));
    panel.wait_for("judging", |o| o.light == Light::Yellow);
    panel.press(Button::Ask(9));
    panel.press(Button::Stop);
    assert_eq!(listener.about("verdict", "slow").payload["reason"], "cancelled");
    panel.press(Button::Reset);
    send(ask_for("press-4", "a4", "how do I clear a jam?"));
    panel.wait_for("permission", |o| o.permit == Permit::Open);

    // Without the service the relay falls within three missed beats of the panel's own clock: whatever the machine does
    // meanwhile, at that tick it is off.
    edge.process.kill();
    std::thread::sleep(Duration::from_millis(200));
    let then = Tick(ticks(panel.began).0 + u64::from(SILENCE.0));
    assert_eq!(panel.panel.lock().unwrap().outputs(then).permit, Permit::Closed);
    panel.wait_for("closing", |o| o.permit == Permit::Closed);
    edge.crash();
    edge.wait_until_listening();
    edge.process.wait_for("panel", |l| l.contains("panel-1 at press-4 is connected").then_some(()));
    send(ask_for("press-4", "a5", "how do I clear a jam?"));
    listener.about("audit", "a5");
    panel.wait_for("latch", |o| o.light == Light::Latched && o.permit == Permit::Closed);
    panel.press(Button::Reset);
    send(ask_for("press-4", "a6", "how do I clear a jam?"));
    panel.wait_for("permission", |o| o.permit == Permit::Open);

    let records = edge.records();
    let of = |name: &str| {
        records.iter().find(|r| r["record"]["id"] == name || r["id"] == name).unwrap().to_string()
    };
    assert!(of("a2").contains("\"station\":\"press-4\""));
    assert!(!of("b2").contains("station"));
    assert!(records.iter().any(|r| r.to_string().contains("\"origin\":\"panel\"")));
    // What was pressed and what the panel told stand in the log, in their order, with what they did.
    let events: Vec<&serde_json::Value> =
        records.iter().map(|r| &r["record"]).filter(|r| r["schema"] == "r2d.panel/1").collect();
    let at = |event: &str, from: usize| {
        let found = events.iter().skip(from).position(|e| e["event"] == event && e["station"] == "press-4");
        from + found.unwrap_or_else(|| panic!("no {event} behind {from}: {events:?}"))
    };
    let stop = at("stop", at("reset", at("connected", 0)));
    assert_eq!(events[stop]["requests"], serde_json::json!(["slow"]));
    assert!(events.iter().any(|e| e["event"] == "not_asked" && e["button"] == 9 && e["why"] == "no_prompt"));
    assert_eq!(events[at("connected", at("reset", stop))]["panel"], "panel-1");
    let opened = events.iter().find(|e| e["event"] == "report" && e["open"] == true).unwrap();
    assert_eq!((&opened["light"], &opened["request"]), (&"green".into(), &"a2".into()));
    assert_eq!(edge.verify()["sound"], true);
}

#[test]
fn a_press_that_finds_the_model_busy_is_in_the_log_and_is_told_to_nobody() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (port, panel) = (free_port(), Wired::start("panel-1", "press-4"));
    let lines = format!("panel.lines=[\"{}=press-4\"]", panel.line);
    let sets = [
        lines.as_str(),
        "panel.prompts=[\"how do I clear a jam?\"]",
        "service.queue=1",
        "policy.max_step_tokens=200",
        "model.n_ctx=8192",
    ];
    let script = SCRIPT.replace("decode_ms = 1", "decode_ms = 20");
    let mut edge = Edge::start(home.path(), &script, port, true, &sets);
    let mut listener = Listener::start(port, &format!("{BASE}/verdict"));
    edge.process.wait_for("panel", |l| l.contains("panel-1 at press-4 is connected").then_some(()));
    for n in 0..3 {
        assert!(publish(port, &format!("{BASE}/req/ask"), &ask(&format!("s{n}"), "a slow one"), &[]));
    }
    assert_eq!(listener.about("verdict", "s2").payload["reason"], "busy");
    panel.press(Button::Ask(1));
    edge.process.wait_for("a line", |l| l.contains("button 1 at press-4 was not taken").then_some(()));
    let until = Instant::now() + PATIENCE;
    while !edge.records().iter().any(|r| r["record"]["event"] == "not_asked" && r["record"]["why"] == "busy")
    {
        assert!(Instant::now() < until, "the press is not in the log");
        std::thread::sleep(Duration::from_millis(20));
    }
    let of_panel = |id: &serde_json::Value| id.as_str().is_some_and(|id| id.starts_with("panel-"));
    assert!(!listener.all().iter().any(|m| of_panel(&m.payload["id"])));
}

/// Noise on one line neither opens a relay nor keeps the service from its other work, and the line is good again after it.
#[test]
fn a_flooded_line_holds_up_nothing_and_opens_nothing() {
    const FLOOD: usize = 4 << 20;
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let (good, bad) = (Wired::start("panel-1", "press-4"), Wired::start("panel-2", "press-5"));
    bad.noisy.store(true, Ordering::Relaxed);
    let lines = format!("panel.lines=[\"{}=press-4\", \"{}=press-5\"]", good.line, bad.line);
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &[&lines]);
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let send = |payload: String| assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    edge.process.wait_for("panel", |l| l.contains("panel-1 at press-4 is connected").then_some(()));
    let until = Instant::now() + PATIENCE;
    for n in 0.. {
        let name = format!("f{n}");
        send(ask_for(if n % 2 == 0 { "press-4" } else { "press-5" }, &name, "how do I clear a jam?"));
        assert_eq!(listener.about("verdict", &name).payload["decision"], "allow");
        assert_eq!(bad.outputs().permit, Permit::Closed);
        if n >= 3 && bad.n_noise.load(Ordering::Relaxed) >= FLOOD {
            break;
        }
        assert!(Instant::now() < until, "only {} bytes of noise", bad.n_noise.load(Ordering::Relaxed));
    }
    good.press(Button::Reset);
    good.wait_for("release", |o| o.light != Light::Latched);
    send(ask_for("press-4", "g1", "how do I clear a jam?"));
    good.wait_for("permission", |o| o.permit == Permit::Open);

    bad.noisy.store(false, Ordering::Relaxed);
    bad.press(Button::Reset);
    bad.wait_for("release", |o| o.light != Light::Latched);
    send(ask_for("press-5", "g2", "how do I clear a jam?"));
    bad.wait_for("permission", |o| o.permit == Permit::Open);
    // An allow that the noise held up may have opened it already, before this one was recorded.
    listener.about("verdict", "g2");

    // Pulled out, it leaves no open relay as the last word of the log.
    drop(bad);
    edge.process.wait_for("the end of the line", |l| l.contains("broke off").then_some(()));
    send(ask_for("press-4", "g3", "how do I clear a jam?"));
    listener.about("verdict", "g3");
    let records = edge.records();
    let last = records.iter().map(|r| &r["record"]).rfind(|r| r["station"] == "press-5").unwrap();
    assert_eq!((&last["event"], &last["why"]), (&"disconnected".into(), &"line".into()), "{last}");
}

#[test]
fn a_line_that_is_not_there_stops_nothing_and_is_told() {
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let sets = ["panel.lines=[\"/dev/no-such-line=press-4\"]"];
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &sets);
    edge.process.wait_for("a warning", |l| l.contains("/dev/no-such-line cannot be opened").then_some(()));
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let payload = ask_for("press-4", "a1", "how do I clear a jam?");
    assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    assert_eq!(listener.about("verdict", "a1").payload["decision"], "allow");
}

/// The real firmware in QEMU on the served device's line; what it does is read over semihosting.
#[test]
fn the_firmware_follows_the_service_and_latches_without_it() {
    let named = |name: &str| std::env::var_os(name);
    let (Some(kernel), Some(qemu)) = (named("R2D_PANEL_KERNEL"), named("R2D_QEMU_ARM")) else {
        if named("R2D_PANEL_UNAVAILABLE").is_none() {
            skip("no firmware and no QEMU named; hint: eval \"$(./scripts/panel-qemu.sh env)\"");
        }
        return;
    };
    if !have("mosquitto_pub") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let mut command = std::process::Command::new(qemu);
    command
        .args(["-cpu", "cortex-m3", "-M", "lm3s6965evb", "-display", "none", "-monitor", "none"])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(["-semihosting-config", "enable=on,target=native,chardev=console"])
        .args(["-serial", "pty", "-serial", &format!("unix:{},server=on,wait=off", keys.display())])
        .arg("-kernel")
        .arg(kernel);
    let mut firmware = Process::start(&mut command);
    let line = firmware.wait_for("the line", |l| {
        let (_, rest) = l.split_once("redirected to ")?;
        rest.split_whitespace().next().map(str::to_owned)
    });
    let until = Instant::now() + PATIENCE;
    let mut keys = loop {
        match UnixStream::connect(&keys) {
            Ok(stream) => break stream,
            Err(e) => assert!(Instant::now() < until, "{}: {e}", keys.display()),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut press = |key: &[u8]| keys.write_all(key).unwrap();
    let port = free_port();
    let sets = [
        &format!("panel.lines=[\"{line}=press-4\"]"),
        "panel.prompts=[\"how do I clear a jam?\"]",
        "service.verdict_valid_s=600",
    ];
    let mut edge = Edge::start(home.path(), SCRIPT, port, true, &sets);
    let mut firmware = Console { process: firmware, n_seen: 0 };
    firmware.see("session with=edge");
    press(b"r");
    firmware.see("light=green");
    let payload = ask_for("press-4", "a1", "how do I clear a jam?");
    assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    firmware.see("gate=open light=green");
    press(b"1");
    firmware.see("gate=closed light=yellow");
    firmware.see("gate=open light=green");

    // Both stand in the firmware's own ticks, milliseconds since its start.
    edge.process.kill();
    firmware.see("light=latched");
    edge.crash();
    edge.wait_until_listening();
    firmware.see("session with=edge");
    let mut listener = Listener::start(port, &format!("{BASE}/#"));
    let payload = ask_for("press-4", "a2", "how do I clear a jam?");
    assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    listener.about("audit", "a2");
    assert!(
        !firmware.rest().iter().any(|l| l.contains("gate=open")),
        "latched, it opened: {:?}",
        firmware.rest()
    );
    press(b"r");
    firmware.see("light=green");
    let payload = ask_for("press-4", "a3", "how do I clear a jam?");
    assert!(publish(port, &format!("{BASE}/req/ask"), &payload, &[]));
    firmware.see("gate=open light=green");
    assert_eq!(edge.verify()["sound"], true);
}

/// What the firmware says.
struct Console {
    process: Process,
    /// Lines that are behind us: only what comes after them is an answer.
    n_seen: usize,
}

impl Console {
    fn rest(&mut self) -> &[String] {
        &self.process.lines()[self.n_seen..]
    }

    /// Waits for the next line with `what`.
    fn see(&mut self, what: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.rest().iter().position(|l| l.contains(what)) {
                self.n_seen += at + 1;
                return;
            }
            assert!(Instant::now() < until, "no {what:?} among {:?}", self.rest());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
