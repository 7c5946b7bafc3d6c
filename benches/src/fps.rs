//! `framelane-bench fps`: frames per second from end to end, beside what the stages allow.
//!
//! Every round measures each stage alone on all cores, and then the whole server, so that a noisy
//! neighbour hits both. The limit is what the cores would do if they did nothing but the stages:
//! one frame costs the sum of what each stage costs.

mod stages;
mod whole;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;

use crate::report::{Report, Spread};
use crate::rig::Assets;

/// What is measured.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// The clip, played as fast as it is worked on.
    #[arg(long, value_name = "FILE", default_value = "assets/clips/vtest_h264.mp4")]
    clip: PathBuf,
    /// The folder name of the model.
    #[arg(long, value_name = "NAME", default_value = "nanodet-int8")]
    model: String,
    /// Who infers: threads of the server, or processes that dial in; several with commas between.
    #[arg(long, value_name = "local:N|quic:N", value_delimiter = ',', default_value = "quic:2,local:2")]
    workers: Vec<Workers>,
    /// How often all is measured.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Writes the figures here, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    assets: Assets,
}

/// Who infers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Workers {
    /// Processes over QUIC, of one thread each.
    Quic(u32),
    /// Threads of the server.
    Local(u32),
}

/// The stages of a frame, and what the machine does in them.
pub(crate) const STAGES: [(&str, &str); 5] = [
    ("decode", "decoding"),
    ("letterbox", "letterboxing"),
    ("infer", "inference"),
    ("draw", "drawing"),
    ("encode", "encoding"),
];

impl Workers {
    /// What begins the names of its figures.
    fn prefix(self) -> String {
        match self {
            Workers::Quic(count) => format!("quic_{count}"),
            Workers::Local(count) => format!("local_{count}"),
        }
    }

    /// The name of one of its figures.
    pub(crate) fn figure(self, name: &str) -> String {
        format!("{}_{name}", self.prefix())
    }

    /// All that have figures here.
    pub(crate) fn of(report: &Report) -> Vec<Workers> {
        let names = report.figures.keys().filter_map(|name| name.strip_suffix("_limit_fps"));
        let mut workers: Vec<Workers> =
            names.filter_map(|name| name.replace('_', ":").parse().ok()).collect();
        workers.sort();
        workers
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workers::Quic(count) => write!(f, "{count} processes over QUIC"),
            Workers::Local(count) => write!(f, "{count} threads of the server"),
        }
    }
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || format!("`{text}`: write local:N or quic:N, N from 1 to 64");
        let (kind, count) = text.split_once(':').ok_or_else(hint)?;
        let count: u32 = count.parse().ok().filter(|count| (1..=64).contains(count)).ok_or_else(hint)?;
        match kind {
            "local" => Ok(Workers::Local(count)),
            "quic" => Ok(Workers::Quic(count)),
            _ => Err(hint()),
        }
    }
}

/// All rounds of one set-up.
#[derive(Default, Clone)]
struct Runs {
    fps: Vec<f64>,
    limits: Vec<f64>,
    ratios: Vec<f64>,
}

/// Measures, prints, and fails when the books or the order are wrong.
pub async fn run(args: Args) -> anyhow::Result<()> {
    args.assets.check("bench")?;
    anyhow::ensure!(args.clip.exists(), "{} is not there; run `scripts/setup bench`", args.clip.display());
    let mut report = Report::new("fps");
    let mut runs = vec![Runs::default(); args.workers.len()];
    let mut costs: Vec<(&'static str, Vec<f64>)> = Vec::new();
    let mut wrong = whole::Wrong::default();
    for round in 1..=args.rounds {
        for (&workers, runs) in args.workers.iter().zip(&mut runs) {
            eprintln!("round {round} of {}: stages alone", args.rounds);
            let stages = stages::measure(&args).await.context("a stage alone")?;
            let cost_ms: f64 = stages.iter().map(|stage| stage.ms).sum();
            let limit = 1e3 / cost_ms;
            for stage in stages {
                match costs.iter_mut().find(|(name, _)| *name == stage.name) {
                    Some((_, runs)) => runs.push(stage.ms),
                    None => costs.push((stage.name, vec![stage.ms])),
                }
            }
            eprintln!(
                "round {round} of {}: end to end, {workers} ({limit:.1} fps is the limit)",
                args.rounds
            );
            let whole = whole::measure(&args, workers).await.context("end to end")?;
            eprintln!(
                "round {round} of {}: {:.1} fps, {:.2} of the limit",
                args.rounds,
                whole.fps,
                whole.fps / limit
            );
            runs.fps.push(whole.fps);
            runs.limits.push(limit);
            runs.ratios.push(whole.fps / limit);
            wrong.add(&whole.wrong);
        }
    }
    report.set("rounds", args.rounds.into());
    for (index, (&workers, runs)) in args.workers.iter().zip(&runs).enumerate() {
        for (name, runs) in [("fps", &runs.fps), ("limit_fps", &runs.limits), ("ratio", &runs.ratios)] {
            report.spread(&workers.figure(name), runs);
            // The first is what is meant where nobody says who infers.
            if index == 0 {
                report.spread(name, runs);
            }
        }
    }
    for (name, runs) in &costs {
        report.set(format!("stage_{name}_ms"), Spread::of(runs).median);
    }
    report.set("out_of_order", wrong.out_of_order as f64);
    report.set("duplicates", wrong.duplicates as f64);
    report.set("unbalanced", wrong.unbalanced as f64);
    report.set("missing", wrong.missing as f64);
    report.publish(args.json.as_deref())?;
    anyhow::ensure!(wrong == whole::Wrong::default(), "a promise was broken: {wrong:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_inferred_is_read_off_the_figures() {
        let mut report = Report::new("fps");
        let all = [Workers::Quic(2), Workers::Quic(16), Workers::Local(2)];
        for workers in all {
            report.spread(&workers.figure("limit_fps"), &[50.0]);
        }
        report.set("limit_fps", 50.0);
        assert_eq!(Workers::of(&report), all);
        assert!("quic:0".parse::<Workers>().is_err());
    }
}
