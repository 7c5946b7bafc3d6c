//! Running a coordinator, and asking one.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use framelane_dispatch::tasks::{Config, Server};
use tokio_util::sync::CancellationToken;
use wire::client::{Ask, operate};
use wire::identity::Role;
use wire::server::Clients;

use crate::{ADDRESS, At, State};

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    state: State,
    /// Where workers and clients connect (UDP).
    #[arg(long, env = "FRAMELANE_TASKS_BIND", default_value = "127.0.0.1:4434", value_name = "ADDRESS:PORT")]
    bind: SocketAddr,
    /// The most tasks of one client that may be unanswered.
    #[arg(long, default_value = "4096")]
    window: NonZeroU32,
    /// How many failures end a task; 0: none does.
    #[arg(long, default_value_t = 3)]
    attempts: u32,
    /// How long a stop waits for tasks under way, in seconds.
    #[arg(long, default_value_t = 30)]
    grace: u64,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let authority = crate::authority(&self.state.state)?;
        let mut config = Config::new(self.bind);
        config.wire.clients = Some(Clients { tasks: self.window.get(), ..Clients::default() });
        config.client.attempts = NonZeroU32::new(self.attempts);
        config.grace = Duration::from_secs(self.grace);
        let server = Server::bind(authority, config)?;
        let address = server.local_addr();
        tell(&self.state.state, address).context("the address file")?;
        tracing::info!(%address, state = %self.state.state.display(), "a coordinator of tasks is ready");
        let stop = CancellationToken::new();
        tokio::spawn(signals(stop.clone()));
        server.run(stop).await;
        Ok(())
    }
}

/// Writes where it listens, whole at once: who waits for the file must not read half of it.
fn tell(state: &Path, address: SocketAddr) -> std::io::Result<()> {
    let written = state.join(format!("{ADDRESS}.new"));
    std::fs::write(&written, format!("{address}\n"))?;
    std::fs::rename(written, state.join(ADDRESS))
}

/// The first signal stops, a second one exits at once.
async fn signals(stop: CancellationToken) {
    signal().await;
    stop.cancel();
    signal().await;
    tracing::warn!("a second signal: exiting at once");
    std::process::exit(130);
}

async fn signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    // Without signals there is nothing to wait for.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How long a coordinator may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

async fn ask(at: &At, ask: Ask) -> anyhow::Result<String> {
    let server = at.server()?;
    let identity = at.identity(Role::Operator, &server).await?;
    Ok(operate(&server, &identity, ask, WITHIN).await?)
}

/// `status`.
pub(crate) async fn status(at: &At) -> anyhow::Result<()> {
    let status: serde_json::Value = serde_json::from_str(&ask(at, Ask::Status).await?)?;
    println!("{status:#}");
    Ok(())
}

/// `stop`.
pub(crate) async fn stop(at: &At) -> anyhow::Result<()> {
    ask(at, Ask::Stop).await?;
    println!("it stops once it has answered what it has");
    Ok(())
}
