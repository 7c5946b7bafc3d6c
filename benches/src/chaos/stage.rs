//! Plays one scenario.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

use super::flock::Flock;
use super::judge::{Break, Life};
use super::namespace::Namespace;
use super::recovery::Recoveries;
use super::scenario::{Acts, Road, Scenario};
use crate::brokers::MORTAL;
use crate::child::Child;
use crate::coordinator::{Kind, Said};
use crate::relay::{Counts, Relay, Weather};
use crate::report::percentile;
use crate::{clock, proc};

/// The budget of the flow that has one.
pub(super) const BUDGET: Duration = Duration::from_millis(400);
/// How long a stop and a cut last.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a worker may take where one never answers.
const ANSWER_WITHIN_MS: &str = "1000";
/// How often workers are tended and memory is read.
const TICK: Duration = Duration::from_millis(50);
/// Everything is slow on a machine that has just compiled for minutes.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A coordinator ends its flows itself within less.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What holds for every scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) seconds: f64,
    pub(super) seed: u64,
    /// Instead of the scenario's own.
    pub(super) weather: Option<Weather>,
    pub(super) sabotage: Option<Break>,
    /// The slowest so many percent go to a second worker too.
    pub(super) hedge: u16,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// The coordinators, one after the other.
    pub(super) lives: Vec<Life>,
    /// How many workers were lost.
    pub(super) losses: usize,
    /// What was handed out again, and after whose loss.
    pub(super) recoveries: Recoveries,
    /// Bytes by which the last coordinator's memory grew from the first half of its life to the second.
    pub(super) growth: u64,
    /// From the death of a coordinator to the first answer through its successor.
    pub(super) restart_ms: Option<f64>,
    /// Why the last coordinator did not end as it should.
    pub(super) ended_badly: Option<String>,
    /// Whether some workers fail all they get while others could do it.
    pub(super) has_failing: bool,
    pub(super) relay: Option<Counts>,
}

/// Plays it; a scenario that this machine cannot play is skipped, with the reason.
pub(super) async fn play(scenario: &Scenario, setting: Setting) -> anyhow::Result<Result<Outcome, String>> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let count = scenario.count();
    let mut namespaces = Vec::new();
    let mut listen = "127.0.0.1:0";
    if scenario.road == Road::Namespaces {
        // Workers come from several networks.
        listen = "0.0.0.0:0";
        for index in 0..u8::try_from(count)? {
            match Namespace::new(index) {
                Ok(namespace) => namespaces.push(namespace),
                Err(error) => return Ok(Err(format!("no network namespaces here ({error:#})"))),
            }
        }
    }
    let mut server = Server::start(folder.path(), listen, scenario, setting).await?;
    let relay = match scenario.road {
        Road::Relay(weather) => {
            let weather = match setting.weather {
                Some(weather) => weather,
                None => weather.parse().map_err(anyhow::Error::msg)?,
            };
            Some(Relay::start(([127, 0, 0, 1], 0).into(), server.quic, weather, weather, setting.seed).await?)
        }
        _ => None,
    };
    let door = relay.as_ref().map_or(server.quic, Relay::addr);
    let token = server.token.clone();
    let mut flock = Flock::new(
        folder.path().into(),
        door,
        token,
        setting.seed,
        scenario.workers,
        scenario.load,
        namespaces,
    );
    flock.tend_first(scenario.first())?;
    server.joined(scenario.first()).await?;
    flock.tend()?;
    server.joined(flock.len()).await?;
    let mut play = Play {
        acts: scenario.acts,
        random: fastrand::Rng::with_seed(setting.seed),
        begin: Instant::now(),
        flock,
        relay,
        memory: Vec::new(),
    };
    let whole = Duration::from_secs_f64(setting.seconds);
    let mut lives = Vec::new();
    let mut died = None;
    if scenario.acts.restart {
        play.until(&mut server, whole / 2).await?;
        died = Some(clock::micros());
        let quic = server.quic.to_string();
        lives.push(server.die().await?);
        server = Server::start(folder.path(), &quic, scenario, setting).await?;
    }
    play.until(&mut server, whole).await?;
    // Nothing more goes wrong; what is wrong with the workers remains.
    play.mend()?;
    let (life, ended_badly) = server.end().await?;
    let restart_ms =
        died.zip(life.first_answer_us).map(|(died, first)| first.saturating_sub(died) as f64 / 1e3);
    lives.push(life);
    let losses = &play.flock.losses;
    let again = lives.iter().map(|life| (&life.names, life.again.as_slice()));
    let recoveries = Recoveries::of(again, losses);
    Ok(Ok(Outcome {
        lives,
        losses: losses.len(),
        recoveries,
        growth: growth(&play.memory),
        restart_ms,
        ended_badly,
        has_failing: scenario.first() > 0,
        relay: play.relay.as_ref().map(Relay::counts),
    }))
}

