//! `framelane-bench python`: workers in Python, beside Celery and pyzmq.
//!
//! Small tasks and large ones: words are counted, and pictures of 1.2 MB go to a function of a numpy array that gives
//! 1 kB back. Two processes everywhere. Ours and theirs take turns in every round.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ::dispatch::{Admission, Coordinator, Link, Prepare, Unprepared};
use anyhow::Context;
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use queue::{Key, Policy, TaskName};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use wire::identity::Role;
use wire::server::Config;
use wire::{Array, DType, Task};

use crate::pool::Pool;
use crate::pushed::Tasks;
use crate::report::Report;
use crate::rival::Rival;
use crate::wordcount::{self, Sums};
use crate::work::{body, reply};

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// How long each measurement of a round takes.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// How often all is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A Python with the package framelane [default: that of `make install-package PROFILE=release`].
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    /// A Python with Celery, redis and pyzmq; without it those are left out.
    #[arg(long, value_name = "FILE", default_value = "assets/.venv/bin/python")]
    python: PathBuf,
    /// Where the scripts are.
    #[arg(long, value_name = "DIR", default_value = "benches/versus", hide = true)]
    scripts: PathBuf,
    /// Ours alone.
    #[arg(long)]
    alone: bool,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const SHAPE: [usize; 3] = [640, 640, 3];
/// It has drained by then.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Rivals: the script, its argument, under what its figure is noted, and whether it takes pictures.
const RIVALS: [(&str, &str, &str); 4] = [
    ("words.py", "celery-prefork", "celery_prefork_words_per_s"),
    ("words.py", "celery-solo", "celery_solo_words_per_s"),
    ("frames.py", "celery", "celery_frames_per_s"),
    ("frames.py", "zmq", "zmq_frames_per_s"),
];

/// A picture goes, a sample of its bytes comes.
struct Frame;

impl Task for Frame {
    const NAME: &'static str = "frame";
    type Job = Array;
    type Answer = Bytes;
}

/// Sends one of a few pictures, by its number.
struct Pictures(Vec<Array>);

impl Prepare for Pictures {
    type Task = Frame;
    type Item = usize;

    fn prepare(&self, number: &usize, _: &Link) -> Result<Array, Unprepared> {
        Ok(self.0[number % self.0.len()].clone())
    }
}

/// Measures, prints, and fails when order or books are wrong.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let time = Duration::from_secs_f64(args.seconds);
    let any = ([127, 0, 0, 1], 0).into();
    let pool = Pool::start(any, &folder.path().join("server"), Config::default())?;
    let mut workers = start_workers(&args, &pool, folder.path())?;
    tokio::select! {
        joined = pool.joined(2) => joined?,
        ended = workers.wait() => anyhow::bail!("the workers in Python ended with {}: run `make install-package PROFILE=release`", ended?),
    }
    let sharing = pool.sharing().await?;
    anyhow::ensure!(sharing == 2, "{sharing} of 2 workers share memory; `--log info` has the reason");

    let pictures: Vec<Bytes> = (0..8).map(|seed| body(SHAPE.iter().product(), seed)).collect();
    let pushed = Tasks::start(&folder.path().join("pushed")).await?;
    let mut pusher = start_pusher(&args, &pushed, folder.path()).await?;
    let mut rivals = if args.alone { Vec::new() } else { start_rivals(&args).await };
    let mut runs = Runs::default();
    for round in 1..=args.rounds {
        let words = wordcount::rate(&pool.coordinator, time, &mut runs.sums).await?;
        runs.add("words_per_s", words);
        let frames = frames(&pool.coordinator, &pictures, time, &mut runs.sums).await?;
        runs.add("frames_per_s", frames);
        runs.add("pushed_per_s", pusher.ask(&format!("rate {}", args.seconds)).await?);
        for (name, rival) in &mut rivals {
            runs.add(name, rival.ask(&format!("rate {}", args.seconds)).await?);
        }
        runs.compare();
        eprintln!("round {round} of {}:{}", args.rounds, runs.last());
    }
    for (_, rival) in rivals {
        rival.end().await?;
    }
    pusher.end().await?;
    pushed.end().await?;
    let pid = workers.id().context("the workers in Python have ended")?;
    kill(Pid::from_raw(pid.try_into().context("a process id")?), Signal::SIGTERM).context("SIGTERM")?;
    let status = timeout(ENDS_WITHIN, workers.wait()).await.context("the workers in Python do not end")??;
    anyhow::ensure!(status.success(), "the workers in Python ended with {status}");
    pool.stop().await;
    runs.publish(&args)
}

/// A Python with our package.
fn ours(args: &Args) -> anyhow::Result<PathBuf> {
    if let Some(ours) = &args.ours {
        return Ok(ours.clone());
    }
    let this = std::env::current_exe().context("where does this program lie?")?;
    Ok(this.ancestors().nth(2).context("TARGET")?.join("python/release/venv/bin/python"))
}

/// A client in Python.
async fn start_pusher(args: &Args, tasks: &Tasks, folder: &Path) -> anyhow::Result<Rival> {
    let mut command = Command::new(ours(args)?);
    command.arg(args.scripts.join("framelane_push.py")).arg(folder.join("pusher"));
    command.env("FRAMELANE_SERVER", tasks.server()).env("FRAMELANE_TOKEN", tasks.token(Role::Client)?);
    Rival::start_as(command).await.context("the client in Python")
}

