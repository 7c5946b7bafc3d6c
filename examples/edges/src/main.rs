//! Finds the edges in pictures on workers: threads of this process and processes that it starts.
//!
//! `cargo run --release -p edges`

mod find;
mod pool;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edges::detector::Detector;
use edges::task::FindEdges;
use wire::{BoxError, Task};
use worker::{Registry, kit};

/// Find the edges in pictures: each goes to a worker, and they come back in order.
#[derive(Parser)]
#[command(name = "edges", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    find: find::Args,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Find edges for an `edges` that runs elsewhere.
    Worker(kit::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Worker(args)) => kit::Program::new(args).main(registry),
        None => match find::main(cli.find) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("edges: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// What a worker of ours does.
fn registry() -> Result<Registry, BoxError> {
    let mut registry = Registry::new();
    registry.serve(FindEdges::key()?, || Ok::<_, BoxError>(Detector::default()))?;
    Ok(registry)
}
