//! Running until done or until a limit is met.
//!
//! Limits act between two steps; what else may end a run (a signal) the observer says. Invariant: a run that ends early or
//! pauses has written a checkpoint first, if it was told where.

use super::heat::Heat;
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

    /// Called when a budget of temperature is set: before a pause with the degrees Celsius, and once, with none, where
    /// no temperature can be read.
    fn on_heat(&mut self, _celsius: Option<f32>) {}
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
    /// How hot the machine may be.
    pub heat: Option<Heat>,
    /// Where to write checkpoints, and every how many steps.
    pub checkpoint: Option<(PathBuf, u64)>,
}

/// Why a run ended before its last step.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Its time is up.
    Time,
    /// The machine stayed this hot, in degrees Celsius.
    Heat(f32),
    /// The process holds so many bytes.
    Memory(u64),
    /// It has made its steps.
    Steps,
    /// The observer said so.
    Asked(String),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
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
        let mut heat = limits.heat.as_ref();
        let ending = loop {
            if limits.time.is_some_and(|t| began.elapsed() >= t) {
                break Ending::Stopped(Stop::Time);
            }
            if limits.n_steps.is_some_and(|n| self.position() - first >= n) {
                break Ending::Stopped(Stop::Steps);
            }
            if let Some(budget) = heat.filter(|_| self.position() < self.n_steps()) {
                let celsius = budget.hottest();
                if celsius.is_none_or(|c| c > budget.max_celsius) {
                    observer.on_heat(celsius);
                }
                match celsius {
                    None => heat = None,
                    Some(c) if c > budget.max_celsius => {
                        self.save_behind(&mut saved, limits, observer)?;
                        let left = limits.time.map(|t| t.saturating_sub(began.elapsed()));
                        if let Some(c) = budget.wait(left) {
                            break Ending::Stopped(Stop::Heat(c));
                        }
                    }
                    Some(_) => {}
                }
            }
            let Some(row) = self.step()? else { break Ending::Done };
            if let Some(reason) = observer.on_step(&row) {
                break Ending::Stopped(Stop::Asked(reason));
            }
            let held = memory::resident().map_or(0, |(now, _)| now);
            if limits.resident_bytes.is_some_and(|most| held > most) {
                break Ending::Stopped(Stop::Memory(held));
            }
            let every = limits.checkpoint.as_ref().map_or(u64::MAX, |(_, every)| (*every).max(1));
            if self.position() - saved >= every {
                self.save_behind(&mut saved, limits, observer)?;
            }
        };
        self.save_behind(&mut saved, limits, observer)?;
        Ok(ending)
    }

    /// Writes a checkpoint unless nothing was done since the last one.
    fn save_behind(
        &self,
        saved: &mut u64,
        limits: &Limits,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if let Some((path, _)) = &limits.checkpoint
            && *saved != self.position()
        {
            self.save(path)?;
            *saved = self.position();
            observer.on_checkpoint(*saved);
        }
        Ok(())
    }
}
