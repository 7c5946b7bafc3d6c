//! `framelane-bench chaos`: real processes and real trouble, judged from outside and from the ledger.
//!
//! Each scenario starts a coordinator with two flows, one lossless and one with a budget, and workers of
//! which some misbehave; kills, stops, cuts and restarts; and then compares what the takers saw with what
//! was promised.

mod flock;
mod hedging;
mod judge;
mod namespace;
mod promise;
mod recovery;
mod scenario;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use crate::relay::Weather;
use crate::report::{Report, percentile};
use hedging::Hedging;
use judge::Break;
use promise::{Broken, Limits};
use recovery::Recoveries;
use scenario::SCENARIOS;
use stage::{Outcome, Setting};

/// Which trouble, and for how long.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// The scenario, or several with commas between; all of them by default.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = scenario::named)]
    scenario: Vec<&'static scenario::Scenario>,
    /// How long each scenario lasts.
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    seconds: f64,
    /// Where all dice begin; a random one is chosen and printed if none is given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How bad the network is where a scenario has one, both ways: see `relay`.
    #[arg(long, value_name = "WEATHER")]
    weather: Option<Weather>,
    /// How much later than its budget a place may leave: one frame at 25 a second.
    #[arg(long, value_name = "MS", default_value_t = 40.0)]
    tick_ms: f64,
    /// How much the coordinator's memory may grow from the first half of a scenario to the second.
    #[arg(long, value_name = "MB", default_value_t = 4.0)]
    growth_mb: f64,
    /// How much more it may grow for each place that leaves meanwhile.
    #[arg(long, value_name = "KB", default_value_t = 1.0)]
    growth_place_kb: f64,
    /// Items whose worker is among the slowest so many percent go to a second one too. Tells what it does to the
    /// time that items take; 0 tells what they take without it.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u16).range(0..=100))]
    hedge: Option<u16>,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Breaks a promise between the outlet and the judge, to show that the judge sees it.
    #[arg(long = "break", value_name = "WAY", hide = true)]
    sabotage: Option<Break>,
}

/// Plays the scenarios, prints, and fails when a promise was broken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    eprintln!("seed {seed}");
    let chosen = match args.scenario.is_empty() {
        true => SCENARIOS.iter().collect(),
        false => args.scenario.clone(),
    };
    let limits = Limits {
        tick: Duration::from_secs_f64(args.tick_ms / 1e3),
        growth: (args.growth_mb * 1e6) as u64,
        growth_place: (args.growth_place_kb * 1e3) as u64,
    };
    let mut sum = Sum::default();
    for scenario in chosen {
        eprintln!("{}: {}", scenario.name, scenario.about);
        let setting = Setting {
            seconds: args.seconds,
            seed,
            weather: args.weather,
            sabotage: args.sabotage,
            hedge: args.hedge.unwrap_or(0),
        };
        let outcome = match stage::play(scenario, setting).await? {
            Ok(outcome) => outcome,
            Err(skipped) => {
                eprintln!("{}: SKIPPED: {skipped}", scenario.name);
                sum.skipped += 1;
                continue;
            }
        };
        let broken = promise::broken(&outcome, limits);
        eprintln!("{}: {}", scenario.name, outcome);
        if args.hedge.is_some() {
            let hedging = Hedging::of(&outcome.lives);
            eprintln!("{}: {hedging}", scenario.name);
            sum.hedging.add(hedging);
        }
        for promise in &broken {
            eprintln!("{}: BROKEN: {promise}", scenario.name);
        }
        sum.add(scenario.name, &outcome, broken);
    }
    sum.report(seed, args.seconds).publish(args.json.as_deref())?;
    anyhow::ensure!(sum.broken.is_empty(), "promises were broken (seed {seed}): {}", sum.named());
    anyhow::ensure!(sum.scenarios > 0, "nothing was played");
    Ok(())
}

/// All scenarios together.
#[derive(Default)]
struct Sum {
    scenarios: u64,
    skipped: u64,
    taken: u64,
    answered: u64,
    missing: u64,
    out_of_order: u64,
    duplicates: u64,
    lost: u64,
    wrong: u64,
    unbalanced: u64,
    latest_over_ms: f64,
    growth_mb: f64,
    killed: Recoveries,
    closed: Recoveries,
    restart_ms: Vec<f64>,
    hedging: Hedging,
    broken: Vec<(&'static str, Broken)>,
}

impl Sum {
    fn add(&mut self, name: &'static str, outcome: &Outcome, broken: Vec<Broken>) {
        self.scenarios += 1;
        for life in &outcome.lives {
            for (kind, tally) in &life.flows {
                self.taken += tally.taken;
                self.answered += tally.answered;
                self.missing += tally.missing.total();
                self.out_of_order += tally.out_of_order;
                self.duplicates += tally.duplicates;
                self.wrong += tally.wrong;
                self.lost += life.lost(*kind);
            }
            self.unbalanced += life.unbalanced.len() as u64;
        }
        self.latest_over_ms = self.latest_over_ms.max(outcome.latest_over_ms());
        self.growth_mb = self.growth_mb.max(outcome.growth as f64 / 1e6);
        match name {
            "kill" | "spare" => self.killed.add(&outcome.recoveries),
            "closed" => self.closed.add(&outcome.recoveries),
            _ => {}
        }
        self.restart_ms.extend(outcome.restart_ms);
        self.broken.extend(broken.into_iter().map(|promise| (name, promise)));
    }

    fn report(&self, seed: u64, seconds: f64) -> Report {
        let mut report = Report::new("chaos");
        report.set("seed", seed as f64);
        report.set("seconds", seconds);
        for (name, value) in [
            ("scenarios", self.scenarios),
            ("skipped", self.skipped),
            ("taken", self.taken),
            ("answered", self.answered),
            ("missing_named", self.missing),
            ("out_of_order", self.out_of_order),
            ("duplicates", self.duplicates),
            ("lost", self.lost),
            ("wrong", self.wrong),
            ("unbalanced", self.unbalanced),
            ("broken", self.broken.len() as u64),
        ] {
            report.set(name, value as f64);
        }
        report.set("latest_over_ms", self.latest_over_ms);
        report.set("rss_growth_mb", self.growth_mb);
        for (name, recoveries) in [("recover", &self.killed), ("recover_closed", &self.closed)] {
            // Of scenarios that were not played there is nothing to say.
            if !recoveries.ms.is_empty() {
                for (figure, percent) in [("p50_ms", 50.0), ("p99_ms", 99.0), ("max_ms", 100.0)] {
                    report.set(format!("{name}_{figure}"), percentile(&recoveries.ms, percent));
                }
                report.set(format!("{name}_samples"), recoveries.ms.len() as f64);
                report.set(format!("{name}_losses"), recoveries.losses as f64);
                report.set(format!("{name}_living"), recoveries.living as f64);
                report.set(format!("{name}_unknown"), recoveries.unknown as f64);
            }
        }
        self.hedging.report(&mut report);
        if !self.restart_ms.is_empty() {
            report.set("restart_back_ms", percentile(&self.restart_ms, 100.0));
        }
        report
    }

    fn named(&self) -> String {
        let named: Vec<_> = self.broken.iter().map(|(name, promise)| format!("{name}: {promise}")).collect();
        named.join("; ")
    }
}
