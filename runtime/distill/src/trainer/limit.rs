//! Running until done or until a limit is met.
//!
//! Limits act between two steps; what else may end a run (temperature, a signal) the observer says. Invariant: a run that
//! ends early has written a checkpoint first, if it was told where.

use super::{Row, TrainError, Trainer};
use crate::memory;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Who watches a run, draws its progress and may end it.
pub trait Observer {
    /// Called after each step; a reason ends the run.
    fn on_step(&mut self, row: &Row) -> Option<String>;

    /// Called after each checkpoint, with the steps that are done.
    fn on_checkpoint(&mut self, _position: u64) {}
}

/// When to stop before the end, and where to write checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Time that this part of the run may take.
    pub time: Option<Duration>,
    /// Bytes that the process may hold.
    pub resident_bytes: Option<u64>,
    /// Steps that this part of the run may take.
    pub n_steps: Option<u64>,
    /// Where to write checkpoints, and every how many steps.
    pub checkpoint: Option<(PathBuf, u64)>,
}

/// Why a run ended before its last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its time is up.
    Time,
    /// The process holds so many bytes.
    Memory(u64),
    /// It has made its steps.
    Steps,
    /// The observer said so.
    Asked(String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Done,
    /// It can be taken up again.
    Stopped(Stop),
}

impl Trainer {
    /// Steps until the run is done or a limit is met; the last checkpoint is written in either case.
    ///
    /// # Errors
    /// [`TrainError`] of a step or a checkpoint.
    pub fn run(&mut self, limits: &Limits, observer: &mut dyn Observer) -> Result<Ending, TrainError> {
        let (began, first) = (Instant::now(), self.position());
        let mut saved = first;
        let ending = loop {
            if limits.time.is_some_and(|t| began.elapsed() >= t) {
                break Ending::Stopped(Stop::Time);
            }
            if limits.n_steps.is_some_and(|n| self.position() - first >= n) {
                break Ending::Stopped(Stop::Steps);
            }
            let Some(row) = self.step()? else { break Ending::Done };
            if let Some(reason) = observer.on_step(&row) {
                break Ending::Stopped(Stop::Asked(reason));
            }
            let held = memory::resident().map_or(0, |(now, _)| now);
            if limits.resident_bytes.is_some_and(|most| held > most) {
                break Ending::Stopped(Stop::Memory(held));
            }
            if let Some((path, every)) = &limits.checkpoint
                && self.position() - saved >= (*every).max(1)
            {
                self.save(path)?;
                saved = self.position();
                observer.on_checkpoint(saved);
            }
        };
        if let Some((path, _)) = &limits.checkpoint
            && saved != self.position()
        {
            self.save(path)?;
            observer.on_checkpoint(self.position());
        }
        Ok(ending)
    }
}
