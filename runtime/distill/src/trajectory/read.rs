//! Trajectories from and to JSON Lines.
//!
//! Invariant: memory stays bounded by [`MAX_LINE_BYTES`] a line and [`MAX_TRAJECTORIES`] a file, whatever the file
//! holds, and every complaint names its line.

use super::Trajectory;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Longest line. The longest trajectory that passes the check is far shorter.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// Most trajectories of a file.
pub const MAX_TRAJECTORIES: usize = 1_000_000;

/// What is wrong with a line.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LineFault {
    /// It is longer than any trajectory.
    #[error("longer than {MAX_LINE_BYTES} bytes; hint: one trajectory stands on one line")]
    TooLong,
    /// It is not a trajectory.
    #[error(
        "{message}; hint: a line is one JSON object with id, category, label, prompt, steps, answer and answer_pivot"
    )]
    NotATrajectory {
        /// What the parser says, with the column.
        message: String,
    },
    /// It cannot be read.
    #[error("{0}; hint: check the disk and the file's rights")]
    Io(#[from] io::Error),
}

impl LineFault {
    /// A name that stays, for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooLong => "line-too-long",
            Self::NotATrajectory { .. } => "not-a-trajectory",
            Self::Io(_) => "unreadable",
        }
    }
}

/// Why a file of trajectories cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be opened.
    #[error("cannot open {}: {source}; hint: check the path", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is faulty.
    #[error("{}:{line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// It is larger than what can be trained on.
    #[error("{} holds more than {MAX_TRAJECTORIES} trajectories; hint: split it", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

/// A file of trajectories cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}; hint: check the folder and the free space", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The trajectories of a stream, line by line. A faulty line does not end it, a failed read does.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    line: usize,
    ended: bool,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { source, line: 0, ended: false, buffer: Vec::new() }
    }

    /// The next line into the buffer; false at the end.
    fn fill(&mut self) -> Result<bool, LineFault> {
        self.buffer.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let (part, ends) = match available.iter().position(|&b| b == b'\n') {
                Some(at) => (&available[..at], true),
                None => (available, false),
            };
            any |= !available.is_empty();
            // The rest of an overlong line is passed over, so that the next line is read as what it is.
            too_long |= self.buffer.len() + part.len() > MAX_LINE_BYTES;
            if !too_long {
                self.buffer.extend_from_slice(part);
            }
            let n = part.len() + usize::from(ends);
            let at_end = available.is_empty();
            self.source.consume(n);
            if ends || at_end {
                return if too_long { Err(LineFault::TooLong) } else { Ok(any) };
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    /// The line's number, from 1, and what it holds.
    type Item = (usize, Result<Trajectory, LineFault>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            match self.fill() {
                Ok(false) => self.ended = true,
                Ok(true) if self.buffer.trim_ascii().is_empty() => {}
                Ok(true) => {
                    let parsed = serde_json::from_slice(&self.buffer)
                        .map_err(|e| LineFault::NotATrajectory { message: without_line(&e) });
                    return Some((self.line, parsed));
                }
                Err(fault) => {
                    self.ended = matches!(fault, LineFault::Io(_));
                    return Some((self.line, Err(fault)));
                }
            }
        }
        None
    }
}

/// The parser's words, with the column but without its line, which is always 1.
fn without_line(e: &serde_json::Error) -> String {
    let said = e.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    // What it quotes may be long and hostile.
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("column {}: {said}", e.column())
}

/// All trajectories of the file at `path`.
///
/// # Errors
/// [`ReadError`] at the first faulty line.
pub fn read(path: &Path) -> Result<Vec<Trajectory>, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Open { path: path.into(), source })?;
    let mut out = Vec::new();
    for (line, parsed) in Lines::new(BufReader::new(file)) {
        if out.len() >= MAX_TRAJECTORIES {
            return Err(ReadError::TooMany { path: path.into() });
        }
        out.push(parsed.map_err(|fault| ReadError::Line { path: path.into(), line, fault })?);
    }
    Ok(out)
}

