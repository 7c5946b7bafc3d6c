//! `framelane-bench wordcount`: small tasks, beside the task queues that people use for them.
//!
//! One word is one offer, counters come back in order and are added up, as in every rival's script. Ours and
//! theirs take turns in every round. All rivals are up from the first round to the last, idle while others work; of
//! ours only what is measured is there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ::dispatch::{Admission, Coordinator, Inlet, Outlet, lane};
use anyhow::Context;
use queue::{Policy, WorkerId};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wire::server::Config;

use crate::crew::Crew;
use crate::pool::Pool;
use crate::pushed::Tasks;
use crate::report::Report;
use crate::rival::Rival;
use crate::trips;
use crate::words::{CountWords, Counter, Counts, Send, Sum, WORDS};

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// How long each measurement of a round takes.
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    seconds: f64,
    /// How often all is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A Python with Celery, Dramatiq and redis; without it those are left out.
    #[arg(long, value_name = "FILE", default_value = "assets/.venv/bin/python")]
    python: PathBuf,
    /// What the Python runs.
    #[arg(long, value_name = "FILE", default_value = "benches/versus/words.py", hide = true)]
    script: PathBuf,
    /// Ours alone.
    #[arg(long)]
    alone: bool,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Where no worker from elsewhere finds it.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What the local lane has at hand. Tasks of microseconds need many.
const LOCAL_CREDIT: NonZeroU32 = NonZeroU32::new(1024).expect("1024 is not 0");

/// One rival in one set-up.
#[derive(Clone, Copy)]
struct Setup {
    /// As its script calls it.
    name: &'static str,
    /// Under what its tasks a second are noted, if it is asked for them.
    rate: Option<&'static str>,
    /// Under what its round trips are noted.
    trips: Option<&'static str>,
}

/// Celery in the set-ups that were its best, and the others in theirs.
const RIVALS: [Setup; 6] = [
    Setup {
        name: "celery-prefork",
        rate: Some("celery_prefork_per_s"),
        trips: Some("celery_prefork_rtt_us"),
    },
    Setup { name: "celery-solo", rate: Some("celery_solo_per_s"), trips: Some("celery_solo_rtt_us") },
    Setup { name: "celery-amqp", rate: Some("celery_amqp_per_s"), trips: Some("celery_amqp_rtt_us") },
    Setup { name: "dramatiq", rate: Some("dramatiq_per_s"), trips: None },
    Setup { name: "redis-batch", rate: Some("redis_batch_per_s"), trips: None },
    Setup { name: "redis-echo", rate: None, trips: Some("redis_rtt_us") },
];

/// Measures, prints, and fails when order or books are wrong.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut rivals = match args.alone {
        true => Vec::new(),
        false => start_rivals(&args).await,
    };
    let mut runs = Runs::default();
    for round in 1..=args.rounds {
        ours(Duration::from_secs_f64(args.seconds), &mut runs).await?;
        for (setup, rival) in &mut rivals {
            if let Some(name) = setup.rate {
                runs.add(name, rival.ask(&format!("rate {}", args.seconds)).await?);
            }
            if let Some(name) = setup.trips {
                runs.add(name, rival.ask(&format!("trips {} {}", args.seconds, trips::RATE)).await?);
            }
        }
        runs.compare();
        eprintln!("round {round} of {}: {}", args.rounds, runs.last());
    }
    for (_, rival) in rivals {
        rival.end().await?;
    }
    runs.publish(&args)
}

