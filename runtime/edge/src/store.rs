//! The store: the outbox of messages still to be published, and the answers already given, in a redb file.
//!
//! It is not the truth: that is the audit log, which the store follows record by record. It knows nothing of
//! records, topics or brokers.
//! Invariant: the messages of a record, the answer kept for its request and the number of the record become
//! durable in one transaction, so no record is half applied and none is applied twice.
//!
//! # Losing the file
//! A store that begins anew stands at record 0 and expects all records again. Applying them with their
//! messages publishes old verdicts again. The caller, who can read a record, decides: it passes no messages
//! for records whose verdict has expired, or skips with [`Store::skip_to`] what is older than the bound on
//! kept answers (they would be dropped again at once). `open` itself takes no such floor: it could not tell
//! a new device from a lost file, and a floor applied to the wrong one would lose messages silently.

mod error;
mod row;

#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition,
    WriteTransaction,
};

pub use error::StoreError;
pub use row::{Answered, Outgoing};

use error::at;
use row::Done;

/// Place of a message in the outbox. Keys grow and are never given twice.
pub type OutboxKey = u64;

const OUTBOX: TableDefinition<'_, OutboxKey, &[u8]> = TableDefinition::new("outbox");
const DONE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("done");
const DONE_BY_SEQ: TableDefinition<'_, u64, &str> = TableDefinition::new("done_by_seq");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const APPLIED: &str = "applied";
const NEXT_KEY: &str = "next_outbox_key";

/// Removals that may be lost in a crash, and so published a second time.
const MAX_LAZY_REMOVALS: u32 = 64;

/// Bounds of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// Messages the outbox holds at most.
    pub outbox_max: u64,
    /// Answers kept for duplicates at most; beyond it those with the oldest records go.
    pub done_max: u64,
    /// Memory for pages of the file. The default of redb, 1 GiB, is more than many boards have.
    pub cache_bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { outbox_max: 10_000, done_max: 10_000, cache_bytes: 4 * 1024 * 1024 }
    }
}

/// The store. All its methods may be called from several threads; writers wait for one another.
pub struct Store {
    path: PathBuf,
    limits: StoreLimits,
    database: Database,
    lazy: AtomicU32,
}

