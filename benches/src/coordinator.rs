//! `framelane-bench coordinator`: a server of its own process with two flows, one lossless and one with
//! a budget, that tells on its standard output all that its takers see.
//!
//! It judges nothing: who started it does.

use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use dispatch::{Admission, Inlet, Outlet, Refusal, lane};
use queue::{Books, FlowId, Hedge, LaneId, Policy, SourceCounts, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pool::Pool;
use crate::tally::Seen;
use crate::work::{Ask, HandedOut, Item, Work, body};

/// What it does.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// Where workers dial in.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    quic: SocketAddr,
    /// Where the authority is kept.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Items a second of each flow.
    #[arg(long, value_name = "N", default_value_t = 75.0)]
    rate: f64,
    /// Bytes of each item of the lossless flow.
    #[arg(long, value_name = "BYTES", default_value_t = 20_000)]
    body: usize,
    /// A broker with workers behind it, beside those that dial in.
    #[arg(long, value_name = "URL")]
    broker: Option<wire::broker::Url>,
    /// Bodies travel over QUIC even to workers on this host.
    #[arg(long)]
    no_shared_memory: bool,
    /// How long a worker may take over an item of the lossless flow. Nothing else takes it from a worker that
    /// is there and never answers [default: as long as it lives].
    #[arg(long, value_name = "MS")]
    answer_within_ms: Option<u64>,
    /// Items whose worker is among the slowest so many percent go to a second one too [default: none does].
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    hedge_percent: u16,
    /// The budget of the flow that has one.
    #[arg(long, value_name = "MS", default_value_t = 400)]
    budget_ms: u64,
    /// Keeps the body of every item that was taken, to show that a leak is seen.
    #[arg(long, hide = true)]
    leak: bool,
}

/// Which of the two flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing may be lost.
    Lossless,
    /// Nothing may be late.
    Budgeted,
}

/// One line of its output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It listens.
    Ready {
        /// Where workers dial in.
        quic: SocketAddr,
        /// Lets them in.
        token: String,
    },
    /// These workers are connected now.
    Lanes(Vec<Lane>),
    /// A job was made for an item, which is how each hand-out begins.
    HandedOut {
        /// The flow.
        flow: Kind,
        /// The item.
        number: u64,
        /// The connection of the worker that gets it.
        lane: LaneId,
        /// When, by [`crate::clock`].
        at_us: u64,
    },
    /// A place left.
    Taken {
        /// The flow.
        flow: Kind,
        /// The place.
        seen: Seen,
    },
    /// The books at some moment.
    Books {
        /// The flow.
        flow: Kind,
        /// Its books.
        books: Box<Books>,
    },
    /// The flow is over.
    Closed {
        /// The flow.
        flow: Kind,
        /// How many items were admitted, by the source's own count.
        admitted: u64,
        /// The last books.
        books: Box<Books>,
    },
}

/// A worker's connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lane {
    /// Which one.
    pub lane: LaneId,
    /// What the worker calls itself.
    pub name: String,
}

/// How often the books are read.
const BOOKS: Duration = Duration::from_millis(100);
/// Lines that may wait to be written. The one who reads is one who judges, and quick.
const LINES: usize = 1 << 16;
/// A flow that does not end after its source has lost something.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Runs until SIGTERM, then ends both flows.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut config = wire::server::Config::default();
    if args.no_shared_memory {
        config.shared_memory = 0;
    }
    let pool = Pool::start(args.quic, &args.state, config)?;
    let (say, lines) = sync_channel(LINES);
    let writing = std::thread::spawn(move || write(lines));
    let _ = say.send(Said::Ready { quic: pool.addr(), token: pool.token()? });

    let (stop_broker, brokers) = (CancellationToken::new(), TaskTracker::new());
    if let Some(url) = args.broker {
        let lane = lane::broker::Config::new(url, "bench", WorkerId(1), vec![Work::key()]);
        brokers.spawn(lane::broker::run(pool.coordinator.clone(), lane, stop_broker.clone()));
    }
    let stop = CancellationToken::new();
    let mut flows = Vec::new();
    let mut ids = Vec::new();
    for kind in [Kind::Lossless, Kind::Budgeted] {
        let (policy, bytes) = match kind {
            Kind::Lossless => (lossless(args.answer_within_ms), args.body),
            Kind::Budgeted => (budgeted(args.budget_ms), 1000),
        };
        let told = say.clone();
        let handed_out: HandedOut = Arc::new(move |number, lane, at_us| {
            let _ = told.send(Said::HandedOut { flow: kind, number, lane, at_us });
        });
        let policy = Policy { hedge: Hedge::slowest_percent(args.hedge_percent), ..policy };
        let ask = Ask { handed_out: Some(handed_out) };
        let (inlet, outlet) = pool.coordinator.open(policy, Work::key(), ask).await?;
        ids.push((kind, outlet.flow()));
        let source = Source { kind, rate: args.rate, bytes };
        let offered = tokio::spawn(source.offer(inlet, stop.clone()));
        let taken = tokio::spawn(take(kind, outlet, say.clone(), args.leak));
        flows.push((kind, offered, taken));
    }
    let reading = tokio::spawn(read_books(pool.coordinator.clone(), ids, say.clone()));

    terminate.recv().await;
    stop.cancel();
    for (kind, offered, taken) in flows {
        let admitted = offered.await.context("a source panicked")?;
        let books = timeout(ENDS_WITHIN, taken)
            .await
            .with_context(|| format!("the {kind:?} flow does not end"))?
            .context("a taker panicked")?
            .context("the queue stopped")?;
        let _ = say.send(Said::Closed { flow: kind, admitted, books });
    }
    reading.abort();
    // Its sender must be gone before the writer ends.
    let _ = reading.await;
    stop_broker.cancel();
    brokers.close();
    brokers.wait().await;
    pool.stop().await;
    drop(say);
    tokio::task::spawn_blocking(move || writing.join()).await.ok();
    Ok(())
}

