//! The two ends of `wire::broker` against each other: what is redelivered, late, dead or broken.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framelane_bench::brokers::Broker;
use framelane_bench::work::Work;
use queue::{FlowId, Seq, Ticket};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use wire::bare::lapin::options::{QueueDeleteOptions, QueuePurgeOptions};
use wire::broker::Error;
use wire::broker::node::{self, Counts};
use wire::broker::server::{self, Event, Events, Missing, NotPlaced, Sender};
use wire::framing::Limits;
use wire::{Message, Timings};

use crate::support::until;
use crate::trouble::fill;

fn ticket(seq: u64) -> Ticket {
    Ticket { flow: FlowId(1), seq: Seq(seq), part: 0, attempt: 1 }
}

fn job(seq: u64, budget_left: Option<Duration>) -> server::Job {
    let message = Message { head: vec![0xf6].into(), body: vec![7; 10].into() };
    server::Job { ticket: ticket(seq), key: Work::key(), budget_left, message }
}

async fn connect(broker: &Broker) -> (Sender, Events) {
    let config = server::Config {
        server: "gate: 1".into(),
        keys: vec![Work::key()],
        credit: 8,
        limits: Limits::default(),
        before: None,
    };
    server::connect(&broker.url(), config).await.expect("the broker is there")
}

fn config(name: &str) -> node::Config {
    const CREDIT: NonZeroU32 = NonZeroU32::new(8).expect("8 is not 0");
    node::Config {
        dead_after: Duration::from_millis(500),
        ..node::Config::new(name, vec![Work::key()], CREDIT)
    }
}

/// Serves until `stop`, answering at once; what it was given is put down in `got`.
async fn serve(broker: &Broker, stop: &CancellationToken, got: Arc<Mutex<Vec<Ticket>>>) -> Counts {
    let config = config("good");
    let take = |jobs: Vec<node::Job>| {
        for job in jobs {
            got.lock().expect("no panic").push(job.ticket);
            job.reply.send(Ok(job.message), Timings::default());
        }
    };
    node::serve(&broker.url(), &config, || {}, take, stop).await.expect("the broker is there")
}

async fn answers(events: &mut Events, count: usize) -> Vec<server::Answer> {
    let mut answers = Vec::new();
    while answers.len() < count {
        if let Event::Answers(more) = events.next().await.expect("the broker is there") {
            answers.extend(more);
        }
    }
    answers
}

pub(crate) async fn what_a_dead_worker_held_is_told_to_be_gone(broker: &mut Broker) {
    let (sender, mut events) = connect(broker).await;
    sender.send((0..3).map(|seq| job(seq, None)).collect()).await.expect("it is there");
    // One takes them and dies: its connections end without a word.
    let held = Arc::new(Mutex::new(Vec::new()));
    let (doomed, keep, url) = (config("doomed"), Arc::clone(&held), broker.url());
    let dying = tokio::spawn(async move {
        let take = |jobs: Vec<node::Job>| keep.lock().expect("no panic").extend(jobs);
        let never = CancellationToken::new();
        node::serve(&url, &doomed, || {}, take, &never).await
    });
    until(async || {
        let has = held.lock().expect("no panic").len();
        (has < 3).then(|| format!("it has {has} of 3"))
    })
    .await;
    // It lives for longer than a dead one would be waited for: nobody takes its work away.
    let (stop, got) = (CancellationToken::new(), Arc::default());
    let serving = serve(broker, &stop, Arc::clone(&got));
    tokio::pin!(serving);
    tokio::select! {
        () = sleep(Duration::from_millis(1200)) => {}
        _ = &mut serving => unreachable!("it was not stopped"),
    }
    dying.abort();
    let told = async {
        let told = answers(&mut events, 3).await;
        stop.cancel();
        told
    };
    let (told, counts) = tokio::join!(told, serving);
    let mut gone: Vec<u64> = told.iter().map(|answer| answer.ticket.seq.get()).collect();
    gone.sort_unstable();
    assert_eq!(gone, [0, 1, 2]);
    assert!(told.iter().all(|answer| answer.result == Err(Missing::Gone)), "{told:?}");
    assert_eq!((counts.redelivered, counts.taken), (3, 0), "it was not worked on");
    assert!(got.lock().expect("no panic").is_empty());
    // Dropping a job answers, and there is nobody any more to send it.
    held.lock().expect("no panic").clear();
    sender.leave().await;
}

pub(crate) async fn late_jobs_are_dropped(broker: &mut Broker) {
    let (sender, mut events) = connect(broker).await;
    let jobs =
        vec![job(0, Some(Duration::from_millis(50))), job(1, Some(Duration::from_secs(60))), job(2, None)];
    sender.send(jobs).await.expect("it is there");
    sleep(Duration::from_millis(100)).await;
    let (stop, got) = (CancellationToken::new(), Arc::default());
    let told = async {
        let told = answers(&mut events, 2).await;
        stop.cancel();
        told
    };
    let (told, counts) = tokio::join!(told, serve(broker, &stop, Arc::clone(&got)));
    assert!(told.iter().all(|answer| answer.result.is_ok()));
    assert_eq!(*got.lock().expect("no panic"), [ticket(1), ticket(2)], "{counts:?}");
    sender.leave().await;
}