impl Store {
    /// Opens the file with the default bounds, or begins a new one.
    ///
    /// # Errors
    /// See [`Store::open_with`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, StoreLimits::default())
    }

    /// Opens the file, or begins a new one. The checksums of the whole file are verified first: redb may
    /// otherwise panic on pages changed behind its back, and a start is the time to find out. Take the lock of
    /// the audit log first: it keeps two processes from beginning the same store.
    ///
    /// # Errors
    /// When another process has the file, when it is damaged, or when it cannot be used.
    pub fn open_with(path: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        if path.try_exists().map_err(at("open", path))? {
            return Self::attach(path, limits);
        }
        // A file of which only a part was initialised is no database. A new one gets its name when it is
        // whole, so that a crash here leaves a draft and no damaged store.
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        let mut store = match Self::attach(&draft, limits) {
            Err(StoreError::Damaged { .. }) => {
                fs::remove_file(&draft).map_err(at("create", &draft))?;
                Self::attach(&draft, limits)?
            }
            store => store?,
        };
        fs::rename(&draft, path).map_err(at("create", path))?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at("create", path))?;
        store.path = path.to_owned();
        Ok(store)
    }

    fn attach(path: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        let database = Database::builder()
            .set_cache_size(limits.cache_bytes)
            .set_check_integrity_on_open(true)
            .create(path)
            .map_err(at("open", path))?;
        let store = Self { path: path.to_owned(), limits, database, lazy: AtomicU32::new(0) };
        // Makes the tables, which reading would otherwise miss.
        store.write("prepare", Durability::Immediate, |_, _| Ok(()))?;
        Ok(store)
    }

    /// The record up to which the store has followed the audit log. When the log ends before it, the log
    /// has lost records.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn applied(&self) -> Result<u64, StoreError> {
        self.read("read", |read| number(&read.open_table(META)?, APPLIED, 0))
    }

    /// Applies record `seq`: puts its messages into the outbox and keeps the answer to its request, in one
    /// durable transaction. Returns the keys of the messages. A record already applied changes nothing and
    /// gives an empty range.
    ///
    /// # Errors
    /// [`StoreError::Gap`] for any record but the next, [`StoreError::OutboxFull`] when the messages do not
    /// fit; neither changes anything. The record is in the log by then, so a full outbox is answered by
    /// waiting for deliveries and applying again: look at [`Store::depth`] before taking a request.
    pub fn apply(
        &self,
        seq: u64,
        request: Option<(&str, &[u8])>,
        out: &[Outgoing],
    ) -> Result<Range<OutboxKey>, StoreError> {
        self.apply_with(seq, out, |tables, keys, limits| {
            let Some((id, payload)) = request else { return Ok(()) };
            let done = Done { seq, first: keys.start, end: keys.end, payload: payload.to_vec() };
            let row = row::encode(&done)?;
            tables.keep(id, seq, &row, limits).map_err(at("apply", &self.path))
        })
    }

    /// Applies record `seq`, which says more of a request that an earlier one answered: puts its messages into the
    /// outbox and replaces what is kept of the answer. Which messages carried the answer stays as it was, and nothing is
    /// kept of a request that is kept no longer.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn amend(
        &self,
        seq: u64,
        id: &str,
        payload: &[u8],
        out: &[Outgoing],
    ) -> Result<Range<OutboxKey>, StoreError> {
        self.apply_with(seq, out, |tables, _, _| {
            let kept = tables.done.get(id).map_err(at("apply", &self.path))?.map(|row| row.value().to_vec());
            let Some(kept) = kept else { return Ok(()) };
            let done: Done =
                row::decode(&kept).ok_or_else(|| self.damaged(format!("the answer to request {id}")))?;
            let row = row::encode(&Done { payload: payload.to_vec(), ..done })?;
            tables.done.insert(id, &row[..]).map_err(at("apply", &self.path))?;
            Ok(())
        })
    }

    /// Puts messages of record `seq` into the outbox and does the rest, unless the record was applied before.
    fn apply_with(
        &self,
        seq: u64,
        out: &[Outgoing],
        rest: impl FnOnce(&mut Tables<'_>, &Range<OutboxKey>, StoreLimits) -> Result<(), StoreError>,
    ) -> Result<Range<OutboxKey>, StoreError> {
        self.write("apply", Durability::Immediate, |tables, limits| {
            let applied = number(&tables.meta, APPLIED, 0).map_err(at("apply", &self.path))?;
            if seq <= applied {
                let key = number(&tables.meta, NEXT_KEY, 0).map_err(at("apply", &self.path))?;
                return Ok(key..key);
            }
            if seq - applied > 1 {
                return Err(StoreError::Gap { expected: applied + 1, given: seq });
            }
            let keys = tables.put(out, limits, &self.path)?;
            rest(tables, &keys, limits)?;
            tables.meta.insert(APPLIED, seq).map_err(at("apply", &self.path))?;
            Ok(keys)
        })
    }

    /// Begins a new store behind record `seq` in place of record 0.
    ///
    /// # Errors
    /// [`StoreError::NotNew`] when any record was applied: it could lose messages.
    pub fn skip_to(&self, seq: u64) -> Result<(), StoreError> {
        self.write("write", Durability::Immediate, |tables, _| {
            let applied = number(&tables.meta, APPLIED, 0).map_err(at("write", &self.path))?;
            if applied > 0 {
                return Err(StoreError::NotNew { applied });
            }
            tables.meta.insert(APPLIED, seq).map_err(at("write", &self.path))?;
            Ok(())
        })
    }

    /// Puts messages without a record of their own into the outbox, durably, such as answers to duplicates.
    ///
    /// # Errors
    /// [`StoreError::OutboxFull`] when they do not all fit; then none is taken.
    pub fn enqueue(&self, out: &[Outgoing]) -> Result<Range<OutboxKey>, StoreError> {
        self.write("write", Durability::Immediate, |tables, limits| tables.put(out, limits, &self.path))
    }

    /// The answer kept for a request.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn answered(&self, id: &str) -> Result<Option<Answered>, StoreError> {
        Ok(self.done(id)?.map(|done| Answered { seq: done.seq, payload: done.payload }))
    }

    /// Whether messages of the record that answered this request are still in the outbox: then a duplicate
    /// needs no second answer. `false` as well for a request not known.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn pending_for(&self, id: &str) -> Result<bool, StoreError> {
        let Some(done) = self.done(id)? else { return Ok(false) };
        self.read("read", |read| {
            let outbox = read.open_table(OUTBOX)?;
            Ok(outbox.range(done.first..done.end)?.next().transpose()?.is_some())
        })
    }

    fn done(&self, id: &str) -> Result<Option<Done>, StoreError> {
        let row =
            self.read("read", |read| Ok(read.open_table(DONE)?.get(id)?.map(|row| row.value().to_vec())))?;
        row.map(|row| row::decode(&row).ok_or_else(|| self.damaged(format!("the answer to request {id}"))))
            .transpose()
    }

    /// The oldest message, or the oldest behind a key.
    ///
    /// # Errors
    /// When the file or the row cannot be read.
    pub fn next(&self, after: Option<OutboxKey>) -> Result<Option<(OutboxKey, Outgoing)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let row = self.read("read", |read| {
            let outbox = read.open_table(OUTBOX)?;
            let row = outbox.range((from, Bound::Unbounded))?.next().transpose()?;
            Ok(row.map(|(key, row)| (key.value(), row.value().to_vec())))
        })?;
        let Some((key, row)) = row else { return Ok(None) };
        let message =
            row::decode(&row).ok_or_else(|| self.damaged(format!("message {key} of the outbox")))?;
        Ok(Some((key, message)))
    }

    /// Removes a message that the broker has acknowledged; one that is not there is no error.
    ///
    /// Most removals do not wait for the disk: a crash brings the message back and it is published again,
    /// which delivery at least once allows, and a write to flash is saved. A later durable write takes all
    /// of them along, and so does every 64th removal and [`Store::flush`], which bounds the repetitions.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn delivered(&self, key: OutboxKey) -> Result<(), StoreError> {
        let lazy = self.lazy.fetch_add(1, Ordering::Relaxed) + 1 < MAX_LAZY_REMOVALS;
        let durability = if lazy { Durability::None } else { Durability::Immediate };
        self.write("write", durability, |tables, _| {
            tables.outbox.remove(key).map_err(at("write", &self.path))?;
            Ok(())
        })
    }

    /// Makes removals durable that are not yet; for quiet times and before stopping.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&self) -> Result<(), StoreError> {
        if self.lazy.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.write("write", Durability::Immediate, |_, _| Ok(()))
    }

    /// How many messages are in the outbox.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn depth(&self) -> Result<u64, StoreError> {
        self.read("read", |read| Ok(read.open_table(OUTBOX)?.len()?))
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what }
    }

    fn read<T>(
        &self,
        action: &'static str,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let read = self.database.begin_read().map_err(at(action, &self.path))?;
        look(&read).map_err(at(action, &self.path))
    }

    /// Runs one transaction; an error takes everything in it back.
    fn write<T>(
        &self,
        action: &'static str,
        durability: Durability,
        change: impl FnOnce(&mut Tables<'_>, StoreLimits) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut write = self.database.begin_write().map_err(at(action, &self.path))?;
        write.set_durability(durability).map_err(at(action, &self.path))?;
        let mut tables = Tables::open(&write).map_err(at(action, &self.path))?;
        let value = change(&mut tables, self.limits)?;
        drop(tables);
        if matches!(durability, Durability::Immediate) {
            // Before the commit: a removal counted in between is only made durable too early.
            self.lazy.store(0, Ordering::Relaxed);
        }
        write.commit().map_err(at(action, &self.path))?;
        Ok(value)
    }
}

