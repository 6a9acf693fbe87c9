//! What the panel tells over semihosting: one line for each change, in a form that stays.
//!
//! `panel TICK gate=open|closed light=latched|yellow|red|blue|green cause=N` and, for a person,
//! `panel TICK WORDS`. Not the report to the host: that goes over the line. Invariant: a line is only written
//! for a change, because each stops the core until the debugger has taken it; without the feature
//! `semihosting` nothing here stops it, because where no debugger is, such a stop is a hard fault.

use core::fmt::Arguments;
use out::Out;
use r2d_firmware_host::Id;
use r2d_firmware_host::cause::CauseCode;
use r2d_firmware_host::gate::View;
use r2d_firmware_host::light::Light;
use r2d_firmware_host::link::Event;
use r2d_firmware_host::message::Permit;
use r2d_firmware_host::panel::{Outputs, Panel};
use r2d_firmware_host::tick::Tick;

/// What was told last, and where the lines go.
pub struct Console {
    out: Out,
    shown: Option<(Outputs, CauseCode)>,
    refused: u32,
    deepest: usize,
}

/// A word before everything ends.
pub fn cry(words: &str) {
    Out::open().put(format_args!("panel - {words}"));
}

impl Console {
    /// Opens it and says who starts.
    pub fn new(device: &Id, station: &Id) -> Self {
        let mut console = Self { out: Out::open(), shown: None, refused: 0, deepest: 0 };
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

    fn write(&mut self, now: Tick, words: Arguments<'_>) {
        self.out.put(format_args!("panel {} {words}", now.0));
    }
}

#[cfg(feature = "semihosting")]
mod out {
    use core::fmt::{self, Arguments, Write};
    use cortex_m_semihosting::hio;

    /// The debugger's standard output, if it opens one.
    pub struct Out(Option<hio::HostStream>);

    impl Out {
        /// Asks the debugger for it.
        pub fn open() -> Self {
            Self(hio::hstdout().ok())
        }

        /// A line, without its end.
        pub fn put(&mut self, words: Arguments<'_>) {
            if let Some(stream) = &mut self.0 {
                // One write a line: each is a stop.
                let mut line = Line::default();
                let _ = writeln!(line, "{words}");
                let _ = stream.write_all(&line.bytes[..line.n]);
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
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let n = text.len().min(self.bytes.len() - self.n);
            self.bytes[self.n..self.n + n].copy_from_slice(&text.as_bytes()[..n]);
            self.n += n;
            Ok(())
        }
    }
}

#[cfg(not(feature = "semihosting"))]
mod out {
    use core::fmt::Arguments;

    /// Nowhere.
    pub struct Out;

    impl Out {
        /// Asks nobody.
        pub fn open() -> Self {
            Self
        }

        /// Takes the words unformatted, so that a line costs nothing where nobody reads it.
        pub fn put(&mut self, _: Arguments<'_>) {}
    }
}
