//! Clients and a coordinator that has no queue: what crosses the wire, and what either end is told.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use framelane_wire::client::{self, Client, Id, Raw, RawAnswers, Seat, SubmitError, Unanswered};
use framelane_wire::framing::Limits;
use framelane_wire::identity::{Role, TokenOptions};
use framelane_wire::pushed::NoAnswer;
use framelane_wire::server::{Caller, Clients, Config, Listener, Pushing, Replies, Submits};
use framelane_wire::{Cbor, Closed, Message, Task};
use futures_util::FutureExt;
use queue::Key;
use support::{Site, key, message, soon};

static KEY: std::sync::LazyLock<Key> = std::sync::LazyLock::new(key);

const CLIENTS: Clients =
    Clients { most: 8, tasks: 4, bytes: 0, limits: Limits { head: 1000, body: 200_000 } };

fn config(clients: Clients) -> Config {
    Config { clients: Some(clients), ..Config::default() }
}

async fn join(site: &Site, config: client::Config) -> (Raw, RawAnswers, Caller, Submits, Replies) {
    let token = site.authority.token_for(Role::Client, TokenOptions::default()).unwrap();
    let path = site.dir.path().join(format!("client-{}.pem", token));
    let seat = Seat::new(site.addr(), "c", path).token(Some(token));
    let (connected, accepted) =
        soon(async { tokio::join!(seat.connect(config), site.listener.accept_client()) }).await;
    let ((raw, answers), (caller, submits, replies)) = (connected.unwrap(), accepted.unwrap());
    (raw, answers, caller, submits, replies)
}

fn once() -> client::Config {
    client::Config { reconnect: false, ..client::Config::new("c") }
}

/// So many tasks, however they were put together.
async fn tasks(submits: &mut Submits, count: usize) -> Vec<(Key, Message)> {
    let mut all = Vec::new();
    while all.len() < count {
        match soon(submits.next()).await.unwrap() {
            Pushing::Tasks(key, tasks) => all.extend(tasks.into_iter().map(|task| (key.clone(), task))),
            other => panic!("tasks were expected, not {other:?}"),
        }
    }
    assert_eq!(all.len(), count);
    all
}

#[tokio::test]
async fn tasks_of_all_sizes_arrive_whole_and_in_order_and_so_do_their_answers() {
    let site = Site::new(config(Clients { tasks: 1000, bytes: 1 << 20, ..CLIENTS }));
    let (raw, mut answers, _caller, mut submits, mut replies) = join(&site, once()).await;
    let other = Key::task(queue::TaskName::new("other").unwrap());
    let sizes = [0, 1, 20_000, 3, 200_000, 16_000, 16_000, 0, 5];
    for (n, size) in sizes.into_iter().enumerate() {
        let key = if n % 4 == 3 { &other } else { &KEY };
        raw.push(n as u64, key, message(&n.to_string(), size)).await.unwrap();
    }
    for (n, (about, task)) in tasks(&mut submits, sizes.len()).await.into_iter().enumerate() {
        assert_eq!(
            (&about, &task),
            (if n % 4 == 3 { &other } else { &KEY }, &message(&n.to_string(), sizes[n]))
        );
        soon(replies.send([Ok(task)])).await.unwrap();
    }
    for (n, size) in sizes.into_iter().enumerate() {
        let answer = soon(answers.next()).await.unwrap();
        assert_eq!(answer, (Id::Number(n as u64), Ok(message(&n.to_string(), size))));
    }
}

#[tokio::test]
async fn a_submit_waits_while_the_window_is_full_and_an_answer_makes_room() {
    let site = Site::new(config(CLIENTS));
    let (raw, _answers, _caller, mut submits, mut replies) = join(&site, once()).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(soon(raw.submit(&KEY, message("", 0))).await.unwrap());
    }
    let more = raw.submit(&KEY, message("fifth", 0));
    tokio::pin!(more);
    let arrived = tokio::select! {
        _ = &mut more => panic!("there is no room"),
        arrived = tasks(&mut submits, 4) => arrived,
    };
    soon(replies.send([Ok(arrived[0].1.clone())])).await.unwrap();
    let fifth = soon(more).await.unwrap();
    assert_eq!(tasks(&mut submits, 1).await[0].1, message("fifth", 0));
    soon(replies.send(vec![Ok(Message::default()); 4])).await.unwrap();
    assert_eq!(soon(waiting.remove(0)).await, Ok(message("", 0)));
    assert_eq!(soon(fifth).await, Ok(Message::default()));
}

#[tokio::test]
async fn heavy_tasks_wait_for_bytes() {
    let site = Site::new(config(Clients { tasks: 100, ..CLIENTS }));
    let (raw, _answers, _caller, mut submits, mut replies) = join(&site, once()).await;
    let first = soon(raw.submit(&KEY, message("", 150_000))).await.unwrap();
    let second = raw.submit(&KEY, message("", 150_000));
    tokio::pin!(second);
    tokio::select! {
        _ = &mut second => panic!("there is no room for its bytes"),
        _ = tasks(&mut submits, 1) => {}
    }
    soon(replies.send([Ok(Message::default())])).await.unwrap();
    soon(first).await.unwrap();
    soon(second).await.unwrap().detach();
    tasks(&mut submits, 1).await;
    let long = soon(raw.submit(&KEY, message("", 200_001))).await;
    assert!(matches!(long, Err(SubmitError::TooLong(_))));
}

