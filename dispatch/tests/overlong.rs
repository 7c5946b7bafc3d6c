//! A worker that is heard and never answers, in a flow without a limit: nobody takes its work from it, so somebody
//! must be told. In virtual time.

mod support;

use std::time::Duration;

use dispatch::lane::{HandOut, Join, Label, Order, Orders, Reporter};
use dispatch::{Admission, Coordinator, Inlet, Link, Outlet, Prepare, Unprepared};
use framelane_dispatch as dispatch;
use queue::{Key, LaneKey, Policy, TaskName, WorkerId};
use support::Warnings;
use tokio::time::sleep;
use wire::{Cbor, Task, Timings};

struct Wait;

impl Task for Wait {
    const NAME: &'static str = "wait";
    type Job = Cbor<u32>;
    type Answer = Cbor<u32>;
}

struct Numbers;

impl Prepare for Numbers {
    type Task = Wait;
    type Item = u32;

    fn prepare(&self, item: &u32, _: &Link) -> Result<Cbor<u32>, Unprepared> {
        Ok(Cbor(*item))
    }
}

fn key() -> Key {
    Key::task(TaskName::new(Wait::NAME).expect("a name"))
}

/// A flow, and a lane whose hand-outs the test has.
struct Site {
    coordinator: Coordinator,
    inlet: Inlet<Numbers>,
    outlet: Outlet<Numbers>,
    orders: Orders,
    reporter: Reporter,
}

impl Site {
    async fn new(policy: Policy) -> Site {
        let (coordinator, driver) = dispatch::new(queue::Config::default());
        tokio::spawn(driver);
        let (inlet, outlet) = coordinator.open(policy, key(), Numbers).await.expect("the queue runs");
        let label = Label { name: "attic".into(), kind: "quic", remote: None, shared_memory: false };
        let keys = vec![LaneKey { key: key(), warm: true }];
        let join = Join { worker: WorkerId(9), label, keys, credit: 4, max_credit: 4, practice: None };
        let (orders, reporter) = coordinator.join(join).await.expect("the queue runs");
        Site { coordinator, inlet, outlet, orders, reporter }
    }

    /// Offers items and gives their hand-outs.
    async fn hand_outs(&mut self, count: u32) -> Vec<HandOut> {
        let mut hand_outs = Vec::new();
        for number in 0..count {
            self.inlet.send(Admission::now(number)).await.expect("admitted");
            match self.orders.recv().await.expect("an order") {
                Order::HandOut(hand_out) => hand_outs.push(hand_out),
                _ => panic!("a hand-out comes first"),
            }
        }
        hand_outs
    }

    async fn answer(&mut self, hand_outs: Vec<HandOut>) {
        for hand_out in hand_outs {
            let answer = (Box::new(Cbor(1_u32)) as Box<dyn std::any::Any + Send>, Timings::default());
            self.reporter.answered(hand_out.ticket, Ok(answer)).await.expect("the queue runs");
            assert!(self.outlet.next().await.expect("a place").answer.is_some());
        }
    }

    async fn overlong(&self) -> u64 {
        let dump = self.coordinator.dump().await.expect("the queue runs");
        assert_eq!(dump.lanes.len(), 1);
        dump.lanes[0].overlong
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_named_once_for_all_that_it_holds_with_the_limit_that_would_help() {
    let (warnings, _guard) = Warnings::here();
    let mut site = Site::new(Policy::lossless()).await;
    let held = site.hand_outs(3).await;
    sleep(Duration::from_millis(4900)).await;
    assert_eq!((site.overlong().await, warnings.all().len()), (0, 0), "it may still answer");
    sleep(Duration::from_millis(2200)).await;
    assert_eq!(site.overlong().await, 3);
    let [line] = &warnings.all()[..] else { panic!("one line: {:?}", warnings.all()) };
    for word in ["hand_outs=3 ", "worker=w9 ", "name=\"attic\" ", "key=wait ", "answer_within_ms"] {
        assert!(line.text.contains(word), "{word} is not in {}", line.text);
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!((site.overlong().await, warnings.all().len()), (3, 1), "each once");

    // A key that takes a minute is given many.
    site.answer(held).await;
    let held = site.hand_outs(1).await;
    sleep(Duration::from_secs(3000)).await;
    assert_eq!((site.overlong().await, warnings.all().len()), (3, 1), "usual for this key");
    sleep(Duration::from_secs(400)).await;
    assert_eq!((site.overlong().await, warnings.all().len()), (4, 2));
    site.answer(held).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_a_limit_nothing_is_told() {
    let (warnings, _guard) = Warnings::here();
    let hour = Some(Duration::from_secs(3600));
    for policy in
        [Policy { answer_within: hour, ..Policy::lossless() }, Policy { budget: hour, ..Policy::lossless() }]
    {
        let mut site = Site::new(policy).await;
        let held = site.hand_outs(2).await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!((site.overlong().await, warnings.all()), (0, vec![]));
        site.answer(held).await;
    }
}
