//! A coordinator of tasks as a whole: it lets workers and clients in, hands the tasks of the ones to the
//! others, and stops when it is told to.
//!
//! It knows no task. What can be done is what its workers serve, and what threads of a program of one's own do, in
//! the same pool: [`Server::threads`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use queue::FlowId;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::identity::Authority;
use wire::server::{self, Ask, BindError, Caller, Clients, Listener, Operation, Replies, Submits};

use crate::dump::{self, Dump};
use crate::lane::{local, quic};
use crate::{Coordinator, client};

/// How a coordinator treats who comes.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Connections, workers and clients.
    pub wire: server::Config,
    /// Lanes to workers.
    pub lane: quic::Config,
    /// Clients' flows.
    pub client: client::Config,
    /// How long a stop waits for tasks under way. Default 30 s.
    pub grace: Duration,
    /// See [`crate::Config::busy_poll`]. Default zero.
    pub busy_poll: Duration,
}

impl Config {
    /// The defaults, listening here.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            wire: server::Config { clients: Some(Clients::default()), ..server::Config::default() },
            lane: quic::Config::default(),
            client: client::Config::default(),
            grace: Duration::from_secs(30),
            busy_poll: Duration::ZERO,
        }
    }
}

/// How long workers may take to leave at a stop, once there is nothing left to do.
const LEAVE: Duration = Duration::from_secs(5);

/// A coordinator that listens.
pub struct Server {
    coordinator: Coordinator,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    listener: Arc<Listener>,
    config: Config,
    threads: Vec<local::Config>,
    #[cfg(any(feature = "redis", feature = "amqp"))]
    brokers: Vec<crate::lane::broker::Config>,
    callers: Arc<Callers>,
    since: Instant,
}

/// Who has which flow.
#[derive(Default)]
struct Callers(Mutex<BTreeMap<FlowId, (Caller, Instant)>>);

impl Callers {
    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<FlowId, (Caller, Instant)>) -> T) -> T {
        // No change panics half-way, so a poisoned map is a whole one.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Server {
    /// Listens. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(authority: Authority, config: Config) -> Result<Self, BindError> {
        let listener = Listener::bind(config.bind, authority, config.wire.clone())?;
        let (coordinator, driver) =
            crate::new(crate::Config { busy_poll: config.busy_poll, ..crate::Config::default() });
        Ok(Self {
            coordinator,
            driver: Box::pin(driver),
            listener: Arc::new(listener),
            config,
            threads: Vec::new(),
            #[cfg(any(feature = "redis", feature = "amqp"))]
            brokers: Vec::new(),
            callers: Arc::default(),
            since: Instant::now(),
        })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// The queue, for threads and flows of this process.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Threads of this process that work too, from the start of [`run`](Self::run) until all is answered.
    #[must_use]
    pub fn threads(mut self, threads: local::Config) -> Self {
        self.threads.push(threads);
        self
    }

    /// A broker whose workers work too, as long as [`threads`](Self::threads) do.
    #[cfg(any(feature = "redis", feature = "amqp"))]
    #[must_use]
    pub fn broker(mut self, broker: crate::lane::broker::Config) -> Self {
        self.brokers.push(broker);
        self
    }

    /// Serves until `stop`, or until an operator says so; then takes nothing more, waits for what is under way
    /// as long as [`Config::grace`] says, and tells everybody.
    ///
    /// # Errors
    /// Threads of this process cannot work; it stops as above.
    pub async fn run(self, stop: CancellationToken) -> Result<(), local::Error> {
        let Self { coordinator, driver, listener, config, threads, callers, since, .. } = self;
        let driver = tokio::spawn(driver);
        // These stay until what is under way is answered: they may be the only ones who can.
        let (leave, mut working) = (CancellationToken::new(), JoinSet::new());
        for threads in threads {
            let (joined, _) = oneshot::channel();
            working.spawn(local::run(coordinator.clone(), threads, leave.clone(), joined));
        }
        #[cfg(any(feature = "redis", feature = "amqp"))]
        for broker in self.brokers {
            let lane = crate::lane::broker::run(coordinator.clone(), broker, leave.clone());
            // It ends at the stop alone, or with the queue.
            working.spawn(async move {
                let _ = lane.await;
                Ok(())
            });
        }
        let mut served = Ok(());
        // As many as there are connections, which the listener bounds.
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(operation) = listener.operation() => {
                    let status = Status {
                        coordinator: coordinator.clone(),
                        listener: Arc::clone(&listener),
                        callers: Arc::clone(&callers),
                        since,
                    };
                    tasks.spawn(operate(operation, status, stop.clone()));
                }
                Some((peer, events)) = listener.accept() => {
                    let lane = quic::run(coordinator.clone(), peer, events, config.lane);
                    tasks.spawn(async move { drop(lane.await) });
                }
                Some((caller, submits, replies)) = listener.accept_client() => {
                    let (coordinator, config) = (coordinator.clone(), config.client.clone());
                    tasks.spawn(serve(coordinator, caller, submits, replies, config, Arc::clone(&callers)));
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection's task failed");
                    }
                }
                Some(ended) = working.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        served = Err(error);
                        break;
                    }
                    Err(error) => tracing::error!(%error, "a lane of this process failed"),
                },
                else => break,
            }
        }
        tracing::info!("stopping: no more tasks are taken");
        listener.drain_clients(config.grace).await;
        leave.cancel();
        listener.drain(LEAVE).await;
        listener.close().await;
        let ended = async {
            while working.join_next().await.is_some() {}
            while tasks.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(LEAVE, ended).await;
        driver.abort();
        served
    }
}

