//! Writing GGUF files: version 3, little-endian, whole or not at all.
//!
//! Adapters are written here, and the tiny models of the tests. Invariant: a file appears under its name only when it
//! is complete and on the disk.

use crate::ffi::{F16, F32, to_f16};
use std::io;
use std::path::Path;

/// Offsets of tensors are multiples of this.
const ALIGNMENT: usize = 32;

/// A tensor's numbers.
#[derive(Clone, Debug)]
pub enum Body {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// The same, to be rounded to 16-bit floats.
    F16(Vec<f32>),
}

impl Body {
    fn code(&self) -> u32 {
        match self {
            Self::F32(_) => F32,
            Self::F16(_) => F16,
        }
    }

    fn n_bytes(&self) -> usize {
        match self {
            Self::F32(x) => x.len() * 4,
            Self::F16(x) => x.len() * 2,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16(x) => to_f16(x).iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// A GGUF file in the making.
#[derive(Debug, Default)]
pub struct Writer {
    n_values: u64,
    values: Vec<u8>,
    tensors: Vec<(String, Vec<usize>, Body)>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.n_values += 1;
        text(&mut self.values, key);
        self.values.extend(kind.to_le_bytes());
        &mut self.values
    }

    /// Adds text.
    pub fn text(&mut self, key: &str, value: &str) {
        let out = self.key(key, 8);
        text(out, value);
    }

    /// Adds a 32-bit unsigned integer, the usual kind for counts.
    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4).extend(value.to_le_bytes());
    }

    /// Adds a 32-bit float.
    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }

    /// Adds a list of texts, such as a vocabulary.
    pub fn texts<S: AsRef<str>>(&mut self, key: &str, values: &[S]) {
        let out = self.key(key, 9);
        out.extend(8_u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        for value in values {
            text(out, value.as_ref());
        }
    }

    /// Adds a list of 32-bit signed integers.
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        let out = self.key(key, 9);
        out.extend(5_u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }

    /// Adds a list of 32-bit floats.
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        let out = self.key(key, 9);
        out.extend(6_u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        out.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }

    /// Adds a tensor; `shape` in ggml's order, the length of a row first.
    pub fn tensor(&mut self, name: &str, shape: &[usize], body: Body) {
        self.tensors.push((name.to_owned(), shape.to_vec(), body));
    }

    /// The whole file.
    ///
    /// # Errors
    /// When a tensor's numbers are not as many as its shape says.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend(b"GGUF");
        out.extend(3_u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_values.to_le_bytes());
        out.extend(&self.values);
        let mut offset = 0;
        for (name, shape, body) in &self.tensors {
            let n = match body {
                Body::F32(x) | Body::F16(x) => x.len(),
            };
            if shape.iter().product::<usize>() != n || shape.is_empty() || shape.len() > 4 {
                let words = format!("tensor {name} of shape {shape:?} has {n} numbers");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
            }
            text(&mut out, name);
            out.extend(u32::try_from(shape.len()).unwrap_or(0).to_le_bytes());
            out.extend(shape.iter().flat_map(|&n| (n as u64).to_le_bytes()));
            out.extend(body.code().to_le_bytes());
            out.extend((offset as u64).to_le_bytes());
            offset += body.n_bytes().next_multiple_of(ALIGNMENT);
        }
        for (_, _, body) in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend(body.bytes());
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        Ok(out)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The system's; the name then still has what it had.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = self.bytes()?;
        write_whole(path, |out| out.write_all(&bytes))
    }
}

/// Writes a file beside its name, brings it to the disk and renames it.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // One name: what a power cut left is written over by the next.
    name.push(".part");
    let part = folder.join(name);
    let written = (|| {
        let mut file = io::BufWriter::new(std::fs::File::create(&part)?);
        write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&part, path)?;
        // The rename itself is on the disk once the folder is.
        #[cfg(unix)]
        std::fs::File::open(folder)?.sync_all()?;
        Ok(())
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}
