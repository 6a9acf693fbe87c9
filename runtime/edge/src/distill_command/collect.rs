//! `distill collect`: turns what the audit log holds, and what a person says was right, into trajectories to be confirmed.
//!
//! What was right stands in a file, or in the log itself where people decided what the model left undecided. It never writes
//! to the log, and never over a file that is there. What becomes of a record is said by
//! `r2d_distill::collect`; here the chain is checked first, and a broken one is refused.

use crate::audit::{self, Link};
use crate::entry::{Choice, Entry};
use crate::exit::{Exit, UsageError};
use crate::output;
use anyhow::Context;
use clap::Args;
use r2d_core::record::Record;
use r2d_distill::collect::{self, Collected, Decision, Todo};
use r2d_distill::trajectory::{self, Label, Trajectory};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Ids that are named when the log does not hold them.
const MAX_NAMED: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// What a person says of recorded requests: JSON lines with id, label (safe or unsafe), and answer or note; goes
    /// before what the log has of people's decisions, which are always taken
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// File of the trajectories; what a person has to complete goes beside it, to *.todo.jsonl
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only records from this time on, such as 2026-05-01 or 2026-05-01T06:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Take at most N records, the oldest first
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// A day, or a moment.
fn time(word: &str) -> Result<SystemTime, String> {
    let moment = if word.len() == 10 { format!("{word}T00:00:00Z") } else { word.to_owned() };
    humantime::parse_rfc3339_weak(&moment)
        .map_err(|e| format!("{e}; hint: write a day as 2026-05-01, a moment as 2026-05-01T06:00:00Z (UTC)"))
}

/// What came of the decisions.
#[derive(Debug, Default, Serialize)]
struct Counts {
    decisions: usize,
    fit: usize,
    todo: usize,
    /// Of the latter, by what is missing.
    todo_by_reason: BTreeMap<&'static str, usize>,
    /// Records that hold a hash in place of the words.
    not_stored: usize,
    /// Decisions on ids of which no record was taken.
    not_taken: usize,
}

/// Collects.
pub(crate) fn run(args: &CollectArgs, home: &Path) -> anyhow::Result<Exit> {
    let folder = home.join("audit");
    if !folder.is_dir() {
        let hint = "hint: the service writes it; R2D_HOME says where to look";
        return Err(UsageError(format!("there is no audit log at {}; {hint}", folder.display())).into());
    }
    let beside = trajectory::beside(&args.out, "todo.jsonl");
    for file in [&args.out, &beside] {
        super::must_be_new(file)?;
    }
    let told = args.decisions.as_deref().map(collect::read_decisions).transpose();
    let told = told.map_err(|e| UsageError(e.to_string()))?.unwrap_or_default();
    let report = audit::verify(&folder)?;
    if !report.is_sound() {
        for problem in &report.problems {
            output::line(problem.to_string());
        }
        output::line("the chain is broken, nothing was collected; hint: `r2d-edge audit verify` says more");
        return Ok(Exit::Refused);
    }
    let decided = decided_in(&folder)?;
    if told.is_empty() && decided.is_empty() {
        let hint = "hint: --decisions FILE names them; policy.review has people decide";
        return Err(UsageError(format!("the log holds no decision of a person; {hint}")).into());
    }
    let (counts, fit, todo) = gather(&folder, told, decided, args)?;
    trajectory::write(&args.out, &fit)?;
    if !todo.is_empty() {
        write_todo(&beside, &todo).with_context(|| format!("cannot write {}", beside.display()))?;
        output::note(format!(
            "to complete by a person, or by `distill teach --prompts`: {}",
            beside.display()
        ));
    }
    tell(&counts, args.json);
    Ok(Exit::Done)
}

