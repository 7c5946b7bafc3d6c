//! What has a goal, and what people ask for first.

use std::fmt::Write;

use super::{faults, origin};
use crate::report::Report;

/// A figure that people read.
struct Row {
    report: &'static str,
    /// A figure, or what begins the names of several, as `shown` says.
    figure: &'static str,
    /// May hold [`SAMPLES`] and [`WORKERS`].
    about: &'static str,
    shown: Shown,
    unit: &'static str,
    decimals: usize,
    goal: Goal,
}

#[derive(Clone, Copy)]
enum Shown {
    /// The median, and the least and the most where it has them.
    Median,
    /// The median, the 99th percentile and the worst of many samples. The goal is that of the percentile.
    Tail,
}

enum Goal {
    Most(f64),
    Least(f64),
    None,
}

/// Stands for how many samples there are.
const SAMPLES: &str = "{samples}";
/// Stands for the least and the greatest number of workers.
const WORKERS: &str = "{workers}";

const fn row(
    report: &'static str,
    figure: &'static str,
    about: &'static str,
    (unit, decimals): (&'static str, usize),
    goal: Goal,
) -> Row {
    Row { report, figure, about, shown: Shown::Median, unit, decimals, goal }
}

const fn tail(figure: &'static str, about: &'static str, decimals: usize, goal: Goal) -> Row {
    Row { report: "chaos", figure, about, shown: Shown::Tail, unit: "ms", decimals, goal }
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
    row(
        "dispatch",
        "shm_bare_ratio",
        "the same, ours over a bare shared-memory pair in Python",
        RATIO,
        Goal::None,
    ),
    row(
        "dispatch",
        "shm_copied_ratio",
        "the same, over such a pair whose workers copy a body first, as ours do",
        RATIO,
        Goal::None,
    ),
    row("dispatch", "shm_p50_ms", "the same, one at a time (p50)", ("ms", 2), Goal::Most(0.25)),
    row("dispatch", "shm_bare_p50_ratio", "the same, the bare pair's time over ours", RATIO, Goal::None),
    row("dispatch", "shm_copied_p50_ratio", "the same, the copying pair's time over ours", RATIO, Goal::None),
    row(
        "scale",
        "worst_ratio",
        "N times one worker's throughput over N workers', worst N of {workers}",
        ("", 3),
        Goal::Most(1.03),
    ),
    tail(
        "recover",
        "from SIGKILL of a worker to its jobs at another: p50, p99, worst of {samples}",
        0,
        Goal::Most(300.0),
    ),
    tail(
        "recover_closed",
        "from a closed connection to the same: p50, p99, worst of {samples}",
        1,
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

/// All but the measurement that has a table of its own.
pub(super) fn table(reports: &[Report]) -> Option<String> {
    let reports: Vec<_> = reports.iter().filter(|it| ROWS.iter().any(|row| row.report == it.name)).collect();
    if reports.is_empty() {
        return None;
    }
    let mut text = format!("{}; median (min to max).\n\n", origin::of(&reports));
    text += "| | measured | goal |\n| --- | --- | --- |\n";
    for row in ROWS {
        for report in reports.iter().filter(|report| report.name == row.report) {
            if let Some(measured) = row.measured(report) {
                let _ = writeln!(text, "| {} | {measured} | {} |", row.about(report), row.goal());
            }
        }
    }
    let _ = writeln!(text, "| out of order, twice, lost, unbalanced | {} | 0 |", faults(&reports, &FAULTS));
    Some(text)
}

impl Row {
    fn measured(&self, report: &Report) -> Option<String> {
        let figure = |end: &str| report.figures.get(&format!("{}{end}", self.figure));
        let value = |value: &f64| format!("{value:.*}", self.decimals);
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        if let Shown::Tail = self.shown {
            let [median, p99, worst] = ["_p50_ms", "_p99_ms", "_max_ms"].map(|end| figure(end).map(value));
            return Some(format!("**{}**, {}, {}{unit}", median?, p99?, worst?));
        }
        let middle = figure("").map(value)?;
        Some(match figure("_min").zip(figure("_max")) {
            Some((min, max)) => format!("**{middle}** ({} to {}){unit}", value(min), value(max)),
            None => format!("**{middle}**{unit}"),
        })
    }

    fn about(&self, report: &Report) -> String {
        let samples = report.figures.get(&format!("{}_samples", self.figure));
        let workers =
            report.figures.keys().filter_map(|name| name.strip_prefix("ratio_")?.parse::<u32>().ok());
        let workers: Vec<_> = workers.collect();
        let workers = workers.iter().min().zip(workers.iter().max());
        self.about.replace(SAMPLES, &samples.map_or("some".to_owned(), f64::to_string)).replace(
            WORKERS,
            &workers.map_or("some".to_owned(), |(least, most)| format!("{least} to {most}")),
        )
    }

    fn goal(&self) -> String {
        let of = if let Shown::Tail = self.shown { "p99 " } else { "" };
        match self.goal {
            Goal::Most(most) => format!("{of}≤ {most}"),
            Goal::Least(least) => format!("{of}≥ {least}"),
            Goal::None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

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
            &[
                ("worst_ratio", 1.0204),
                ("ratio_4", 1.01),
                ("ratio_4_max", 1.01),
                ("ratio_16", 1.0204),
                ("out_of_order", 0.0),
                ("duplicates", 2.0),
                ("lost", 0.0),
            ],
        );
        let fps = report("fps", &[("fps", 50.0), ("out_of_order", 7.0)]);
        let expected = "\
            On M x 2, built from c0ffee: `dispatch`, `scale`; median (min to max).\n\n\
            | | measured | goal |\n| --- | --- | --- |\n\
            | a task's life in the queue, 10 flows | **351** (340 to 360) ns | ≤ 500 |\n\
            | N times one worker's throughput over N workers', worst N of 4 to 16 | **1.020** | ≤ 1.03 |\n\
            | out of order, twice, lost, unbalanced | 0, 2, 1, unknown | 0 |\n";
        assert_eq!(table(&[dispatch, fps, scale]).unwrap(), expected);
    }

    #[test]
    fn how_long_work_was_without_a_worker_is_told_by_its_tail() {
        let figures = [
            ("recover_p50_ms", 226.2),
            ("recover_p99_ms", 231.9),
            ("recover_max_ms", 232.4),
            ("recover_samples", 131.0),
        ];
        let table = table(&[report("chaos", &figures)]).unwrap();
        let expected = "| from SIGKILL of a worker to its jobs at another: p50, p99, worst of 131 \
                        | **226**, 232, 232 ms | p99 ≤ 300 |\n";
        assert!(table.contains(expected), "{table}");
        assert!(!table.contains("a closed connection"), "nobody closed one: {table}");
    }

    #[test]
    fn what_only_another_table_has_makes_none_here() {
        assert_eq!(table(&[report("fps", &[("fps", 50.0)])]), None);
    }
}
