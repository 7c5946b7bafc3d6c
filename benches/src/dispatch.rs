//! `framelane-bench dispatch`: what the queue and the wire cost beside bare quinn and beside pyzmq.
//!
//! Ours and theirs take turns in every round, so that a noisy neighbour hits both. What is measured runs in
//! tasks of the runtime on both sides: from the main thread each wake-up would be a switch of threads.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::dispatch::{Admission, Inlet, Outlet};
use anyhow::Context;
use bytes::Bytes;
use queue::Policy;
use serde_json::Value;
use tokio::process::Command;
use wire::server::Config;

use crate::bare::Pair;
use crate::crew::Crew;
use crate::life::{self, Load};
use crate::pool::Pool;
use crate::proc;
use crate::report::{Report, percentile};
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
    /// A Python with pyzmq; without it that comparison is left out.
    #[arg(long, value_name = "FILE", default_value = "assets/.venv/bin/python")]
    python: PathBuf,
    /// What the Python runs.
    #[arg(long, value_name = "FILE", default_value = "benches/versus/zmq_ipc.py", hide = true)]
    zmq: PathBuf,
    /// The same, without a library.
    #[arg(long, value_name = "FILE", default_value = "benches/versus/shm_pair.py", hide = true)]
    pair: PathBuf,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A 640x640 picture in RGB.
const BODY: usize = 640 * 640 * 3;
/// A small task.
const SMALL: usize = 100;
/// Tasks of a life measurement for each second of the others: enough for the system's coarse count of a
/// thread's time.
const LIVES_PER_S: f64 = 2e5;
const MEGA: f64 = 1e6;

#[derive(Default)]
struct Runs {
    ours_mb_s: Vec<f64>,
    bare_mb_s: Vec<f64>,
    quinn_ratio: Vec<f64>,
    quinn_cpu_ratio: Vec<f64>,
    ours_echo_ms: Vec<f64>,
    bare_echo_ms: Vec<f64>,
    echo_ratio: Vec<f64>,
    shm_per_s: Vec<f64>,
    shm_cpu_us: Vec<f64>,
    shm_p50_ms: Vec<f64>,
    zmq_per_s: Vec<f64>,
    shm_zmq_ratio: Vec<f64>,
    /// Whose workers work on what the server may change under their eyes.
    shm_bare: Bare,
    /// Whose workers make a copy of their own first, as ours do.
    shm_copied: Bare,
    life_ns: Vec<f64>,
    life_1000_ns: Vec<f64>,
    wrong: Wrong,
}

/// A bare pair of processes, and ours beside it.
#[derive(Default)]
struct Bare {
    per_s: Vec<f64>,
    ratio: Vec<f64>,
    p50_ms: Vec<f64>,
    p50_ratio: Vec<f64>,
}

#[derive(Default)]
struct Wrong {
    out_of_order: u64,
    duplicates: u64,
    lost: u64,
    unbalanced: u64,
}

