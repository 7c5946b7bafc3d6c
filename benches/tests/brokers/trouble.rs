//! Brokers and workers that stand still, queues that people delete, a broker that is full, one that comes back with
//! what it had.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use framelane_bench::brokers::{Broker, MORTAL};
use framelane_bench::child::Child;
use framelane_bench::tally::Tally;
use framelane_bench::work::{Ask, Work};
use nix::sys::signal::Signal;
use queue::{LaneId, Policy};
use wire::bare::lapin::options::{
    BasicConsumeOptions, BasicQosOptions, QueueDeleteOptions, QueuePurgeOptions,
};

use crate::support::{CREDIT, finish, offer, server, take, threads, until, worker};

const QUICK: Duration = Duration::from_micros(200);
/// What a queue of RabbitMQ takes.
const QUEUE: u64 = 100_000;

fn jobs() -> String {
    format!("framelane.jobs.{}", Work::key())
}

/// Only on a Redis that keeps its data: its old streams, groups, jobs and addresses are there again.
pub(crate) async fn a_redis_that_comes_back_with_old_jobs_loses_nothing(broker: &mut Broker) {
    let workers = ["a", "b"].map(|name| worker(broker, name, Duration::from_millis(2)));
    let server = server(broker, "gate");
    let policy = Policy { attempts: Some(NonZeroU32::MIN), ..Policy::lossless() };
    let (inlet, mut outlet) = server.open(policy).await;
    let offering = offer(inlet, 1500);
    let mut tally = Tally::default();
    for at in [300, 700] {
        take(&mut outlet, &mut tally, at).await;
        broker.redis(&["SET", "kept", &at.to_string()]).await.expect("it does");
        broker.kill().await.expect("it is killed");
        server.until(|lanes| lanes.is_empty()).await;
        broker.start_again().await.expect("it comes back");
        assert_eq!(broker.redis(&["GET", "kept"]).await.expect("it does"), at.to_string());
    }
    finish(outlet, tally, 1500).await;
    offering.await.expect("all was offered");
    server.stop().await;
    // What the dead sessions had there is dropped in the end.
    let stream = format!("framelane:jobs:{}", Work::key());
    until(async || {
        let left = broker.redis(&["XLEN", &stream]).await.expect("it does");
        (left != "0").then(|| format!("{left} jobs are left"))
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }
}

pub(crate) async fn what_a_paused_worker_held_is_done_by_another_and_its_late_answers_are_dropped(
    broker: &mut Broker,
) {
    let url = broker.address();
    let args = ["worker", "--broker", &url, "--name", "paused", "--service-ms", "50", "--credit", "8"];
    let paused = Child::start_by(&MORTAL, "framelane-bench", args, "error").expect("it starts");
    let server = server(broker, "gate");
    server.until_served().await;
    let (inlet, mut outlet) = server.open(Policy::lossless()).await;
    let offering = offer(inlet, 300);
    let mut tally = Tally::default();
    take(&mut outlet, &mut tally, 10).await;
    paused.signal(Signal::SIGSTOP).expect("it is paused");
    let other = worker(broker, "other", QUICK);
    // It had some of these, and is heard by the broker no more.
    take(&mut outlet, &mut tally, 200).await;
    let charged = |lanes: &[dispatch::lane::View]| lanes.iter().map(|lane| lane.failed).sum::<u64>();
    server.until(|lanes| charged(lanes) > 0).await;
    paused.signal(Signal::SIGCONT).expect("it goes on");
    // It finishes what it holds, and says so, before it ends.
    assert!(paused.end().await.expect("it ends").success());
    finish(outlet, tally, 300).await;
    offering.await.expect("all was offered");
    assert!(other.stop().await.counts().answered > 0);
    server.stop().await;
}

pub(crate) async fn a_broker_that_stands_still_is_left_and_comes_back(broker: &mut Broker) {
    let workers = ["a", "b"].map(|name| worker(broker, name, QUICK));
    let server = server(broker, "gate");
    server.until_served().await;
    let (inlet, mut outlet) = server.open(Policy::lossless()).await;
    let offering = offer(inlet, 2000);
    let mut tally = Tally::default();
    take(&mut outlet, &mut tally, 200).await;
    broker.signal(Signal::SIGSTOP).expect("it stands still");
    // All connections are there, and nothing comes.
    server.until(|lanes| lanes.is_empty()).await;
    let here = threads(&server).await;
    take(&mut outlet, &mut tally, 1000).await;
    broker.signal(Signal::SIGCONT).expect("it goes on");
    server.until_served().await;
    here.stop().await.expect("it ends well");
    finish(outlet, tally, 2000).await;
    offering.await.expect("all was offered");
    server.stop().await;
    for worker in workers {
        worker.stop().await;
    }
}

/// Only on RabbitMQ. What lay in the queue is lost while all connections stand, so something must end the wait.
pub(crate) async fn a_queue_that_is_deleted_is_made_again(broker: &mut Broker) {
    let workers = ["a", "b"].map(|name| worker(broker, name, QUICK));
    let server = server(broker, "gate");
    let policy = Policy { answer_within: Some(Duration::from_secs(2)), ..Policy::lossless() };
    let (inlet, mut outlet) = server.open(policy).await;
    let offering = offer(inlet, 2000);
    let mut tally = Tally::default();
    let (connection, channel) = broker.rabbitmq().await.expect("it is there");
    for at in [300, 900] {
        take(&mut outlet, &mut tally, at).await;
        channel.queue_delete(jobs().into(), QueueDeleteOptions::default()).await.expect("it was there");
    }
    finish(outlet, tally, 2000).await;
    offering.await.expect("all was offered");
    connection.close(200, "done".into()).await.expect("it is closed");
    server.stop().await;
    for worker in workers {
        worker.stop().await;
    }
}

/// Fills the queue of jobs with what nobody can read.
pub(crate) async fn fill(broker: &Broker) {
    let (connection, channel) = broker.rabbitmq().await.expect("it is there");
    while broker.jobs(&Work::key()).await.expect("it counts") < QUEUE {
        for _ in 0..10_000 {
            let publish =
                channel.basic_publish("".into(), jobs().into(), Default::default(), b"x", Default::default());
            drop(publish.await.expect("it is sent"));
        }
    }
    connection.close(200, "done".into()).await.expect("it is closed");
}

/// Only on RabbitMQ: a Redis is full when its memory is.
pub(crate) async fn while_a_queue_is_full_jobs_wait_and_are_charged_nothing(broker: &mut Broker) {
    let server = server(broker, "gate");
    server.until(|lanes| lanes.len() == 1).await;
    fill(broker).await;
    // Somebody who takes one and no more: so the key is served.
    let (connection, channel) = broker.rabbitmq().await.expect("it is there");
    channel.basic_qos(1, BasicQosOptions::default()).await.expect("it does");
    let consume =
        channel.basic_consume(jobs().into(), "".into(), BasicConsumeOptions::default(), Default::default());
    let _one = consume.await.expect("it does");
    fill(broker).await;
    server.until_served().await;
    let handed_out = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handed_out);
    let ask = Ask {
        handed_out: Some(Arc::new(move |_: u64, _: LaneId, _: u64| {
            count.fetch_add(1, Ordering::Relaxed);
        })),
    };
    let policy = Policy { attempts: Some(NonZeroU32::MIN), ..Policy::lossless() };
    let (inlet, outlet) = server.open_with(policy, ask).await;
    let offering = offer(inlet, 100);
    // Each is refused and tried again.
    let many = 5 * u64::from(CREDIT.get());
    until(async || {
        let tries = handed_out.load(Ordering::Relaxed);
        (tries < many).then(|| format!("there were {tries} tries"))
    })
    .await;
    channel.queue_purge(jobs().into(), QueuePurgeOptions::default()).await.expect("it does");
    let worker = worker(broker, "a", QUICK);
    connection.close(200, "done".into()).await.expect("it is closed");
    finish(outlet, Tally::default(), 100).await;
    offering.await.expect("all was offered");
    server.stop().await;
    worker.stop().await;
}
