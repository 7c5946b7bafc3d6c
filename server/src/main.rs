//! `framelane`: the server's command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A real-time video ML streaming server: live video in, annotated live video out.
#[derive(Parser)]
#[command(name = "framelane", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: `info`, `debug`, or a filter such as `framelane_media=debug,info`.
    #[arg(long, global = true, env = "FRAMELANE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the streams of a config file until Ctrl-C.
    Serve(framelane_server::cli::Serve),
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
    if let Err(error) = framelane_server::log::start(&cli.log) {
        eprintln!("framelane: {error:#}");
        return ExitCode::from(2);
    }
    let done = match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::Workers(workers) => workers.run(),
        Command::Models(models) => models.run(),
        Command::Doctor(doctor) => doctor.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("framelane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
