//! Looking at what a model says, with or without an adapter: logits and nothing else.
//!
//! Not an inference engine: there is no memory of what was read. It is what tests hold against llama.cpp.

use crate::base::Base;
use crate::gguf::GgufError;
use crate::lora::Lora;
use crate::pack::Pack;
use crate::pass::{Batch, Pass};

/// Logits behind every token of a sequence, one vocabulary behind the other.
///
/// Tokens must be below the model's vocabulary.
///
/// # Errors
/// [`GgufError`], for tokens that the embedding does not have.
pub fn logits(base: &Base, lora: Option<&Lora>, tokens: &[u32]) -> Result<Vec<f32>, GgufError> {
    let mut pack = Pack::default();
    pack.push(tokens);
    let rows: Vec<usize> = (0..tokens.len()).collect();
    let batch = Batch { lora, dropout: None, pack: &pack, rows: &[] };
    Pass::new(base, tokens.len()).logits(base, &batch, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    #[test]
    fn no_tokens_have_no_logits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        tiny::write(&path, "llama", 7);
        let base = Base::open(&path).unwrap();
        assert!(logits(&base, None, &[]).unwrap().is_empty());
        assert_eq!(logits(&base, None, &[1, 2]).unwrap().len(), 2 * base.hyper().n_vocab);
    }
}
