//! Finds the edges in pictures on workers: threads of this process and processes that it starts.
//!
//! `cargo run --release -p edges`

mod find;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edges::detector::Detector;
use edges::task::FindEdges;
use wire::{BoxError, Task};
use worker::{Registry, kit, signals};

/// Find the edges in pictures: each goes to a worker, and they come back in order.
#[derive(Parser)]
#[command(name = "edges", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    find: find::Args,
    #[command(flatten)]
    log: kit::Log,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Find edges for an `edges` that runs elsewhere.
    Worker(kit::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli { role: Some(Role::Worker(args)), .. } => return kit::Program::new(args).main(registry),
        cli => ask(cli),
    };
    done.map_or_else(
        |error| {
            eprintln!("edges: {}", wire::chain(error.as_ref()));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The side that asks.
#[tokio::main]
async fn ask(cli: Cli) -> anyhow::Result<()> {
    let _logging = cli.log.start()?;
    let processors = registry().map_err(anyhow::Error::from_boxed)?.into_factories();
    find::run(cli.find, processors, signals::stop()?).await
}

/// What a worker of ours does.
fn registry() -> Result<Registry, BoxError> {
    let mut registry = Registry::new();
    registry.serve(FindEdges::key()?, || Ok::<_, BoxError>(Detector::default()))?;
    Ok(registry)
}