/// From the first half of the samples to the second, by the greatest of each.
fn growth(samples: &[u64]) -> u64 {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |samples: &[u64]| samples.iter().copied().max().unwrap_or(0);
    most(second).saturating_sub(most(first))
}

struct Play {
    acts: Acts,
    random: fastrand::Rng,
    begin: Instant,
    flock: Flock,
    relay: Option<Relay>,
    /// Resident bytes of the present coordinator.
    memory: Vec<u64>,
}

impl Play {
    /// Goes on until so long after the beginning.
    async fn until(&mut self, server: &mut Server, end: Duration) -> anyhow::Result<()> {
        self.memory.clear();
        let mut tick = interval(TICK);
        let span = end.saturating_sub(self.begin.elapsed());
        let [mut kills, mut stops, mut cuts] =
            [self.acts.kill, self.acts.stop, self.acts.cut].map(|every| Every::new(every, span));
        let mut cut_until = None;
        while self.begin.elapsed() < end {
            tick.tick().await;
            if server.process.has_ended() {
                bail!("the coordinator ended by itself");
            }
            self.memory.extend(server.process.pid().and_then(proc::resident));
            if kills.due() {
                self.flock.kill(&mut self.random)?;
            }
            if stops.due() {
                self.flock.stop(&mut self.random, Instant::now() + PAUSE)?;
            }
            if cuts.due() {
                self.cut(true)?;
                cut_until = Some(Instant::now() + PAUSE);
            }
            if cut_until.is_some_and(|until| until <= Instant::now()) {
                self.cut(false)?;
                cut_until = None;
            }
            self.flock.tend()?;
        }
        self.cut(false)
    }

    fn cut(&mut self, cut: bool) -> anyhow::Result<()> {
        if let Some(relay) = &self.relay {
            relay.cut(cut);
        }
        self.flock.cut(&mut self.random, cut)
    }

    fn mend(&mut self) -> anyhow::Result<()> {
        self.cut(false)?;
        self.flock.tend()
    }
}

/// Something that is due every so often.
struct Every {
    every: Duration,
    next: Instant,
}

impl Every {
    /// 0 is never. The first time comes after a third of the `span` at the latest, so that a short one has it too, and
    /// some time to show what comes of it.
    fn new(seconds: f64, span: Duration) -> Every {
        let every = Duration::from_secs_f64(seconds);
        Every { every, next: Instant::now() + every.min(span / 3) }
    }

    fn due(&mut self) -> bool {
        let due = !self.every.is_zero() && self.next <= Instant::now();
        if due {
            self.next += self.every;
        }
        due
    }
}

/// A coordinator.
struct Server {
    process: Child,
    quic: SocketAddr,
    token: String,
    workers_seen: watch::Receiver<usize>,
    hearing: JoinHandle<Life>,
}

impl Server {
    async fn start(
        folder: &Path,
        listen: &str,
        scenario: &Scenario,
        setting: Setting,
    ) -> anyhow::Result<Server> {
        let state = folder.join("server");
        let budget = BUDGET.as_millis().to_string();
        let rate = scenario.load.rate.to_string();
        let args = ["coordinator", "--quic", listen, "--budget-ms", &budget, "--rate", &rate, "--state"];
        let args = args.into_iter().map(AsRef::as_ref).chain([state.as_os_str()]);
        // Or bodies would not take the road, since it ends on this very host.
        let args = args.chain((scenario.road != Road::Plain).then_some("--no-shared-memory".as_ref()));
        // As much as that network carries; more would only show that a full link is full.
        let thin: &[&str] = if matches!(scenario.road, Road::Relay(_)) { &["--body", "4000"] } else { &[] };
        let args = args.chain(thin.iter().map(AsRef::as_ref));
        let silent: &[&str] =
            if scenario.has_silent() { &["--answer-within-ms", ANSWER_WITHIN_MS] } else { &[] };
        let args = args.chain(silent.iter().map(AsRef::as_ref));
        let args = args.chain((setting.sabotage == Some(Break::Leak)).then_some("--leak".as_ref()));
        let hedge = ["--hedge-percent".to_owned(), setting.hedge.to_string()];
        let args = args.chain(hedge.iter().map(AsRef::as_ref));
        let mut process = Child::start_by(&MORTAL, "framelane-bench", args, "error")?;
        let ready = |line: &str| match serde_json::from_str(line) {
            Ok(Said::Ready { quic, token }) => Some((quic, token)),
            _ => None,
        };
        let (quic, token) = process.line(READY_WITHIN, ready).await?;
        let lines = process.lines().context("its output is piped")?;
        let (count, workers_seen) = watch::channel(0);
        let hearing = tokio::spawn(Life::hear(lines, count, scenario.count(), setting.sabotage));
        Ok(Server { process, quic, token, workers_seen, hearing })
    }

