//! A lane to a worker that dialled in over QUIC.
//!
//! A hand-out is a task of its own: it prepares and encodes the job, sends it on a stream, and reports
//! the answer. So one job is prepared while another is under way, and a long body holds up nothing but
//! itself. Small hand-outs that are here at the same time share a stream, since each alone would cost more
//! on the way than it is worth, and are driven by the lane's own task, where none waits for another thread;
//! see [`Batching`].

mod exchange;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, CatchUnwind};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use queue::{LaneKey, Ticket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use wire::Closed;
use wire::protocol::HelloKey;
use wire::server::{Event, Events, Listener, Peer};

use super::habits::Habits;
use super::trouble::Troubles;
use super::{HandOut, Join, Label, Order, Orders, Reporter};
use crate::{Coordinator, Stopped};
use exchange::{Ended, Exchange};

/// How a lane treats its worker.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The most hand-outs that the worker may hold, whatever it asks for: the listener's own cap.
    /// Default 1024.
    pub max_credit: u32,
    /// How small hand-outs share streams.
    pub batching: Batching,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_credit: 1024, batching: Batching::default() }
    }
}

/// When small hand-outs share a stream. A job is small when others of its key were: up to 2 KiB, and
/// quickly prepared. Nothing else is touched by it: each has its own ticket, answer and cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// The most on one stream; 1 gives each a stream of its own. Default 256.
    pub tasks: NonZeroUsize,
    /// How long the first of a batch waits for others. Default zero: those go together that are here
    /// together, which under load is many, and none is ever held up.
    pub linger: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        const TASKS: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");
        Batching { tasks: TASKS, linger: Duration::ZERO }
    }
}

/// Orders that are looked at in one turn.
const ORDERS: usize = 256;

/// Lets the worker join, and serves its connection until it ends; gives the reason for the end.
/// Dropping the future closes nothing: close the peer.
pub async fn run(
    coordinator: Coordinator,
    peer: Peer,
    events: Events,
    config: Config,
) -> Result<Closed, Stopped> {
    let hello = peer.hello();
    let practice = peer.can_practise().then(Arc::<Notify>::default);
    let (orders, reporter) = coordinator
        .join(Join {
            worker: peer.worker(),
            label: Label {
                name: hello.name.clone(),
                kind: "quic",
                remote: Some(peer.remote()),
                shared_memory: peer.shares_memory(),
            },
            keys: lane_keys(hello.keys.clone()),
            credit: hello.credit,
            max_credit: config.max_credit,
            practice: practice.clone(),
        })
        .await?;
    let troubles = Arc::new(Troubles::new(peer.worker(), reporter.lane()));
    let abilities = peer.hello().capabilities.clone().into();
    let lane = Lane {
        peer: Arc::new(peer),
        abilities,
        reporter,
        troubles,
        practice: practice.unwrap_or_default(),
        batching: config.batching,
        habits: Habits::default(),
        small: Vec::new(),
        flush_at: None,
        cancels: HashMap::new(),
        tasks: JoinSet::new(),
        batches: FuturesUnordered::new(),
    };
    lane.serve(orders, events).await
}

/// Lets every worker join that dials in, until the listener is closed, and serves them until their
/// connections have ended too. Who joins and who leaves is logged.
pub async fn accept(coordinator: Coordinator, listener: Arc<Listener>, config: Config) {
    let mut lanes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Some((peer, events)) => {
                    lanes.spawn(told(coordinator.clone(), peer, events, config));
                }
                None => break,
            },
            Some(ended) = lanes.join_next() => panicked(ended),
        }
    }
    while let Some(ended) = lanes.join_next().await {
        panicked(ended);
    }
}

fn panicked(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a worker's lane panicked");
    }
}

async fn told(coordinator: Coordinator, peer: Peer, events: Events, config: Config) {
    let (worker, name, remote) = (peer.worker(), peer.hello().name.clone(), peer.remote());
    let shared_memory = peer.shares_memory();
    tracing::info!(%worker, name, %remote, shared_memory, "worker joined");
    match run(coordinator, peer, events, config).await {
        Ok(reason) => tracing::info!(%worker, name, %reason, "worker left"),
        Err(stopped) => tracing::debug!(%worker, name, %stopped, "worker let go"),
    }
}

fn lane_keys(keys: Vec<HelloKey>) -> Vec<LaneKey> {
    keys.into_iter().map(|HelloKey { key, warm }| LaneKey { key, warm }).collect()
}

struct Lane {
    peer: Arc<Peer>,
    abilities: Arc<[String]>,
    reporter: Reporter,
    troubles: Arc<Troubles>,
    /// Rung where it is time to practise.
    practice: Arc<Notify>,
    batching: Batching,
    habits: Habits,
    /// Small hand-outs that wait for others, and until when.
    small: Vec<HandOut>,
    flush_at: Option<Instant>,
    /// One for each hand-out that is alone on its stream, so that a cancel reaches a job that is still
    /// being prepared. One of a batch is sent all the same, and its answer gives the credit back.
    cancels: HashMap<Ticket, CancellationToken>,
    /// As many as the queue hands out, which the credit bounds.
    tasks: JoinSet<Result<Ended, Stopped>>,
    /// As many again, since each has one hand-out at least, and one for practice.
    batches: FuturesUnordered<Batch>,
}

