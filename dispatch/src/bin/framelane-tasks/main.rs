//! `framelane-tasks`: a coordinator of tasks, and what its users and operators say to it.

mod coordinator;
mod people;
mod submit;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use framelane_dispatch::kit::State;
use program::{Log, Profile};
use tokio::runtime::{Builder, Runtime};
use wire::chain;
use wire::client::Seat;
use wire::identity::{Authority, AuthorityError, Identity, Role, Token};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Takes tasks from many clients and hands them to workers, in order for each client.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    profile: Profile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a coordinator.
    Serve(coordinator::Serve),
    /// Makes a token that lets somebody in.
    Token(people::MakeToken),
    /// Lists who was let in.
    List(State),
    /// Lets somebody in no more.
    Revoke(people::Revoke),
    /// Submits tasks and prints their answers, in order.
    Submit(submit::Submit),
    /// Prints all workers, clients and queues, as JSON.
    Status(At),
    /// Stops a coordinator once it has answered what it has.
    Stop(At),
}

/// A coordinator, on this host or elsewhere.
#[derive(Debug, Clone, Args)]
struct At {
    #[command(flatten)]
    state: State,
    /// Where it listens. Default: where the one with this folder does.
    #[arg(long, env = "FRAMELANE_TASKS_SERVER", value_name = "HOST:PORT")]
    server: Option<String>,
    /// Elsewhere than on the coordinator's host: a token of the role that this needs, used the first time, and where
    /// what the file holds is refused.
    #[arg(long, env = "FRAMELANE_TASKS_TOKEN", value_name = "fl1_…", requires = "identity")]
    token: Option<Token>,
    /// Elsewhere than on the coordinator's host: the file that the token is exchanged for.
    #[arg(long, env = "FRAMELANE_TASKS_IDENTITY", value_name = "FILE")]
    identity: Option<PathBuf>,
}

impl At {
    fn server(&self) -> anyhow::Result<String> {
        if let Some(server) = &self.server {
            return Ok(server.clone());
        }
        Ok(self.state.address()?.to_string())
    }

    /// How this host gets in, where it was given a file for that.
    fn seat(&self, role: Role, server: &str) -> Option<Seat> {
        let path = self.identity.as_ref()?;
        Some(Seat::new(server, "framelane-tasks", path).role(role).token(self.token.clone()))
    }

    /// What this host shows otherwise: an identity that the coordinator's own folder gives.
    async fn own(&self, role: Role) -> anyhow::Result<Identity> {
        let state = self.state.folder.clone();
        let own = tokio::task::spawn_blocking(move || Authority::load(state)?.own(role)).await?;
        own.map_err(|error| match error {
            AuthorityError::Missing { .. } => {
                anyhow::anyhow!("{error}\nElsewhere than on its host, give --server, --identity and --token.")
            }
            other => other.into(),
        })
    }
}

/// The authority of a coordinator that is there already: a question must not make a folder.
fn authority(state: &Path) -> anyhow::Result<Authority> {
    Ok(Authority::load(state)?)
}

/// Prints a line. Where the reader has gone, as `head` does, nothing is left to do.
fn say(line: impl Display) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        said => said,
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match &cli.command {
        Command::Serve(serve) if serve.polls() => Builder::new_current_thread().enable_all().build(),
        _ => Runtime::new(),
    };
    match begun(cli, runtime) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("framelane-tasks: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn begun(cli: Cli, runtime: std::io::Result<Runtime>) -> anyhow::Result<ExitCode> {
    // Answers go to the standard output, which the log leaves alone.
    let _logging = cli.log.start()?;
    let profiling = cli.profile.start()?;
    let runtime = runtime.context("no runtime")?;
    let done = runtime.block_on(run(cli.command));
    // One of its threads may still wait for a line of the standard input.
    runtime.shutdown_background();
    let profiled = profiling.finish();
    let code = done?;
    profiled?;
    Ok(code)
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => coordinator::serve(serve).await?,
        Command::Token(token) => token.run()?,
        Command::List(state) => people::list(&state.folder)?,
        Command::Revoke(revoke) => revoke.run()?,
        Command::Submit(submit) => return submit.run().await,
        Command::Status(at) => coordinator::status(&at).await?,
        Command::Stop(at) => coordinator::stop(&at).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
