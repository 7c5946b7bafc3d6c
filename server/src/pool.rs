//! The workers: those that dial in over QUIC, those behind brokers, and threads of this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dispatch::{Coordinator, lane};
use models::detect::{Detect, READS_JPEG, READS_RGB, WANTS_RGB};
use models::engine::onnx;
use models::{Detector, Model};
use queue::{Key, ModelHash, TaskName, WorkerId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::identity::Authority;
use wire::server::Listener;
use wire::{Factory, Task};

use crate::config::Config;

/// The identity of this process as a worker. Certificates carry random ones, never this.
const LOCAL: WorkerId = WorkerId(0);

/// How long a stop waits for workers that were told to leave.
const LEAVE: Duration = Duration::from_secs(2);

/// All workers of a server.
pub(crate) struct Pool {
    listener: Arc<Listener>,
    quic: SocketAddr,
    accepting: JoinHandle<()>,
    local: Option<Local>,
    brokers: Brokers,
}

/// Lanes to brokers.
struct Brokers {
    stop: CancellationToken,
    lanes: TaskTracker,
}

struct Local {
    stop: CancellationToken,
    running: JoinHandle<Result<(), lane::local::Error>>,
}

impl Pool {
    /// Listens for workers, and starts the local ones with the models that streams use.
    pub(crate) async fn start(
        config: &Config,
        models: Vec<Model>,
        coordinator: &Coordinator,
    ) -> anyhow::Result<Pool> {
        let authority = Authority::load_or_create(&config.state)
            .with_context(|| format!("--state {}", config.state.display()))?;
        let abilities = [READS_JPEG, READS_RGB, WANTS_RGB].map(str::to_owned).to_vec();
        let quic = wire::server::Config { capabilities: abilities, ..wire::server::Config::default() };
        let max_credit = quic.max_credit;
        let listener =
            Listener::bind(config.quic, authority, quic).context("quic (--quic, FRAMELANE_QUIC)")?;
        let listener = Arc::new(listener);
        let brokers = start_brokers(config, &models, coordinator)?;
        let local = match NonZeroU32::new(config.local_workers) {
            Some(threads) => Some(start_local(config, threads, models, coordinator.clone()).await?),
            None => None,
        };
        let quic = listener.local_addr();
        let lanes = lane::quic::Config { max_credit, ..Default::default() };
        let accepting = tokio::spawn(lane::quic::accept(coordinator.clone(), Arc::clone(&listener), lanes));
        Ok(Pool { listener, quic, accepting, local, brokers })
    }

    /// Where workers dial in, with the real port.
    pub(crate) fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Where workers dial in, for who counts those that were refused there.
    pub(crate) fn listener(&self) -> Arc<Listener> {
        Arc::clone(&self.listener)
    }

    /// Lets the workers finish and leave, closes every connection and ends the local threads.
    pub(crate) async fn stop(self) {
        // The flows have ended, so workers hold little or nothing by now.
        self.listener.drain(LEAVE).await;
        self.listener.close().await;
        let _ = self.accepting.await;
        self.brokers.stop.cancel();
        self.brokers.lanes.close();
        if tokio::time::timeout(LEAVE, self.brokers.lanes.wait()).await.is_err() {
            tracing::warn!("a broker does not say goodbye; what this server left there expires");
        }
        if let Some(local) = self.local {
            local.stop.cancel();
            let _ = local.running.await;
        }
    }
}

/// Starts a lane to each broker. One that cannot be reached is no reason not to serve.
fn start_brokers(config: &Config, models: &[Model], coordinator: &Coordinator) -> anyhow::Result<Brokers> {
    let brokers = Brokers { stop: CancellationToken::new(), lanes: TaskTracker::new() };
    // Dropped on an error, with the lanes that run.
    let guard = brokers.stop.clone().drop_guard();
    let task = TaskName::new(Detect::NAME).expect("the task's own name is well formed");
    // The same for all: workers of ours read these.
    let abilities = [READS_JPEG, READS_RGB].map(str::to_owned).to_vec();
    for (broker, worker) in config.broker.iter().zip(LOCAL.get() + 1..) {
        let unknown = |name: &&String| !models.iter().any(|model| folder(model) == Some(name));
        if let Some(unknown) = broker.models.iter().flatten().find(unknown) {
            anyhow::bail!("broker {}: models: no stream uses a model `{unknown}`", broker.url);
        }
        let wanted = |model: &&Model| match &broker.models {
            Some(names) => folder(model).is_some_and(|folder| names.iter().any(|name| name == folder)),
            None => true,
        };
        let mut keys: Vec<Key> = Vec::new();
        for model in models.iter().filter(wanted) {
            let key = Key::model(task.clone(), ModelHash(model.hash));
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            tracing::warn!(broker = %broker.url, "no stream uses a model, so there is nothing for this broker");
            continue;
        }
        let mut lane = lane::broker::Config::new(broker.url.clone(), machine(), WorkerId(worker), keys);
        lane.credit = broker.credit;
        lane.abilities = abilities.clone();
        let (coordinator, stop) = (coordinator.clone(), brokers.stop.clone());
        brokers.lanes.spawn(async move {
            if let Err(stopped) = lane::broker::run(coordinator, lane, stop).await {
                tracing::debug!(%stopped, "a broker's lane let go");
            }
        });
    }
    guard.disarm();
    Ok(brokers)
}

/// The name that streams use.
fn folder(model: &Model) -> Option<&str> {
    model.dir.file_name()?.to_str()
}

/// What people who look into a broker see this server as.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map(|name| name.trim().to_owned()).ok().filter(|name| !name.is_empty()).unwrap_or("server".into())
}

async fn start_local(
    config: &Config,
    threads: NonZeroU32,
    models: Vec<Model>,
    coordinator: Coordinator,
) -> anyhow::Result<Local> {
    let runtime = onnx::Runtime::load(config.onnxruntime.as_deref())
        .context("local_workers need ONNX Runtime (--onnxruntime, FRAMELANE_ONNXRUNTIME)")?;
    let task = TaskName::new(Detect::NAME).expect("the task's own name is well formed");
    let processors: BTreeMap<Key, Factory> = models
        .into_iter()
        .map(|model| {
            let key = Key::model(task.clone(), ModelHash(model.hash));
            let runtime = runtime.clone();
            (key, wire::factory(move || Detector::open(&model, &runtime, onnx::Options::default())))
        })
        .collect();
    let lane = lane::local::Config {
        name: "this process".into(),
        worker: LOCAL,
        threads,
        // The next frame waits here while the answer travels to the owner and back.
        credit: threads.saturating_mul(const { NonZeroU32::new(2).expect("2 is not 0") }),
        processors,
    };
    let stop = CancellationToken::new();
    let (joined, ready) = oneshot::channel();
    let running = tokio::spawn(lane::local::run(coordinator, lane, stop.clone(), joined));
    match ready.await {
        Ok(()) => Ok(Local { stop, running }),
        Err(_) => {
            running.await.context("the local workers panicked")?.context("local_workers")?;
            anyhow::bail!("the local workers ended before they began");
        }
    }
}
