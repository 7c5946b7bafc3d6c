//! Counts the words of a text on workers: threads of this process, processes that it starts, and whoever
//! dials in.
//!
//! `cargo run --release -p wordcount`

mod count;
mod pool;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wire::{BoxError, Task};
use wordcount::counter::Counter;
use wordcount::task::WordCount;
use worker::{Registry, kit};

/// Count the words of a text: each word goes to a worker, and the counters that come back are added up.
#[derive(Parser)]
#[command(name = "wordcount", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    count: count::Args,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Count words for a `wordcount` that runs elsewhere.
    Worker(kit::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Worker(args)) => kit::Program::new(args).main(registry),
        None => match count::main(cli.count) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("wordcount: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// What a worker of ours does.
fn registry() -> Result<Registry, BoxError> {
    let mut registry = Registry::new();
    registry.serve(WordCount::key()?, || Ok::<_, BoxError>(Counter))?;
    Ok(registry)
}
