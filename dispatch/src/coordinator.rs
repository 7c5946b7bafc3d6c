//! The handle to the queue: opens flows, lets lanes join, reads the books.

use std::sync::Arc;
use std::time::Duration;

use queue::{Books, FlowId, Key, Policy, WorkerId};
use tokio::sync::{mpsc, oneshot};

use crate::Stopped;
use crate::command::Command;
use crate::dump::Dump;
use crate::flow::{Inlet, Outlet};
use crate::inbox::Inbox;
use crate::lane::{Join, LastWord, Orders, Reporter, View};
use crate::owner::Owner;
use crate::prepare::{Kind, Prepare};
use crate::relay;

/// How many requests may wait for the owner. Each flow keeps two of these places for its own end
/// and each lane one, so this also bounds flows and lanes together, to about a thousand.
const COMMANDS: usize = 4096;

/// How many places the outlet of a flow without a budget takes at once: few beside what such a flow holds.
const TOGETHER: usize = 256;

/// A handle to the queue. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    commands: mpsc::Sender<Command>,
}

/// What the owner saw at one moment.
pub struct Snapshot {
    /// The books of the flows that were asked for, in that order; none for one whose outlet is gone.
    pub books: Vec<Option<Books>>,
    /// Every lane.
    pub lanes: Vec<View>,
}

/// How a queue works.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Its limits.
    pub queue: queue::Config,
    /// For how long after an offer or an answer the driver looks for the next without letting its runtime
    /// sleep, and keeps workers that poll too in [practice](wire::practice). It costs a processor for that long,
    /// and spares what comes next the time that one takes to wake up and to find its memory again. It needs a
    /// runtime of one thread, in which all connections are too: of several threads, the one that is woken would
    /// be another. Default zero.
    pub busy_poll: Duration,
}

impl From<queue::Config> for Config {
    fn from(queue: queue::Config) -> Self {
        Config { queue, ..Config::default() }
    }
}

/// Makes a queue: the handle, and the driver that the caller spawns and that owns everything. The
/// driver ends when the last handle, inlet, outlet and reporter is gone.
pub fn new(config: impl Into<Config>) -> (Coordinator, impl Future<Output = ()> + Send + 'static) {
    let (commands, requests) = mpsc::channel(COMMANDS);
    (Coordinator { commands }, Owner::new(config.into()).run(requests))
}

impl Coordinator {
    /// Opens a flow whose every item is one part with this key.
    pub async fn open<P: Prepare>(
        &self,
        policy: Policy,
        key: Key,
        prepare: P,
    ) -> Result<(Inlet<P>, Outlet<P>), Stopped> {
        let close = self.permit().await?;
        let forget = self.permit().await?;
        // Whoever has a budget waits for each place; who has none wants them to be many.
        let batch = if policy.budget.is_some() { 1 } else { TOGETHER };
        let inbox = Arc::<Inbox>::default();
        let open = |reply| Command::Open { policy, key: key.clone(), inbox: Arc::clone(&inbox), reply };
        let (flow, room) = self.ask(open).await?;
        let inlet = Inlet::new(flow, Kind { key, prepare }, room, inbox, self.commands.clone(), close);
        Ok((inlet, Outlet::new(flow, self.commands.clone(), forget, batch)))
    }

    /// Opens a flow of jobs that are encoded already, each of a key of its own.
    pub async fn relay(&self, policy: Policy) -> Result<(relay::Inlet, relay::Outlet), Stopped> {
        let permits = [self.permit().await?, self.permit().await?];
        let (key, inbox) = (relay::of_any_key(), Arc::default());
        let (flow, room) = self.ask(|reply| Command::Open { policy, key, inbox, reply }).await?;
        Ok(relay::new(flow, room, self.commands.clone(), permits))
    }

    /// Lets a lane join: its orders, and the reporter through which it answers.
    pub async fn join(&self, join: Join) -> Result<(Orders, Reporter), Stopped> {
        // Every hand-out can be followed by its cancel before the lane looks, and by one last word.
        let bound = 2 * join.max_credit as usize + 8;
        let (orders, received) = mpsc::channel(bound);
        let leave = self.permit().await?;
        let Join { worker, label, keys, credit, max_credit, practice } = join;
        let credit = credit.min(max_credit);
        let last_word = Arc::<LastWord>::default();
        let told = Arc::clone(&last_word);
        let join = |reply| {
            let last_word = told;
            Command::Join { worker, label, keys, credit, orders, last_word, practice, reply }
        };
        let lane = self.ask(join).await?;
        Ok((Orders::new(received), Reporter::new(lane, self.commands.clone(), leave, last_word)))
    }

    /// The books of these flows and every lane, all at one moment.
    pub async fn snapshot(&self, flows: Vec<FlowId>) -> Result<Snapshot, Stopped> {
        self.ask(|reply| Command::Snapshot { flows, reply }).await
    }

    /// Every flow and every lane at one moment, for people and their tools.
    pub async fn dump(&self) -> Result<Dump, Stopped> {
        self.ask(|reply| Command::Dump { reply }).await
    }

    /// One flow's books at one moment; none after its outlet is gone.
    pub async fn books(&self, flow: FlowId) -> Result<Option<Books>, Stopped> {
        Ok(self.snapshot(vec![flow]).await?.books.pop().flatten())
    }

    /// Every lane at one moment.
    pub async fn lanes(&self) -> Result<Vec<View>, Stopped> {
        Ok(self.snapshot(Vec::new()).await?.lanes)
    }

    /// Drops what a flow still holds, counting it as cancelled; its outlet then gives none.
    pub async fn abort(&self, flow: FlowId) -> Result<(), Stopped> {
        self.commands.send(Command::Abort { flow }).await.map_err(|_| Stopped)
    }

    /// Whether a lane serves this key now.
    pub async fn serves(&self, key: Key) -> Result<bool, Stopped> {
        self.ask(|reply| Command::Serves { key, reply }).await
    }

    /// Lets a worker finish what it holds and gives it nothing more. False if no such worker.
    pub async fn drain(&self, worker: WorkerId) -> Result<bool, Stopped> {
        self.ask(|reply| Command::DrainWorker { worker, reply }).await
    }

    async fn permit(&self) -> Result<mpsc::OwnedPermit<Command>, Stopped> {
        self.commands.clone().reserve_owned().await.map_err(|_| Stopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
