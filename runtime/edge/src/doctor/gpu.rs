//! The GPU: what this build computes on, and what the configuration wants of it.
//!
//! Without a GPU that this build can use, llama.cpp leaves all layers to the CPU and says nothing; this check
//! does.

use super::{Check, mebibytes};
use r2d_engine::llama::Gpu;

const NAME: &str = "gpu";

/// Compares `model.gpu_layers` with the GPUs that llama.cpp found.
#[must_use]
pub fn check_gpu(gpus: &[Gpu], gpu_layers: u16) -> Check {
    let found: Vec<String> = gpus
        .iter()
        .map(|g| format!("{} ({}, {})", g.name, g.description, mebibytes(g.memory_bytes)))
        .collect();
    let found = found.join(", ");
    match (gpus.is_empty(), gpu_layers) {
        (true, 0) => Check::ok(NAME, "none is used"),
        (true, n) => Check::warn(
            NAME,
            format!("model.gpu_layers is {n}, but this build found no GPU: the CPU computes them"),
            "build with FEATURES=cuda, metal or vulkan, or set model.gpu_layers=0",
        ),
        (false, 0) => Check::warn(
            NAME,
            format!("{found} is there and computes nothing: model.gpu_layers is 0"),
            "set model.gpu_layers=999 for all layers, where its memory is enough",
        ),
        (false, n) => Check::ok(NAME, format!("{found}: up to {n} layers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn layers_for_a_gpu_that_is_not_there_are_told() {
        let gpu = Gpu { name: "CUDA0".into(), description: "Orin".into(), memory_bytes: 8 << 30 };
        let level = |gpus: &[Gpu], n| check_gpu(gpus, n).level;
        assert_eq!((level(&[], 0), level(&[], 30)), (Level::Ok, Level::Warn));
        assert_eq!(level(std::slice::from_ref(&gpu), 0), Level::Warn);
        let used = check_gpu(&[gpu], 30);
        assert_eq!(
            (used.level, used.detail.as_str()),
            (Level::Ok, "CUDA0 (Orin, 8192 MiB): up to 30 layers")
        );
    }
}
