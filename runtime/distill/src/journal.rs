//! The log of a run: one JSON object a line and step.
//!
//! Not what a run is taken up from, which is the checkpoint. Invariant: a log that is opened for a position has no row
//! behind it, so steps that are made again after a crash stand in it once.

use crate::trainer::Row;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Seek as _, Write as _};
use std::path::Path;

/// An open log.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens or makes a log and drops what stands behind `position` steps, torn lines too.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path, position: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut keep = 0;
        let mut lines = io::BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let row = serde_json::from_slice::<Row>(&line).ok();
            if !line.ends_with(b"\n") || row.is_none_or(|r| r.step > position) {
                break;
            }
            keep += line.len() as u64;
            line.clear();
        }
        file.set_len(keep)?;
        let mut journal = Self(file);
        journal.0.seek(io::SeekFrom::End(0))?;
        Ok(journal)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&mut self, row: &Row) -> io::Result<()> {
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        self.0.write_all(&line)
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
