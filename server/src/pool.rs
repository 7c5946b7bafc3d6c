//! The workers: those that dial in over QUIC, and threads of this process.

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
        let local = match NonZeroU32::new(config.local_workers) {
            Some(threads) => Some(start_local(config, threads, models, coordinator.clone()).await?),
            None => None,
        };
        let quic = listener.local_addr();
        let lanes = lane::quic::Config { max_credit, ..Default::default() };
        let accepting = tokio::spawn(lane::quic::accept(coordinator.clone(), Arc::clone(&listener), lanes));
        Ok(Pool { listener, quic, accepting, local })
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
        if let Some(local) = self.local {
            local.stop.cancel();
            let _ = local.running.await;
        }
    }
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
