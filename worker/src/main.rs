//! `framelane-worker`: the worker's command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use framelane_worker::identity::{Identity, Seat, Token};
use framelane_worker::{Host, node, watchdog, zoo};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

mod config;
mod log;

use config::Config;

/// Ended since a job hung: to be started again.
const HUNG: i32 = 86;
/// Ended at once by a second signal.
const CUT_SHORT: i32 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    let done = match log::start(&config.log) {
        Ok(()) => run(config).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("framelane-worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    let seat = Seat::new(&config.server, config.name(), &config.state);
    // First what is quick to find out: a worker that may not enter need not load its models.
    let mut token = config.token.clone();
    let identity = seat.take(token.clone(), &stop).await;
    if stop.is_cancelled() {
        return Ok(());
    }
    let mut identity = identity?;

    let (models, library, threads) = (config.models.clone(), config.onnxruntime.clone(), config.host());
    let started = tokio::task::spawn_blocking(move || -> anyhow::Result<Host> {
        let registry = zoo::registry(&models, library.as_deref())?;
        Ok(Host::start(&registry, threads)?)
    });
    let host = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        host = started => Arc::new(host.context("loading the models failed")??),
    };

    let node = config.node();
    loop {
        let worked = tokio::select! {
            worked = node::run(&node, &identity, Arc::clone(&host), stop.clone()) => worked,
            hung = watch(&host, config.hang_after()) => end_hung(&hung),
        };
        match worked {
            Ok(()) => return Ok(()),
            // The identity on disk is of no use there. A token was given, so it is meant to be used.
            Err(error) if error.needs_enrolment() && token.is_some() => {
                tracing::warn!(%error, "enrolling again with the token");
                identity = again(&seat, token.take(), &stop).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn again(seat: &Seat, token: Option<Token>, stop: &CancellationToken) -> anyhow::Result<Identity> {
    let token = token.context("there is no token")?;
    Ok(seat.enrol(&token, stop).await?)
}

async fn watch(host: &Host, after: Option<Duration>) -> watchdog::Hung {
    match after {
        Some(after) => watchdog::watch(host, after).await,
        None => std::future::pending().await,
    }
}

fn end_hung(hung: &watchdog::Hung) -> ! {
    tracing::error!("{hung}: it hangs, ending this process with {HUNG}");
    // A hung thread can hold what the libraries' exit handlers wait for.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(2));
        std::process::abort();
    });
    std::process::exit(HUNG)
}

/// The first SIGTERM or SIGINT asks to finish what is in hand, the second ends the process now.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first.is_cancelled() {
                tracing::warn!("a second signal: ending now");
                std::process::exit(CUT_SHORT);
            }
            first.cancel();
        }
    });
    Ok(stop)
}
