//! The shell around the queue: both ends of a flow and a lane, in virtual time.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use dispatch::lane::{HandOut, Join, Label, Order, Orders, Reporter};
use dispatch::{Admission, Coordinator, Inlet, Link, Outlet, Prepare, Refusal, Unprepared};
use framelane_dispatch as dispatch;
use queue::{
    Failure, Key, LaneKey, NoLane, Policy, Reason, Seq, TaskName, Ticket, Verdict, WhenFull, WorkerId,
};
use wire::{Cbor, Task, Timings};

struct Double;

impl Task for Double {
    const NAME: &'static str = "double";
    type Job = Cbor<u32>;
    type Answer = Cbor<u32>;
}

struct Numbers;

impl Prepare for Numbers {
    type Task = Double;
    type Item = u32;

    fn prepare(&self, item: &u32, _: &Link) -> Result<Cbor<u32>, Unprepared> {
        if *item == 13 { Err(Unprepared("unlucky".into())) } else { Ok(Cbor(*item)) }
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

async fn flow(coordinator: &Coordinator, policy: Policy) -> (Inlet<Numbers>, Outlet<Numbers>) {
    coordinator.open(policy, key(), Numbers).await.expect("the queue runs")
}

async fn lane(coordinator: &Coordinator, worker: u64, credit: u32) -> (Orders, Reporter) {
    let label = Label { name: format!("lane {worker}"), kind: "local", remote: None, shared_memory: false };
    let keys = vec![LaneKey { key: key(), warm: true }];
    let join = Join { worker: WorkerId(worker), label, keys, credit, max_credit: 16, practice: None };
    coordinator.join(join).await.expect("the queue runs")
}

async fn hand_out(orders: &mut Orders) -> HandOut {
    loop {
        match orders.recv().await.expect("an order") {
            Order::HandOut(hand_out) => return hand_out,
            Order::Cancel(_) => {}
            Order::Drained | Order::Lost => panic!("the lane ended"),
        }
    }
}

async fn answer(reporter: &Reporter, hand_out: &HandOut) {
    let result = match hand_out.typed() {
        Ok(job) => {
            let Cbor(number) = *job.downcast::<Cbor<u32>>().expect("a job of this task");
            Ok((Box::new(Cbor(2 * number)) as Box<dyn std::any::Any + Send>, Timings::default()))
        }
        Err(_) => Err(Failure::Bad),
    };
    reporter.answered(hand_out.ticket, result).await.expect("the queue runs");
}

fn bounded(pending: usize) -> Policy {
    let bound = NonZeroUsize::new(pending).expect("a bound");
    Policy { pending: bound, held: bound, when_full: WhenFull::Refuse, ..Policy::lossless() }
}

#[tokio::test(start_paused = true)]
async fn places_leave_in_order_whatever_order_answers_come_in() {
    let coordinator = coordinator();
    let (mut inlet, mut outlet) = flow(&coordinator, bounded(8)).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 8).await;
    for number in 0..8 {
        inlet.offer(Admission::now(number)).await.expect("room");
    }
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hand_out(&mut orders).await);
    }
    for hand_out in held.iter().rev() {
        answer(&reporter, hand_out).await;
    }
    for number in 0..8 {
        let done = outlet.next().await.expect("a place");
        assert_eq!((*done.item, done.answer), (number, Some(Cbor(2 * number))));
        let shared = done.item.clone();
        assert_eq!((done.item.unwrap_or_clone(), shared.unwrap_or_clone()), (number, number));
    }
    inlet.close();
    assert!(outlet.next().await.is_none());
    let books = outlet.closing_books().expect("closed");
    assert_eq!((books.admitted, books.answered, books.held), (8, 8, 0));
    books.balances().expect("the books balance");
}

