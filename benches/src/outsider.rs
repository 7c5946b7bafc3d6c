//! `framelane-bench worker`: a worker as an outsider would write one, which can also be told to misbehave.
//!
//! What misbehaves in its work alone is built on the `worker` crate, as the well-behaved one is. What
//! breaks the protocol speaks it by hand, in [`rogue`].

mod fault;
pub mod name;
mod rogue;

use std::convert::Infallible;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::{Processor, Unprocessed};
use worker::drive::Wheel;
use worker::identity::{Papers, Seat, Token};
use worker::{Host, Registry, broker, host, node, watchdog};

pub use fault::Fault;

use crate::words::{CountWords, Counter};
use crate::work::{Answer, Job, Work, reply};

/// How it works, and how it misbehaves.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// The server, HOST:PORT.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "broker", requires = "state")]
    server: Option<String>,
    /// A broker, instead of a server.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    broker: Option<wire::broker::Url>,
    /// Lets it in the first time.
    #[arg(long, value_name = "TOKEN")]
    token: Option<Token>,
    /// Where the identity is kept, one folder for each connection.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// For people.
    #[arg(long, value_name = "NAME", default_value = "bench")]
    name: String,
    /// How many workers this process is, each with a connection and threads of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: u32,
    /// Threads of each.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// How many jobs each takes at a time; default one more than it has threads.
    #[arg(long, value_name = "N")]
    credit: Option<NonZeroU32>,
    /// How long it sleeps over a job.
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    service_ms: f64,
    /// For how long after a job it looks for the next without sleeping.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    busy_poll_ms: u64,
    /// What it does wrong: none, slow:10x, late:500ms, never, panic, fail, garbage, twice, hold, close.
    #[arg(long, value_name = "FAULT", default_value = "none")]
    fault: Fault,
    /// Where its misbehaviour begins.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What never happens is ended by the watchdog, and whoever started the process starts it again.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// The watchdog's status.
const HUNG: i32 = 3;

/// Works until SIGTERM. The first worker's thread may drive the network, as `framelane-worker`'s does.
pub async fn run(args: Args, mut wheel: Option<Wheel>) -> anyhow::Result<()> {
    if args.fault == Fault::Panic {
        // Each panic is meant, and nobody wants to read of it.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let stop = stop_on_signal()?;
    let mut workers = JoinSet::new();
    for number in 0..args.connections {
        let (args, stop, wheel) = (args.clone(), stop.clone(), wheel.take());
        workers.spawn(async move { one(&args, number, stop, wheel).await });
    }
    while let Some(ended) = workers.join_next().await {
        ended.context("a worker panicked")??;
    }
    Ok(())
}

async fn one(args: &Args, number: u32, stop: CancellationToken, wheel: Option<Wheel>) -> anyhow::Result<()> {
    let name = name::worker(&args.name, number);
    let Some((server, state)) = args.server.as_ref().zip(args.state.as_ref()) else {
        return behind_broker(args, name, stop, wheel).await;
    };
    let seat = Seat::new(server, &name, state.join(number.to_string()));
    let papers = seat.take(args.token.clone(), &stop).await?;
    if args.fault.is_below_the_protocol() {
        let credit = args.credit.map_or(2, NonZeroU32::get);
        let seed = args.seed.wrapping_add(number.into());
        let rogue = rogue::Rogue { server, identity: &papers.identity(), name: &name, credit, seed };
        return rogue.run(args.fault, Duration::from_secs_f64(args.service_ms / 1e3), stop).await;
    }
    honest(args, server, name, &papers, stop, wheel).await
}

fn host(args: &Args, wheel: Option<Wheel>) -> anyhow::Result<Arc<Host>> {
    let sleeper =
        Sleeper { service: Duration::from_secs_f64(args.service_ms / 1e3), fault: args.fault, done: 0 };
    let mut registry = Registry::new();
    registry.serve(Work::key(), move || Ok::<_, Infallible>(sleeper.clone()))?;
    registry.serve(CountWords::key(), || Ok::<_, Infallible>(Counter))?;
    let busy_poll = Duration::from_millis(args.busy_poll_ms);
    let config = host::Config { threads: args.threads, waiting: 1024, busy_poll, ..host::Config::default() };
    Ok(Arc::new(Host::open_driving(&registry, config, wheel)?))
}

async fn behind_broker(
    args: &Args,
    name: String,
    stop: CancellationToken,
    wheel: Option<Wheel>,
) -> anyhow::Result<()> {
    let url = args.broker.clone().context("--server or --broker")?;
    let config = broker::Config {
        credit: args.credit,
        drain_within: Duration::from_secs(2),
        retry_first: Duration::from_millis(50),
        retry_most: Duration::from_millis(500),
        // Killed workers are what tests wait for.
        dead_after: Duration::from_secs(1),
        ..broker::Config::new(url, name)
    };
    Ok(broker::run(&config, host(args, wheel)?, stop).await?)
}

async fn honest(
    args: &Args,
    server: &str,
    name: String,
    papers: &Papers,
    stop: CancellationToken,
    wheel: Option<Wheel>,
) -> anyhow::Result<()> {
    let host = host(args, wheel)?;
    let node = node::Config {
        credit: args.credit,
        drain_within: Duration::from_secs(2),
        // A server that was started again is found within a second.
        retry_first: Duration::from_millis(50),
        retry_most: Duration::from_millis(500),
        ..node::Config::new(server, name)
    };
    tokio::select! {
        worked = node::run(&node, papers, Arc::clone(&host), stop) => Ok(worked?),
        hung = watchdog::watch(&host, HANGS_AFTER), if args.fault == Fault::Never => {
            tracing::info!("{hung}");
            std::process::exit(HUNG);
        }
    }
}

/// Sleeps over each job and replies.
#[derive(Clone)]
struct Sleeper {
    service: Duration,
    fault: Fault,
    done: u64,
}

/// Of a worker that panics or hangs, every so many jobs: the others must have a chance to show that
/// they survive it.
const ONE_IN: u64 = 5;

impl Processor for Sleeper {
    type Task = Work;

    fn process(&mut self, job: Job) -> Result<Answer, Unprocessed> {
        let begun = Instant::now();
        self.done += 1;
        let bad = self.done.is_multiple_of(ONE_IN);
        let service = match self.fault {
            Fault::Slow(factor) => self.service.mul_f64(factor),
            Fault::Late(by) => self.service + by,
            Fault::Panic if bad => panic!("told to panic at job {}", job.number),
            Fault::Fail => return Err(Unprocessed::Failed("told to fail".into())),
            Fault::Never if bad => Duration::MAX,
            _ => self.service,
        };
        if !service.is_zero() {
            thread::sleep(service);
        }
        let service_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Answer { number: job.number, service_us, body: reply(&job.body) })
    }
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        told.cancel();
    });
    Ok(stop)
}
