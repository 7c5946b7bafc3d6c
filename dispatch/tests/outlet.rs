//! What stands beside a flow's own ends: groups with a timed flush, an even rate, and the dump of everything.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use dispatch::{Admission, Coordinator, Link, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use futures_util::FutureExt;
use queue::{Policy, WorkerId};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wire::{BoxError, Cbor, Processor, Task, Unprocessed};

const WITHIN: Duration = Duration::from_secs(20);

struct Same;

impl Task for Same {
    const NAME: &'static str = "same";
    type Job = Cbor<u32>;
    type Answer = Cbor<u32>;
}

impl Processor for Same {
    type Task = Same;

    fn process(&mut self, job: Cbor<u32>) -> Result<Cbor<u32>, Unprocessed> {
        Ok(job)
    }
}

struct Numbers;

impl Prepare for Numbers {
    type Task = Same;
    type Item = u32;

    fn prepare(&self, item: &u32, _: &Link) -> Result<Cbor<u32>, Unprepared> {
        Ok(Cbor(*item))
    }
}

/// A queue with a thread that works for it until the guard is dropped.
async fn start() -> (Coordinator, tokio_util::sync::DropGuard) {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
    tokio::spawn(driver);
    let config = lane::local::Config {
        name: "threads".into(),
        worker: WorkerId(7),
        threads: NonZeroU32::MIN,
        credit: NonZeroU32::new(16).expect("16 is not 0"),
        processors: [(Same::key().expect("a name"), wire::factory(|| Ok::<_, BoxError>(Same)))].into(),
    };
    let (joined, ready) = tokio::sync::oneshot::channel();
    let stop = CancellationToken::new();
    tokio::spawn(lane::local::run(coordinator.clone(), config, stop.clone(), joined));
    ready.await.expect("the thread joined");
    (coordinator, stop.drop_guard())
}

fn some(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("not 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_full_or_flushed_in_time_and_keep_the_order() {
    let (coordinator, _threads) = start().await;
    let key = Same::key().expect("a name");
    let (mut inlet, outlet) = coordinator.open(Policy::lossless(), key, Numbers).await.expect("it runs");
    let mut batches = outlet.batched(some(64)).in_batches(some(10), Duration::from_millis(50));
    for number in 0..25 {
        inlet.send(Admission::now(number)).await.expect("admitted");
    }
    let mut numbers = Vec::new();
    // The last five are fewer than a group, and come all the same.
    while numbers.len() < 25 {
        let group = timeout(WITHIN, batches.next()).await.expect("in time").expect("the flow is open");
        assert!((1..=10).contains(&group.len()));
        numbers.extend(group.iter().map(|done| *done.item));
    }
    assert_eq!(numbers, (0..25).collect::<Vec<_>>());
    inlet.send(Admission::now(25)).await.expect("admitted");
    inlet.close();
    let last = timeout(WITHIN, batches.next()).await.expect("in time").expect("a group of one");
    assert_eq!(last.len(), 1);
    assert!(batches.next().await.is_none());
    batches.outlet().closing_books().expect("it is over").balances().expect("the books balance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_given_up_loses_no_place() {
    let (coordinator, _threads) = start().await;
    let key = Same::key().expect("a name");
    let (mut inlet, mut outlet) = coordinator.open(Policy::lossless(), key, Numbers).await.expect("it runs");
    let offering = tokio::spawn(async move {
        for number in 0..500 {
            inlet.send(Admission::now(number)).await.expect("admitted");
            tokio::task::yield_now().await;
        }
    });
    let (mut next, mut given_up) = (0, 0);
    while next < 500 {
        // Polled once and dropped, mostly after it asked and before the answer came.
        match outlet.next().now_or_never() {
            None => {
                given_up += 1;
                tokio::task::yield_now().await;
            }
            Some(done) => {
                assert_eq!(done.expect("a place").seq.get(), next);
                next += 1;
            }
        }
    }
    assert!(given_up > 0, "no wait was given up, so nothing was tried");
    offering.await.expect("all were offered");
    assert!(outlet.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paced_inlet_sends_at_its_rate() {
    let (coordinator, _threads) = start().await;
    let key = Same::key().expect("a name");
    let (inlet, mut outlet) = coordinator.open(Policy::lossless(), key, Numbers).await.expect("it runs");
    let mut inlet = inlet.paced(Duration::from_millis(4));
    let begun = Instant::now();
    for number in 0..51 {
        inlet.send(Admission::now(number)).await.expect("admitted");
    }
    let took = begun.elapsed();
    // Fifty waits of 4 ms; what a late timer is allowed to catch up is no more than one of them.
    assert!(took >= Duration::from_millis(190), "{took:?}");
    inlet.close();
    let mut count = 0;
    while outlet.next().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dump_tells_of_every_flow_and_every_lane() {
    let (coordinator, _threads) = start().await;
    let key = Same::key().expect("a name");
    let (mut inlet, mut outlet) =
        coordinator.open(Policy::lossless(), key.clone(), Numbers).await.expect("it runs");
    let (_idle, _outlet) = coordinator.open(Policy::lossless(), key, Numbers).await.expect("it runs");
    for number in 0..3 {
        inlet.send(Admission::now(number)).await.expect("admitted");
    }
    outlet.next().await.expect("a place");
    inlet.close();
    let dump = serde_json::to_value(coordinator.dump().await.expect("the queue runs")).expect("JSON");
    let flows = dump["flows"].as_array().expect("flows");
    assert_eq!(flows.len(), 2);
    assert_eq!((&flows[0]["key"], &flows[0]["books"]["admitted"]), (&"same".into(), &3.into()));
    assert_eq!(flows[1]["books"]["admitted"], 0);
    let lane = &dump["lanes"][0];
    assert_eq!(
        (&lane["name"], &lane["kind"], &lane["credit"]),
        (&"threads".into(), &"local".into(), &16.into())
    );
    assert_eq!(lane["keys"][0], serde_json::json!({"key": "same", "warm": true}));
    // The other two may be with the thread still.
    let done = lane["answered"].as_u64().expect("a number") + lane["outstanding"].as_u64().expect("a number");
    assert!((1..=3).contains(&done), "{lane}");
}