/// Small hand-outs under way, or practice. A user's code may panic in it.
type Batch = CatchUnwind<AssertUnwindSafe<BoxFuture<'static, Result<Ended, Stopped>>>>;

impl Lane {
    async fn serve(mut self, mut orders: Orders, mut events: Events) -> Result<Closed, Stopped> {
        let mut turn = Vec::with_capacity(ORDERS);
        let troubles = Arc::clone(&self.troubles);
        let practice = Arc::clone(&self.practice);
        let telling = troubles.tell();
        tokio::pin!(telling);
        loop {
            let flush_at = self.flush_at;
            let flush = async {
                match flush_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Event::Credit(credit) => self.reporter.credit(credit).await?,
                    Event::Released(ticket) => self.reporter.released(ticket).await?,
                    Event::Keys(keys) => self.reporter.keys(lane_keys(keys)).await?,
                    Event::Drain => self.reporter.drain().await?,
                    Event::Silent => self.silent(true).await?,
                    Event::Heard => self.silent(false).await?,
                    // Dropping the reporter and the tasks gives what the worker held to others.
                    Event::Closed(reason) => return Ok(reason),
                    event => tracing::debug!(?event, "an event of a later protocol is ignored"),
                },
                Some(ended) = self.batches.next() => match ended {
                    Ok(ended) => self.ended(ended?),
                    Err(_) => self.panicked(),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(ended) => self.ended(ended?),
                    Err(_) => self.panicked(),
                },
                received = orders.recv_many(&mut turn, ORDERS) => {
                    if received == 0 {
                        self.peer.close("the queue gave this lane up");
                    }
                    turn.drain(..).for_each(|order| self.obey(order));
                    if self.batching.linger.is_zero() {
                        self.flush();
                    }
                }
                () = flush => self.flush(),
                // What is under way is practice enough.
                () = practice.notified(), if self.batches.is_empty() && self.tasks.is_empty() => {
                    self.practise();
                }
                never = &mut telling => match never {},
            }
        }
    }

    /// A user's Prepare panicked, which its hook has told. Its ticket is unknown here, so the lane is given
    /// up as a whole and the worker dials in again.
    fn panicked(&self) {
        tracing::error!(worker = %self.peer.worker(), "preparing a job panicked");
        self.peer.close("a job could not be prepared");
    }

    fn silent(&self, silent: bool) -> impl Future<Output = Result<(), Stopped>> + Send + use<> {
        tracing::debug!(worker = %self.peer.worker(), silent, "a worker is silent, or is heard again");
        let reporter = self.reporter.clone();
        async move { reporter.silent(silent).await }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::HandOut(hand_out) if self.habits.is_small(hand_out.key()) => {
                if self.small.is_empty() {
                    self.flush_at = Some(Instant::now() + self.batching.linger);
                }
                self.small.push(hand_out);
                if self.small.len() >= self.batching.tasks.get() {
                    self.flush();
                }
            }
            Order::HandOut(hand_out) => {
                let cancel = CancellationToken::new();
                self.cancels.insert(hand_out.ticket, cancel.clone());
                self.tasks.spawn(self.exchange().one(hand_out, cancel));
            }
            Order::Cancel(ticket) => {
                if let Some(cancel) = self.cancels.get(&ticket) {
                    cancel.cancel();
                }
                self.peer.cancel(ticket);
            }
            Order::Drained => self.peer.close("drained"),
            Order::Lost => self.peer.close("it did not let go of cancelled work in time"),
        }
    }

    /// Sends the small hand-outs that wait.
    fn flush(&mut self) {
        self.flush_at = None;
        if !self.small.is_empty() {
            let hand_outs = std::mem::take(&mut self.small);
            let batch = self.exchange().batch(hand_outs).boxed();
            self.batches.push(AssertUnwindSafe(batch).catch_unwind());
        }
    }

    fn practise(&mut self) {
        let peer = Arc::clone(&self.peer);
        let practise = async move {
            peer.practise().await;
            Ok(Ended { alone: None, seen: Vec::new() })
        };
        self.batches.push(AssertUnwindSafe(practise.boxed()).catch_unwind());
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            peer: Arc::clone(&self.peer),
            abilities: Arc::clone(&self.abilities),
            reporter: self.reporter.clone(),
            troubles: Arc::clone(&self.troubles),
        }
    }

    fn ended(&mut self, ended: Ended) {
        if let Some(ticket) = ended.alone {
            self.cancels.remove(&ticket);
        }
        for (key, seen) in ended.seen {
            self.habits.learn(&key, seen);
        }
    }
}
