//! GGUF files that are sound, cut, altered and absurd.

use super::*;

fn sample() -> Writer {
    let mut writer = Writer::default();
    writer.text("general.architecture", "llama");
    writer.u32("llama.block_count", 2);
    writer.f32("llama.eps", 1e-5);
    writer.texts("tokenizer.ggml.tokens", &["a", "b"]);
    writer.f32s("scores", &[0.5, -1.0]);
    writer.tensor("x", &[3, 2], Body::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    writer.tensor("y", &[2], Body::F16(vec![0.5, -2.0]));
    writer
}

fn open(bytes: &[u8]) -> Result<Gguf, GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    Gguf::open(&path)
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    sample().write(&path).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.value("general.architecture").and_then(Value::as_text), Some("llama"));
    assert_eq!(gguf.value("llama.block_count").and_then(Value::as_usize), Some(2));
    assert_eq!(gguf.value("llama.eps").and_then(Value::as_f32), Some(1e-5));
    assert_eq!(gguf.value("tokenizer.ggml.tokens"), Some(&Value::Texts(2)));
    assert_eq!(gguf.value("scores"), Some(&Value::Numbers(vec![0.5, -1.0])));
    assert_eq!(gguf.numbers("x").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(gguf.numbers("y").unwrap(), [0.5, -2.0]);
    let x = gguf.tensor("x").unwrap();
    let mut row = [0.0; 3];
    gguf.dequantise(x, 1..2, &mut row).unwrap();
    assert_eq!(row, [4.0, 5.0, 6.0]);
    assert!(matches!(gguf.dequantise(x, 1..3, &mut [0.0; 6]), Err(GgufError::Room { .. })));
    assert!(matches!(gguf.dequantise(x, 0..1, &mut [0.0; 2]), Err(GgufError::Room { .. })));
    assert!(matches!(gguf.tensor("z"), Err(GgufError::NoTensor { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a part was left behind");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = sample().bytes().unwrap();
    // The last bytes are padding behind the last tensor's four.
    for n in 0..bytes.len() - 28 {
        assert!(open(&bytes[..n]).is_err(), "cut at {n} of {}", bytes.len());
    }
}

#[test]
fn no_altered_byte_of_the_header_ends_the_process() {
    let bytes = sample().bytes().unwrap();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            if let Ok(gguf) = open(&bytes) {
                for tensor in gguf.tensors() {
                    let mut out = vec![0.0; tensor.n_cols() * tensor.n_rows()];
                    gguf.dequantise(tensor, 0..tensor.n_rows(), &mut out).unwrap();
                }
            }
        }
    }
}

#[test]
fn every_format_that_ggml_reads_gives_as_many_numbers_as_asked() {
    let mut n = 0;
    for code in 0..64 {
        let Some(format) = Format::find(code) else { continue };
        n += 1;
        let blocks = vec![0_u8; format.bytes_of(format.n_per_block * 3).unwrap()];
        let mut out = vec![f32::NAN; format.n_per_block * 3];
        assert!(format.read(&blocks, &mut out), "format {code}");
        assert!(!out.iter().any(|x| x.is_nan()), "format {code} left numbers out");
        assert!(!format.read(&blocks[1..], &mut out), "format {code} read past its blocks");
    }
    assert!(n >= 20, "only {n} formats");
}
