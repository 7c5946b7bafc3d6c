//! `framelane`: the server's command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use program::{Log, Profile};

/// A real-time video ML streaming server: live video in, annotated live video out.
#[derive(Parser)]
#[command(name = "framelane", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    profile: Profile,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the streams of a config file until Ctrl-C.
    Serve(framelane_server::cli::Serve),
    /// Tell a server that runs to stop, and wait until it has.
    Stop(framelane_server::cli::Stop),
    /// Workers that dial in.
    #[command(subcommand)]
    Workers(framelane_server::cli::Workers),
    /// Models on disk.
    #[command(subcommand)]
    Models(framelane_server::cli::Models),
    /// Say what this machine lacks, if anything.
    Doctor(framelane_server::cli::Doctor),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let begun = cli.log.start().map_err(anyhow::Error::from).and_then(|log| Ok((log, cli.profile.start()?)));
    let (_logging, profiling) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            eprintln!("framelane: {error:#}");
            return ExitCode::from(2);
        }
    };
    let done = match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::Stop(stop) => stop.run(),
        Command::Workers(workers) => workers.run(),
        Command::Models(models) => models.run(),
        Command::Doctor(doctor) => doctor.run(),
    };
    let done = done.and(profiling.finish().map_err(anyhow::Error::from));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("framelane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
