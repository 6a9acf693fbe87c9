//! A download into a file that survives cut connections and restarts of the program.
//!
//! Writes only the `.part` file it is given, and its `.etag` beside it. Invariants: bytes already on disk are hashed
//! again before more are added, so a digest always covers the whole file; a file that turned out wrong is deleted,
//! never kept for a resume; no more is read than was announced.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::address::Address;
use super::digest::{BUFFER, Digest, copy_hashed};
use super::error::ModelsError;
use super::http::{Client, Failure, check_status};
use super::progress::Progress;
use super::store::need_space;

/// After so much progress, earlier failures no longer count: a long download may meet many short outages.
const PROGRESS_THAT_COUNTS: u64 = 1 << 20;

/// What is to be fetched, and how it will be recognised.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// For people.
    pub(crate) what: &'a str,
    /// From where.
    pub(crate) from: Address,
    /// Its digest, if known beforehand.
    pub(crate) sha256: Option<Digest>,
    /// Its size, if known beforehand.
    pub(crate) size: Option<u64>,
    /// No more than this, whatever the server says.
    pub(crate) limit: u64,
}

/// The state of one download.
struct Transfer<'a> {
    wanted: &'a Wanted<'a>,
    part: &'a Path,
    file: File,
    hash: Sha256,
    have: u64,
    etag: Option<String>,
    resumed: bool,
}

/// Fetches `wanted` into `part`, going on with what is there already.
pub(crate) fn download(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &Path,
    progress: &mut dyn Progress,
) -> Result<(Digest, u64), ModelsError> {
    let mut transfer = Transfer::open(wanted, part)?;
    let done = transfer.run(client, progress);
    progress.finish();
    let (digest, size) = done?;
    match wanted.sha256 {
        Some(expected) if expected != digest => {
            transfer.discard();
            Err(ModelsError::Sha256 {
                what: format!("what {} sent as {}", wanted.from, wanted.what),
                expected,
                found: digest,
                hint: "it was discarded; try again, and if it stays so do not use this source".into(),
            })
        }
        _ => {
            // Complete: a later run recognises it by its digest, so the validator has done its work.
            let _ = fs::remove_file(etag_path(part));
            Ok((digest, size))
        }
    }
}

impl<'a> Transfer<'a> {
    fn open(wanted: &'a Wanted<'a>, part: &'a Path) -> Result<Self, ModelsError> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(part);
        let file = file.map_err(ModelsError::io("open", part))?;
        let etag = fs::read_to_string(etag_path(part)).ok();
        let mut transfer = Self { wanted, part, file, hash: Sha256::new(), have: 0, etag, resumed: false };
        let length = transfer.file.metadata().map_err(ModelsError::io("read", part))?.len();
        // Without a digest or a validator nothing proves that new bytes belong to the old ones.
        let continues = wanted.sha256.is_some() || transfer.etag.is_some();
        if !continues || length > wanted.size.unwrap_or(wanted.limit) {
            transfer.restart()?;
        } else {
            let (hash, mut sink) = (&mut transfer.hash, std::io::sink());
            transfer.have = copy_hashed(&mut transfer.file, &mut sink, hash, u64::MAX, &mut |_| ())
                .map_err(ModelsError::io("read", part))?;
        }
        Ok(transfer)
    }

