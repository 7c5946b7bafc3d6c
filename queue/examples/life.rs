//! How long the whole life of a task takes inside the queue: offer, assign, hand out, answer, take.
//!
//! `cargo run --release -p framelane-queue --example life` prints nanoseconds for one life at several
//! numbers of flows and lanes, with a budget (and so a deadline for each place) and without.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use framelane_queue::{
    Answered, Config, Dispatcher, Join, Key, LaneKey, Offer, Part, Policy, SourceCounts, Step, TaskName,
    WorkerId,
};

/// Lives in one measurement: long enough that reading the clock does not show.
const LIVES: u64 = 1_000_000;
/// Tickets that each lane may hold.
const CREDIT: u32 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:>6} {:>6} {:>10} {:>8}", "flows", "lanes", "policy", "ns/life");
    for (flows, lanes) in [(1, 1), (10, 2), (10, 10), (100, 10), (1000, 100)] {
        for (name, policy) in
            [("video", Policy::video(Duration::from_millis(200))), ("lossless", Policy::lossless())]
        {
            let nanos = measure(flows, lanes, &policy)?;
            println!("{flows:>6} {lanes:>6} {name:>10} {nanos:>8.0}");
        }
    }
    Ok(())
}

/// Keeps every lane full and every flow as deep as its share of the lanes' credit.
fn measure(flows: usize, lanes: u64, policy: &Policy) -> Result<f64, Box<dyn std::error::Error>> {
    let key = Key::task(TaskName::new("life")?);
    let mut queue: Dispatcher<u64, (), u64> = Dispatcher::new(Config::default());
    let mut now = Instant::now();
    for worker in 0..lanes {
        let keys = vec![LaneKey { key: key.clone(), warm: true }];
        let join = Join { worker: WorkerId(worker), keys, credit: CREDIT };
        queue.join(join, now);
    }
    let ids: Vec<_> = (0..flows).map(|_| queue.open(policy.clone())).collect();
    let mut in_flight = std::collections::VecDeque::new();
    let (mut offered, mut taken) = (0, 0);
    let began = on_processor();
    while taken < LIVES {
        let flow = ids[offered as usize % ids.len()];
        let parts = vec![Part { key: key.clone(), payload: () }];
        let offer =
            Offer { item: offered, parts, sealed: true, captured_at: now, source: SourceCounts::default() };
        if queue.offer(flow, offer, now).is_ok() {
            offered += 1;
        }
        now += Duration::from_micros(10);
        if in_flight.len() >= (lanes * u64::from(CREDIT)) as usize
            && let Some((lane, ticket, item)) = in_flight.pop_front()
        {
            queue.answer(lane, ticket, Answered::new(Ok(item)), now);
        }
        loop {
            match queue.poll(now) {
                Step::Assign { lane, ticket } => {
                    let item = *queue.hand_out(ticket).ok_or("a fresh ticket is live")?.item;
                    in_flight.push_back((lane, ticket, item));
                }
                Step::Ready { flow } => {
                    while queue.take(flow, now).is_some() {
                        taken += 1;
                    }
                }
                Step::Wait(_) => break,
                _ => {}
            }
        }
    }
    Ok((on_processor() - began) as f64 / LIVES as f64)
}

/// Nanoseconds that this thread has had a processor, so that a busy machine does not show; where the
/// system does not tell, nanoseconds of an ordinary clock.
fn on_processor() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.unwrap_or_else(|| START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}