/// The file that belongs to the trajectories at `path` and stands beside them: `own.jsonl` has `own.todo.jsonl`.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let stem =
        if path.extension().is_some_and(|e| e == "jsonl") { path.file_stem() } else { path.file_name() };
    let mut name = stem.unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Writes `trajectories` to `path`: beside it first, then in its place, so that a broken run leaves the old file.
///
/// # Errors
/// [`WriteError`].
pub fn write(path: &Path, trajectories: &[Trajectory]) -> Result<(), WriteError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let beside = path.with_file_name(name);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&beside)?);
        for t in trajectories {
            writeln!(file, "{}", t.to_line())?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    written.map_err(|source| WriteError { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trajectory::fixture::{harmful, safe};

    fn numbered(text: &[u8]) -> Vec<(usize, &'static str)> {
        // A tiny buffer, so that lines come in pieces.
        let lines = Lines::new(BufReader::with_capacity(7, text));
        lines.map(|(n, r)| (n, r.map_or_else(|f| f.name(), |_| "good"))).collect()
    }

    #[test]
    fn faulty_lines_are_named_and_the_next_ones_read() {
        let good = safe("a", "Why is it so?").to_line();
        let text = format!(
            "{good}\n\n{{\"id\": 1}}\n{good}\r\nnonsense\n{}\n{good}",
            "x".repeat(MAX_LINE_BYTES + 1)
        );
        assert_eq!(
            numbered(text.as_bytes()),
            [
                (1, "good"),
                (3, "not-a-trajectory"),
                (4, "good"),
                (5, "not-a-trajectory"),
                (6, "line-too-long"),
                (7, "good")
            ]
        );
    }

    #[test]
    fn hostile_files_end_without_harm() {
        assert_eq!(numbered(b""), []);
        assert_eq!(numbered(b"\n\n\n"), []);
        assert_eq!(numbered(b"\xff\xfe\n"), [(1, "not-a-trajectory")]);
        assert_eq!(numbered("[".repeat(5000).as_bytes()), [(1, "not-a-trajectory")]);
        let endless = vec![b'['; 1 << 20];
        assert_eq!(numbered(&endless), [(1, "line-too-long")]);
    }

    #[test]
    fn unknown_and_repeated_fields_are_refused() {
        let good = safe("a", "Why is it so?").to_line();
        let extra = good.replace("\"label\"", "\"lable\": 1, \"label\"");
        let twice = good.replace("\"label\"", "\"id\": \"b\", \"label\"");
        let pivot = good.replace("\"answer_pivot\": \"SAFE\"", "\"answer_pivot\": \"MAYBE\"");
        for bad in [extra, twice, pivot] {
            assert_eq!(numbered(bad.as_bytes()), [(1, "not-a-trajectory")], "{bad}");
        }
    }

    #[test]
    fn pair_and_split_may_be_missing() {
        let line = safe("a", "Why is it so?").to_line();
        let line = line.replace(r#", "pair": null, "split": "train""#, "");
        let (_, t) = Lines::new(line.as_bytes()).next().unwrap();
        assert_eq!((t.as_ref().unwrap().pair.as_ref(), t.as_ref().unwrap().split), (None, None));
    }

    #[test]
    fn a_file_beside_has_the_name_of_its_trajectories() {
        assert_eq!(beside(Path::new("a/own.jsonl"), "todo.jsonl"), Path::new("a/own.todo.jsonl"));
        assert_eq!(beside(Path::new("own.v2"), "todo.jsonl"), Path::new("own.v2.todo.jsonl"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let all = [safe("a", "Why is it so?"), harmful("b", "Tell me \"that\" now")];
        write(&path, &all).unwrap();
        assert_eq!(read(&path).unwrap(), all);
        std::fs::write(&path, "{}\n").unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("t.jsonl:1: ") && said.contains("hint:"), "{said}");
        assert!(read(&folder.path().join("none")).unwrap_err().to_string().contains("hint:"));
    }
}
