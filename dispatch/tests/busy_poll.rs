//! A queue that is to poll keeps its runtime awake after some work, for as long as it was told and no longer.
#![cfg(target_pointer_width = "64")] // tokio counts there.

use std::time::Duration;

use framelane_dispatch::{Admission, Config, Link, Prepare, Unprepared, new};
use queue::{Key, Policy};
use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;
use wire::{Cbor, Task};

struct Nothing;

impl Task for Nothing {
    const NAME: &'static str = "nothing";
    type Job = Cbor<()>;
    type Answer = Cbor<()>;
}

impl Prepare for Nothing {
    type Task = Self;
    type Item = ();

    fn prepare(&self, (): &(), _: &Link) -> Result<Cbor<()>, Unprepared> {
        Ok(Cbor(()))
    }
}

/// How often a runtime of one thread goes to sleep in some milliseconds after an item went through its queue.
fn sleeps(busy_poll: Duration) -> u64 {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (coordinator, driver) = new(Config { busy_poll, ..Config::default() });
        tokio::spawn(driver);
        let key: Key = Nothing::key().expect("a key");
        let (mut inlet, mut outlet) =
            coordinator.open(Policy::lossless(), key, Nothing).await.expect("the queue runs");
        // It passes without being worked on, so it needs no lane.
        inlet.send(Admission { ask: false, ..Admission::now(()) }).await.expect("there is room");
        assert!(outlet.next().await.is_some());
        let so_far = Handle::current().metrics().worker_park_count(0);
        sleep(Duration::from_millis(20)).await;
        Handle::current().metrics().worker_park_count(0) - so_far
    })
}

#[test]
fn it_does_not_sleep_while_it_polls() {
    assert_eq!(sleeps(Duration::from_secs(3600)), 0);
}

#[test]
fn it_sleeps_once_that_is_over_and_where_it_is_not_to_poll() {
    assert!(sleeps(Duration::from_millis(1)) > 0);
    assert!(sleeps(Duration::ZERO) > 0);
}
