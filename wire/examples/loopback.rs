//! How fast a lane is on this machine, both ends in one process: `cargo run --release --example loopback`.
//!
//! Prints for each body size: hand-outs a second with a window of them outstanding, and the median and
//! 99th percentile of one at a time. Where `/proc` tells it, also the processor time of both ends for
//! each hand-out, which means something on a busy machine too.

use std::time::{Duration, Instant};

use bytes::Bytes;
use framelane_wire::identity::{Authority, Identity, TokenOptions};
use framelane_wire::node::{self, Event, Hello, Jobs};
use framelane_wire::server::{Config, HandOut, Listener, Peer};
use framelane_wire::{Message, Timings};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use queue::{FlowId, Key, Seq, TaskName, Ticket};

const WINDOW: u64 = 64;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    // On a worker thread: the main thread would be woken across threads for each answer.
    tokio::spawn(measure()).await?
}

async fn measure() -> Result<(), Failed> {
    let dir = std::env::temp_dir().join(format!("framelane-loopback-{}", std::process::id()));
    let authority = Authority::load_or_create(&dir)?;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), authority.clone(), Config::default())?;
    let server = listener.local_addr().to_string();
    let identity = Identity::enrol(&server, &authority.token(TokenOptions::default())?, "loopback").await?;
    let hello = Hello { name: "loopback".into(), keys: vec![], credit: WINDOW as u32, capabilities: vec![] };
    // This is about the network; `same_host` is about shared memory.
    let config = node::Config { shared_memory: false, ..node::Config::default() };
    let (accepted, connected) =
        tokio::join!(listener.accept(), node::connect(&server, &identity, hello, config));
    let (peer, _events) = accepted.ok_or("closed")?;
    let (_node, jobs) = connected?;
    tokio::spawn(answer(jobs));

    let mut next = 0;
    println!("{:>10} {:>12} {:>10} {:>10} {:>10} {:>10}", "bytes", "tasks/s", "MB/s", "cpu", "p50", "p99");
    for size in [100, 10_000, 200_000, 1_200_000] {
        let body = Bytes::from(vec![7; size]);
        let (rate, cpu) = rate(&peer, &body, &mut next, Duration::from_secs(3)).await?;
        let [p50, p99] = one_at_a_time(&peer, &body, &mut next, Duration::from_secs(2)).await?;
        let megabytes = rate * size as f64 / 1e6;
        println!("{size:>10} {rate:>12.0} {megabytes:>10.1} {cpu:>10.1?} {p50:>10.1?} {p99:>10.1?}");
    }
    listener.close().await;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

async fn answer(mut jobs: Jobs) {
    loop {
        match jobs.next().await {
            Event::Jobs(jobs) => {
                for job in jobs {
                    let answer = Message { head: vec![0xf6].into(), body: Bytes::new() };
                    job.reply.send(Ok(answer), Timings::default());
                }
            }
            Event::Closed(_) => return,
            _ => {}
        }
    }
}

fn job(next: &mut u64) -> HandOut {
    *next += 1;
    HandOut {
        ticket: Ticket { flow: FlowId(0), seq: Seq(*next), part: 0, attempt: 1 },
        key: Key::task(TaskName::new("loopback").expect("a good name")),
        budget_left: None,
    }
}

fn message(body: &Bytes) -> Message {
    Message { head: Bytes::from_static(&[0xf6]), body: body.clone() }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn rate(peer: &Peer, body: &Bytes, next: &mut u64, time: Duration) -> Result<(f64, Duration), Failed> {
    let (begin, cpu, mut done) = (Instant::now(), cpu(), 0u32);
    let mut pending: FuturesUnordered<_> =
        (0..WINDOW).map(|_| peer.hand_out(job(next), message(body))).collect();
    while let Some(answer) = pending.next().await {
        answer?;
        done += 1;
        if begin.elapsed() < time {
            pending.push(peer.hand_out(job(next), message(body)));
        }
    }
    Ok((f64::from(done) / begin.elapsed().as_secs_f64(), (self::cpu() - cpu) / done))
}

async fn one_at_a_time(
    peer: &Peer,
    body: &Bytes,
    next: &mut u64,
    time: Duration,
) -> Result<[Duration; 2], Failed> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let begin = Instant::now();
        peer.hand_out(job(next), message(body)).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
}

/// Processor time of this process so far, to the hundredth of a second; nothing where there is no `/proc`.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: state is field 3, utime and stime are 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
