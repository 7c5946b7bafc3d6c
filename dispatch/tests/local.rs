//! Lanes of threads in this process.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use dispatch::{Admission, Coordinator, Link, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::{Key, Policy, TaskName, WorkerId};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::{BoxError, Cbor, Processor, Task, Unprocessed};

/// A lane that hangs fails the test instead.
const WITHIN: Duration = Duration::from_secs(20);

struct Double;

impl Task for Double {
    const NAME: &'static str = "double";
    type Job = Cbor<u32>;
    type Answer = Cbor<u32>;
}

impl Processor for Double {
    type Task = Double;

    fn process(&mut self, Cbor(number): Cbor<u32>) -> Result<Cbor<u32>, Unprocessed> {
        Ok(Cbor(2 * number))
    }
}

struct Numbers;

impl Prepare for Numbers {
    type Task = Double;
    type Item = u32;

    fn prepare(&self, item: &u32, _: &Link) -> Result<Cbor<u32>, Unprepared> {
        Ok(Cbor(*item))
    }
}

fn key() -> Key {
    Key::task(TaskName::new(Double::NAME).expect("a name"))
}

fn coordinator() -> Coordinator {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
    tokio::spawn(driver);
    coordinator
}

async fn threads(
    coordinator: &Coordinator,
    threads: u32,
) -> (JoinHandle<Result<(), lane::local::Error>>, CancellationToken) {
    let config = lane::local::Config {
        name: "threads".into(),
        worker: WorkerId(0),
        threads: NonZeroU32::new(threads).expect("some"),
        credit: NonZeroU32::new(64).expect("64 is not 0"),
        processors: BTreeMap::from([(key(), wire::factory(|| Ok::<_, BoxError>(Double)))]),
    };
    let (joined, ready) = oneshot::channel();
    let stop = CancellationToken::new();
    let running = tokio::spawn(lane::local::run(coordinator.clone(), config, stop.clone(), joined));
    ready.await.expect("the threads joined");
    (running, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn short_tasks_are_done_in_order_by_several_threads() {
    let coordinator = coordinator();
    let (_running, _stop) = threads(&coordinator, 3).await;
    let (mut inlet, mut outlet) =
        coordinator.open(Policy::lossless(), key(), Numbers).await.expect("the queue runs");
    let offering = tokio::spawn(async move {
        for number in 0..5000 {
            let seq = inlet.send(Admission::now(number)).await.expect("admitted");
            assert_eq!(seq.get(), u64::from(number), "an inlet knows the number ahead");
        }
    });
    for number in 0..5000 {
        let done = outlet.next().await.expect("a place");
        assert_eq!((done.seq.get(), done.answer), (u64::from(number), Some(Cbor(2 * number))));
    }
    offering.await.expect("all were offered");
    assert!(outlet.next().await.is_none());
    let books = outlet.closing_books().expect("the flow came to its end");
    assert_eq!((books.admitted, books.answered), (5000, 5000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_place_finds_the_room_that_it_left() {
    let coordinator = coordinator();
    let (_running, _stop) = threads(&coordinator, 1).await;
    let one = NonZeroUsize::MIN;
    let policy = Policy { pending: one, held: one, ..Policy::lossless() };
    let (mut inlet, mut outlet) = coordinator.open(policy, key(), Numbers).await.expect("the queue runs");
    let turns = tokio::spawn(async move {
        for number in 0..5000 {
            inlet.offer(Admission::now(number)).await.expect("room");
            assert!(inlet.offer(Admission::now(number)).await.is_err(), "room for one");
            outlet.next().await.expect("a place");
        }
    });
    turns.await.expect("room in every turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_thread_ends_when_the_lane_is_drained() {
    let coordinator = coordinator();
    let (running, stop) = threads(&coordinator, 4).await;
    stop.cancel();
    let ended = tokio::time::timeout(WITHIN, running).await.expect("the lane ends by itself");
    ended.expect("no panic").expect("no error");
    assert!(coordinator.lanes().await.expect("the queue runs").is_empty());
}
