//! The whole life of a task in the queue, at several numbers of flows and lanes.
//!
//! `cargo bench -p framelane-bench --bench dispatcher`. It is to stay below 500 ns at 10 flows, and below
//! 2 µs at 1,000 flows and 100 lanes.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use framelane_bench::life::{self, Load};
use queue::{Hedge, Policy};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let video = Policy::video(Duration::from_millis(200));
    let hedged = Policy { hedge: Some(Hedge::default()), ..video.clone() };
    let policies = [("lossless", Policy::lossless()), ("video", video), ("hedged", hedged)];
    for (flows, lanes) in [(10, 2), (10, 10), (1000, 100)] {
        let mut group = criterion.benchmark_group(format!("life/{flows} flows, {lanes} lanes"));
        group.throughput(Throughput::Elements(1));
        for (name, policy) in &policies {
            let load = Load { flows, lanes, credit: 4, policy: policy.clone() };
            group.bench_function(*name, |bench| bench.iter_custom(|tasks| life::run(&load, tasks)));
        }
        group.finish();
    }
    criterion.final_summary();
}
