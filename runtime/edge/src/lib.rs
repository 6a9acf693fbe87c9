//! r2d-edge: pivot-checked language models on boards beside machines.
//!
//! The library half of the binary, so that tests reach its parts. [`run`] is the binary's whole life: parse the
//! command line, do one command, say what went wrong. Not here: judging (core) and generating (engine).

pub mod affinity;
pub mod audit;
pub mod board;
pub mod config;
pub mod doctor;
pub mod entry;
pub mod models;
pub mod mqtt;
pub mod output;
pub mod source;
pub mod store;
pub mod wire;
pub mod worker;

mod adapters_command;
mod ask;
mod audit_command;
mod bench;
mod bundle;
mod bundle_command;
mod check_up;
mod cli;
mod distill_command;
mod eval_command;
mod exit;
mod models_command;
mod self_test;
mod serial;
mod serve;
mod service;
mod weights;

use clap::Parser;
use std::process::ExitCode;

/// Does what the command line says.
pub fn run() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::fault(&error);
            exit::Exit::of(&error).into()
        }
    }
}