/// Measures, prints, and fails when order or books are wrong.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let (big, small) = (body(BODY, 1), body(SMALL, 2));
    let any = ([127, 0, 0, 1], 0).into();
    let mut runs = Runs::default();
    let time = Duration::from_secs_f64(args.seconds);

    for round in 1..=args.rounds {
        let (life, life_1000) = (life_ns(10, 10, time).await?, life_ns(1000, 100, time).await?);
        eprintln!(
            "round {round} of {}: {life:.0} ns a task in the queue, {life_1000:.0} with 1000 flows",
            args.rounds
        );
        runs.life_ns.push(life);
        runs.life_1000_ns.push(life_1000);
    }

    // As between two machines, which is what bare quinn is for.
    let apart = Config { shared_memory: 0, ..Config::default() };
    let far = Pool::start(any, &folder.path().join("far"), apart)?;
    let crew = Crew::start(&far, &folder.path().join("far-crew"), 1, None, &["--credit", "8"]).await?;
    anyhow::ensure!(far.sharing().await? == 0, "a worker shares memory that the server does not offer");
    let pair = Pair::start(&far, folder.path()).await?;
    for round in 1..=args.rounds {
        let (bare, bare_cpu) = measured(pair.pid().as_slice(), pair.bodies(&big, time)).await?;
        let (ours, ours_cpu) = measured(&crew.pids(), bodies(&far, &big, time, &mut runs.wrong)).await?;
        let bare_ms = percentile(&pair.trips_ms(&small, time).await?, 50.0);
        let ours_ms = trips(&far, &small, time, &mut runs.wrong).await?;
        eprintln!(
            "round {round} of {}: {:.0} MB/s bare, {:.0} ours; {bare_ms:.3} ms bare, {ours_ms:.3} ours",
            args.rounds,
            bare * BODY as f64 / MEGA,
            ours * BODY as f64 / MEGA
        );
        runs.bare_mb_s.push(bare * BODY as f64 / MEGA);
        runs.ours_mb_s.push(ours * BODY as f64 / MEGA);
        runs.quinn_ratio.push(bare / ours);
        runs.quinn_cpu_ratio.push(ours_cpu / bare_cpu);
        runs.bare_echo_ms.push(bare_ms);
        runs.ours_echo_ms.push(ours_ms);
        runs.echo_ratio.push(ours_ms / bare_ms);
    }
    crew.end().await?;
    drop(pair);
    far.stop().await;

    let near = Pool::start(any, &folder.path().join("near"), Config::default())?;
    let crew = Crew::start(&near, &folder.path().join("near-crew"), 2, Some(1), &["--credit", "8"]).await?;
    let sharing = near.sharing().await?;
    anyhow::ensure!(
        sharing == 2,
        "shared memory was negotiated with {sharing} of 2 workers on this host, so there is nothing to measure; \
         `--log info` has the reason"
    );
    for round in 1..=args.rounds {
        let zmq = python(&args, &args.zmq, &["--window", "8"]).await;
        let zmq = zmq.and_then(|figures| figure(&figures, "per_s"));
        if let (1, Err(error)) = (round, &zmq) {
            eprintln!("pyzmq is left out ({error:#}): run `scripts/setup bench`");
        }
        let bare = bare_pair(&args, &[]).await;
        let copied = bare_pair(&args, &["--own-copy"]).await;
        if let (1, Err(error)) = (round, bare.as_ref().and(copied.as_ref())) {
            eprintln!("the bare pair is left out ({error:#}): run `scripts/setup bench`");
        }
        let (ours, cpu) = measured(&crew.pids(), bodies(&near, &big, time, &mut runs.wrong)).await?;
        let p50 = trips(&near, &big, time, &mut runs.wrong).await?;
        eprintln!(
            "round {round} of {}: {ours:.0} bodies a second on this host, {p50:.3} ms one at a time",
            args.rounds
        );
        runs.shm_per_s.push(ours);
        runs.shm_cpu_us.push(cpu * MEGA);
        runs.shm_p50_ms.push(p50);
        if let Ok(zmq) = zmq {
            runs.zmq_per_s.push(zmq);
            runs.shm_zmq_ratio.push(ours / zmq);
        }
        for (runs, pair) in [(&mut runs.shm_bare, bare), (&mut runs.shm_copied, copied)] {
            if let Ok((bare, bare_p50)) = pair {
                runs.per_s.push(bare);
                runs.ratio.push(ours / bare);
                runs.p50_ms.push(bare_p50);
                runs.p50_ratio.push(bare_p50 / p50);
            }
        }
    }
    crew.end().await?;
    near.stop().await;
    runs.publish(&args)
}

