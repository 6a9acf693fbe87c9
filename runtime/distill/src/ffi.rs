//! What safe Rust cannot do here: map a file, turn ggml's blocks into floats, call the matrix kernels.
//!
//! The one home of `unsafe` in this crate; it decides nothing about models or training. Invariant: every pointer that
//! leaves comes from a slice whose bounds were compared with what the callee will touch.
#![allow(unsafe_code)]

#[cfg(test)]
pub(crate) mod autograd;
mod product;

pub(crate) use product::{Into, View, ViewMut, multiply, multiply_serial, share_rows};

use std::fs::File;
use std::io;
use std::path::Path;

/// A file mapped for reading.
#[derive(Debug)]
pub(crate) struct Mapping(memmap2::Mmap);

impl Mapping {
    /// Maps the file as it is now.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is private and read only. A file that another process shortens while it is mapped ends
        // this process with SIGBUS, which the callers' rule covers: model files are replaced by rename, never edited.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self(map))
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A number format of ggml's that can be read as floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// ggml's number for it, as in the file.
    pub(crate) code: u32,
    /// Numbers in a block.
    pub(crate) n_per_block: usize,
    /// Bytes of a block.
    pub(crate) n_bytes: usize,
    /// None for f32, which is copied.
    to_float: Option<unsafe extern "C" fn(x: *const std::os::raw::c_void, y: *mut f32, k: i64)>,
}

/// ggml's number for f32.
pub(crate) const F32: u32 = ggml_sys::GGML_TYPE_F32;
/// ggml's number for f16.
pub(crate) const F16: u32 = ggml_sys::GGML_TYPE_F16;
/// ggml's numbers for blocks of 4 bits with a scale, with a scale and a least value, and of 8 bits with a scale.
pub(crate) const Q4_0: u32 = ggml_sys::GGML_TYPE_Q4_0;
pub(crate) const Q4_1: u32 = ggml_sys::GGML_TYPE_Q4_1;
pub(crate) const Q8_0: u32 = ggml_sys::GGML_TYPE_Q8_0;

impl Format {
    /// The format with this number; none if ggml does not know it or cannot read it as floats.
    pub(crate) fn find(code: u32) -> Option<Self> {
        if code >= ggml_sys::GGML_TYPE_COUNT {
            return None;
        }
        // SAFETY: the function indexes a static table of GGML_TYPE_COUNT entries, and `code` was compared with that.
        let traits = unsafe { ggml_sys::ggml_get_type_traits(code).as_ref() }?;
        // Numbers of formats that ggml has dropped have an empty entry.
        let n_per_block = usize::try_from(traits.blck_size).ok().filter(|&n| n > 0)?;
        let n_bytes = Some(traits.type_size).filter(|&n| n > 0)?;
        if traits.to_float.is_none() && code != F32 {
            return None;
        }
        let to_float = traits.to_float.filter(|_| code != F32);
        Some(Self { code, n_per_block, n_bytes, to_float })
    }

    /// Bytes that `n` numbers take; none unless they fill whole blocks.
    pub(crate) fn bytes_of(&self, n: usize) -> Option<usize> {
        if n.checked_rem(self.n_per_block)? != 0 {
            return None;
        }
        (n / self.n_per_block).checked_mul(self.n_bytes)
    }

    /// Reads `out.len()` numbers from `blocks`. False, and `out` as it was, if the two do not fit each other.
    pub(crate) fn read(&self, blocks: &[u8], out: &mut [f32]) -> bool {
        let Ok(n) = i64::try_from(out.len()) else { return false };
        if self.bytes_of(out.len()) != Some(blocks.len()) {
            return false;
        }
        match self.to_float {
            None => {
                for (to, from) in out.iter_mut().zip(blocks.as_chunks::<4>().0) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            // SAFETY: `blocks` holds the whole blocks of `n` numbers and `out` has room for `n`, both compared above;
            // the function reads and writes just those. It has no preconditions on the blocks' contents.
            Some(to_float) => unsafe { to_float(blocks.as_ptr().cast(), out.as_mut_ptr(), n) },
        }
        true
    }
}

/// Turns floats into 16-bit ones, rounding to nearest.
pub(crate) fn to_f16(from: &[f32]) -> Vec<u16> {
    let mut out = vec![0_u16; from.len()];
    if let Ok(n) = i64::try_from(from.len()) {
        // SAFETY: both slices hold `n` numbers, and the function reads and writes just those.
        unsafe { ggml_sys::ggml_fp32_to_fp16_row(from.as_ptr(), out.as_mut_ptr(), n) };
    }
    out
}
