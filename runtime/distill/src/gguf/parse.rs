//! The header of a GGUF file, versions 2 and 3, little-endian.
//!
//! Not ggml's reader: no byte of the file can end the process or make it allocate more than a few times the header's
//! size. Format: `docs/gguf.md` of the ggml project.

use super::{Tensor, Value};
use crate::ffi::Format;
use std::collections::BTreeMap;

type Parsed = (BTreeMap<String, Value>, BTreeMap<String, Tensor>);

/// Most numbers that an array may have to be kept.
const MAX_NUMBERS: u64 = 1 << 20;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, n: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end =
            end.ok_or_else(|| format!("the header ends at byte {} of {}", self.at, self.bytes.len()))?;
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, String> {
        let n = self.u64()?;
        usize::try_from(n).map_err(|_| format!("a length of {n}"))
    }

    fn text(&mut self) -> Result<String, String> {
        let n = self.size()?;
        Ok(String::from_utf8_lossy(self.take(n)?).into_owned())
    }

    fn scalar(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("a value of kind {other} at byte {}", self.at)),
        })
    }

    fn value(&mut self, kind: u32) -> Result<Value, String> {
        match kind {
            8 => Ok(Value::Text(self.text()?)),
            9 => {
                let kind = self.u32()?;
                let n = self.u64()?;
                if kind == 8 {
                    for _ in 0..n {
                        let n = self.size()?;
                        self.take(n)?;
                    }
                    return Ok(Value::Texts(n));
                }
                let mut numbers = Vec::new();
                for _ in 0..n {
                    #[expect(clippy::cast_precision_loss, reason = "large integers in arrays are not used")]
                    let number = match self.scalar(kind)? {
                        Value::Unsigned(n) => n as f64,
                        Value::Signed(n) => n as f64,
                        Value::Float(x) => x,
                        Value::Bool(b) => f64::from(u8::from(b)),
                        _ => return Err("an array of arrays".into()),
                    };
                    if n <= MAX_NUMBERS {
                        numbers.push(number);
                    }
                }
                Ok(Value::Numbers(numbers))
            }
            kind => self.scalar(kind),
        }
    }

    /// A tensor's entry: its place is still relative to where the data begins.
    fn tensor(&mut self) -> Result<Tensor, String> {
        let name = self.text()?;
        let n_dims = self.u32()?;
        if !(1..=4).contains(&n_dims) {
            return Err(format!("tensor {name} has {n_dims} dimensions"));
        }
        let n_cols = self.size()?;
        let mut n_rows = 1_usize;
        for _ in 1..n_dims {
            let n = self.size()?;
            n_rows = n_rows.checked_mul(n).ok_or_else(|| format!("tensor {name} is too large"))?;
        }
        let code = self.u32()?;
        let format =
            Format::find(code).ok_or_else(|| format!("tensor {name} has the unknown format {code}"))?;
        let start = self.size()?;
        let end = format
            .bytes_of(n_cols)
            .ok_or_else(|| format!("tensor {name} has rows of {n_cols} numbers, not whole blocks"))?
            .checked_mul(n_rows)
            .and_then(|n| n.checked_add(start))
            .ok_or_else(|| format!("tensor {name} is too large"))?;
        if n_cols == 0 || n_rows == 0 || n_cols.checked_mul(n_rows).is_none() {
            return Err(format!("tensor {name} has {n_rows} rows of {n_cols} numbers"));
        }
        Ok(Tensor { name, format, n_cols, n_rows, place: start..end })
    }
}

/// Reads the header and checks every tensor against the file's length.
pub(super) fn header(bytes: &[u8]) -> Result<Parsed, String> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.array()? != *b"GGUF" {
        return Err("it does not begin with GGUF".into());
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!("version {version}, where 2 and 3 are known"));
    }
    let (n_tensors, n_values) = (reader.u64()?, reader.u64()?);
    let mut values = BTreeMap::new();
    for _ in 0..n_values {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        if values.insert(key.clone(), value).is_some() {
            return Err(format!("the key {key} stands twice"));
        }
    }
    let mut entries = Vec::new();
    for _ in 0..n_tensors {
        entries.push(reader.tensor()?);
    }
    let alignment = match values.get("general.alignment") {
        None => 32,
        Some(value) => value
            .as_usize()
            .filter(|n| n.is_power_of_two() && *n >= 8)
            .ok_or_else(|| format!("an alignment of {value:?}"))?,
    };
    let start = reader.at.checked_next_multiple_of(alignment).ok_or("an alignment past the end")?;
    let mut tensors = BTreeMap::new();
    for mut tensor in entries {
        let place = (start.checked_add(tensor.place.start), start.checked_add(tensor.place.end));
        let (Some(from), Some(to)) = place else { return Err(format!("{} is too far", tensor.name)) };
        if !tensor.place.start.is_multiple_of(alignment) || to > bytes.len() {
            return Err(format!("tensor {} takes bytes {from} to {to} of {}", tensor.name, bytes.len()));
        }
        tensor.place = from..to;
        let name = tensor.name.clone();
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(format!("the tensor {name} stands twice"));
        }
    }
    Ok((values, tensors))
}
