//! Counts the words of a text on workers: threads of this process, processes that it starts, and whoever
//! dials in.
//!
//! `cargo run --release -p wordcount`

mod count;

use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dispatch::kit::{Serve, threads};
use wire::{BoxError, Task};
use wordcount::counter::Counter;
use wordcount::task::WordCount;
use worker::{Registry, kit, signals};

/// Count the words of a text: each word goes to a worker, and the counters that come back are added up.
#[derive(Parser)]
#[command(name = "wordcount", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    count: count::Args,
    #[command(flatten)]
    log: kit::Log,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Role {
    /// Count words for a `wordcount` that runs elsewhere.
    Worker(kit::Args),
    /// Count the texts that clients push, on threads of its own and on workers that dial in.
    Serve {
        #[command(flatten)]
        serve: Serve,
        /// Worker threads in this process.
        #[arg(long, value_name = "N", default_value_t = 1)]
        local: u32,
    },
}

/// How many jobs each thread of this process has at hand: they are short.
const AT_HAND: NonZeroU32 = NonZeroU32::new(256).expect("256 is not 0");

fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli { role: Some(Role::Worker(args)), .. } => return kit::Program::new(args).main(registry),
        cli => ask(cli),
    };
    done.map_or_else(
        |error| {
            eprintln!("wordcount: {}", wire::chain(error.as_ref()));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The side that asks.
#[tokio::main]
async fn ask(Cli { count, log, role }: Cli) -> anyhow::Result<()> {
    let _logging = log.start()?;
    let stop = signals::stop()?;
    let processors = registry().map_err(anyhow::Error::from_boxed)?.into_factories();
    match role {
        Some(Role::Serve { serve, local }) => {
            Ok(serve.run(threads(local, AT_HAND, processors), [WordCount::key()?], stop).await?)
        }
        _ => count::run(count, processors, stop).await,
    }
}

/// What a worker of ours does.
fn registry() -> Result<Registry, BoxError> {
    let mut registry = Registry::new();
    registry.serve(WordCount::key()?, || Ok::<_, BoxError>(Counter))?;
    Ok(registry)
}
