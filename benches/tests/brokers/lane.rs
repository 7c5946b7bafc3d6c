//! The lane, with workers of the kit behind the broker.

use std::num::NonZeroU32;
use std::time::Duration;

use framelane_bench::brokers::Broker;
use framelane_bench::tally::Tally;
use framelane_bench::work::Work;
use queue::{NoLane, Policy, Reason, Verdict};

use crate::support::{CREDIT, finish, item, offer, server, take, threads, until, worker};

const QUICK: Duration = Duration::from_micros(200);

pub(crate) async fn answers_come_in_order_and_the_books_balance(broker: &mut Broker) {
    let workers = ["a", "b"].map(|name| worker(broker, name, QUICK));
    let server = server(broker, "gate");
    let (inlet, outlet) = server.open(Policy::lossless()).await;
    let offering = offer(inlet, 1000);
    finish(outlet, Tally::default(), 1000).await;
    offering.await.expect("all was offered");
    let lanes = server.coordinator.lanes().await.expect("it runs");
    assert_eq!(lanes.len(), 1);
    assert_eq!((lanes[0].outstanding, lanes[0].failed, lanes[0].stale), (0, 0, 0), "nothing was done twice");
    server.stop().await;
    let mut answered = 0;
    for worker in workers {
        let here = worker.stop().await.counts().answered;
        assert!(here > 0, "both work");
        answered += here;
    }
    assert_eq!(answered, 1000);
}

pub(crate) async fn a_broker_that_is_killed_and_comes_back_loses_nothing(broker: &mut Broker) {
    let workers = ["a", "b"].map(|name| worker(broker, name, QUICK));
    let server = server(broker, "gate");
    // A broker's end is no job's fault, so none may be charged an attempt.
    let policy = Policy { attempts: Some(NonZeroU32::MIN), ..Policy::lossless() };
    let (inlet, mut outlet) = server.open(policy).await;
    let offering = offer(inlet, 3000);
    let mut tally = Tally::default();
    for at in [500, 1500] {
        take(&mut outlet, &mut tally, at).await;
        broker.kill().await.expect("it is killed");
        server.until(|lanes| lanes.is_empty()).await;
        broker.start_again().await.expect("it comes back");
    }
    finish(outlet, tally, 3000).await;
    offering.await.expect("all was offered");
    server.stop().await;
    for worker in workers {
        worker.stop().await;
    }
}

pub(crate) async fn while_the_broker_is_away_another_lane_serves(broker: &mut Broker) {
    let remote = worker(broker, "a", QUICK);
    let server = server(broker, "gate");
    server.until_served().await;
    let (inlet, mut outlet) = server.open(Policy::lossless()).await;
    let offering = offer(inlet, 2000);
    let mut tally = Tally::default();
    take(&mut outlet, &mut tally, 200).await;
    broker.kill().await.expect("it is killed");
    server.until(|lanes| lanes.is_empty()).await;

    let here = threads(&server).await;
    take(&mut outlet, &mut tally, 1000).await;

    broker.start_again().await.expect("it comes back");
    server.until_served().await;
    here.stop().await.expect("it ends well");
    finish(outlet, tally, 2000).await;
    offering.await.expect("all was offered");
    assert!(remote.stop().await.counts().answered > 0);
    server.stop().await;
}

pub(crate) async fn without_workers_nothing_is_handed_out(broker: &mut Broker) {
    let server = server(broker, "gate");
    server.until(|lanes| lanes.len() == 1).await;
    let passing = Policy { no_lane: NoLane::Pass, ..Policy::lossless() };
    let (mut inlet, mut outlet) = server.open(passing).await;
    inlet.send(item(0)).await.unwrap_or_else(|_| panic!("there is room"));
    let passed = outlet.next().await.expect("a place");
    assert_eq!(passed.verdict, Verdict::Missing(Reason::NoLane));

    let only = worker(broker, "a", QUICK);
    server.until_served().await;
    inlet.send(item(1)).await.unwrap_or_else(|_| panic!("there is room"));
    assert_eq!(outlet.next().await.expect("a place").verdict, Verdict::Answered);

    // What waits for a worker that goes comes back.
    only.stop().await;
    server.until(|lanes| lanes.iter().all(|lane| lane.keys.is_empty())).await;
    inlet.send(item(2)).await.unwrap_or_else(|_| panic!("there is room"));
    assert_eq!(outlet.next().await.expect("a place").verdict, Verdict::Missing(Reason::NoLane));
    server.stop().await;
}

pub(crate) async fn a_worker_that_stops_finishes_what_it_holds(broker: &mut Broker) {
    let service = Duration::from_millis(20);
    let (first, second) = (worker(broker, "a", service), worker(broker, "b", service));
    let server = server(broker, "gate");
    // What is redelivered is charged, and nothing may be.
    let policy = Policy { attempts: Some(NonZeroU32::MIN), ..Policy::lossless() };
    let (inlet, mut outlet) = server.open(policy).await;
    let offering = offer(inlet, 100);
    let mut tally = Tally::default();
    take(&mut outlet, &mut tally, 20).await;
    first.stop().await;
    finish(outlet, tally, 100).await;
    offering.await.expect("all was offered");
    server.stop().await;
    second.stop().await;
}

/// Only on Redis: it can lose everything and stay connected.
pub(crate) async fn a_redis_that_is_emptied_is_set_up_again(broker: &mut Broker) {
    let workers = ["a", "b"].map(|name| worker(broker, name, QUICK));
    let server = server(broker, "gate");
    let (inlet, mut outlet) = server.open(Policy::lossless()).await;
    let offering = offer(inlet, 2000);
    let mut tally = Tally::default();
    for at in [300, 900] {
        take(&mut outlet, &mut tally, at).await;
        broker.redis(&["FLUSHALL"]).await.expect("it does");
    }
    finish(outlet, tally, 2000).await;
    offering.await.expect("all was offered");
    server.stop().await;
    for worker in workers {
        worker.stop().await;
    }
}

/// Only on Redis: RabbitMQ gives nothing back.
pub(crate) async fn cancelled_work_leaves_the_stream(broker: &mut Broker) {
    let slow = worker(broker, "a", Duration::from_millis(300));
    let server = server(broker, "gate");
    server.until_served().await;
    let (mut inlet, outlet) = server.open(Policy::lossless()).await;
    for number in 0..CREDIT.get().into() {
        inlet.send(item(number)).await.unwrap_or_else(|_| panic!("there is room"));
    }
    let stream = format!("framelane:jobs:{}", Work::key());
    until_there_are(broker, &stream, CREDIT.get()).await;
    server.coordinator.abort(outlet.flow()).await.expect("it runs");
    until_there_are(broker, &stream, 0).await;
    // What the worker has already it may finish: those answers are stale, and harm nobody.
    server.until(|lanes| lanes.iter().all(|lane| lane.outstanding == 0)).await;
    let (inlet, outlet) = server.open(Policy::lossless()).await;
    let offering = offer(inlet, 2);
    finish(outlet, Tally::default(), 2).await;
    offering.await.expect("all was offered");
    server.stop().await;
    slow.stop().await;
}

/// Waits until a stream has so many entries.
async fn until_there_are(broker: &Broker, stream: &str, entries: u32) {
    until(async || {
        let there = broker.redis(&["XLEN", stream]).await.expect("it does");
        (there != entries.to_string()).then(|| format!("{stream} has {there} entries, and not {entries}"))
    })
    .await;
}