#[tokio::test]
async fn a_dropped_future_cancels_its_task_and_its_answer_goes_nowhere() {
    let site = Site::new(config(CLIENTS));
    let (raw, _answers, _caller, mut submits, mut replies) = join(&site, once()).await;
    let first = soon(raw.submit(&KEY, message("first", 0))).await.unwrap();
    let second = soon(raw.submit(&KEY, message("second", 0))).await.unwrap();
    tasks(&mut submits, 2).await;
    drop(first);
    assert_eq!(soon(submits.next()).await, Ok(Pushing::Cancel(vec![0])));
    let cancelled = Err((NoAnswer::Cancelled, String::new()));
    soon(replies.send([cancelled, Ok(message("done", 0))])).await.unwrap();
    assert_eq!(soon(second).await, Ok(message("done", 0)));
}

#[tokio::test]
async fn what_has_no_answer_says_why() {
    let site = Site::new(config(CLIENTS));
    let (raw, mut answers, _caller, mut submits, mut replies) = join(&site, once()).await;
    for id in [b"a", b"b", b"c", b"d"] {
        raw.push(Bytes::from_static(id), &KEY, message("", 0)).await.unwrap();
    }
    tasks(&mut submits, 4).await;
    let none = |why| Err((why, String::new()));
    let failed = Err((NoAnswer::Failed, "bad job: é".repeat(500)));
    soon(replies.send([failed, none(NoAnswer::Late), none(NoAnswer::NoLane), Ok(message("", 1))]))
        .await
        .unwrap();
    let got = soon(answers.batch(4, Duration::from_secs(20))).await;
    assert_eq!(got.len(), 4);
    assert!(
        answers.batch(4, Duration::ZERO).now_or_never().is_none(),
        "at least one, however long that takes"
    );
    let Err(Unanswered::Failed(text)) = &got[0].1 else { panic!("{:?}", got[0]) };
    assert!(text.starts_with("bad job: é") && text.len() <= 1024);
    assert_eq!((&got[1].1, &got[2].1), (&Err(Unanswered::Late), &Err(Unanswered::NoLane)));
    assert!(!Unanswered::NoLane.may_have_run() && Unanswered::Late.may_have_run());
    assert_eq!(got[3], (Id::Bytes(Bytes::from_static(b"d")), Ok(message("", 1))));
}

#[tokio::test]
async fn a_closed_client_has_all_its_answers_first() {
    let site = Site::new(config(CLIENTS));
    let (raw, mut answers, caller, mut submits, mut replies) = join(&site, once()).await;
    raw.push(1, &KEY, message("", 0)).await.unwrap();
    let closing = raw.clone();
    let closed = tokio::spawn(async move { closing.close().await });
    tasks(&mut submits, 1).await;
    soon(replies.send([Ok(Message::default())])).await.unwrap();
    // Until the last answer it could still cancel.
    assert_eq!(soon(submits.next()).await, Ok(Pushing::End));
    assert!(matches!(raw.push(2, &KEY, message("", 0)).await, Err(SubmitError::Closed(_))));
    soon(replies.finish()).await;
    assert!(soon(answers.next()).await.unwrap().1.is_ok());
    assert_eq!(soon(answers.next()).await, None);
    soon(closed).await.unwrap();
    assert!(matches!(soon(caller.closed()).await, Closed::There(_)));
}

#[tokio::test]
async fn a_client_that_is_dropped_is_gone() {
    let site = Site::new(config(CLIENTS));
    let (raw, answers, caller, mut submits, _replies) = join(&site, once()).await;
    raw.push(1, &KEY, message("", 0)).await.unwrap();
    tasks(&mut submits, 1).await;
    drop((raw, answers));
    soon(caller.closed()).await;
    assert!(soon(submits.next()).await.is_err());
}

#[tokio::test]
async fn a_coordinator_that_goes_away_tells_what_may_have_run() {
    let site = Site::new(config(CLIENTS));
    let (raw, mut answers, _caller, mut submits, _replies) = join(&site, once()).await;
    for n in 0..2 {
        raw.push(n, &KEY, message("", 0)).await.unwrap();
    }
    let future = soon(raw.submit(&KEY, message("", 0))).await.unwrap();
    tasks(&mut submits, 3).await;
    soon(site.listener.close()).await;
    for n in 0..2 {
        let (id, outcome) = soon(answers.next()).await.unwrap();
        assert_eq!(id, Id::Number(n));
        assert!(matches!(&outcome, Err(lost @ Unanswered::Lost { sent: true, .. }) if lost.may_have_run()));
    }
    assert!(matches!(soon(future).await, Err(Unanswered::Lost { sent: true, .. })));
    assert_eq!(soon(answers.next()).await, None);
    assert!(matches!(raw.submit(&KEY, message("", 0)).await, Err(SubmitError::Closed(_))));
}

