//! The log of a run: what the run is known by, then one JSON object a line and step.
//!
//! Not what a run is taken up from, which is the checkpoint. Invariant: a log that is opened for a position has no row
//! behind it, so steps that are made again after a crash stand in it once.

use crate::trainer::{Identity, Row};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Seek as _, Write as _};
use std::path::Path;

/// An open log.
#[derive(Debug)]
pub struct Journal(File);

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    run: Identity,
}

/// Whether `line` is what a crash left of the first line of `run`.
fn is_torn(line: &[u8], run: &Identity) -> io::Result<bool> {
    Ok(serde_json::to_vec(&Head { run: run.clone() })?.starts_with(line))
}

impl Journal {
    /// Opens or makes the log of `run` and drops what stands behind `position` steps, torn lines too.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::InvalidData`] when the file is of another run, or no log of any.
    pub fn open(path: &Path, run: &Identity, position: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut keep = 0;
        let mut lines = io::BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let head = serde_json::from_slice::<Head>(&line).ok().filter(|_| keep == 0);
            let row = serde_json::from_slice::<Row>(&line).ok();
            if keep == 0 && head.as_ref().is_none_or(|h| h.run != *run) && !is_torn(&line, run)? {
                let words = "it is there already, and not the log of this run; hint: give another folder, or move it away";
                return Err(io::Error::new(io::ErrorKind::InvalidData, words));
            }
            let stays = head.is_some() || row.is_some_and(|r| r.step <= position);
            // A run that begins writes its own first line.
            if position == 0 || !line.ends_with(b"\n") || !stays {
                break;
            }
            keep += line.len() as u64;
            line.clear();
        }
        file.set_len(keep)?;
        let mut journal = Self(file);
        journal.0.seek(io::SeekFrom::End(0))?;
        if keep == 0 {
            journal.line(&Head { run: run.clone() })?;
        }
        Ok(journal)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&mut self, row: &Row) -> io::Result<()> {
        self.line(row)
    }

    /// All whole rows of a log.
    ///
    /// # Errors
    /// The system's.
    pub fn read(path: &Path) -> io::Result<Vec<Row>> {
        let text = std::fs::read(path)?;
        Ok(text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}
