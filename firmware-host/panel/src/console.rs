//! What the panel tells over semihosting: one line for each change, in a form that stays.
//!
//! `panel TICK gate=open|closed light=latched|yellow|red|blue|green cause=N` and, for a person,
//! `panel TICK WORDS`. Not the report to the host: that goes over the line. Invariant: a line is only written for a
//! change, because each stops the core until the debugger has taken it.

use core::fmt::Write;
use cortex_m_semihosting::hio;
use r2d_firmware_host::Id;
use r2d_firmware_host::cause::CauseCode;
use r2d_firmware_host::gate::View;
use r2d_firmware_host::light::Light;
use r2d_firmware_host::link::Event;
use r2d_firmware_host::message::Permit;
use r2d_firmware_host::panel::{Outputs, Panel};
use r2d_firmware_host::tick::Tick;

/// Where the lines go; nothing when no debugger listens.
pub struct Console {
    out: Option<hio::HostStream>,
    shown: Option<(Outputs, CauseCode)>,
    refused: u32,
    deepest: usize,
}

/// A word before everything ends.
pub fn cry(words: &str) {
    if let Ok(mut out) = hio::hstdout() {
        let _ = writeln!(out, "panel - {words}");
    }
}

impl Console {
    /// Opens it and says who starts.
    pub fn new(device: &Id, station: &Id) -> Self {
        let mut console = Self { out: hio::hstdout().ok(), shown: None, refused: 0, deepest: 0 };
        console.write(Tick(0), format_args!("starts device={device} station={station}"));
        console
    }

    /// Some words.
    pub fn note(&mut self, now: Tick, words: &str) {
        self.write(now, format_args!("{words}"));
    }

    /// Sessions that come and go.
    pub fn tell(&mut self, now: Tick, event: &Event) {
        match event {
            Event::Up(device) => self.write(now, format_args!("session with={device}")),
            Event::Down(down) => self.write(now, format_args!("no session cause={}", down.cause as u8)),
            _ => {}
        }
    }

    /// Gate and light, if they have changed.
    pub fn show(&mut self, now: Tick, panel: &Panel) {
        let outputs = panel.outputs(now);
        let cause = match panel.gate().view(now) {
            View::Latched(cause) => CauseCode::from(Some(cause)),
            _ => CauseCode::from(None),
        };
        if self.shown != Some((outputs, cause)) {
            self.shown = Some((outputs, cause));
            let gate = match outputs.permit {
                Permit::Open => "open",
                Permit::Closed => "closed",
            };
            let light = match outputs.light {
                Light::Latched => "latched",
                Light::Yellow => "yellow",
                Light::Red => "red",
                Light::Blue => "blue",
                Light::Green => "green",
            };
            self.write(now, format_args!("gate={gate} light={light} cause={}", cause.0));
        }
        let (refused, why) = panel.refused();
        if refused != self.refused {
            self.refused = refused;
            self.write(now, format_args!("refused n={refused} why={}", why.map_or(0, |w| w as u8)));
        }
    }

    /// The stack, if it came deeper than ever.
    pub fn show_stack(&mut self, now: Tick, used: usize, free: usize) {
        if used > self.deepest {
            self.deepest = used;
            self.write(now, format_args!("stack used={used} free={free}"));
        }
    }

    fn write(&mut self, now: Tick, words: core::fmt::Arguments<'_>) {
        if let Some(out) = &mut self.out {
            // One write a line: each is a stop.
            let mut line = Line::default();
            let _ = writeln!(line, "panel {} {words}", now.0);
            let _ = out.write_all(&line.bytes[..line.n]);
        }
    }
}

/// A line being written; what does not fit is left out.
struct Line {
    bytes: [u8; 160],
    n: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 160], n: 0 }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let n = text.len().min(self.bytes.len() - self.n);
        self.bytes[self.n..self.n + n].copy_from_slice(&text.as_bytes()[..n]);
        self.n += n;
        Ok(())
    }
}
