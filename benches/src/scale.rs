//! `framelane-bench scale`: does the throughput of N workers come to N times that of one?
//!
//! The workers sleep, so that the machine is not what is measured: N workers that take a time S for each
//! job can do N / S jobs a second at most, and what is lost on the way is ours.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use dispatch::{Admission, Inlet};
use queue::{Books, Policy};
use tokio::time::Instant;

use crate::crew::Crew;
use crate::pool::Pool;
use crate::report::{Report, Spread};
use crate::tally::{Seen, Tally};
use crate::work::{Ask, Item, Work, body};

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// How many workers, several with commas between.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    workers: Vec<usize>,
    /// What each sleeps over a job.
    #[arg(long, value_name = "MS", default_value_t = 25.0)]
    service_ms: f64,
    /// How long each number of workers is measured, after a second to get going.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// How often all is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const WARM_UP: Duration = Duration::from_secs(1);
/// Small, since it is not the wire that is measured here.
const BODY: usize = 1000;

/// One measurement.
struct Point {
    per_s: f64,
    service_ms: f64,
    /// What N workers could do, over what they did.
    ratio: f64,
    tally: Tally,
    lost: u64,
    unbalanced: u64,
}

/// Measures, prints, and fails when order or books are wrong.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let most = args.workers.iter().copied().max().unwrap_or(0);
    anyhow::ensure!((1..=128).contains(&most) && !args.workers.contains(&0), "--workers: from 1 to 128");
    let mut report = Report::new("scale");
    report.rounds(args.rounds, args.seconds);
    let (mut out_of_order, mut duplicates, mut lost, mut unbalanced) = (0, 0, 0, 0);
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); args.workers.len()];
    for round in 1..=args.rounds {
        for (&workers, ratios) in args.workers.iter().zip(&mut ratios) {
            let point = measure(&args, workers).await.with_context(|| format!("{workers} workers"))?;
            let Point { per_s, service_ms, ratio, .. } = point;
            eprintln!(
                "round {round} of {}: {workers:>3} workers of {service_ms:.2} ms: {per_s:.1} a second, {ratio:.3} of ideal over actual",
                args.rounds
            );
            ratios.push(ratio);
            out_of_order += point.tally.out_of_order;
            duplicates += point.tally.duplicates;
            lost += point.lost + point.tally.missing.total() + point.tally.wrong;
            unbalanced += point.unbalanced;
        }
    }
    let mut worst = f64::MIN;
    for (workers, ratios) in args.workers.iter().zip(&ratios) {
        report.spread(&format!("ratio_{workers}"), ratios);
        worst = worst.max(Spread::of(ratios).median);
    }
    report.set("worst_ratio", worst);
    for (name, value) in [
        ("out_of_order", out_of_order),
        ("duplicates", duplicates),
        ("lost", lost),
        ("unbalanced", unbalanced),
    ] {
        report.set(name, value as f64);
    }
    report.publish(args.json.as_deref())?;
    let wrong = out_of_order + duplicates + lost + unbalanced;
    anyhow::ensure!(wrong == 0, "a promise was broken: see out_of_order, duplicates, lost, unbalanced");
    Ok(())
}

async fn measure(args: &Args, workers: usize) -> anyhow::Result<Point> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let pool = Pool::start(
        ([127, 0, 0, 1], 0).into(),
        &folder.path().join("server"),
        wire::server::Config::default(),
    )?;
    let service = args.service_ms.to_string();
    let crew = Crew::start(&pool, folder.path(), workers, None, &["--service-ms", &service]).await?;
    let (inlet, mut outlet) = pool.coordinator.open(Policy::lossless(), Work::key(), Ask::default()).await?;
    let begin = Instant::now();
    let end = begin + WARM_UP + Duration::from_secs_f64(args.seconds);
    let offering = tokio::spawn(offer(inlet, end));
    let mut tally = Tally::default();
    // The first and the last place of the measured time, and what was answered between them.
    let (mut first, mut last) = (None, begin);
    let (mut answered, mut service_us) = (0u64, 0u64);
    while let Some(done) = outlet.next().await {
        let now = Instant::now();
        tally.see(&Seen::of(&done));
        if now < begin + WARM_UP || now > end {
            continue;
        }
        if first.is_none() {
            // From here on: this place itself belongs to the time before.
            first = Some(now);
            continue;
        }
        last = now;
        answered += 1;
        service_us += done.answer.map_or(0, |answer| answer.service_us);
    }
    let admitted = offering.await.context("the source panicked")?;
    let books: Option<Books> = outlet.closing_books().cloned();
    let balanced = books.is_some_and(|books| books.balances().is_ok() && tally.agrees(&books).is_ok());
    crew.end().await?;
    pool.stop().await;
    let time = first.map_or(0.0, |first| (last - first).as_secs_f64());
    anyhow::ensure!(answered > 0 && time > 0.0, "nothing was answered in the measured time");
    let (per_s, service_s) = (answered as f64 / time, service_us as f64 / 1e6 / answered as f64);
    Ok(Point {
        per_s,
        service_ms: service_s * 1e3,
        ratio: workers as f64 / service_s / per_s,
        lost: tally.lost(admitted),
        tally,
        unbalanced: u64::from(!balanced),
    })
}

/// Offers as fast as the flow takes, until `end`; gives how many were admitted.
async fn offer(mut inlet: Inlet<Ask>, end: Instant) -> u64 {
    let body = body(BODY, 1);
    let mut number = 0;
    while Instant::now() < end {
        if inlet.send(Admission::now(Item { number, body: body.clone() })).await.is_err() {
            break;
        }
        number += 1;
    }
    number
}
