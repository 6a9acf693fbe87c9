//! Which model to run, and its opening: from a verified file or a script to a model with its intake.
//!
//! Not a judge of files (`weights` verified them). The service, the benchmark and the evaluation open their
//! models here, so that they run the same one.

use anyhow::Context;
use r2d_engine::grammar::{Grammar, PivotStrings};
use r2d_engine::intake::Intake;
use r2d_engine::llama::{ContextOptions, Llama};
use r2d_engine::model::Model;
use r2d_engine::prompt::ChatTemplate;
use r2d_engine::scripted::Scripted;
use std::path::PathBuf;
use std::sync::Arc;

/// Which model to run.
#[derive(Clone, Debug)]
pub enum Source {
    /// A verified GGUF file.
    Gguf {
        /// The file.
        path: PathBuf,
        /// A verified adapter.
        adapter: Option<PathBuf>,
        /// The chat format; none takes the one that the file names.
        template: Option<ChatTemplate>,
        /// The pivots' strings.
        pivots: PivotStrings,
        /// How the context is made.
        context: ContextOptions,
        /// Layers for a GPU.
        gpu_layers: u32,
    },
    /// A script.
    Scripted {
        /// Its text.
        script: String,
        /// Requests side by side.
        n_slots: u32,
    },
}

/// What is done with an opened model, whichever it is.
pub trait Use {
    /// What comes of it.
    type Output;

    /// Uses `model`; `intake` begins requests on it.
    ///
    /// # Errors
    /// Its own.
    fn with<M: Model>(self, model: M, intake: Intake) -> anyhow::Result<Self::Output>;
}

impl Source {
    /// Opens the model and hands it to `user`; `system` is what the model is told before each request.
    ///
    /// # Errors
    /// What kept the model from running, and the user's own.
    pub fn open<U: Use>(self, system: String, user: U) -> anyhow::Result<U::Output> {
        match self {
            Self::Scripted { script, n_slots } => {
                let model = Scripted::parse(&script, n_slots)?;
                let intake = intake(&model, scripted_template(), &PivotStrings::default(), system)?;
                user.with(model, intake)
            }
            Self::Gguf { path, adapter, template, pivots, context, gpu_layers } => {
                let mut llama = Llama::load(&path, adapter.as_deref(), gpu_layers)?;
                let template = template.or_else(|| llama.chat_template()).with_context(|| {
                    format!(
                        "{} names no chat format that is known; hint: import it and write one into its manifest, \
                         under [chat]",
                        path.display()
                    )
                })?;
                let session = llama.session(context)?;
                let intake = intake(&session, template, &pivots, system)?;
                user.with(session, intake)
            }
        }
    }
}

fn intake(
    model: &impl Model,
    template: ChatTemplate,
    pivots: &PivotStrings,
    system: String,
) -> anyhow::Result<Intake> {
    Ok(Intake { template, grammar: Arc::new(Grammar::look_up(model, pivots)?), system })
}

/// Chat format of the scripted model.
fn scripted_template() -> ChatTemplate {
    ChatTemplate {
        system: String::new(),
        user: "<|user|>{text}<|end|>".into(),
        assistant: "<|assistant|>".into(),
    }
}
