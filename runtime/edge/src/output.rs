//! What people and programs read on the terminal: the only place that prints.
//!
//! Results go to stdout, everything else to stderr. Colours only on a terminal and never with `NO_COLOR`. JSON is
//! one object a line and stable.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::doctor::{Check, Level};
use crate::exit::Exit;
use anstyle::{AnsiColor, Style};
use r2d_core::pivot::{Pivot, Reading};
use r2d_core::verdict::{Decision, Verdict};
use r2d_engine::Event;
use serde::Serialize;
use std::fmt;
use std::io::{ErrorKind, Write};

macro_rules! print {
    ($($text:tt)*) => { result(format_args!($($text)*)) };
}

macro_rules! println {
    () => { result(format_args!("\n")) };
    ($($text:tt)*) => { result(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints to stderr, where nothing can be said about a failure.
macro_rules! eprintln {
    ($($text:tt)*) => {{
        let _told = writeln!(anstream::stderr(), $($text)*);
    }};
}

/// Prints to stdout. Nobody may be reading any more; but a result that finds no room must not look like one.
fn result(text: fmt::Arguments<'_>) {
    if let Err(error) = anstream::stdout().write_fmt(text)
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("{RED}error:{RED:#} cannot print the result: {error}; hint: is the disk full?");
        std::process::exit(Exit::Failed as i32);
    }
}

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

const fn colour(c: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(c))).bold()
}

const GREEN: Style = colour(AnsiColor::Green);
const YELLOW: Style = colour(AnsiColor::Yellow);
const RED: Style = colour(AnsiColor::Red);

/// Prints `value` as one line of JSON.
pub fn json(value: &impl Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        println!("{text}");
    }
}

/// Prints a line of a result.
pub fn line(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

/// Prints text of a result as it is.
pub fn raw(text: &str) {
    print!("{text}");
}

/// Says what is going on, on stderr.
pub fn note(text: impl AsRef<str>) {
    eprintln!("{DIM}{}{DIM:#}", text.as_ref());
}

/// Says what should be looked at, on stderr.
pub fn warn(text: impl AsRef<str>) {
    eprintln!("{YELLOW}warning:{YELLOW:#} {}", text.as_ref());
}

/// Says what went wrong, with its causes, on stderr.
pub fn fault(error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors name their cause themselves, in front of the hint.
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = text + colon + &cause;
        }
    }
    eprintln!("{RED}error:{RED:#} {text}");
}

/// Prints the results of checks.
pub fn checks(checks: &[Check]) {
    for check in checks {
        let (style, word) = match check.level {
            Level::Ok => (GREEN, "ok  "),
            Level::Warn => (YELLOW, "warn"),
            Level::Fail => (RED, "fail"),
        };
        println!("{style}{word}{style:#}  {BOLD}{:<10}{BOLD:#} {}", check.name, check.detail);
        if let Some(hint) = &check.hint {
            println!("                 {DIM}hint: {hint}{DIM:#}");
        }
    }
}

fn pivot_style(pivot: Pivot) -> Style {
    match pivot {
        Pivot::Safe => GREEN,
        Pivot::Rethink => YELLOW,
        Pivot::Unsafe => RED,
    }
}

fn reading(pivot: Pivot, r: &Reading) -> String {
    let style = pivot_style(pivot);
    format!(
        "{style}{:<9}{style:#} {DIM}safe {:.2}  unsafe {:.2}  rethink {:.2}{DIM:#}",
        pivot.to_string(),
        r.safe,
        r.unsafe_,
        r.rethink
    )
}

/// Prints events of one request for people, as they come.
#[derive(Debug, Default)]
pub struct Story {
    answering: bool,
    /// Print only verdict and readings, no answer.
    pub verdict_only: bool,
}

impl Story {
    /// Prints one event.
    pub fn tell(&mut self, event: &Event) {
        match event {
            Event::Request(r) => println!("{BOLD}request{BOLD:#}   {}", reading(r.pivot, &r.reading)),
            Event::Step(s) => {
                let text = if s.text.is_empty() { "(no text)" } else { &s.text };
                println!("{BOLD}step {:<2}{BOLD:#}   {text}", s.index);
                let back = if s.rolled_back { "  taken back" } else { "" };
                println!("          {}{back}", reading(s.pivot, &s.reading));
            }
            Event::Segment(s) if s.released => {
                if !std::mem::replace(&mut self.answering, true) {
                    print!("{BOLD}answer{BOLD:#}    ");
                }
                let text = if s.index == 1 { s.text.trim_start() } else { &s.text };
                print!("{}", text.replace('\n', "\n          "));
                // A closed pipe is no reason to stop judging.
                let _flushed = std::io::stdout().flush();
            }
            Event::Segment(s) => {
                self.end_answer();
                if let (Some(pivot), Some(r)) = (s.pivot, &s.reading) {
                    println!("{BOLD}withheld{BOLD:#}  {}", reading(pivot, r));
                }
            }
            Event::Verdict(o) => {
                self.end_answer();
                println!("{BOLD}verdict{BOLD:#}   {}", verdict(&o.verdict));
                if let Some(detail) = &o.detail {
                    println!("          {detail}");
                }
                let cut = if o.truncated { ", answer cut at its budget" } else { "" };
                println!(
                    "          {DIM}{} prompt + {} tokens, {:.1} s{cut}{DIM:#}",
                    o.cost.n_prompt_tokens,
                    o.cost.n_tokens,
                    o.cost.verdict_ms as f64 / 1000.0
                );
            }
        }
    }

    fn end_answer(&mut self) {
        if std::mem::take(&mut self.answering) {
            println!();
        }
    }
}

/// A verdict in words.
#[must_use]
pub fn verdict(v: &Verdict) -> String {
    let (style, word) = match v.decision {
        Decision::Allow => (GREEN, "allow"),
        Decision::Refuse => (RED, "refuse"),
        Decision::Undecided => (YELLOW, "undecided"),
    };
    let reason = serde_json::to_value(v.reason).ok();
    let reason = reason.as_ref().and_then(|r| r.as_str()).unwrap_or_default().replace('_', " ");
    format!("{style}{word}{style:#}  {reason}")
}
