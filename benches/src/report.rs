//! What a measurement leaves behind: a table for people, JSON for machines.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// One benchmark's figures. Everything in it was measured in this run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The subcommand.
    pub name: String,
    /// Processor and cores.
    pub machine: String,
    /// The commit that this program was built from, with a `+` where its sources were not as in it; `unknown` outside
    /// a checkout, and of a debug build, whose figures say nothing, just that.
    pub commit: String,
    /// One flat map of figures.
    pub figures: BTreeMap<String, f64>,
}

impl Report {
    /// A report without figures yet.
    pub fn new(name: impl Into<String>) -> Self {
        Report {
            name: name.into(),
            machine: machine(),
            commit: env!("FRAMELANE_COMMIT").to_owned(),
            figures: BTreeMap::new(),
        }
    }

    /// Notes a figure.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.figures.insert(name.into(), value);
    }

    /// Notes how often and how long was measured.
    pub fn rounds(&mut self, rounds: u32, seconds: f64) {
        self.set("rounds", rounds.into());
        self.set("seconds", seconds);
    }

    /// Notes the median of several runs under a name, and the least and the most beside it.
    pub fn spread(&mut self, name: &str, runs: &[f64]) {
        let Spread { min, median, max } = Spread::of(runs);
        self.set(name, median);
        self.set(format!("{name}_min"), min);
        self.set(format!("{name}_max"), max);
    }

    /// Prints the figures, and writes them as JSON where a file is given.
    pub fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        println!("{} on {} at {}", self.name, self.machine, self.commit);
        for (name, value) in &self.figures {
            println!("  {name:<28} {value:>12.3}");
        }
        let Some(path) = json else { return Ok(()) };
        let text = serde_json::to_string_pretty(self).context("figures are numbers")?;
        std::fs::write(path, text + "\n").with_context(|| format!("--json {}", path.display()))
    }
}

/// Least, middle and most of several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median; of an even number the lower of the two in the middle.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of at least one run; of none, all are not a number.
    pub fn of(runs: &[f64]) -> Spread {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Spread { min: at(0), median: at(last / 2), max: at(last) }
    }
}

/// A percentile by the nearest rank; of no values, not a number.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    format!("{} x {cores}", model.trim_start_matches(['\t', ' ', ':']).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_least_middle_and_most() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.0);
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!([0.0, 50.0, 99.0, 100.0].map(|p| percentile(&values, p)), [1.0, 100.0, 198.0, 200.0]);
        assert!(percentile(&[], 50.0).is_nan());
    }
}