pub(crate) async fn jobs_of_a_session_that_is_over_are_dropped(broker: &mut Broker) {
    let (dead, dead_events) = connect(broker).await;
    dead.send((0..3).map(|seq| job(seq, None)).collect()).await.expect("it is there");
    dead.leave().await;
    drop((dead, dead_events));
    // The one that comes after it counts its tickets alike.
    let (sender, mut events) = connect(broker).await;
    sender.send(vec![job(0, None)]).await.expect("it is there");
    let (stop, got) = (CancellationToken::new(), Arc::default());
    let told = async {
        let told = answers(&mut events, 1).await;
        stop.cancel();
        told
    };
    let (told, counts) = tokio::join!(told, serve(broker, &stop, Arc::clone(&got)));
    assert_eq!(told.len(), 1);
    assert_eq!((counts.dead, counts.taken), (3, 1));
    sender.leave().await;
}

pub(crate) async fn what_cannot_be_read_is_dropped(broker: &mut Broker) {
    let (sender, mut events) = connect(broker).await;
    broker.put_in(&Work::key(), b"not a job").await.expect("it is put there");
    sender.send(vec![job(5, None)]).await.expect("it is there");
    let (stop, got) = (CancellationToken::new(), Arc::default());
    let told = async {
        let told = answers(&mut events, 1).await;
        stop.cancel();
        told
    };
    let (told, counts) = tokio::join!(told, serve(broker, &stop, Arc::clone(&got)));
    assert_eq!(told[0].ticket, ticket(5));
    assert_eq!((counts.unreadable, counts.taken), (1, 1));
    sender.leave().await;
}

/// Only on RabbitMQ: the jobs' queue ends the worker's session and the next job of the server; the queue for answers
/// ends its server's.
pub(crate) async fn a_queue_that_is_deleted_ends_both_sessions(broker: &mut Broker) {
    let (connection, channel) = broker.rabbitmq().await.expect("it is there");
    let jobs = format!("framelane.jobs.{}", Work::key());
    let (sender, mut events) = connect(broker).await;
    let (config, never) = (config("good"), CancellationToken::new());
    let (url, (ready, is_ready)) = (broker.url(), tokio::sync::oneshot::channel());
    let ready = move || {
        let _ = ready.send(());
    };
    let serving = node::serve(&url, &config, ready, |_| {}, &never);
    let deleting = async {
        is_ready.await.expect("it serves");
        channel.queue_delete(jobs.into(), QueueDeleteOptions::default()).await.expect("it was there");
    };
    let (served, ()) = tokio::join!(serving, deleting);
    assert!(matches!(served, Err(Error::Forgotten { .. })), "{served:?}");
    let sent = sender.send(vec![job(0, None)]).await;
    assert!(matches!(sent, Err(Error::Forgotten { .. })), "{sent:?}");
    // The server's end looks after the queue of jobs too.
    let heard = events.next().await;
    assert!(matches!(heard, Err(Error::Lost { .. })), "{heard:?}");

    let (sender, mut events) = connect(broker).await;
    let delete = channel.queue_delete(sender.address().into(), QueueDeleteOptions::default());
    delete.await.expect("it was there");
    let heard = loop {
        match events.next().await {
            Ok(Event::Served(_)) => {}
            heard => break heard,
        }
    };
    assert!(matches!(heard, Err(Error::Forgotten { .. })), "{heard:?}");
    connection.close(200, "done".into()).await.expect("it is closed");
}

/// Only on RabbitMQ.
pub(crate) async fn a_full_queue_says_so_and_takes_more_later(broker: &mut Broker) {
    let (sender, mut events) = connect(broker).await;
    fill(broker).await;
    let placed = sender.send(vec![job(0, None), job(1, None)]).await.expect("it is there");
    let full: Vec<_> = placed.iter().map(|placed| placed.place.as_ref().err()).collect();
    assert_eq!(full, [Some(&NotPlaced::Full); 2]);
    let (connection, channel) = broker.rabbitmq().await.expect("it is there");
    let jobs = format!("framelane.jobs.{}", Work::key());
    channel.queue_purge(jobs.into(), QueuePurgeOptions::default()).await.expect("it does");
    connection.close(200, "done".into()).await.expect("it is closed");
    let placed = sender.send(vec![job(2, None)]).await.expect("it is there");
    assert!(placed[0].place.is_ok(), "{placed:?}");
    let (stop, got) = (CancellationToken::new(), Arc::default());
    let told = async {
        let told = answers(&mut events, 1).await;
        stop.cancel();
        told
    };
    let (told, _) = tokio::join!(told, serve(broker, &stop, Arc::clone(&got)));
    assert_eq!(told[0].ticket, ticket(2));
    sender.leave().await;
}
