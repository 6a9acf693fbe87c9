//! A run's state on the disk: parameters, moments, and where the run is.
//!
//! There is no state of a random generator in it: all randomness is a function of the recipe's seed and the position.
//! File: magic, length of a JSON header, the header, then parameters, mean and square as little-endian floats, then the
//! SHA-256 of all that. Invariant: a file under the name is whole, and is taken up only by the run it belongs to.

use crate::gguf::{hex, write_whole};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

const MAGIC: [u8; 8] = *b"r2dckpt1";
/// Longest header that is read.
const MAX_HEADER: u32 = 1 << 16;

/// Why a checkpoint cannot be written or taken up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It cannot be read or written.
    #[error("cannot use the checkpoint {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Its bytes are not what was written.
    #[error("the checkpoint {path} is damaged: {reason}; hint: begin anew in another folder")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It belongs to another run.
    #[error(
        "the checkpoint {path} is of another {what} ({theirs}, not {ours}); hint: give it the {what} it was made \
         with, or begin anew in another folder"
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Recipe, model, data or parent adapter.
        what: &'static str,
        /// SHA-256 of the checkpoint's.
        theirs: String,
        /// SHA-256 of this run's.
        ours: String,
    },
}

/// What a run is known by, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// SHA-256 of the recipe's TOML, of the model file and of the examples.
    pub(crate) recipe: String,
    pub(crate) base: String,
    pub(crate) data: String,
    /// SHA-256 of the adapter that the run went on from.
    #[serde(default)]
    pub(crate) parent: Option<String>,
    /// Steps that are done.
    pub(crate) position: u64,
    pub(crate) n_params: u64,
    /// Tokens and seconds that the run has taken, for its log.
    pub(crate) n_tokens: u64,
    pub(crate) elapsed_s: f64,
}

/// Writes and hashes.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
}

impl Hashing<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Writes a checkpoint, whole or not at all.
pub(crate) fn write(path: &Path, header: &Header, lists: [&[f32]; 3]) -> Result<(), CheckpointError> {
    let written = write_whole(path, |out| {
        let text = serde_json::to_vec(header).map_err(io::Error::other)?;
        let mut out = Hashing { out, hash: Sha256::new() };
        out.put(&MAGIC)?;
        out.put(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        out.put(&text)?;
        let mut bytes = Vec::new();
        for piece in lists.iter().flat_map(|list| list.chunks(1 << 14)) {
            bytes.clear();
            bytes.extend(piece.iter().flat_map(|x| x.to_le_bytes()));
            out.put(&bytes)?;
        }
        let Hashing { out, hash } = out;
        out.write_all(&hash.finalize())
    });
    written.map_err(|source| CheckpointError::File { path: path.to_owned(), source })
}

/// Reads a checkpoint of the run that `ours` tells of into `lists`.
pub(crate) fn read(path: &Path, ours: &Header, lists: [&mut [f32]; 3]) -> Result<Header, CheckpointError> {
    let file = |source| CheckpointError::File { path: path.to_owned(), source };
    let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
    let mut input = io::BufReader::new(std::fs::File::open(path).map_err(file)?);
    let mut hash = Sha256::new();
    let mut take = |out: &mut [u8]| match input.read_exact(out) {
        Ok(()) => {
            hash.update(&*out);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(damaged("it ends too early".into())),
        Err(e) => Err(file(e)),
    };
    let (mut magic, mut length) = ([0; 8], [0; 4]);
    take(&mut magic)?;
    take(&mut length)?;
    let length = u32::from_le_bytes(length);
    if magic != MAGIC || length > MAX_HEADER {
        return Err(damaged("it does not begin like one".into()));
    }
    let mut text = vec![0; length as usize];
    take(&mut text)?;
    let header: Header = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    let pairs = [
        ("model", &header.base, &ours.base),
        ("data set", &header.data, &ours.data),
        ("recipe", &header.recipe, &ours.recipe),
    ];
    let other = |what, theirs: &str, ours: &str| CheckpointError::Other {
        path: path.to_owned(),
        what,
        theirs: theirs.to_owned(),
        ours: ours.to_owned(),
    };
    if let Some((what, theirs, ours)) = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours) {
        return Err(other(what, theirs, ours));
    }
    if header.parent != ours.parent {
        let [theirs, ours] = [&header.parent, &ours.parent].map(|p| p.as_deref().unwrap_or("none"));
        return Err(other("parent adapter", theirs, ours));
    }
    if header.n_params != ours.n_params {
        return Err(damaged(format!("it has {} parameters, not {}", header.n_params, ours.n_params)));
    }
    let mut bytes = Vec::new();
    // Into a copy first: a run must not go on with half of a damaged file.
    let mut read: Vec<Vec<f32>> = Vec::new();
    for list in &lists {
        let mut numbers = Vec::with_capacity(list.len());
        for piece in list.chunks(1 << 14) {
            bytes.resize(piece.len() * 4, 0);
            take(&mut bytes)?;
            numbers.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
        }
        read.push(numbers);
    }
    let mut sum = [0; 32];
    input.read_exact(&mut sum).map_err(|_| damaged("it ends too early".into()))?;
    let found = hash.finalize();
    if found.as_slice() != sum {
        return Err(damaged(format!("its SHA-256 is {}, not {}", hex(&found), hex(&sum))));
    }
    for (list, numbers) in lists.into_iter().zip(read) {
        list.copy_from_slice(&numbers);
    }
    Ok(header)
}
