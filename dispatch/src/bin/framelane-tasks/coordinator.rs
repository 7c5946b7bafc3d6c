//! Running a coordinator, and asking one.

use std::time::Duration;

use framelane_dispatch::kit::Serve;
use tokio_util::sync::CancellationToken;
use wire::client::{Ask, operate};
use wire::identity::Role;

use crate::At;

/// `serve`.
pub(crate) async fn serve(serve: Serve) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(signals(stop.clone()));
    // It knows no task, so there is nothing that threads of its own could do.
    Ok(serve.run(None, stop).await?)
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