async fn serve(
    coordinator: Coordinator,
    caller: Caller,
    submits: Submits,
    replies: Replies,
    config: client::Config,
    callers: Arc<Callers>,
) {
    let (opened, flow) = oneshot::channel();
    let (name, id, remote) = (caller.name().to_owned(), caller.client(), caller.remote());
    let running = client::run(coordinator, caller.clone(), submits, replies, config, opened);
    let note = async {
        let flow = flow.await.ok()?;
        callers.with(|callers| callers.insert(flow, (caller, Instant::now())));
        tracing::info!(name, client = %id, %remote, %flow, "a client is here");
        Some(flow)
    };
    let (ended, flow) = tokio::join!(running, note);
    if let Some(flow) = flow {
        callers.with(|callers| callers.remove(&flow));
    }
    match ended {
        Ok(why) => tracing::info!(name, client = %id, %why, "a client has left"),
        Err(stopped) => tracing::debug!(name, %stopped, "a client has lost its queue"),
    }
}

async fn operate(operation: Operation, status: Status, stop: CancellationToken) {
    let Operation { ask, reply, told } = operation;
    let text = match ask {
        Ask::Status => match status.read().await {
            Some(status) => status.to_string(),
            None => return,
        },
        Ask::Stop => json!({ "stopping": true }).to_string(),
        // A later version's question: no answer says so.
        _ => return,
    };
    let _ = reply.send(text);
    if ask == Ask::Stop {
        tracing::info!("an operator asked to stop");
        // Before the stop closes its connection.
        let _ = told.await;
        stop.cancel();
    }
}

/// What a look at everything needs.
struct Status {
    coordinator: Coordinator,
    listener: Arc<Listener>,
    callers: Arc<Callers>,
    since: Instant,
}

impl Status {
    /// All workers, clients and queues at one moment; none once the queue has stopped.
    async fn read(&self) -> Option<Value> {
        let Dump { flows, lanes } = self.coordinator.dump().await.ok()?;
        let tasks: BTreeSet<&str> =
            lanes.iter().flat_map(|lane| &lane.keys).map(|lane| lane.key.as_str()).collect();
        let refused: BTreeMap<_, _> =
            self.listener.refusals().iter().map(|(refusal, count)| (refusal.name(), count)).collect();
        let queues: Vec<Value> = self.callers.with(|callers| {
            let queue = |dump::Flow { flow, books, .. }: &dump::Flow| {
                let client = callers.get(flow).map(|(caller, since)| {
                    json!({
                        "id": caller.client().to_string(),
                        "name": caller.name(),
                        "address": caller.remote().to_string(),
                        "for_s": since.elapsed().as_secs(),
                    })
                });
                json!({ "flow": flow.to_string(), "client": client, "books": books })
            };
            flows.iter().map(queue).collect()
        });
        Some(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "address": self.listener.local_addr().to_string(),
            "for_s": self.since.elapsed().as_secs(),
            "tasks": tasks,
            "workers": lanes.iter().map(worker).collect::<Vec<_>>(),
            "queues": queues,
            "refused": refused,
        }))
    }
}

fn worker(lane: &dump::Lane) -> Value {
    json!({
        "id": lane.worker,
        "name": lane.name,
        "kind": lane.kind,
        "address": lane.remote,
        "shared_memory": lane.shared_memory,
        "tasks": lane.keys.iter().map(|lane| &lane.key).collect::<Vec<_>>(),
        "credit": lane.credit,
        "outstanding": lane.outstanding,
        "draining": lane.draining,
        "suspected": lane.suspected,
        "answered": lane.answered,
        "failed": lane.failed,
        "stale": lane.stale,
        "overlong": lane.overlong,
    })
}