    /// Waits until so many workers have come. Some of them leave again and again, so all are rarely there at once.
    async fn joined(&mut self, count: usize) -> anyhow::Result<()> {
        let joined = self.workers_seen.wait_for(|seen| *seen >= count);
        match timeout(READY_WITHIN, joined).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the coordinator ended before its workers came"),
            Err(_) => bail!("{count} workers did not come within {} s", READY_WITHIN.as_secs()),
        }
    }

    /// Kills it.
    async fn die(mut self) -> anyhow::Result<Life> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.ended().await?;
        self.hearing.await.context("the judge panicked")
    }

    /// Lets it end its flows.
    async fn end(mut self) -> anyhow::Result<(Life, Option<String>)> {
        self.process.signal(Signal::SIGTERM)?;
        let ended_badly = match timeout(ENDS_WITHIN, self.process.ended()).await {
            Ok(status) => Some(status?).filter(|status| !status.success()).map(|status| status.to_string()),
            Err(_) => {
                self.process.signal(Signal::SIGKILL)?;
                Some(format!("it did not end within {} s", ENDS_WITHIN.as_secs()))
            }
        };
        Ok((self.hearing.await.context("the judge panicked")?, ended_badly))
    }
}

impl Outcome {
    /// How many places left from the first half of the last coordinator's life to the second: sources are steady, so
    /// it is half of them.
    pub(super) fn left_meanwhile(&self) -> u64 {
        let flows = self.lives.last().map(|life| life.flows.values());
        flows.into_iter().flatten().map(|tally| tally.taken / 2).sum()
    }

    /// By how much the latest place of the flow with a budget exceeded it.
    pub(super) fn latest_over_ms(&self) -> f64 {
        let oldest = self.lives.iter().map(|life| life.oldest_us(Kind::Budgeted)).max().unwrap_or(0);
        (oldest as f64 / 1e3 - BUDGET.as_secs_f64() * 1e3).max(0.0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for life in &self.lives {
            for (kind, tally) in &life.flows {
                let missing = &tally.missing;
                write!(f, "{kind:?} {} taken, {} answered", tally.taken, tally.answered)?;
                for (why, count) in [
                    ("evicted", missing.evicted),
                    ("late", missing.late),
                    ("failed", missing.failed),
                    ("without a lane", missing.no_lane),
                    ("cancelled", missing.cancelled),
                ] {
                    if count > 0 {
                        write!(f, ", {count} {why}")?;
                    }
                }
                write!(f, "; ")?;
            }
        }
        write!(
            f,
            "at most {:.1} ms over budget, memory +{:.1} MB",
            self.latest_over_ms(),
            self.growth as f64 / 1e6
        )?;
        let Recoveries { ms, losses, living, unknown } = &self.recoveries;
        if self.losses > 0 {
            write!(f, "; {} losses", self.losses)?;
        }
        if !ms.is_empty() {
            let [p99, most] = [99.0, 100.0].map(|percent| percentile(ms, percent));
            let samples = ms.len();
            write!(
                f,
                ", {samples} items handed out again after {losses} of them: p99 {p99:.1} ms, at most {most:.1}"
            )?;
        }
        if *living > 0 {
            write!(f, "; {living} items handed out again though their worker was not lost")?;
        }
        if *unknown > 0 {
            write!(f, "; {unknown} items handed out again that an unknown worker had")?;
        }
        if let Some(ms) = self.restart_ms {
            write!(f, "; answers again {ms:.0} ms after the server died")?;
        }
        if let Some(relay) = &self.relay {
            write!(f, "; {relay}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_levels_off_does_not_grow() {
        assert_eq!(growth(&[1, 9, 9, 8, 9]), 0);
        assert_eq!(growth(&[1, 2, 3, 9]), 7);
        assert_eq!(growth(&[]), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_every_so_often_happens_in_a_short_time_too() {
        let times = async |seconds, span| {
            let (begin, span) = (Instant::now(), Duration::from_secs(span));
            let (mut every, mut times) = (Every::new(seconds, span), Vec::new());
            while begin.elapsed() < span {
                if every.due() {
                    times.push(begin.elapsed().as_secs());
                }
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            times
        };
        assert_eq!(times(5.0, 12).await, [4, 9]);
        assert_eq!(times(5.0, 30).await, [5, 10, 15, 20, 25]);
        assert_eq!(times(5.0, 3).await, [1]);
        assert_eq!(times(0.0, 9).await, [0; 0]);
    }
}
