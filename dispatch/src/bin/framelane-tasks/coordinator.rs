//! Running a coordinator, and asking one.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use framelane_dispatch::kit;
use program::signals;
use queue::{Key, TaskName};
use wire::client::{Ask, operate};
use wire::identity::Role;

use crate::{At, say};

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    serve: kit::Serve,
    /// A task that the workers behind --redis and --amqp do; several by several flags.
    #[arg(long = "task", value_name = "NAME")]
    tasks: Vec<TaskName>,
}

impl Serve {
    pub(crate) fn polls(&self) -> bool {
        self.serve.polls()
    }
}

pub(crate) async fn serve(Serve { serve, tasks }: Serve) -> anyhow::Result<()> {
    let stop = signals::stop().context("signals cannot be caught")?;
    // It knows no task, so there is nothing that threads of its own could do.
    let keys = tasks.into_iter().map(Key::task);
    match serve.run(None, keys, stop).await {
        Err(kit::Error::NoTask) => {
            anyhow::bail!("--redis and --amqp: name what their workers do with --task NAME")
        }
        served => Ok(served?),
    }
}

/// How long a coordinator may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

async fn ask(at: &At, ask: Ask) -> anyhow::Result<String> {
    let server = at.server()?;
    match at.seat(Role::Operator, &server) {
        Some(seat) => Ok(seat.operate(ask, WITHIN).await?),
        None => Ok(operate(&server, &at.own(Role::Operator).await?, ask, WITHIN).await?),
    }
}

/// `status`.
pub(crate) async fn status(at: &At) -> anyhow::Result<()> {
    let status: serde_json::Value = serde_json::from_str(&ask(at, Ask::Status).await?)?;
    Ok(say(format_args!("{status:#}"))?)
}

/// `stop`.
pub(crate) async fn stop(at: &At) -> anyhow::Result<()> {
    ask(at, Ask::Stop).await?;
    Ok(say("it stops once it has answered what it has")?)
}