/// One round of ours. Each set-up is there for as long as it is measured.
async fn ours(time: Duration, runs: &mut Runs) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let folder = folder.path();

    let pool = Pool::start(ANY, &folder.join("batched"), Config::default())?;
    let crew = Crew::start(&pool, &folder.join("crew"), 2, Some(1), &[]).await?;
    let tasks_per_s = rate(&pool.coordinator, time, &mut runs.sums).await?;
    runs.add("tasks_per_s", tasks_per_s);
    let rtt_asleep_p50_us = trips::run(&pool.coordinator, time, &mut runs.sums).await?;
    runs.add("rtt_asleep_p50_us", rtt_asleep_p50_us);
    end(crew, pool).await?;

    let one_each = lane::quic::Batching { tasks: NonZeroUsize::MIN, ..lane::quic::Batching::default() };
    let pool = Pool::batching(ANY, &folder.join("single"), Config::default(), one_each)?;
    let crew = Crew::start(&pool, &folder.join("single-crew"), 2, Some(1), &[]).await?;
    let unbatched_per_s = rate(&pool.coordinator, time, &mut runs.sums).await?;
    runs.add("unbatched_per_s", unbatched_per_s);
    end(crew, pool).await?;

    let (local_tasks_per_s, sums) = on_one_thread(async move |sums| local(time, sums).await).await?;
    runs.add("local_tasks_per_s", local_tasks_per_s);
    runs.sums.merge(&sums);

    let tasks = Tasks::start(&folder.join("pushed")).await?;
    let pushed_per_s = tasks.rate(time, &mut runs.sums).await?;
    runs.add("pushed_per_s", pushed_per_s);
    tasks.end().await?;

    let polling = folder.join("polling");
    let polling = on_one_thread(async move |sums| trips::polling(&polling, time, sums).await);
    let (rtt_p50_us, sums) = polling.await?;
    runs.add("rtt_p50_us", rtt_p50_us);
    runs.sums.merge(&sums);
    Ok(())
}

async fn end(crew: Crew, pool: Pool) -> anyhow::Result<()> {
    crew.end().await?;
    pool.stop().await;
    Ok(())
}

/// Measures on a runtime of one thread.
async fn on_one_thread<F>(measure: F) -> anyhow::Result<(f64, Sums)>
where
    F: AsyncFnOnce(&mut Sums) -> anyhow::Result<f64> + std::marker::Send + 'static,
{
    let body = move || {
        let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let mut sums = Sums::default();
        Ok((runtime.block_on(measure(&mut sums))?, sums))
    };
    tokio::task::spawn_blocking(body).await.context("it panicked")?
}

/// Those that can be started here; says which cannot, and why.
async fn start_rivals(args: &Args) -> Vec<(Setup, Rival)> {
    let mut rivals = Vec::new();
    for setup in RIVALS {
        eprintln!("starting {} ...", setup.name);
        match Rival::start(&args.python, &args.script, setup.name).await {
            Ok(rival) => rivals.push((setup, rival)),
            Err(error) => eprintln!("{} is left out ({error:#}): run `scripts/setup bench`", setup.name),
        }
    }
    rivals
}

/// Figures of all rounds, in the order in which they were measured.
#[derive(Default)]
struct Runs {
    figures: BTreeMap<&'static str, Vec<f64>>,
    sums: Sums,
}

/// What is wrong with all that was counted.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    pub(crate) duplicates: u64,
    pub(crate) unbalanced: u64,
}

impl Runs {
    fn add(&mut self, name: &'static str, value: f64) {
        self.figures.entry(name).or_default().push(value);
    }

    /// The last round's value of a figure.
    fn of(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.last().copied()
    }

    /// This round's ratios: ours beside the best of theirs.
    fn compare(&mut self) {
        let celery = ["celery_prefork_per_s", "celery_solo_per_s", "celery_amqp_per_s"];
        let celery = celery.iter().filter_map(|name| self.of(name)).reduce(f64::max);
        let celery_rtt = ["celery_prefork_rtt_us", "celery_solo_rtt_us", "celery_amqp_rtt_us"];
        let celery_rtt = celery_rtt.iter().filter_map(|name| self.of(name)).reduce(f64::min);
        let ratios = [
            ("celery_ratio", self.of("tasks_per_s"), celery),
            ("unbatched_celery_ratio", self.of("unbatched_per_s"), celery),
            ("dramatiq_ratio", self.of("tasks_per_s"), self.of("dramatiq_per_s")),
            ("redis_batch_ratio", self.of("tasks_per_s"), self.of("redis_batch_per_s")),
            // Less is better here, so theirs is over ours.
            ("rtt_celery_ratio", celery_rtt, self.of("rtt_p50_us")),
            ("rtt_redis_ratio", self.of("redis_rtt_us"), self.of("rtt_p50_us")),
            ("rtt_asleep_celery_ratio", celery_rtt, self.of("rtt_asleep_p50_us")),
            ("rtt_asleep_redis_ratio", self.of("redis_rtt_us"), self.of("rtt_asleep_p50_us")),
        ];
        for (name, over, under) in ratios {
            if let (Some(over), Some(under)) = (over, under) {
                self.add(name, over / under);
            }
        }
    }

