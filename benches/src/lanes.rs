//! `framelane-bench lanes`: small tasks through a broker, beside a bare loop of the same client library.
//!
//! The bare loop has no queue, no order, no tickets and no liveness: jobs in batches to the broker, a worker
//! process that takes them in batches, answers each batch in one message and acknowledges it, as ours does.
//! Both have the same number under way, and take turns in every round.

mod amqp;
mod redis;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::dispatch::{Admission, Coordinator, lane};
use anyhow::Context;
use queue::{Policy, WorkerId};
use tokio_util::sync::CancellationToken;
use wire::broker::Kind;

use crate::brokers::Broker;
use crate::child::Child;
use crate::report::Report;
use crate::tally::{Seen, Tally};
use crate::work::{Ask, Item, Work, body};

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// How long each measurement of a round takes.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// How often all is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The far end of a bare loop.
#[derive(clap::Args, Clone)]
pub struct Bare {
    /// The broker, as its client wants it.
    #[arg(long, value_name = "URL")]
    address: String,
}

/// How many jobs are under way, and how many a worker takes.
const CREDIT: u32 = 256;
const WINDOW: usize = CREDIT as usize;
/// Bytes of a job's body.
const SMALL: usize = 100;

/// Works for a bare loop until it is killed.
pub async fn bare(args: Bare) -> anyhow::Result<()> {
    match args.address.starts_with("redis:") {
        true => redis::work(&args.address).await,
        false => amqp::work(&args.address).await,
    }
}

/// Measures, prints, and fails when order or books are wrong.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut report = Report::new("lanes");
    report.rounds(args.rounds, args.seconds);
    let mut wrong =
        BTreeMap::from(["out_of_order", "duplicates", "lost", "unbalanced"].map(|name| (name, 0)));
    for (kind, ratio, ours_name, bare_name) in [
        (Kind::Redis, "redis_ratio", "redis_per_s", "redis_bare_per_s"),
        (Kind::Amqp, "amqp_ratio", "amqp_per_s", "amqp_bare_per_s"),
    ] {
        eprintln!("starting {} ...", kind.name());
        let mut broker = Broker::start(kind).await?;
        let (mut ratios, mut ours_runs, mut bare_runs) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=args.rounds {
            let bare = bare_loop(kind, &broker, args.seconds).await?;
            let ours = ours(&broker, args.seconds, &mut wrong).await?;
            eprintln!("round {round} of {}: {bare:.0} bare, {ours:.0} ours a second", args.rounds);
            ratios.push(ours / bare);
            ours_runs.push(ours);
            bare_runs.push(bare);
        }
        report.spread(ratio, &ratios);
        report.spread(ours_name, &ours_runs);
        report.spread(bare_name, &bare_runs);
        broker.stop().await?;
    }
    for (name, count) in &wrong {
        report.set(*name, *count as f64);
    }
    report.publish(args.json.as_deref())?;
    let wrong: u64 = wrong.values().sum();
    anyhow::ensure!(wrong == 0, "a promise was broken: see out_of_order, duplicates, lost, unbalanced");
    Ok(())
}

/// Jobs a second of the bare loop.
async fn bare_loop(kind: Kind, broker: &Broker, seconds: f64) -> anyhow::Result<f64> {
    let address = broker.address();
    let (tell, time) = (body(SMALL, 3), Duration::from_secs_f64(seconds));
    let asked = address.clone();
    // The near end makes the queues, so it is there first.
    match kind {
        Kind::Redis => redis::prepare(&address).await?,
        _ => amqp::prepare(&address).await?,
    }
    let args = ["lanes-bare", "--address", &address].map(str::to_owned);
    let child = Child::start("framelane-bench", args, "error")?;
    let asking = tokio::spawn(async move {
        match kind {
            Kind::Redis => redis::ask(&asked, &tell, time).await,
            _ => amqp::ask(&asked, &tell, time).await,
        }
    });
    let per_s = asking.await.context("the bare loop panicked")??;
    drop(child);
    Ok(per_s)
}

/// Jobs a second of ours, from offer to take.
async fn ours(broker: &Broker, seconds: f64, wrong: &mut BTreeMap<&str, u64>) -> anyhow::Result<f64> {
    let (address, credit) = (broker.address(), CREDIT.to_string());
    let args = ["worker", "--broker", &address, "--credit", &credit];
    let child = Child::start("framelane-bench", args, "error")?;
    let (coordinator, driver) = ::dispatch::new(queue::Config::default());
    tokio::spawn(driver);
    let mut config = lane::broker::Config::new(broker.url(), "bench", WorkerId(1), vec![Work::key()]);
    config.credit = NonZeroU32::new(CREDIT).context("256 is not 0")?;
    let stop = CancellationToken::new();
    let lane = tokio::spawn(lane::broker::run(coordinator.clone(), config, stop.clone()));
    while !coordinator.serves(Work::key()).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (tally, admitted, balanced, per_s) = flow(&coordinator, Duration::from_secs_f64(seconds)).await?;
    stop.cancel();
    lane.await.context("the lane panicked")??;
    child.end().await?;
    for (name, count) in [
        ("out_of_order", tally.out_of_order),
        ("duplicates", tally.duplicates),
        ("lost", tally.lost(admitted) + tally.missing.total() + tally.wrong),
        ("unbalanced", u64::from(!balanced)),
    ] {
        *wrong.entry(name).or_default() += count;
    }
    Ok(per_s)
}

async fn flow(coordinator: &Coordinator, time: Duration) -> anyhow::Result<(Tally, u64, bool, f64)> {
    // Twice what is under way, so that the next ones are here.
    let pending = NonZeroUsize::new(2 * WINDOW).context("512 is not 0")?;
    let policy = Policy { pending, ..Policy::lossless() };
    let (mut inlet, mut outlet) = coordinator.open(policy, Work::key(), Ask::default()).await?;
    let body = body(SMALL, 2);
    let begin = Instant::now();
    let offering = tokio::spawn(async move {
        let mut number = 0;
        while begin.elapsed() < time {
            if inlet.send(Admission::now(Item { number, body: body.clone() })).await.is_err() {
                break;
            }
            number += 1;
        }
        number
    });
    let taking = tokio::spawn(async move {
        let mut tally = Tally::default();
        while let Some(done) = outlet.next().await {
            tally.see(&Seen::of(&done));
        }
        (tally, outlet)
    });
    let (tally, outlet) = taking.await.context("the taker panicked")?;
    let seconds = begin.elapsed().as_secs_f64();
    let admitted = offering.await.context("the source panicked")?;
    let books = outlet.closing_books();
    let balanced = books.is_some_and(|books| books.balances().is_ok() && tally.agrees(books).is_ok());
    let per_s = tally.answered as f64 / seconds;
    Ok((tally, admitted, balanced, per_s))
}