#[tokio::test(start_paused = true)]
async fn a_full_flow_hands_the_item_back_or_waits_for_room() {
    let coordinator = coordinator();
    let (mut inlet, mut outlet) = flow(&coordinator, bounded(1)).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 8).await;
    inlet.offer(Admission::now(1)).await.expect("room");
    let refused = inlet.offer(Admission::now(2)).await.expect_err("full");
    assert_eq!((refused.why, refused.item), (Refusal::Full, 2));
    let waiting = tokio::spawn(async move { inlet.send(Admission::now(3)).await.map(|_| inlet) });
    let first = hand_out(&mut orders).await;
    answer(&reporter, &first).await;
    assert_eq!(*outlet.next().await.expect("a place").item, 1);
    let inlet = waiting.await.expect("no panic").expect("admitted once there was room");
    let second = hand_out(&mut orders).await;
    answer(&reporter, &second).await;
    assert_eq!(*outlet.next().await.expect("a place").item, 3);
    drop(inlet);
    assert!(outlet.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_lane_held_goes_to_another() {
    let coordinator = coordinator();
    let (mut inlet, mut outlet) = flow(&coordinator, bounded(4)).await;
    let (mut dying, last_words) = lane(&coordinator, 1, 4).await;
    for number in 0..4 {
        inlet.offer(Admission::now(number)).await.expect("room");
    }
    for _ in 0..4 {
        hand_out(&mut dying).await;
    }
    drop((dying, last_words));
    let (mut orders, reporter) = lane(&coordinator, 2, 4).await;
    for number in 0..4 {
        let again = hand_out(&mut orders).await;
        answer(&reporter, &again).await;
        let done = outlet.next().await.expect("a place");
        assert_eq!((*done.item, done.verdict), (number, Verdict::Answered));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_stops_reading_is_given_up() {
    let coordinator = coordinator();
    let (mut inlet, mut outlet) = flow(&coordinator, bounded(4)).await;
    let (deaf, _reporter) = lane(&coordinator, 1, 4).await;
    drop(deaf);
    inlet.offer(Admission::now(7)).await.expect("room");
    let (mut orders, reporter) = lane(&coordinator, 2, 4).await;
    let again = hand_out(&mut orders).await;
    answer(&reporter, &again).await;
    assert_eq!(outlet.next().await.expect("a place").answer, Some(Cbor(14)));
    assert_eq!(coordinator.lanes().await.expect("the queue runs").len(), 1);
}

/// The lane's goodbye lies behind more than the owner carries in at a time, so an order for it fails first.
#[tokio::test(start_paused = true)]
async fn a_lane_that_leaves_blaming_nobody_charges_nobody_though_an_order_for_it_fails_first() {
    const BESIDE: usize = 1000;
    let coordinator = coordinator();
    let policy = Policy { attempts: Some(NonZeroU32::MIN), ..bounded(8) };
    let (mut inlet, mut outlet) = flow(&coordinator, policy).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 2).await;
    for number in 0..4 {
        inlet.offer(Admission::now(number)).await.expect("room");
    }
    let held = hand_out(&mut orders).await;
    let nobody = Ticket { seq: Seq(u64::MAX), ..held.ticket };
    // All of it while the owner waits for this thread.
    tokio::task::unconstrained(async {
        answer(&reporter, &held).await;
        for _ in 0..BESIDE {
            reporter.credit(2).await.expect("the queue runs");
        }
        reporter.leave(Some(nobody));
        drop((orders, reporter));
    })
    .await;
    let (mut orders, reporter) = lane(&coordinator, 2, 4).await;
    for number in 0..4 {
        if number > 0 {
            let again = hand_out(&mut orders).await;
            answer(&reporter, &again).await;
        }
        let done = outlet.next().await.expect("a place");
        assert_eq!((*done.item, done.verdict), (number, Verdict::Answered));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_lane_holds_nothing_past_its_budget() {
    let coordinator = coordinator();
    let budget = Duration::from_millis(250);
    let (mut inlet, mut outlet) = flow(&coordinator, Policy::video(budget)).await;
    let (mut orders, _reporter) = lane(&coordinator, 1, 4).await;
    let begin = tokio::time::Instant::now();
    inlet.offer(Admission::now(1)).await.expect("room");
    let held = hand_out(&mut orders).await;
    assert_eq!(held.budget_left(begin.into_std()), Some(budget));
    let done = outlet.next().await.expect("a place");
    assert_eq!(done.verdict, Verdict::Missing(Reason::Late));
    assert!(begin.elapsed() <= budget + Duration::from_millis(2), "{:?}", begin.elapsed());
    assert!(matches!(orders.recv().await, Some(Order::Cancel(ticket)) if ticket == held.ticket));
}

#[tokio::test(start_paused = true)]
async fn video_flows_without_a_lane() {
    let coordinator = coordinator();
    let policy = Policy { no_lane: NoLane::Pass, ..Policy::video(Duration::from_secs(1)) };
    let (mut inlet, mut outlet) = flow(&coordinator, policy).await;
    for number in 0..5 {
        inlet.offer(Admission::now(number)).await.expect("room");
        let done = outlet.next().await.expect("a place");
        assert_eq!((*done.item, done.verdict), (number, Verdict::Missing(Reason::NoLane)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_no_job_can_be_made_of_is_missing_and_harms_no_other() {
    let coordinator = coordinator();
    let policy = Policy { attempts: NonZeroU32::new(3), ..bounded(4) };
    let (mut inlet, mut outlet) = flow(&coordinator, policy).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 1).await;
    for number in [13, 14] {
        inlet.offer(Admission::now(number)).await.expect("room");
    }
    for _ in 0..2 {
        let next = hand_out(&mut orders).await;
        answer(&reporter, &next).await;
    }
    assert_eq!(outlet.next().await.expect("a place").verdict, Verdict::Missing(Reason::Failed));
    assert_eq!(outlet.next().await.expect("a place").answer, Some(Cbor(28)));
}

#[tokio::test(start_paused = true)]
async fn items_that_are_not_asked_keep_their_turn() {
    let coordinator = coordinator();
    let (mut inlet, mut outlet) = flow(&coordinator, bounded(4)).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 4).await;
    inlet.offer(Admission::now(1)).await.expect("room");
    inlet.offer(Admission { ask: false, ..Admission::now(2) }).await.expect("room");
    let first = hand_out(&mut orders).await;
    answer(&reporter, &first).await;
    assert_eq!(outlet.next().await.expect("a place").verdict, Verdict::Answered);
    let second = outlet.next().await.expect("a place");
    assert_eq!((*second.item, second.verdict), (2, Verdict::NotAsked));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_outlet_ends_the_flow_and_frees_the_lane() {
    let coordinator = coordinator();
    let (mut inlet, outlet) = flow(&coordinator, bounded(4)).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 1).await;
    inlet.offer(Admission::now(1)).await.expect("room");
    let held = hand_out(&mut orders).await;
    let id = outlet.flow();
    drop(outlet);
    assert!(matches!(orders.recv().await, Some(Order::Cancel(ticket)) if ticket == held.ticket));
    assert_eq!(inlet.offer(Admission::now(2)).await.expect_err("over").why, Refusal::Closed);
    assert!(coordinator.books(id).await.expect("the queue runs").is_none());
    reporter.released(held.ticket).await.expect("the queue runs");
    let (mut other, mut other_end) = flow(&coordinator, bounded(4)).await;
    other.offer(Admission::now(5)).await.expect("room");
    let next = hand_out(&mut orders).await;
    answer(&reporter, &next).await;
    assert_eq!(other_end.next().await.expect("a place").answer, Some(Cbor(10)));
}

#[tokio::test(start_paused = true)]
async fn a_drained_lane_finishes_what_it_holds() {
    let coordinator = coordinator();
    let (mut inlet, mut outlet) = flow(&coordinator, bounded(4)).await;
    let (mut orders, reporter) = lane(&coordinator, 1, 1).await;
    inlet.offer(Admission::now(1)).await.expect("room");
    inlet.offer(Admission::now(2)).await.expect("room");
    let held = hand_out(&mut orders).await;
    assert!(coordinator.drain(WorkerId(1)).await.expect("the queue runs"));
    answer(&reporter, &held).await;
    assert!(matches!(orders.recv().await, Some(Order::Drained)));
    assert_eq!(outlet.next().await.expect("a place").answer, Some(Cbor(2)));
    let (mut orders, reporter) = lane(&coordinator, 2, 1).await;
    let next = hand_out(&mut orders).await;
    answer(&reporter, &next).await;
    assert_eq!(outlet.next().await.expect("a place").answer, Some(Cbor(4)));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stopped_with_items_on_their_way_says_so() {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
    let driver = tokio::spawn(driver);
    let (mut inlet, _outlet) = flow(&coordinator, Policy::lossless()).await;
    // The driver has no turn before it is ended, so this lies where the owner would have found it.
    inlet.send(Admission::now(1)).await.expect("there is room");
    driver.abort();
    assert!(driver.await.expect_err("it was ended").is_cancelled());
    assert!(inlet.source(queue::SourceCounts::default()).await.is_err(), "nobody will adopt them");
    let refused = inlet.send(Admission::now(2)).await.expect_err("nobody will take it");
    assert_eq!((refused.item, refused.why), (2, Refusal::Stopped));
}
