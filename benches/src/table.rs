//! `framelane-bench table`: a table for README, in Markdown, of figures that were written by `--json`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::report::Report;

/// What it is made of.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// What `--json` wrote.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A figure that people read.
struct Row {
    report: &'static str,
    figure: &'static str,
    about: &'static str,
    unit: &'static str,
    decimals: usize,
    goal: Goal,
}

enum Goal {
    Most(f64),
    Least(f64),
    None,
}

const fn row(
    report: &'static str,
    figure: &'static str,
    about: &'static str,
    (unit, decimals): (&'static str, usize),
    goal: Goal,
) -> Row {
    Row { report, figure, about, unit, decimals, goal }
}

const RATIO: (&str, usize) = ("", 2);

/// In the order of the table.
const ROWS: &[Row] = &[
    row("dispatch", "life_ns", "a task's life in the queue, 10 flows", ("ns", 0), Goal::Most(500.0)),
    row("dispatch", "life_1000_ns", "the same, 1,000 flows and 100 lanes", ("ns", 0), Goal::Most(2000.0)),
    row(
        "dispatch",
        "quinn_ratio",
        "1.2 MB over loopback, bare quinn's throughput over ours",
        RATIO,
        Goal::Most(1.25),
    ),
    row(
        "dispatch",
        "quinn_cpu_ratio",
        "processor time a body, ours over bare quinn's",
        RATIO,
        Goal::Most(1.25),
    ),
    row(
        "dispatch",
        "echo_ratio",
        "round trip of 100 bytes, ours over bare quinn's (p50)",
        RATIO,
        Goal::Most(2.0),
    ),
    row(
        "dispatch",
        "shm_per_s",
        "1.2 MB to 2 processes by shared memory",
        ("a second", 0),
        Goal::Least(8000.0),
    ),
    row("dispatch", "shm_zmq_ratio", "the same, ours over pyzmq's ipc", RATIO, Goal::None),
    row("dispatch", "shm_p50_ms", "the same, one at a time (p50)", ("ms", 2), Goal::Most(0.25)),
    row(
        "scale",
        "worst_ratio",
        "N times one worker's throughput over N workers', worst N",
        ("", 3),
        Goal::Most(1.03),
    ),
    row("chaos", "recover_p99_ms", "from SIGKILL to the next hand-out (p99)", ("ms", 0), Goal::Most(300.0)),
    row(
        "chaos",
        "recover_closed_p99_ms",
        "from a closed connection to the next hand-out (p99)",
        ("ms", 1),
        Goal::Most(20.0),
    ),
    row(
        "chaos",
        "latest_over_ms",
        "latest place beyond its budget, all scenarios",
        ("ms", 1),
        Goal::Most(40.0),
    ),
    row(
        "wordcount",
        "tasks_per_s",
        "word count, one word an offer, 2 worker processes over QUIC",
        ("a second", 0),
        Goal::None,
    ),
    row("wordcount", "celery_ratio", "the same, over Celery's best set-up", RATIO, Goal::Least(300.0)),
    row("wordcount", "dramatiq_ratio", "the same, over Dramatiq", RATIO, Goal::Least(80.0)),
    row(
        "wordcount",
        "redis_batch_ratio",
        "the same, over raw Redis in pipelined batches",
        RATIO,
        Goal::Least(2.0),
    ),
    row(
        "wordcount",
        "unbatched_celery_ratio",
        "without mini-batches, over Celery's best set-up",
        RATIO,
        Goal::Least(70.0),
    ),
    row(
        "wordcount",
        "local_tasks_per_s",
        "word count on a thread of the server",
        ("a second", 0),
        Goal::Least(1e6),
    ),
    row(
        "wordcount",
        "pushed_per_s",
        "tasks of 100 bytes that a client pushes, 2 worker processes",
        ("a second", 0),
        Goal::None,
    ),
    row(
        "wordcount",
        "rtt_p50_us",
        "a word there and back, 100 a second, with busy polling (p50)",
        ("µs", 0),
        Goal::None,
    ),
    row("wordcount", "rtt_celery_ratio", "Celery's best over it", RATIO, Goal::Least(25.0)),
    row("wordcount", "rtt_redis_ratio", "a raw Redis echo's over it", RATIO, Goal::Least(4.0)),
    row(
        "wordcount",
        "rtt_asleep_p50_us",
        "the same with the defaults, asleep in between (p50)",
        ("µs", 0),
        Goal::None,
    ),
    row("wordcount", "rtt_asleep_celery_ratio", "Celery's best over that", RATIO, Goal::None),
    row("wordcount", "rtt_asleep_redis_ratio", "a raw Redis echo's over that", RATIO, Goal::None),
    row("lanes", "redis_ratio", "tasks through Redis, over a bare loop's", RATIO, Goal::Least(0.7)),
    row("lanes", "amqp_ratio", "tasks through RabbitMQ, over a bare loop's", RATIO, Goal::Least(0.7)),
    row("python", "celery_ratio", "word count by Python workers, over Celery", RATIO, Goal::Least(20.0)),
    row(
        "python",
        "zmq_ratio",
        "1.2 MB to Python workers on this host, over pyzmq's ipc",
        RATIO,
        Goal::Least(1.0),
    ),
    row("python", "frames_celery_ratio", "the same, over Celery with pickle", RATIO, Goal::Least(60.0)),
    row(
        "python",
        "pushed_per_s",
        "tasks of 100 bytes that a client in Python pushes",
        ("a second", 0),
        Goal::None,
    ),
    row("chaos", "taken", "places taken while things went wrong", ("", 0), Goal::None),
];

/// What must be zero everywhere.
const FAULTS: [&str; 4] = ["out_of_order", "duplicates", "lost", "unbalanced"];

/// Prints the table.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    for path in &args.files {
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(named)?;
        reports.push(serde_json::from_str(&text).with_context(named)?);
    }
    print!("{}", table(&reports));
    Ok(())
}