impl Runs {
    fn publish(self, args: &Args) -> anyhow::Result<()> {
        let mut report = Report::new("dispatch");
        report.rounds(args.rounds, args.seconds);
        for (name, values) in [
            ("life_ns", &self.life_ns),
            ("life_1000_ns", &self.life_1000_ns),
            ("bare_mb_per_s", &self.bare_mb_s),
            ("ours_mb_per_s", &self.ours_mb_s),
            ("quinn_ratio", &self.quinn_ratio),
            ("quinn_cpu_ratio", &self.quinn_cpu_ratio),
            ("bare_echo_p50_ms", &self.bare_echo_ms),
            ("ours_echo_p50_ms", &self.ours_echo_ms),
            ("echo_ratio", &self.echo_ratio),
            ("shm_per_s", &self.shm_per_s),
            ("shm_cpu_us", &self.shm_cpu_us),
            ("shm_p50_ms", &self.shm_p50_ms),
            ("zmq_per_s", &self.zmq_per_s),
            ("shm_zmq_ratio", &self.shm_zmq_ratio),
            ("shm_bare_per_s", &self.shm_bare.per_s),
            ("shm_bare_ratio", &self.shm_bare.ratio),
            ("shm_bare_p50_ms", &self.shm_bare.p50_ms),
            ("shm_bare_p50_ratio", &self.shm_bare.p50_ratio),
            ("shm_copied_per_s", &self.shm_copied.per_s),
            ("shm_copied_ratio", &self.shm_copied.ratio),
            ("shm_copied_p50_ms", &self.shm_copied.p50_ms),
            ("shm_copied_p50_ratio", &self.shm_copied.p50_ratio),
        ] {
            // What was left out has no figure.
            if !values.is_empty() {
                report.spread(name, values);
            }
        }
        let Wrong { out_of_order, duplicates, lost, unbalanced } = self.wrong;
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
}

/// Nanoseconds that the queue itself takes for a task from offer to take: of a lossless flow or of one with a
/// budget, whichever is more.
async fn life_ns(flows: usize, lanes: u64, time: Duration) -> anyhow::Result<f64> {
    let tasks = (LIVES_PER_S * time.as_secs_f64()).max(1e4) as u64;
    let lives = tokio::task::spawn_blocking(move || {
        [Policy::lossless(), Policy::video(Duration::from_millis(200))].map(|policy| {
            life::run(&Load { flows, lanes, credit: 4, policy }, tasks).as_secs_f64() * 1e9 / tasks as f64
        })
    });
    Ok(lives.await.context("the queue is broken")?.into_iter().fold(0.0, f64::max))
}

/// Bodies a second, and processor seconds of both sides for each body.
async fn measured(
    far: &[u32],
    work: impl Future<Output = anyhow::Result<(u64, f64)>>,
) -> anyhow::Result<(f64, f64)> {
    let used = || -> anyhow::Result<f64> {
        far.iter().copied().chain([std::process::id()]).map(proc::cpu_seconds).sum()
    };
    let before = used()?;
    let (count, seconds) = work.await?;
    Ok((count as f64 / seconds, (used()? - before) / count as f64))
}

/// Sends bodies for so long, as many at once as the workers take; gives how many came back, and the time.
async fn bodies(pool: &Pool, body: &Bytes, time: Duration, wrong: &mut Wrong) -> anyhow::Result<(u64, f64)> {
    let (inlet, mut outlet) = open(pool).await?;
    let begin = Instant::now();
    let offering = tokio::spawn(offer(inlet, body.clone(), begin + time));
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
    wrong.add(&tally, &outlet, admitted);
    Ok((tally.answered, seconds))
}

async fn offer(mut inlet: Inlet<Ask>, body: Bytes, end: Instant) -> u64 {
    let mut number = 0;
    while Instant::now() < end {
        if inlet.send(Admission::now(Item { number, body: body.clone() })).await.is_err() {
            break;
        }
        number += 1;
    }
    number
}

/// One task at a time for so long, from offer to take; gives the median.
async fn trips(pool: &Pool, body: &Bytes, time: Duration, wrong: &mut Wrong) -> anyhow::Result<f64> {
    let (mut inlet, mut outlet) = open(pool).await?;
    let body = body.clone();
    let going = tokio::spawn(async move {
        let (begin, mut tally, mut times) = (Instant::now(), Tally::default(), Vec::new());
        while begin.elapsed() < time {
            let sent = Instant::now();
            let item = Item { number: times.len() as u64, body: body.clone() };
            inlet.send(Admission::now(item)).await.map_err(|refused| refused.why)?;
            let done = outlet.next().await.context("the queue stopped")?;
            times.push(sent.elapsed().as_secs_f64() * 1e3);
            tally.see(&Seen::of(&done));
        }
        drop(inlet);
        anyhow::ensure!(outlet.next().await.is_none(), "a place that nobody offered");
        anyhow::Ok((times, tally, outlet))
    });
    let (times, tally, outlet) = going.await.context("it panicked")??;
    wrong.add(&tally, &outlet, times.len() as u64);
    Ok(percentile(&times, 50.0))
}

async fn open(pool: &Pool) -> anyhow::Result<(Inlet<Ask>, Outlet<Ask>)> {
    // Few more than are under way, so that the end of a round is not the end of a long queue.
    let pending = const { std::num::NonZeroUsize::new(24).expect("24 is not 0") };
    let policy = Policy { pending, ..Policy::lossless() };
    Ok(pool.coordinator.open(policy, Work::key(), Ask::default()).await?)
}

impl Wrong {
    fn add(&mut self, tally: &Tally, outlet: &Outlet<Ask>, admitted: u64) {
        self.out_of_order += tally.out_of_order;
        self.duplicates += tally.duplicates;
        self.lost += tally.lost(admitted) + tally.missing.total() + tally.wrong;
        let books = outlet.closing_books();
        let good = books.is_some_and(|books| books.balances().is_ok() && tally.agrees(books).is_ok());
        self.unbalanced += u64::from(!good);
    }
}

/// Bodies a second of a bare pair, and its time for one in milliseconds.
async fn bare_pair(args: &Args, further: &[&str]) -> anyhow::Result<(f64, f64)> {
    let figures = python(args, &args.pair, further).await?;
    Ok((figure(&figures, "per_s")?, figure(&figures, "p50_ms")?))
}

/// What a script measures with as many workers.
async fn python(args: &Args, script: &Path, further: &[&str]) -> anyhow::Result<Value> {
    let seconds = args.seconds.to_string();
    let ran = Command::new(&args.python)
        .arg(script)
        .args(["--workers", "2", "--seconds", &seconds])
        .args(further)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| args.python.display().to_string())?;
    let said = String::from_utf8_lossy(&ran.stderr);
    anyhow::ensure!(ran.status.success(), "{}", said.lines().last().unwrap_or("it failed"));
    serde_json::from_slice(&ran.stdout).context("its figures")
}

fn figure(figures: &Value, name: &str) -> anyhow::Result<f64> {
    figures[name].as_f64().with_context(|| format!("{name} is not among the figures of a script: {figures}"))
}
