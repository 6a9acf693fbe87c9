//! GGUF files: their metadata and tensors, read from a mapped file.
//!
//! Not a model: names and shapes mean nothing here. The header is parsed in safe Rust and not by ggml's own reader,
//! whose asserts end the process on some hostile files. Invariant: a [`Tensor`] in hand lies inside the file, in whole
//! blocks of a format that ggml can read.

mod blocks;
mod parse;
mod value;
mod write;

pub use value::Value;
pub(crate) use write::write_whole;
pub use write::{Body, Writer};

use crate::ffi::{Format, Mapping};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Numbers of a tensor that one task reads: enough that handing them out costs nothing, few enough that a cache holds
/// them.
pub(crate) const PIECE: usize = 1 << 15;

/// Why a GGUF file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file cannot be opened or mapped.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The bytes are no sound GGUF.
    #[error("{path} is no sound GGUF file: {reason}; hint: fetch it again and compare its SHA-256")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A tensor is asked for that is not there.
    #[error("the model has no tensor {name}")]
    NoTensor {
        /// The tensor.
        name: String,
    },
    /// More is asked of a tensor than it has, or into too little room.
    #[error("rows {rows:?} of {name} ({n_rows} rows of {n_cols}) do not fit {room} numbers")]
    Room {
        /// The tensor.
        name: String,
        /// The rows asked for.
        rows: Range<usize>,
        /// Rows there are.
        n_rows: usize,
        /// Numbers in a row.
        n_cols: usize,
        /// Numbers that the caller has room for.
        room: usize,
    },
}

/// A tensor's place, format and shape.
#[derive(Clone, Debug)]
pub struct Tensor {
    name: String,
    format: Format,
    n_cols: usize,
    n_rows: usize,
    place: Range<usize>,
}

impl Tensor {
    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// ggml's number for the format.
    #[must_use]
    pub fn format(&self) -> u32 {
        self.format.code
    }

    /// Numbers in a row: ggml's first dimension.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Rows: the product of the other dimensions.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }
}

/// A mapped GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mapping,
    values: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Tensor>,
}

impl Gguf {
    /// Maps a file and reads its header.
    ///
    /// The file must not be changed while it is open; replace models by rename.
    ///
    /// # Errors
    /// [`GgufError::Read`] and [`GgufError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let map = Mapping::open(path).map_err(|source| GgufError::Read { path: path.to_owned(), source })?;
        let (values, tensors) = parse::header(map.bytes())
            .map_err(|reason| GgufError::Damaged { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), map, values, tensors })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A metadata value.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All metadata, by key.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values()
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`GgufError::NoTensor`].
    pub fn tensor(&self, name: &str) -> Result<&Tensor, GgufError> {
        self.tensors.get(name).ok_or_else(|| GgufError::NoTensor { name: name.to_owned() })
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Size of the file.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// SHA-256 of the whole file, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.map.bytes()))
    }

    /// Reads rows as floats, one behind the other, on the threads of the pool that this is called in.
    ///
    /// `tensor` must come from this file.
    ///
    /// # Errors
    /// [`GgufError::Room`] unless `out` has just the room for `rows`, which must exist.
    pub fn dequantise(&self, tensor: &Tensor, rows: Range<usize>, out: &mut [f32]) -> Result<(), GgufError> {
        let room = out.len();
        let fault = || GgufError::Room {
            name: tensor.name.clone(),
            rows: rows.clone(),
            n_rows: tensor.n_rows,
            n_cols: tensor.n_cols,
            room,
        };
        let n_rows =
            rows.end.checked_sub(rows.start).filter(|_| rows.end <= tensor.n_rows).ok_or_else(fault)?;
        if n_rows.checked_mul(tensor.n_cols) != Some(room) {
            return Err(fault());
        }
        if room == 0 {
            return Ok(());
        }
        let row_bytes = tensor.format.bytes_of(tensor.n_cols).ok_or_else(fault)?;
        let blocks = self
            .map
            .bytes()
            .get(tensor.place.clone())
            .and_then(|all| all.get(rows.start * row_bytes..rows.end * row_bytes))
            .ok_or_else(fault)?;
        let n_piece = PIECE.div_ceil(tensor.n_cols);
        let read = out
            .par_chunks_mut(n_piece * tensor.n_cols)
            .zip(blocks.par_chunks(n_piece * row_bytes))
            .all(|(out, blocks)| {
                blocks::read(tensor.format.code, blocks, out) || tensor.format.read(blocks, out)
            });
        if read { Ok(()) } else { Err(fault()) }
    }

    /// All numbers of a small tensor.
    ///
    /// # Errors
    /// [`GgufError::NoTensor`].
    pub fn numbers(&self, name: &str) -> Result<Vec<f32>, GgufError> {
        let tensor = self.tensor(name)?;
        let mut out = vec![0.0; tensor.n_rows * tensor.n_cols];
        self.dequantise(tensor, 0..tensor.n_rows, &mut out)?;
        Ok(out)
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).collect()
}

#[cfg(test)]
mod tests;
