//! The panel's firmware in QEMU, at the other end of a real UART: what it shows is read over semihosting.
//!
//! `scripts/panel-qemu.sh test` builds the firmware and names it and QEMU in `R2D_PANEL_KERNEL` and
//! `R2D_QEMU_ARM`. Times are the firmware's own ticks where its lines give them.

// Tests stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod line;

use line::{Dice, id};
use r2d_firmware_host::codec::MAX_WIRE;
use r2d_firmware_host::host::{Host, HostEvent};
use r2d_firmware_host::message::{Permit, ReasonCode, Ruling, Wish};
use r2d_firmware_host::session::Nonce;
use r2d_firmware_host::tick::{SILENCE, Tick, Ticks};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The firmware's stack never takes more, all of the panel's memory included.
const STACK: u32 = 10 * 1024;

/// QEMU with the firmware in it, and a host at its line.
struct Rig {
    qemu: Child,
    folder: PathBuf,
    line: UnixStream,
    keys: UnixStream,
    console: Receiver<String>,
    host: Host,
    begun: Instant,
    /// Every line the firmware wrote.
    said: Vec<String>,
    learned: Vec<HostEvent>,
    /// The longest frame that the host has sent last: one with a message.
    last_message: Vec<u8>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn connect(path: &Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_nonblocking(true).unwrap();
                return stream;
            }
            Err(e) => assert!(begun.elapsed() < PATIENCE, "{}: {e}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Rig {
    /// None, and a word about it, where the firmware or QEMU is missing.
    fn start(name: &str) -> Option<Self> {
        let (Some(kernel), Some(qemu)) =
            (std::env::var_os("R2D_PANEL_KERNEL"), std::env::var_os("R2D_QEMU_ARM"))
        else {
            // Where firmware and QEMU can be had, CI names them; where they cannot, the script has said why.
            let excused = std::env::var_os("R2D_PANEL_UNAVAILABLE").is_some();
            let must_run = std::env::var_os("R2D_REQUIRE_ALL").is_some() && !excused;
            assert!(!must_run, "nothing may be skipped here: no firmware and no QEMU named");
            println!("SKIPPED: no firmware and no QEMU named; hint: run scripts/panel-qemu.sh test");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("r2d-panel-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let serial = |name: &str| format!("unix:{},server=on,wait=off", folder.join(name).display());
        let mut qemu = Command::new(qemu)
            .args(["-cpu", "cortex-m3", "-M", "lm3s6965evb", "-display", "none", "-monitor", "none"])
            .args(["-chardev", "stdio,id=console,signal=off"])
            .args(["-semihosting-config", "enable=on,target=native,chardev=console"])
            .args(["-serial", &serial("line"), "-serial", &serial("keys")])
            .arg("-kernel")
            .arg(kernel)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tx, console) = channel();
        let out = BufReader::new(qemu.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|l| tx.send(l)));
        let (line, keys) = (connect(&folder.join("line")), connect(&folder.join("keys")));
        let nonce = Nonce(std::process::id());
        let host = Host::new(id("edge-1"), nonce);
        let begun = Instant::now();
        Some(Self {
            qemu,
            folder,
            line,
            keys,
            console,
            host,
            begun,
            said: vec![],
            learned: vec![],
            last_message: vec![1],
        })
    }

    fn now(&self) -> Tick {
        Tick(u64::try_from(self.begun.elapsed().as_millis()).unwrap())
    }

    /// Puts bytes on the line as fast as the firmware takes them, while its console is read.
    fn put(&mut self, mut bytes: &[u8]) {
        let begun = Instant::now();
        while !bytes.is_empty() {
            match self.line.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    assert!(begun.elapsed() < PATIENCE, "the firmware takes no bytes any more");
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// A moment of the host's life.
    fn turn(&mut self) {
        let mut bytes = [0; 1024];
        match self.line.read(&mut bytes) {
            Ok(n) => {
                for byte in &bytes[..n] {
                    self.learned.extend(self.host.receive(self.now(), *byte));
                }
            }
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
        }
        self.learned.extend(self.host.tick(self.now()));
        let mut out = [0; MAX_WIRE];
        while let Some(bytes) = self.host.transmit(self.now(), &mut out).map(<[u8]>::to_vec) {
            if bytes.len() > 30 {
                self.last_message.clone_from(&bytes);
            }
            self.put(&bytes);
        }
        self.listen();
        std::thread::sleep(Duration::from_millis(2));
    }

    fn listen(&mut self) {
        while let Ok(line) = self.console.try_recv() {
            println!("{line}");
            self.said.push(line);
        }
    }

    /// Lives on until the firmware has written a line like this since `from`; gives its tick.
    fn until(&mut self, from: usize, what: &str) -> u64 {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.said[from..].iter().find(|l| l.contains(what)) {
                return line.split(' ').nth(1).unwrap().parse().unwrap();
            }
            assert!(begun.elapsed() < PATIENCE, "nothing like {what:?} in {:#?}", &self.said[from..]);
            self.turn();
        }
    }

    fn until_learned(&mut self, what: impl Fn(&HostEvent) -> bool) {
        let begun = Instant::now();
        while !self.learned.iter().any(&what) {
            assert!(begun.elapsed() < PATIENCE, "only {:#?}", self.learned);
            self.turn();
        }
    }

    fn press(&mut self, key: u8) {
        self.keys.write_all(&[key]).unwrap();
    }

    fn mark(&mut self) -> usize {
        self.listen();
        self.said.len()
    }

    fn rule(&mut self, request: &str, ruling: Ruling) {
        self.host.rule(id("press-4"), id(request), ruling, ReasonCode(1), Ticks(120_000)).unwrap();
    }

    /// Lives on until the panel reports that it is not latched and this request is pending.
    fn wait_for_a_verdict(&mut self, request: &str) {
        let begun = Instant::now();
        let mut asked_at: Option<Instant> = None;
        loop {
            let report = self.learned.iter().rev().find_map(|e| match e {
                HostEvent::Report(report) => Some(report),
                _ => None,
            });
            let latched = report.is_none_or(|r| r.cause.0 != 0);
            if !latched && report.and_then(|r| r.request.as_ref()) == Some(&id(request)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{:#?}", self.said);
            if asked_at.is_none_or(|at| at.elapsed() > Duration::from_millis(300)) {
                asked_at = Some(Instant::now());
                if latched {
                    self.press(b'r');
                } else {
                    // Without a session there is no way to ask; there will be one again.
                    let _ = self.host.pending(id("press-4"), id(request));
                }
            }
            self.turn();
        }
    }

    /// Connected, released, and open for a request.
    fn open(&mut self) {
        self.until(0, "session with=edge-1");
        self.press(b'r');
        self.until_learned(|e| matches!(e, HostEvent::Press(p) if p.wish == Wish::Reset));
        let mark = self.mark();
        self.host.pending(id("press-4"), id("ask-1")).unwrap();
        self.rule("ask-1", Ruling::Allow);
        self.until(mark, "gate=open light=green cause=0");
    }
}

#[test]
fn the_panel_shows_what_was_ruled_and_tells_what_was_pressed() {
    let Some(mut rig) = Rig::start("shows") else { return };
    rig.until(0, "starts device=panel-1 station=press-4");
    rig.until(0, "gate=closed light=latched cause=1");
    rig.open();
    rig.until_learned(|e| matches!(e, HostEvent::Report(r) if r.permit == Permit::Open));
    for (n, (ruling, shown)) in [
        (Ruling::Refuse, "gate=closed light=red"),
        (Ruling::Undecided, "gate=closed light=yellow"),
        (Ruling::Review, "gate=closed light=blue"),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = rig.mark();
        let request = format!("next-{n}");
        rig.host.pending(id("press-4"), id(&request)).unwrap();
        rig.rule(&request, ruling);
        rig.until(mark, shown);
    }
    rig.press(b'a');
    rig.until_learned(|e| matches!(e, HostEvent::Press(p) if p.wish == Wish::Approve(id("next-2"))));
    let mark = rig.mark();
    rig.rule("next-2", Ruling::Allow);
    rig.until(mark, "gate=open light=green");
    rig.press(b'3');
    rig.until_learned(|e| matches!(e, HostEvent::Press(p) if p.wish == Wish::Ask(3)));
    rig.host.rule(id("press-5"), id("next-2"), Ruling::Allow, ReasonCode(1), Ticks(9_000)).unwrap();
    rig.until(mark, "gate=closed light=yellow");
    rig.until(mark, "refused n=1 why=2");
    let mark = rig.mark();
    rig.host.ready(id("press-4")).unwrap();
    rig.until(mark, "gate=closed light=green");
    rig.press(b's');
    rig.until(mark, "gate=closed light=latched cause=5");
}

#[test]
fn silence_closes_within_three_beats_of_the_firmware_and_only_reset_and_a_new_verdict_open_again() {
    let Some(mut rig) = Rig::start("silence") else { return };
    rig.open();
    let mark = rig.mark();
    // The host is gone. The last beat came at most now, so the gate closes at most three beats after this line.
    let opened: u64 = rig.said.last().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let gone = Instant::now();
    while !rig.said[mark..].iter().any(|l| l.contains("cause=2")) {
        assert!(gone.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
        rig.listen();
    }
    let closed = rig.until(mark, "gate=closed light=latched cause=2");
    assert!(closed - opened <= u64::from(SILENCE.0) + 5, "open at {opened}, closed at {closed}");
    println!("measured: the gate closed {} ticks after the last sign of life", closed - opened);

    // The host is back, with another run's nonce and the same verdict.
    let mark = rig.mark();
    rig.host = Host::new(id("edge-1"), Nonce(std::process::id() ^ 0x5555_5555));
    rig.until(mark, "session with=edge-1");
    rig.host.pending(id("press-4"), id("ask-2")).unwrap();
    rig.rule("ask-2", Ruling::Allow);
    rig.until(mark, "refused n=2 why=1");
    assert!(!rig.said[mark..].iter().any(|l| l.contains("gate=open")), "{:#?}", &rig.said[mark..]);
    rig.press(b'r');
    rig.until(mark, "gate=closed light=yellow cause=0");
    rig.host.pending(id("press-4"), id("ask-3")).unwrap();
    rig.rule("ask-3", Ruling::Allow);
    rig.until(mark, "gate=open light=green");
}

#[test]
fn a_clock_that_stops_under_an_open_gate_ends_in_a_restart_that_is_latched() {
    let Some(mut rig) = Rig::start("clock") else { return };
    rig.open();
    let mark = rig.mark();
    rig.press(b't');
    rig.until(mark, "stops its clock");
    rig.until(mark, "starts device=panel-1");
    rig.until(mark, "gate=closed light=latched cause=1");
    assert!(!rig.said[mark..].iter().any(|line| line.contains("gate=open")));
}

#[test]
fn a_flood_of_random_bytes_and_damaged_frames_never_opens_the_gate_and_never_hangs_the_firmware() {
    let Some(mut rig) = Rig::start("flood") else { return };
    // The line is slow; `tests/flood.rs` sends its millions without one. `R2D_FLOOD=1000000` does it here too.
    let n_frames: u64 = std::env::var("R2D_FLOOD").map_or(20_000, |n| n.parse().unwrap());
    let (mut dice, begun) = (Dice::new(11), Instant::now());
    let (mut n_sent, mut n_bytes, mut n_rounds) = (0, 0, 0);
    while n_sent < n_frames {
        // Each round begins with the firmware's word that it is released and waits for a verdict.
        rig.wait_for_a_verdict(&format!("round-{n_rounds}"));
        let mut burst = Vec::new();
        for n in 0..500 {
            if n % 8 == 0 {
                let mut damaged = rig.last_message.clone();
                dice.damage(&mut damaged);
                burst.extend(damaged);
            } else {
                burst.extend((0..dice.below(12)).map(|_| dice.byte()));
            }
            burst.push(0);
        }
        rig.put(&burst);
        n_sent += 500;
        n_bytes += burst.len();
        n_rounds += 1;
    }
    println!("measured: {n_sent} frames, {n_bytes} bytes, {n_rounds} rounds in {:?}", begun.elapsed());
    assert!(!rig.said.iter().any(|l| l.contains("gate=open")), "{:#?}", rig.said);
    // It lives, and opens for a real verdict.
    rig.wait_for_a_verdict("r");
    let mark = rig.mark();
    rig.rule("r", Ruling::Allow);
    rig.until(mark, "gate=open light=green");
    let deepest = rig.said.iter().rfind(|l| l.contains("stack used=")).unwrap();
    println!("measured: {deepest}");
    let used = deepest.split("used=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(used.parse::<u32>().unwrap() <= STACK, "{deepest}");
}

#[test]
fn a_loop_that_hangs_is_restarted_by_the_hardware_watchdog_and_comes_back_latched() {
    let Some(mut rig) = Rig::start("hangs") else { return };
    rig.open();
    let mark = rig.mark();
    rig.press(b'h');
    rig.until(mark, "hangs");
    rig.until(mark, "starts device=panel-1");
    rig.until(mark, "gate=closed light=latched cause=1");
    rig.until(mark, "session with=edge-1");
    assert!(!rig.said[mark..].iter().any(|l| l.contains("gate=open")));
    rig.until_learned(|e| matches!(e, HostEvent::Down(_)));
}