    /// The last round in one line.
    fn last(&self) -> String {
        let mut line = String::new();
        for (name, values) in &self.figures {
            if let Some(value) = values.last() {
                line.push_str(&format!(" {name} {value:.1}"));
            }
        }
        line
    }

    fn publish(self, args: &Args) -> anyhow::Result<()> {
        let mut report = Report::new("wordcount");
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

impl Sums {
    /// What was wrong elsewhere.
    pub(crate) fn merge(&mut self, other: &Sums) {
        self.lost += other.lost;
        self.out_of_order += other.out_of_order;
        self.duplicates += other.duplicates;
        self.unbalanced += other.unbalanced;
    }

    pub(crate) fn add(&mut self, sum: &Sum, outlet: &Outlet<Send>, offered: &Counts) {
        let admitted: u64 = offered.values().sum();
        self.out_of_order += sum.out_of_order;
        self.duplicates += sum.duplicates;
        // Every word must have been counted, and no other.
        self.lost += admitted.abs_diff(sum.answered) + sum.wrong + u64::from(sum.counts != *offered);
        let books = outlet.closing_books();
        let good = books.is_some_and(|books| {
            books.balances().is_ok() && (books.admitted, books.answered) == (admitted, sum.answered)
        });
        self.unbalanced += u64::from(!good);
    }
}

/// As [`rate`], of a queue that one other thread works for.
async fn local(time: Duration, sums: &mut Sums) -> anyhow::Result<f64> {
    let (coordinator, driver) = ::dispatch::new(queue::Config::default());
    tokio::spawn(driver);
    let config = lane::local::Config {
        name: "local".into(),
        worker: WorkerId(1),
        threads: NonZeroU32::MIN,
        credit: LOCAL_CREDIT,
        processors: [(CountWords::key(), wire::factory(|| Ok::<_, Infallible>(Counter)))].into(),
    };
    let stop = CancellationToken::new();
    let (joined, has_joined) = oneshot::channel();
    let lane = tokio::spawn(lane::local::run(coordinator.clone(), config, stop.clone(), joined));
    has_joined.await.context("the local lane did not join")?;
    let tasks_per_s = rate(&coordinator, time, sums).await?;
    stop.cancel();
    lane.await??;
    Ok(tasks_per_s)
}

pub(crate) async fn open(coordinator: &Coordinator) -> anyhow::Result<(Inlet<Send>, Outlet<Send>)> {
    Ok(coordinator.open(Policy::lossless(), CountWords::key(), Send).await?)
}

/// Offers one word after another for so long; gives how many a second came back.
pub(crate) async fn rate(coordinator: &Coordinator, time: Duration, sums: &mut Sums) -> anyhow::Result<f64> {
    let (mut inlet, mut outlet) = open(coordinator).await?;
    let begin = Instant::now();
    let offering = tokio::spawn(async move {
        let (mut random, mut offered) = (fastrand::Rng::with_seed(1), [0; WORDS.len()]);
        for number in 0_u64.. {
            // A look at the clock costs a good part of what an offer does.
            if number % 64 == 0 && begin.elapsed() >= time {
                break;
            }
            let word = random.usize(..WORDS.len());
            if inlet.send(Admission::now(WORDS[word])).await.is_err() {
                break;
            }
            offered[word] += 1;
        }
        offered
    });
    let taking = tokio::spawn(async move {
        let mut sum = Sum::default();
        while let Some(done) = outlet.next().await {
            sum.add(done);
        }
        (sum, outlet)
    });
    let (sum, outlet) = taking.await.context("the taker panicked")?;
    let seconds = begin.elapsed().as_secs_f64();
    let offered = offering.await.context("the source panicked")?;
    let offered =
        WORDS.iter().zip(offered).filter(|(_, n)| *n > 0).map(|(w, n)| ((*w).to_owned(), n)).collect();
    sums.add(&sum, &outlet, &offered);
    Ok(sum.answered as f64 / seconds)
}
