//! `audit`: reads and verifies the audit log, beside a running service if need be.
//!
//! It never writes.

use crate::audit::{self, Link};
use crate::entry::{Entry, Via};
use crate::exit::{Exit, UsageError};
use crate::output;
use clap::Subcommand;
use serde::Serialize;
use std::collections::VecDeque;
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the whole chain; exit code 1 and the record's number when something is wrong
    Verify {
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show records
    Show {
        /// Only the record of this request, and of a person's decision on it
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// Only the last N records
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
        last: u16,
        /// Print whole records as JSON lines
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Verified {
    sound: bool,
    checked: u64,
    last: Option<Link>,
    problems: Vec<String>,
    more: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    seq: u64,
    hash: String,
    record: &'a serde_json::value::RawValue,
}

/// Does what was asked.
pub(crate) fn run(home: &Path, command: &Command) -> anyhow::Result<Exit> {
    let folder = home.join("audit");
    if !folder.is_dir() {
        let hint = "hint: the service writes it; R2D_HOME says where to look";
        return Err(UsageError(format!("there is no audit log at {}; {hint}", folder.display())).into());
    }
    match command {
        Command::Verify { json } => verify(&folder, *json),
        Command::Show { id, last, json } => show(&folder, id.as_deref(), usize::from(*last), *json),
    }
}

fn verify(folder: &Path, json: bool) -> anyhow::Result<Exit> {
    let report = audit::verify(folder)?;
    if json {
        output::json(&Verified {
            sound: report.is_sound(),
            checked: report.checked,
            last: report.last,
            problems: report.problems.iter().map(ToString::to_string).collect(),
            more: report.more,
        });
    } else {
        for problem in &report.problems {
            output::line(problem.to_string());
        }
        if report.more > 0 {
            output::line(format!("and {} more", report.more));
        }
        let last =
            report.last.map_or_else(String::new, |l| format!(", last is {} with hash {}", l.seq, l.hash));
        let sound = if report.is_sound() { "the chain is whole" } else { "the chain is broken" };
        output::line(format!("{sound}: {} records checked{last}", report.checked));
    }
    Ok(if report.is_sound() { Exit::Done } else { Exit::Refused })
}

fn show(folder: &Path, id: Option<&str>, last: usize, json: bool) -> anyhow::Result<Exit> {
    let mut kept: VecDeque<(Link, Box<serde_json::value::RawValue>)> = VecDeque::new();
    // A log that is damaged somewhere is shown up to there.
    let mut broken = None;
    for entry in audit::read_from(folder, 1)? {
        let (link, raw) = match entry {
            Ok(found) => found,
            Err(error) => {
                broken = Some(error);
                break;
            }
        };
        let wanted = id.is_none_or(|id| match Entry::parse(&raw) {
            Ok(Entry::Request(record)) => record.id.as_str() == id,
            Ok(Entry::Review(record)) => record.id.as_str() == id,
            _ => false,
        });
        if wanted {
            if kept.len() >= last {
                kept.pop_front();
            }
            kept.push_back((link, raw));
        }
    }
    for (link, raw) in &kept {
        if json {
            output::json(&Shown { seq: link.seq, hash: link.hash.to_string(), record: raw });
            continue;
        }
        let (ts, name, told) = match Entry::parse(raw) {
            Ok(Entry::Request(record)) => (record.ts, record.id, output::verdict(&record.verdict)),
            Ok(Entry::Review(record)) => {
                let way = match record.via {
                    Via::Mqtt => "over MQTT",
                    Via::Panel => "at the panel",
                };
                let note = record.note.map_or_else(String::new, |note| format!(": {note}"));
                (record.ts, record.id, format!("{} by {} {way}{note}", record.decision, record.by))
            }
            Ok(Entry::Panel(record)) => (record.ts, record.station, record.event.to_string()),
            Err(_) => {
                output::line(format!("{:>6}  a record of an unknown form; --json shows it", link.seq));
                continue;
            }
        };
        output::line(format!("{:>6}  {ts}  {:<20}  {told}", link.seq, name.as_str()));
    }
    if let Some(error) = broken {
        let context = "the log is shown up to its first damage (all of it: `r2d-edge audit verify`)";
        return Err(anyhow::Error::new(error).context(context));
    }
    let missing = id.filter(|_| kept.is_empty());
    if let Some(id) = missing {
        output::note(format!("no record has the id {id}"));
    }
    Ok(if missing.is_some() { Exit::Refused } else { Exit::Done })
}