/// One process that starts two.
fn start_workers(args: &Args, pool: &Pool, folder: &Path) -> anyhow::Result<Child> {
    let ours = ours(args)?;
    Command::new(&ours)
        .arg(args.scripts.join("framelane_tasks.py"))
        .env("FRAMELANE_SERVER", pool.addr().to_string())
        .env("FRAMELANE_TOKEN", pool.token()?)
        .env("FRAMELANE_LOG", "warn")
        .current_dir(std::env::current_dir().context("no current folder")?)
        .env("FRAMELANE_WORKER_STATE", folder.join("workers"))
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!("cannot start {}: run `make install-package PROFILE=release`", ours.display())
        })
}

async fn start_rivals(args: &Args) -> Vec<(&'static str, Rival)> {
    let mut rivals = Vec::new();
    for (script, name, figure) in RIVALS {
        eprintln!("starting {script} {name} ...");
        match Rival::start(&args.python, &args.scripts.join(script), name).await {
            Ok(rival) => rivals.push((figure, rival)),
            Err(error) => eprintln!("{name} is left out ({error:#}): run `scripts/setup bench`"),
        }
    }
    rivals
}

/// Sends pictures for so long; gives how many a second were answered.
async fn frames(
    coordinator: &Coordinator,
    bodies: &[Bytes],
    time: Duration,
    sums: &mut Sums,
) -> anyhow::Result<f64> {
    let pictures: Result<Vec<_>, _> =
        bodies.iter().map(|body| Array::new(DType::UInt8, &SHAPE, body.clone())).collect();
    let expected: Vec<_> = bodies.iter().map(reply).collect();
    let key = Key::task(TaskName::new(Frame::NAME).expect("the name is well formed"));
    // Few more than are under way, so that the end of a round is not the end of a long queue.
    let pending = const { std::num::NonZeroUsize::new(24).expect("24 is not 0") };
    let policy = Policy { pending, ..Policy::lossless() };
    let (mut inlet, mut outlet) = coordinator.open(policy, key, Pictures(pictures?)).await?;
    let begin = Instant::now();
    let offering = tokio::spawn(async move {
        let mut number = 0;
        while begin.elapsed() < time && inlet.send(Admission::now(number)).await.is_ok() {
            number += 1;
        }
        number as u64
    });
    let taking = tokio::spawn(async move {
        let (mut order, mut answered, mut wrong) = (Order::default(), 0, 0);
        while let Some(done) = outlet.next().await {
            order.see(done.seq.get(), *done.item as u64);
            match done.answer {
                Some(answer) if answer == expected[*done.item % expected.len()] => answered += 1,
                _ => wrong += 1,
            }
        }
        (order, answered, wrong, outlet)
    });
    let (order, answered, wrong, outlet) = taking.await.context("the taker panicked")?;
    let seconds = begin.elapsed().as_secs_f64();
    let admitted = offering.await.context("the source panicked")?;
    sums.out_of_order += order.out_of_order;
    sums.duplicates += order.duplicates;
    sums.lost += admitted.saturating_sub(order.next) + wrong;
    let books = outlet.closing_books();
    let good = books.is_some_and(|books| {
        books.balances().is_ok() && (books.admitted, books.answered) == (admitted, answered)
    });
    sums.unbalanced += u64::from(!good);
    Ok(answered as f64 / seconds)
}

/// Whether places leave once each, in their order, with the item that was offered for each.
#[derive(Default)]
struct Order {
    next: u64,
    out_of_order: u64,
    duplicates: u64,
}

impl Order {
    fn see(&mut self, seq: u64, item: u64) {
        match seq.cmp(&self.next) {
            std::cmp::Ordering::Equal => self.next += 1,
            std::cmp::Ordering::Less => self.duplicates += 1,
            std::cmp::Ordering::Greater => self.out_of_order += 1,
        }
        self.out_of_order += u64::from(seq != item);
    }
}

#[derive(Default)]
struct Runs {
    figures: BTreeMap<&'static str, Vec<f64>>,
    sums: Sums,
}

impl Runs {
    fn add(&mut self, name: &'static str, value: f64) {
        self.figures.entry(name).or_default().push(value);
    }

    /// The last round's value of a figure.
    fn of(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.last().copied()
    }

    /// This round's ratios: ours over the best of theirs.
    fn compare(&mut self) {
        let celery = ["celery_prefork_words_per_s", "celery_solo_words_per_s"];
        let celery = celery.iter().filter_map(|name| self.of(name)).reduce(f64::max);
        for (ratio, ours, theirs) in [
            ("celery_ratio", self.of("words_per_s"), celery),
            ("zmq_ratio", self.of("frames_per_s"), self.of("zmq_frames_per_s")),
            ("frames_celery_ratio", self.of("frames_per_s"), self.of("celery_frames_per_s")),
        ] {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                self.add(ratio, ours / theirs);
            }
        }
    }

    /// The last round in one line.
    fn last(&self) -> String {
        let last = |(name, values): (&&str, &Vec<f64>)| {
            values.last().map(|value| format!(" {name} {value:.1}")).unwrap_or_default()
        };
        self.figures.iter().map(last).collect()
    }

    fn publish(self, args: &Args) -> anyhow::Result<()> {
        let mut report = Report::new("python");
        report.rounds(args.rounds, args.seconds);
        for (name, values) in &self.figures {
            report.spread(name, values);
        }
        let Sums { lost, out_of_order, duplicates, unbalanced } = self.sums;
        for (name, value) in [
            ("lost", lost),
            ("out_of_order", out_of_order),
            ("duplicates", duplicates),
            ("unbalanced", unbalanced),
        ] {
            report.set(name, value as f64);
        }
        report.publish(args.json.as_deref())?;
        let wrong = lost + out_of_order + duplicates + unbalanced;
        anyhow::ensure!(wrong == 0, "a promise was broken: see lost, out_of_order, duplicates, unbalanced");
        Ok(())
    }
}
