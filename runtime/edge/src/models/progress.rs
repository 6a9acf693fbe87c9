//! How far a long transfer has come, told to whoever wants to show it.
//!
//! The store only calls the trait and never draws. Invariant: the bar is drawn on a terminal's stderr alone, so
//! stdout and logs stay clean; notes are for people to read and are always written.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Hears how a transfer goes. `start` may come again when a transfer has to begin anew.
pub trait Progress {
    /// A transfer of `what` begins; `total` bytes if that is known.
    fn start(&mut self, what: &str, total: Option<u64>);
    /// `bytes` more have arrived.
    fn advance(&mut self, bytes: u64);
    /// The transfer has ended, well or not.
    fn finish(&mut self);
    /// Something that a person should know.
    fn note(&mut self, line: &str);
}

/// Says nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: &str, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _: &str) {}
}

/// A bar on stderr when that is a terminal; notes go to stderr in any case.
#[derive(Debug, Default)]
pub struct Bar {
    drawn: Option<ProgressBar>,
}

impl Progress for Bar {
    fn start(&mut self, what: &str, total: Option<u64>) {
        self.finish();
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        // The templates are constants: if one were wrong, the bar would have its default look and nothing else.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(what.to_owned());
        self.drawn = Some(bar);
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.drawn {
            bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.drawn.take() {
            bar.finish_and_clear();
        }
    }

    fn note(&mut self, line: &str) {
        // A note that cannot be written must not end a transfer that goes well.
        let write = || drop(writeln!(std::io::stderr(), "{line}"));
        match &self.drawn {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}
