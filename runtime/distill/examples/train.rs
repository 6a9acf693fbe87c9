//! Trains on examples that are tokens already, and prints a row a step: what `scripts/bench-train.sh` measures.
//!
//! `train MODEL.gguf EXAMPLES.jsonl ADAPTER.gguf [RECIPE.toml [THREADS [MAX_BYTES [STEPS]]]]`; a line of the examples is an
//! [`Example`] as JSON. Not the command for users, which tokenises, keeps checkpoints and judges the outcome.

use r2d_distill::adapter::{self, AdapterFormat, Provenance};
use r2d_distill::base::Base;
use r2d_distill::example::Example;
use r2d_distill::memory::resident;
use r2d_distill::recipe::Recipe;
use r2d_distill::trainer::{Limits, Observer, Row, Settings, Trainer};
use std::error::Error;
use std::io::Write as _;
use std::path::Path;

struct Print;

impl Observer for Print {
    fn on_step(&mut self, row: &Row) -> Option<String> {
        let text = serde_json::to_string(row).unwrap_or_default();
        writeln!(std::io::stdout(), "{text}").err().map(|e| e.to_string())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize| arguments.get(i).map(String::as_str).filter(|a| !a.is_empty());
    let (Some(model), Some(data), Some(out)) = (argument(0), argument(1), argument(2)) else {
        return Err(
            "usage: train MODEL.gguf EXAMPLES.jsonl ADAPTER.gguf [RECIPE.toml [THREADS [MAX_BYTES [STEPS]]]]"
                .into(),
        );
    };
    let examples: Vec<Example> =
        std::fs::read_to_string(data)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let recipe = Recipe::parse(&argument(3).map(std::fs::read_to_string).transpose()?.unwrap_or_default())?;
    let mut settings = Settings::default();
    if let Some(n) = argument(4) {
        settings.n_threads = n.parse()?;
    }
    if let Some(n) = argument(5) {
        settings.max_bytes = Some(n.parse()?);
    }
    let n_steps = argument(6).map(str::parse).transpose()?;
    let mut trainer = Trainer::new(Base::open(Path::new(model))?, recipe, examples, settings)?;
    let print = |text: String| writeln!(std::io::stdout(), "{text}");
    print(format!("estimate: {}", trainer.estimate()))?;
    trainer.run(&Limits { n_steps, ..Limits::default() }, &mut Print)?;
    let provenance = Provenance {
        base_sha256: trainer.base().sha256().into(),
        data_sha256: trainer.data_sha256().into(),
        recipe: trainer.recipe().to_toml()?,
        ..Provenance::default()
    };
    adapter::write(Path::new(out), trainer.base(), trainer.lora(), AdapterFormat::F16, &provenance)?;
    print(format!("peak_bytes: {}", resident().map_or(0, |(_, peak)| peak)))?;
    Ok(())
}