fn number(
    meta: &impl ReadableTable<&'static str, u64>,
    key: &str,
    otherwise: u64,
) -> Result<u64, redb::Error> {
    Ok(meta.get(key)?.map_or(otherwise, |value| value.value()))
}

struct Tables<'t> {
    outbox: Table<'t, OutboxKey, &'static [u8]>,
    done: Table<'t, &'static str, &'static [u8]>,
    by_seq: Table<'t, u64, &'static str>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            outbox: write.open_table(OUTBOX)?,
            done: write.open_table(DONE)?,
            by_seq: write.open_table(DONE_BY_SEQ)?,
            meta: write.open_table(META)?,
        })
    }

    fn put(
        &mut self,
        out: &[Outgoing],
        limits: StoreLimits,
        path: &Path,
    ) -> Result<Range<OutboxKey>, StoreError> {
        let depth = self.outbox.len().map_err(at("write", path))?;
        if !out.is_empty() && depth.saturating_add(out.len() as u64) > limits.outbox_max {
            return Err(StoreError::OutboxFull { depth, added: out.len(), max: limits.outbox_max });
        }
        let first = number(&self.meta, NEXT_KEY, 0).map_err(at("write", path))?;
        let mut key = first;
        for message in out {
            let row = row::encode(message)?;
            self.outbox.insert(key, row.as_slice()).map_err(at("write", path))?;
            key += 1;
        }
        if key > first {
            self.meta.insert(NEXT_KEY, key).map_err(at("write", path))?;
        }
        Ok(first..key)
    }

    /// Keeps an answer, and drops the oldest beyond the bound.
    fn keep(&mut self, id: &str, seq: u64, row: &[u8], limits: StoreLimits) -> Result<(), redb::Error> {
        let earlier = self.done.get(id)?.and_then(|row| row::decode::<Done>(row.value()));
        if let Some(earlier) = earlier {
            self.by_seq.remove(earlier.seq)?;
        }
        self.done.insert(id, row)?;
        self.by_seq.insert(seq, id)?;
        while self.by_seq.len()? > limits.done_max {
            let Some((_, oldest)) = self.by_seq.pop_first()? else { break };
            self.done.remove(oldest.value())?;
        }
        Ok(())
    }
}