#[tokio::test]
async fn a_coordinator_that_drains_answers_what_it_has_and_takes_nothing_more() {
    let site = Site::new(config(CLIENTS));
    let (raw, mut answers, caller, mut submits, mut replies) = join(&site, once()).await;
    raw.push(1, &KEY, message("", 0)).await.unwrap();
    tasks(&mut submits, 1).await;
    let draining = site.listener.drain_clients(Duration::from_secs(20));
    let served = async {
        loop {
            match raw.push(2, &KEY, message("", 0)).await {
                // It has not heard of it, and may be heard.
                Ok(()) => drop(tasks(&mut submits, 1).await),
                Err(SubmitError::Stopping) => break,
                Err(other) => panic!("{other:?}"),
            }
            soon(replies.send([Ok(Message::default())])).await.unwrap();
        }
        soon(replies.send([Ok(Message::default())])).await.unwrap();
        while let Some((_, outcome)) = soon(answers.next()).await {
            outcome.unwrap();
        }
        soon(caller.closed()).await
    };
    let (closed, ()) = soon(async { tokio::join!(served, draining) }).await;
    assert!(matches!(closed, Closed::There(_)), "it left by itself: {closed}");
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_what_was_not_sent_is_sent_there() {
    let site = Site::new(config(CLIENTS));
    let (raw, mut answers, caller, mut submits, replies) = join(&site, client::Config::new("c")).await;
    for n in 0..4 {
        raw.push(n, &KEY, message(&n.to_string(), 0)).await.unwrap();
    }
    tasks(&mut submits, 4).await;
    let addr = site.listener.local_addr();
    caller.close("a test");
    soon(site.listener.close()).await;
    let Site { dir, authority, listener } = site;
    drop((listener, caller, submits, replies));
    for n in 0..4 {
        let (id, outcome) = soon(answers.next()).await.unwrap();
        assert_eq!(id, Id::Number(n));
        assert!(matches!(outcome, Err(Unanswered::Lost { sent: true, .. })));
    }
    // Pushed while there is nobody.
    raw.push(9, &KEY, message("9", 0)).await.unwrap();
    let cancelled = soon(raw.submit(&KEY, message("cancelled", 0))).await.unwrap();
    drop(cancelled);
    raw.push(10, &KEY, message("10", 0)).await.unwrap();
    // QUIC keeps the old socket for a moment.
    let bind = || Listener::bind(addr, authority.clone(), config(CLIENTS));
    let listener = soon(async {
        loop {
            match bind() {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    let (_caller, mut submits, mut replies) = soon(listener.accept_client()).await.unwrap();
    let again = tasks(&mut submits, 2).await;
    assert_eq!([&again[0].1, &again[1].1], [&message("9", 0), &message("10", 0)]);
    soon(replies.send(again.into_iter().map(|(_, task)| Ok(task)))).await.unwrap();
    assert_eq!(soon(answers.next()).await.unwrap(), (Id::Number(9), Ok(message("9", 0))));
    assert_eq!(soon(answers.next()).await.unwrap().0, Id::Number(10));
    drop(dir);
}

struct Halve;

impl Task for Halve {
    const NAME: &'static str = "halve";
    type Job = Cbor<u32>;
    type Answer = Cbor<f64>;
}

#[tokio::test]
async fn a_typed_client_speaks_in_values() {
    let site = Site::new(config(CLIENTS));
    let (raw, answers, _caller, mut submits, mut replies) = join(&site, once()).await;
    let client = Client::<Halve>::new(raw).unwrap();
    let half = soon(client.submit(Cbor(7))).await.unwrap();
    client.push(1, Cbor(8)).await.unwrap();
    let jobs = tasks(&mut submits, 2).await;
    assert_eq!(jobs[0].0, Key::task(queue::TaskName::new("halve").unwrap()));
    assert_eq!(framelane_wire::decode::<Cbor<u32>>(jobs[1].1.clone()).unwrap(), Cbor(8));
    let answer = framelane_wire::encode(Cbor(3.5)).unwrap();
    soon(replies.send([Ok(answer), Ok(message("no number", 0))])).await.unwrap();
    assert_eq!(soon(half).await, Ok(Cbor(3.5)));
    let mut answers = client::Answers::<Halve>::new(answers);
    assert!(matches!(soon(answers.next()).await.unwrap(), (Id::Number(1), Err(Unanswered::Unreadable(_)))));
}

#[tokio::test]
async fn two_clients_share_an_identity_and_a_file_is_enrolled_once() {
    let site = Site::new(config(CLIENTS));
    let options = TokenOptions { uses: NonZeroU32::MIN, ..TokenOptions::default() };
    let token = site.authority.token_for(Role::Client, options).unwrap();
    let seat = Seat::new(site.addr(), "c", site.dir.path().join("client.pem")).token(Some(token));
    let (first, _answers) = soon(seat.connect(once())).await.unwrap();
    let (second, _answers) = soon(seat.connect(once())).await.unwrap();
    assert_eq!(first.client(), second.client());
}
