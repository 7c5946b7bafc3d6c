//! A queue with a lane to a broker, and workers behind it, in this process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dispatch::{Admission, Coordinator, Inlet, Outlet, lane};
use framelane_bench::brokers::Broker;
use framelane_bench::tally::{Seen, Tally};
use framelane_bench::work::{Answer, Ask, Item, Job, Work, body, reply};
use queue::{LaneKey, Policy, WorkerId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use wire::{Processor, Unprocessed};
use worker::{Host, Registry, host};

/// Far more than any of this takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(WITHIN, work).await.expect("it ends in time")
}

/// How long anything may take to show, while others wait for it.
const IN_TIME: Duration = Duration::from_secs(40);

/// Waits until `look` gives nothing any more. What it gives meanwhile says what is waited for. For what nobody tells.
pub(crate) async fn until(mut look: impl AsyncFnMut() -> Option<String>) {
    let begun = Instant::now();
    while let Some(still) = look().await {
        assert!(begun.elapsed() < IN_TIME, "after {IN_TIME:?} {still}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// How long a job takes.
pub(crate) struct Worker {
    pub(crate) service: Duration,
}

impl Processor for Worker {
    type Task = Work;

    fn process(&mut self, job: Job) -> Result<Answer, Unprocessed> {
        std::thread::sleep(self.service);
        Ok(Answer { number: job.number, service_us: 0, body: reply(&job.body) })
    }
}

pub(crate) fn registry(service: Duration) -> Registry {
    let mut registry = Registry::new();
    let make = move || Ok::<_, Infallible>(Worker { service });
    registry.serve(Work::key(), make).expect("one key");
    registry
}

/// Something that runs until it is told to stop.
pub(crate) struct Running<T> {
    stop: CancellationToken,
    task: JoinHandle<T>,
}

impl<T: Send + 'static> Running<T> {
    pub(crate) fn start<F: Future<Output = T> + Send + 'static>(
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(run(stop.clone())), stop }
    }

    pub(crate) async fn stop(self) -> T {
        self.stop.cancel();
        self.task.await.expect("it does not panic")
    }
}

/// A worker with one thread behind the broker.
pub(crate) fn worker(broker: &Broker, name: &str, service: Duration) -> Running<Arc<Host>> {
    let mut config = worker::broker::Config::new(broker.url(), name);
    config.dead_after = Duration::from_millis(800);
    config.retry_first = Duration::from_millis(20);
    config.retry_most = Duration::from_millis(200);
    let host = Arc::new(Host::start(&registry(service), host::Config::default()).expect("a host"));
    Running::start(move |stop| async move {
        worker::broker::run(&config, Arc::clone(&host), stop).await.expect("it serves");
        host
    })
}

pub(crate) const CREDIT: NonZeroU32 = NonZeroU32::new(16).expect("16 is not 0");

/// A queue with a lane to the broker.
pub(crate) struct Server {
    pub(crate) coordinator: Coordinator,
    lane: Running<Result<(), dispatch::Stopped>>,
}

pub(crate) fn server(broker: &Broker, name: &str) -> Server {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
    tokio::spawn(driver);
    let mut config = lane::broker::Config::new(broker.url(), name, WorkerId(1), vec![Work::key()]);
    config.credit = CREDIT;
    let lane = Running::start(|stop| lane::broker::run(coordinator.clone(), config, stop));
    Server { coordinator, lane }
}

impl Server {
    pub(crate) async fn open(&self, policy: Policy) -> (Inlet<Ask>, Outlet<Ask>) {
        self.open_with(policy, Ask::default()).await
    }

    pub(crate) async fn open_with(&self, policy: Policy, ask: Ask) -> (Inlet<Ask>, Outlet<Ask>) {
        self.coordinator.open(policy, Work::key(), ask).await.expect("it runs")
    }

    /// Waits until lanes are as they should be. Nobody tells when they change.
    pub(crate) async fn until(&self, good: impl Fn(&[lane::View]) -> bool) {
        until(async || {
            let lanes = self.coordinator.lanes().await.expect("it runs");
            (!good(&lanes)).then(|| format!("the lanes are {lanes:?}"))
        })
        .await;
    }

    pub(crate) async fn until_served(&self) {
        self.until(|lanes| lanes.iter().any(|lane| lane.keys == [served()])).await;
    }

    pub(crate) async fn stop(self) {
        self.lane.stop().await.expect("the queue runs");
    }
}

/// A lane of one thread in this process, beside the broker's.
pub(crate) async fn threads(server: &Server) -> Running<Result<(), lane::local::Error>> {
    let config = lane::local::Config {
        name: "here".into(),
        worker: WorkerId(2),
        threads: NonZeroU32::MIN,
        credit: CREDIT,
        processors: BTreeMap::from_iter(registry(Duration::from_micros(200)).into_factories()),
    };
    let (joined, ready) = oneshot::channel();
    let running = Running::start(|stop| lane::local::run(server.coordinator.clone(), config, stop, joined));
    ready.await.expect("it joins");
    running
}

pub(crate) fn served() -> LaneKey {
    LaneKey { key: Work::key(), warm: true }
}

pub(crate) fn item(number: u64) -> Admission<Item> {
    Admission::now(Item { number, body: body(100, number) })
}

/// Offers so many items, telling how many are in; then the flow ends.
pub(crate) fn offer(mut inlet: Inlet<Ask>, count: u64) -> JoinHandle<()> {
    tokio::spawn(async move {
        for number in 0..count {
            inlet.send(item(number)).await.unwrap_or_else(|refused| panic!("item {number}: {}", refused.why));
        }
    })
}

/// Takes what leaves until `at` places are there, or to the end.
pub(crate) async fn take(outlet: &mut Outlet<Ask>, tally: &mut Tally, at: u64) {
    while tally.taken < at
        && let Some(done) = outlet.next().await
    {
        tally.see(&Seen::of(&done));
    }
}

/// Takes the rest; all is answered, in order, once, and the books say so.
pub(crate) async fn finish(mut outlet: Outlet<Ask>, mut tally: Tally, count: u64) {
    take(&mut outlet, &mut tally, u64::MAX).await;
    assert_eq!((tally.answered, tally.taken), (count, count), "missing: {:?}", tally.missing);
    assert_eq!((tally.lost(count), tally.out_of_order, tally.duplicates, tally.wrong), (0, 0, 0, 0));
    let books = outlet.closing_books().expect("the flow is over");
    books.balances().expect("the books balance");
    tally.agrees(books).unwrap_or_else(|error| panic!("{error}"));
}