/// What people decided while the device served, by the number of the record that it is about.
fn decided_in(folder: &Path) -> anyhow::Result<HashMap<u64, Decision>> {
    let mut decisions = HashMap::new();
    for entry in audit::read_from(folder, 1)? {
        let (link, raw) = entry?;
        if let Entry::Review(review) = parse(&raw, link)? {
            let label = match review.decision {
                Choice::Approve => Label::Safe,
                Choice::Deny => Label::Unsafe,
            };
            let decision = Decision { id: review.id.to_string(), label, answer: None, note: review.note };
            decisions.insert(review.record_seq, decision);
        }
    }
    Ok(decisions)
}

fn parse(raw: &RawValue, link: Link) -> anyhow::Result<Entry> {
    Entry::parse(raw).with_context(|| format!("audit record {} is of an unknown form", link.seq))
}

/// Reads the log and takes what decisions speak of.
fn gather(
    folder: &Path,
    mut told: HashMap<String, Decision>,
    mut decided: HashMap<u64, Decision>,
    args: &CollectArgs,
) -> anyhow::Result<(Counts, Vec<Trajectory>, Vec<Todo>)> {
    let mut counts = Counts { decisions: told.len(), ..Counts::default() };
    let (mut fit, mut todo, mut is_full) = (Vec::new(), Vec::new(), false);
    for entry in audit::read_from(folder, 1)? {
        let (link, raw) = entry?;
        is_full = args.limit.is_some_and(|n| fit.len() + todo.len() >= n);
        if is_full || (told.is_empty() && decided.is_empty()) {
            break;
        }
        let Entry::Request(record) = parse(&raw, link)? else { continue };
        if !collect::is_candidate(&record) || !is_since(&record, args.since)? {
            continue;
        }
        // What is said now goes before what was said then.
        let then = decided.remove(&link.seq);
        counts.decisions += usize::from(then.is_some());
        let Some(decision) = told.remove(record.id.as_str()).or(then) else { continue };
        match collect::collect(&record, &decision) {
            Collected::Fit(t) => fit.push(*t),
            Collected::NotStored => counts.not_stored += 1,
            Collected::Todo(t) => {
                *counts.todo_by_reason.entry(t.reason).or_default() += 1;
                todo.push(*t);
            }
        }
    }
    (counts.fit, counts.todo, counts.not_taken) = (fit.len(), todo.len(), told.len());
    let mut left: Vec<String> = told.into_keys().collect();
    if !left.is_empty() {
        left.sort();
        left.truncate(MAX_NAMED);
        let why = if is_full {
            "were left when --limit was reached"
        } else {
            "found no record that was to be taken"
        };
        output::note(format!("{} decisions {why}, such as {}", counts.not_taken, left.join(", ")));
    }
    Ok((counts, fit, todo))
}

fn is_since(record: &Record, since: Option<SystemTime>) -> anyhow::Result<bool> {
    let Some(since) = since else { return Ok(true) };
    let at = humantime::parse_rfc3339_weak(&record.ts)
        .with_context(|| format!("record {} has the time {:?}", record.id, record.ts))?;
    Ok(at >= since)
}

/// Writes what is left to a person, to a file that is not there yet.
fn write_todo(path: &Path, todo: &[Todo]) -> anyhow::Result<()> {
    let mut text = String::new();
    for t in todo {
        writeln!(text, "{}", serde_json::to_string(t)?)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}

fn tell(counts: &Counts, json: bool) {
    if json {
        output::json(counts);
        return;
    }
    let Counts { decisions, fit, todo, todo_by_reason, not_stored, not_taken } = counts;
    output::line(format!("{fit:>6}  trajectories, to be confirmed"));
    output::line(format!("{todo:>6}  to be completed by a person"));
    for (reason, n) in todo_by_reason {
        output::line(format!("        {n:>6}  {reason}"));
    }
    output::line(format!("{not_stored:>6}  without their words in the log"));
    output::line(format!("{not_taken:>6}  decisions without a record that was taken"));
    output::line(format!("{decisions:>6}  decisions"));
}
