//! Many generations through one model: each tick gathers their tokens into one batch, decodes it and hands the
//! logits back.
//!
//! It judges nothing. It owns the model and so its memory; slot k holds the sequences 2k (main) and 2k+1 (probe)
//! and an equal share of the context. Invariant: a slot's sequences are empty whenever it is free.

use crate::event::Event;
use crate::generation::{Generation, MemoryChange, PromptTooLong, Purpose, Setup};
use crate::model::{BatchToken, DecodeError, Model, Seq};
use r2d_core::verdict::Reason;
use thiserror::Error;

/// Why a request cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// All slots are taken.
    #[error("all {0} slots are taken")]
    Full(usize),
    /// The prompt does not fit.
    #[error(transparent)]
    TooLong(#[from] PromptTooLong),
}

struct Slot {
    key: u64,
    generation: Generation,
}

/// Runs generations side by side.
pub struct Scheduler<M> {
    model: M,
    slots: Vec<Option<Slot>>,
    batch: Vec<BatchToken>,
    wanted: Vec<(usize, usize, Purpose)>,
    fed: Vec<usize>,
}

impl<M: Model> Scheduler<M> {
    /// A scheduler with as many slots as `model` has pairs of sequences.
    pub fn new(model: M) -> Self {
        let n_slots = (model.n_seq() / 2).max(1) as usize;
        Self {
            batch: Vec::with_capacity(model.n_batch()),
            slots: (0..n_slots).map(|_| None).collect(),
            wanted: Vec::new(),
            fed: Vec::new(),
            model,
        }
    }

    /// The model, for tokenising.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, for measuring it by itself; only while idle.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// Whether a slot is free.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    /// Whether nothing runs.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// Starts a request; its events will carry `key`.
    ///
    /// # Errors
    /// [`AdmitError`]; nothing has been decoded then.
    pub fn admit(&mut self, key: u64, setup: Setup, now_ms: u64) -> Result<(), AdmitError> {
        let n_slots = self.slots.len();
        let index = self.slots.iter().position(Option::is_none).ok_or(AdmitError::Full(n_slots))?;
        let share = self.model.n_ctx() / u32::try_from(n_slots).unwrap_or(1);
        let (main, probe) = Self::seqs(index);
        let generation = Generation::new(setup, main, probe, share, now_ms)?;
        self.slots[index] = Some(Slot { key, generation });
        Ok(())
    }

    /// Ends the request of `key`, if it still runs; its verdict is told by the next tick.
    pub fn stop(&mut self, key: u64, reason: Reason, now_ms: u64) {
        for slot in self.slots.iter_mut().flatten().filter(|s| s.key == key) {
            slot.generation.stop(reason, None, now_ms);
        }
    }

    /// One batch: expires what is late, decodes, hands logits back, tells what happened.
    ///
    /// `clock` is read before and after decoding.
    pub fn tick(&mut self, clock: impl Fn() -> u64, mut on_event: impl FnMut(u64, Event)) {
        self.gather(clock());
        if !self.batch.is_empty() {
            let decoded = self.model.decode(&self.batch);
            let now = clock();
            match decoded {
                Ok(()) => {
                    for &(slot, row, purpose) in &self.wanted {
                        if let Some(slot) = &mut self.slots[slot] {
                            slot.generation.take(purpose, self.model.logits(row), &self.model, now);
                        }
                    }
                }
                Err(error) => {
                    for &index in &self.fed {
                        if let Some(slot) = &mut self.slots[index] {
                            fail(&mut slot.generation, &error, now);
                        }
                    }
                }
            }
        }
        self.settle(&mut on_event);
    }

    /// Makes the changes of memory and gathers a batch, an equal share of room for each generation.
    fn gather(&mut self, now: u64) {
        self.batch.clear();
        self.wanted.clear();
        self.fed.clear();
        let running = self.slots.iter().flatten().count().max(1);
        let room = (self.model.n_batch() / running).max(1);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(Slot { generation, .. }) = slot else { continue };
            generation.expire(now);
            let (main, probe) = generation.seqs();
            let changed = generation.take_changes().try_for_each(|change| match change {
                MemoryChange::Fork => self.model.fork(main, probe),
                MemoryChange::DropProbe => self.model.trim(probe, 0),
                MemoryChange::TrimMain(from) => self.model.trim(main, from),
            });
            if let Err(error) = changed {
                fail(generation, &error, now);
            }
            let wanted = &mut self.wanted;
            generation.feed(room, &mut self.batch, |row, purpose| wanted.push((index, row, purpose)));
            self.fed.push(index);
        }
    }

    /// Tells the events and frees the slots that are done.
    fn settle(&mut self, on_event: &mut impl FnMut(u64, Event)) {
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            while let Some(event) = slot.generation.poll_event() {
                on_event(slot.key, event);
            }
            if slot.generation.is_done() {
                self.slots[index] = None;
                let (main, probe) = Self::seqs(index);
                for seq in [probe, main] {
                    // Forgetting a whole sequence cannot fail.
                    let forgotten = self.model.trim(seq, 0);
                    debug_assert!(forgotten.is_ok());
                }
            }
        }
    }

    fn seqs(slot: usize) -> (Seq, Seq) {
        let main = u32::try_from(slot * 2).unwrap_or(u32::MAX - 1);
        (Seq(main), Seq(main + 1))
    }
}

fn fail(generation: &mut Generation, error: &DecodeError, now: u64) {
    let reason = match error {
        DecodeError::NoRoom => Reason::ContextFull,
        DecodeError::Failed(_) => Reason::DecodeFailed,
    };
    generation.stop(reason, Some(error.to_string()), now);
}