fn lossless(answer_within_ms: Option<u64>) -> Policy {
    Policy { answer_within: answer_within_ms.map(Duration::from_millis), ..Policy::lossless() }
}

fn budgeted(budget_ms: u64) -> Policy {
    let pending = const { NonZeroUsize::new(64).expect("64 is not 0") };
    let held = const { NonZeroUsize::new(128).expect("128 is not 0") };
    // More room than for one camera, since this source is faster than one.
    Policy { pending, held, ..Policy::video(Duration::from_millis(budget_ms)) }
}

struct Source {
    kind: Kind,
    rate: f64,
    bytes: usize,
}

impl Source {
    /// Offers items at the rate until `stop`; gives how many were admitted.
    async fn offer(self, mut inlet: Inlet<Ask>, stop: CancellationToken) -> u64 {
        let mut tick = interval(Duration::from_secs_f64(1.0 / self.rate.max(0.1)));
        // A lossless source that had to wait does not catch up by a burst; a camera does not either.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut refused) = (0, 0);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return number,
                _ = tick.tick() => {}
            }
            let source = SourceCounts { decoded: number + refused + 1, refused, ..SourceCounts::default() };
            // Each has a body of its own: one that is kept for too long is memory, and an answer to another is wrong.
            let item = Item { number, body: body(self.bytes, ((self.kind as u64) << 32) | number) };
            let admission = Admission { source, ..Admission::now(item) };
            let admitted = match self.kind {
                Kind::Lossless => tokio::select! {
                    biased;
                    () = stop.cancelled() => return number,
                    sent = inlet.send(admission) => sent,
                },
                Kind::Budgeted => inlet.offer(admission).await,
            };
            match admitted.map_err(|refused| refused.why) {
                Ok(_) => number += 1,
                Err(Refusal::Full) => {
                    refused += 1;
                    let counts = SourceCounts { decoded: number + refused, refused, ..source };
                    let _ = inlet.source(counts).await;
                }
                Err(_) => return number,
            }
        }
    }
}

/// Tells of each place; gives the last books.
async fn take(kind: Kind, mut outlet: Outlet<Ask>, say: SyncSender<Said>, leak: bool) -> Option<Box<Books>> {
    let mut leaked: Vec<Bytes> = Vec::new();
    while let Some(done) = outlet.next().await {
        if leak {
            leaked.push(done.item.body.clone());
        }
        let _ = say.send(Said::Taken { flow: kind, seen: Seen::of(&done) });
    }
    outlet.closing_books().map(|books| Box::new(*books))
}

async fn read_books(coordinator: dispatch::Coordinator, flows: Vec<(Kind, FlowId)>, say: SyncSender<Said>) {
    let mut tick = interval(BOOKS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        let Ok(snapshot) = coordinator.snapshot(flows.iter().map(|(_, flow)| *flow).collect()).await else {
            return;
        };
        let lanes = snapshot.lanes.into_iter().map(|view| Lane { lane: view.lane, name: view.label.name });
        let _ = say.send(Said::Lanes(lanes.collect()));
        for ((kind, _), books) in flows.iter().zip(snapshot.books) {
            if let Some(books) = books {
                let _ = say.send(Said::Books { flow: *kind, books: Box::new(books) });
            }
        }
    }
}

/// A thread of its own, so that a slow reader is felt by nobody until [`LINES`] wait.
fn write(lines: Receiver<Said>) {
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(said) = next {
            let Ok(text) = serde_json::to_string(&said) else { return };
            if writeln!(out, "{text}").is_err() {
                return;
            }
            next = lines.try_recv().ok();
        }
        if out.flush().is_err() {
            return;
        }
    }
}
