//! LoRA training on a frozen quantised model, by hand, on the CPU.
//!
//! Not an autograd and not a text library.

mod attention;
pub mod base;
pub mod example;
mod ffi;
mod gate;
pub mod gguf;
mod head;
mod layer;
mod linear;
pub mod lora;
mod norm;
mod number;
mod pack;
mod pass;
mod random;
mod rope;
#[cfg(test)]
mod tiny;
