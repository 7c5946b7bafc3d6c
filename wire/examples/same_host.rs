//! How fast bodies of 1.2 MB reach two worker processes on this machine:
//! `cargo run --release --example same_host [-- --quic]`.
//!
//! Prints hand-outs a second with a few outstanding at each worker, and the median and 99th percentile of
//! one at a time. The worker answers with 1 kB picked from all over the body, which is compared. With
//! `--quic` bodies travel on the streams, as between two machines.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bytes::Bytes;
use framelane_wire::identity::{Authority, Identity, TokenOptions};
use framelane_wire::node::{self, Event, Hello, Job};
use framelane_wire::server::{Config, Events, HandOut, Listener, Peer};
use framelane_wire::{Message, Timings};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use queue::{FlowId, Key, Seq, TaskName, Ticket};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const SIZE: usize = 640 * 640 * 3;
const WORKERS: usize = 2;
/// Outstanding at each worker: one is worked on while the next is on its way.
const WINDOW: usize = 4;
/// How the worker's process learns that it is one: server and token.
const SERVER: &str = "FRAMELANE_SAME_HOST_SERVER";
const TOKEN: &str = "FRAMELANE_SAME_HOST_TOKEN";

fn main() -> Result<(), Failed> {
    // One thread: each has one core here. The streams are driven by another task than hands out or works.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        match std::env::var(SERVER) {
            Ok(server) => tokio::spawn(work(server)).await?,
            Err(_) => tokio::spawn(measure()).await?,
        }
    })
}

async fn work(server: String) -> Result<(), Failed> {
    let identity = Identity::enrol(&server, &std::env::var(TOKEN)?.parse()?, "worker").await?;
    let hello = Hello { name: "worker".into(), keys: vec![], credit: WINDOW as u32, capabilities: vec![] };
    let shared_memory = !std::env::args().any(|arg| arg == "--quic");
    let config = node::Config { shared_memory, ..node::Config::default() };
    let (_node, mut jobs) = node::connect(&server, &identity, hello, config).await?;
    loop {
        match jobs.next().await {
            Event::Jobs(jobs) => {
                for Job { message, reply, .. } in jobs {
                    let body = Bytes::from(picked(&message.body));
                    reply.send(Ok(Message { head: message.head, body }), Timings::default());
                }
            }
            Event::Closed(_) => return Ok(()),
            _ => {}
        }
    }
}

/// 1,024 bytes from all over a body.
fn picked(body: &[u8]) -> Vec<u8> {
    body.iter().step_by(SIZE / 1024).copied().take(1024).collect()
}

async fn measure() -> Result<(), Failed> {
    let dir = std::env::temp_dir().join(format!("framelane-same-host-{}", std::process::id()));
    let authority = Authority::load_or_create(&dir)?;
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), authority.clone(), Config::default())?;
    let mut workers = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..WORKERS {
        let token = authority.token(TokenOptions::default())?;
        let child = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .env(SERVER, listener.local_addr().to_string())
            .env(TOKEN, token.to_string())
            .spawn()?;
        workers.push(Worker(child));
        peers.push(listener.accept().await.ok_or("closed")?);
    }
    // As a camera's pictures: none is in a cache because it was just sent.
    let bodies: Vec<Bytes> = (0..8u32)
        .map(|n| {
            (0..SIZE as u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ n as u8)
                .collect::<Vec<_>>()
                .into()
        })
        .collect();
    let mut load = Load { peers, bodies, next: 0 };
    println!("shared memory: {}", load.peers[0].0.shares_memory());
    load.rate(Duration::from_secs(1)).await?;
    let rate = load.rate(Duration::from_secs(4)).await?;
    let [p50, p99] = load.one_at_a_time(Duration::from_secs(2)).await?;
    println!("{:>12} {:>10} {:>10}\n{rate:>12.0} {p50:>10.1?} {p99:>10.1?}", "tasks/s", "p50", "p99");
    drop(workers);
    listener.close().await;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

struct Load {
    peers: Vec<(Peer, Events)>,
    bodies: Vec<Bytes>,
    next: u64,
}

impl Load {
    async fn rate(&mut self, time: Duration) -> Result<f64, Failed> {
        let (begin, mut done) = (Instant::now(), 0u32);
        let mut pending = FuturesUnordered::new();
        for n in 0..WORKERS * WINDOW {
            pending.push(self.hand_out(n % WORKERS));
        }
        while let Some(worker) = pending.next().await {
            let worker = worker??;
            done += 1;
            if begin.elapsed() < time {
                pending.push(self.hand_out(worker));
            }
        }
        Ok(f64::from(done) / begin.elapsed().as_secs_f64())
    }

    async fn one_at_a_time(&mut self, time: Duration) -> Result<[Duration; 2], Failed> {
        let (begin, mut times) = (Instant::now(), Vec::new());
        while begin.elapsed() < time {
            let begin = Instant::now();
            self.hand_out(0).await??;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        Ok([times[times.len() / 2], times[times.len() * 99 / 100]])
    }

    /// Hands the next body out, checks the answer, and gives the worker's number back.
    fn hand_out(&mut self, worker: usize) -> tokio::task::JoinHandle<Result<usize, Failed>> {
        self.next += 1;
        let job = HandOut {
            ticket: Ticket { flow: FlowId(0), seq: Seq(self.next), part: 0, attempt: 1 },
            key: Key::task(TaskName::new("same-host").expect("a good name")),
            budget_left: None,
        };
        let body = self.bodies[self.next as usize % self.bodies.len()].clone();
        let message = Message { head: Bytes::from_static(&[0xf6]), body: body.clone() };
        let answer = self.peers[worker].0.hand_out(job, message);
        // As a lane does it.
        tokio::spawn(async move {
            let answer = answer.await?.result?;
            if answer.body != picked(&body) { Err("a wrong answer".into()) } else { Ok(worker) }
        })
    }
}

struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