    fn run(&mut self, client: &Client, progress: &mut dyn Progress) -> Result<(Digest, u64), ModelsError> {
        let wanted = self.wanted;
        if self.have > 0 && wanted.sha256 == Some(self.digest()) {
            return Ok((self.digest(), self.have));
        }
        self.announce(progress, wanted.size);
        let (mut failures, mut mark) = (0, self.have);
        loop {
            let reason = match self.attempt(client, progress) {
                Ok(()) if self.resumed && wanted.sha256.is_some_and(|expected| expected != self.digest()) => {
                    // The old bytes, or a file changed on the server, spoil it: once more, from the beginning.
                    self.restart()?;
                    "the joined pieces do not fit together".to_owned()
                }
                Ok(()) => break,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Transient(reason)) => reason,
            };
            if self.have >= mark.saturating_add(PROGRESS_THAT_COUNTS) {
                (failures, mark) = (0, self.have);
            }
            failures += 1;
            if failures >= client.retry.tries {
                return Err(ModelsError::Network { from: wanted.from.to_string(), reason });
            }
            progress.note(&format!("{}: {reason}; going on from byte {}", wanted.what, self.have));
            client.retry.pause(failures);
        }
        self.file.sync_all().map_err(ModelsError::io("write", self.part))?;
        Ok((self.digest(), self.have))
    }

    /// One request, read to its end or to a failure.
    fn attempt(&mut self, client: &Client, progress: &mut dyn Progress) -> Result<(), Failure> {
        let range = format!("bytes={}-", self.have);
        let mut headers = Vec::new();
        if self.have > 0 {
            headers.push(("range", range.as_str()));
            headers.extend(self.etag.as_deref().map(|etag| ("if-range", etag)));
        }
        let (response, at) = client.get(&self.wanted.from, &headers)?;
        let status = response.status().as_u16();
        if status == 416 {
            self.restart()?;
            return Err(Failure::Transient("the server has no such range".into()));
        }
        check_status(&at, status)?;
        if status == 206 {
            if range_start(&response) != Some(self.have) {
                self.restart()?;
                return Err(Failure::Transient("the server sent another range".into()));
            }
            self.resumed = true;
        } else if self.have > 0 {
            // The server ignores ranges, or the file has changed: either way this is the whole of it.
            self.restart()?;
        }
        self.keep_validator(&response);
        let rest = response.body().content_length().map(|rest| rest.saturating_add(self.have));
        let whole = if status == 206 { range_total(&response) } else { None };
        let total = whole.filter(|whole| *whole >= self.have).or(rest);
        if total.or(self.wanted.size).is_none() && self.wanted.sha256.is_none() {
            // An end that came too early would look like the end.
            let from = self.wanted.from.to_string();
            let reason = "the server does not say how long it is, nor does a manifest".to_owned();
            return Err(Failure::Final(ModelsError::Network { from, reason }));
        }
        if let Some(total) = total {
            self.judge_size(total)?;
            need_space(self.part.parent().unwrap_or(Path::new(".")), total - self.have)?;
        }
        self.announce(progress, total.or(self.wanted.size));
        self.receive(response, progress)?;
        match total.or(self.wanted.size) {
            Some(total) if self.have < total => Err(Failure::Transient("the connection closed early".into())),
            _ => Ok(self.judge_size(self.have)?),
        }
    }

    fn receive(&mut self, mut response: Response<Body>, progress: &mut dyn Progress) -> Result<(), Failure> {
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                // Not the error's own text: it may quote the address with its query.
                Err(error) => return Err(Failure::Transient(format!("connection lost ({})", error.kind()))),
            };
            if self.have + n as u64 > self.wanted.size.unwrap_or(self.wanted.limit) {
                self.judge_size(self.have + n as u64)?;
            }
            self.file.write_all(&buffer[..n]).map_err(ModelsError::io("write", self.part))?;
            self.hash.update(&buffer[..n]);
            self.have += n as u64;
            progress.advance(n as u64);
        }
    }

    /// Refuses a size that is not the promised one, before or after it has arrived.
    fn judge_size(&mut self, size: u64) -> Result<(), ModelsError> {
        let expected = match self.wanted.size {
            Some(expected) if size != expected => expected,
            None if size > self.wanted.limit => self.wanted.limit,
            _ => return Ok(()),
        };
        self.discard();
        Err(ModelsError::Size {
            what: format!("what {} sends as {}", self.wanted.from, self.wanted.what),
            expected,
            found: size,
            hint: "it was discarded; the source has changed, so do not use it unseen".into(),
        })
    }

    fn announce(&self, progress: &mut dyn Progress, total: Option<u64>) {
        progress.start(self.wanted.what, total);
        progress.advance(self.have);
    }

    fn digest(&self) -> Digest {
        Digest::of(self.hash.clone())
    }

    /// Begins anew with an empty file.
    fn restart(&mut self) -> Result<(), ModelsError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(ModelsError::io("write", self.part))?;
        (self.hash, self.have, self.etag, self.resumed) = (Sha256::new(), 0, None, false);
        let _ = fs::remove_file(etag_path(self.part));
        Ok(())
    }

    fn discard(&mut self) {
        // What cannot be deleted is found out again by its digest next time.
        let _ = self.restart();
        let _ = fs::remove_file(self.part);
    }

    /// Remembers the strong validator of what is being sent; a weak one must not be used with ranges.
    fn keep_validator(&mut self, response: &Response<Body>) {
        let etag = response.headers().get("etag").and_then(|value| value.to_str().ok());
        if let Some(etag) = etag.filter(|etag| etag.starts_with('"') && etag.len() <= 256) {
            self.etag = Some(etag.to_owned());
            // Without it a later run starts from zero, which is slow and correct.
            let _ = fs::write(etag_path(self.part), etag);
        }
    }
}

fn etag_path(part: &Path) -> PathBuf {
    part.with_extension("etag")
}

/// The whole length of what the range of a 206 answer is part of.
fn range_total(response: &Response<Body>) -> Option<u64> {
    let value = response.headers().get("content-range")?.to_str().ok()?;
    value.rsplit_once('/')?.1.trim().parse().ok()
}

/// Where the range of a 206 answer begins.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let value = response.headers().get("content-range")?.to_str().ok()?;
    value.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