fn table(reports: &[Report]) -> String {
    let mut text = String::new();
    let mut origins: Vec<_> = reports.iter().map(|it| format!("{} at {}", it.machine, it.commit)).collect();
    origins.sort();
    origins.dedup();
    let _ = writeln!(text, "On {}; median (min to max) of the rounds:\n", origins.join("; "));
    text += "| | measured | goal |\n| --- | --- | --- |\n";
    for row in ROWS {
        for report in reports.iter().filter(|report| report.name == row.report) {
            if let Some(measured) = row.measured(report) {
                let _ = writeln!(text, "| {} | {measured} | {} |", row.about, row.goal());
            }
        }
    }
    let faults: Vec<_> = FAULTS
        .iter()
        .map(|fault| {
            // Without the figure nobody knows, and that is told rather than called zero.
            let sum: Option<f64> = reports.iter().map(|report| report.figures.get(*fault)).sum();
            sum.map_or("unknown".to_owned(), |sum| sum.to_string())
        })
        .collect();
    let _ = writeln!(text, "| out of order, twice, lost, unbalanced | {} | 0 |", faults.join(", "));
    text
}

impl Row {
    fn measured(&self, report: &Report) -> Option<String> {
        let figure = |end: &str| report.figures.get(&format!("{}{end}", self.figure));
        let value = |value: &f64| format!("{value:.*}", self.decimals);
        let middle = figure("").map(value)?;
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        Some(match figure("_min").zip(figure("_max")) {
            Some((min, max)) => format!("**{middle}** ({} to {}){unit}", value(min), value(max)),
            None => format!("**{middle}**{unit}"),
        })
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::Most(most) => format!("≤ {most}"),
            Goal::Least(least) => format!("≥ {least}"),
            Goal::None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, figures: &[(&str, f64)]) -> Report {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Report { name: name.into(), machine: "M x 2".into(), commit: "c0ffee".into(), figures }
    }

    #[test]
    fn a_table_has_what_was_measured_and_nothing_else() {
        let dispatch = report(
            "dispatch",
            &[
                ("life_ns", 351.4),
                ("life_ns_min", 340.0),
                ("life_ns_max", 360.0),
                ("out_of_order", 0.0),
                ("duplicates", 0.0),
                ("lost", 1.0),
            ],
        );
        let scale = report(
            "scale",
            &[("worst_ratio", 1.0204), ("out_of_order", 0.0), ("duplicates", 2.0), ("lost", 0.0)],
        );
        let expected = "\
            On M x 2 at c0ffee; median (min to max) of the rounds:\n\n\
            | | measured | goal |\n| --- | --- | --- |\n\
            | a task's life in the queue, 10 flows | **351** (340 to 360) ns | ≤ 500 |\n\
            | N times one worker's throughput over N workers', worst N | **1.020** | ≤ 1.03 |\n\
            | out of order, twice, lost, unbalanced | 0, 2, 1, unknown | 0 |\n";
        assert_eq!(table(&[dispatch, scale]), expected);
    }

    #[test]
    fn a_report_is_read_as_it_is_written() {
        let report = report("scale", &[("worst_ratio", 1.5)]);
        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!((read.name, read.figures), (report.name, report.figures));
    }
}
