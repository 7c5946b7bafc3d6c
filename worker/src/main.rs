//! `framelane-worker`: the worker's command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use framelane_worker::identity::{Papers, Seat, SeatError, Token};
use framelane_worker::{Host, node, watchdog, zoo};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

mod config;
mod log;

use config::Config;

/// Ended since the server does not let this worker in, and a person must give it another token: to be
/// started again would not help. As `EX_NOPERM` of sysexits.h.
const NOT_ADMITTED: u8 = 77;
/// Ended since a job hung: to be started again.
const HUNG: i32 = 86;
/// Ended at once by a second signal.
const CUT_SHORT: i32 = 130;

// One thread for the connection, which is one task's work; jobs have threads of their own. A second one would
// only cost each job a switch from one to the other.
#[tokio::main(flavor = "current_thread")]
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
            let seat = error.downcast_ref::<SeatError>().is_some_and(SeatError::needs_token);
            let run = error.downcast_ref::<node::RunError>().is_some_and(node::RunError::needs_enrolment);
            if seat || run { ExitCode::from(NOT_ADMITTED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    let seat = Seat::new(&config.server, config.name(), &config.state);
    // First what is quick to find out: a worker that may not enter need not load its models.
    let token = config.token.clone();
    let papers = seat.take(token.clone(), &stop).await;
    if stop.is_cancelled() {
        return Ok(());
    }
    let papers = papers?;

    let (models, library, threads) = (config.models.clone(), config.onnxruntime.clone(), config.host());
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<Host> {
        let registry = zoo::registry(&models, library.as_deref())?;
        // The models are loaded while the worker joins: the server hands it what no other has room for.
        Ok(Host::open(&registry, threads)?)
    });
    let host = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        host = opened => Arc::new(host.context("opening the models failed")??),
    };

    let worked = work(&config, papers, token, &seat, &host, &stop).await;
    quiet(host).await;
    worked
}

async fn work(
    config: &Config,
    mut papers: Papers,
    mut token: Option<Token>,
    seat: &Seat,
    host: &Arc<Host>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let node = config.node();
    loop {
        let worked = tokio::select! {
            worked = node::run(&node, &papers, Arc::clone(host), stop.clone()) => worked,
            hung = watch(host, config.hang_after()) => end_hung(&hung),
        };
        match worked {
            Ok(()) => return Ok(()),
            // The identity on disk is of no use there. A token was given, so it is meant to be used.
            Err(error) if error.needs_enrolment() && token.is_some() => {
                tracing::warn!(%error, "enrolling again with the token");
                papers = again(seat, token.take(), stop).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets the host's threads come to an end: a process that ends while one of them loads a model crashes in the
/// exit handlers of the model's libraries.
async fn quiet(host: Arc<Host>) {
    const AT_MOST: Duration = Duration::from_secs(30);
    if let Some(host) = Arc::into_inner(host) {
        let closed = tokio::task::spawn_blocking(|| host.close());
        // What takes longer hangs, and ends with the process, however that looks.
        let _ = tokio::time::timeout(AT_MOST, closed).await;
    }
}

async fn again(seat: &Seat, token: Option<Token>, stop: &CancellationToken) -> anyhow::Result<Papers> {
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
