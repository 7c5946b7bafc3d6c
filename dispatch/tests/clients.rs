//! Clients push tasks over QUIC to a coordinator, which hands them to workers over QUIC and to threads of its
//! own: order, fair shares, back-pressure, cancels, and the deaths of each of the three.

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use dispatch::{client, lane};
use framelane_dispatch as dispatch;
use queue::{Key, TaskName, WorkerId};
use support::soon;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::client::{Client, Id, Raw, RawAnswers, Unanswered, Wishes};
use wire::identity::{Identity, Role, Token};
use wire::node::{Event, Node};
use wire::server::{self, Clients};
use wire::{BoxError, Cbor, Message, Processor, Task, Timings, Unprocessed};

struct Double;

impl Task for Double {
    const NAME: &'static str = "double";
    type Job = Cbor<u64>;
    type Answer = Cbor<u64>;
}

impl Processor for Double {
    type Task = Self;

    fn process(&mut self, Cbor(number): Cbor<u64>) -> Result<Cbor<u64>, Unprocessed> {
        match number {
            13 => Err(Unprocessed::Bad("13 is unlucky".into())),
            14 => Err(Unprocessed::Failed("14 never works".into())),
            _ => Ok(Cbor(2 * number)),
        }
    }
}

fn key() -> Key {
    Key::task(TaskName::new(Double::NAME).expect("a name"))
}

struct Site {
    queue: support::Site,
}

impl Site {
    async fn new(clients: Clients) -> Site {
        let config = server::Config { clients: Some(clients), ..server::Config::default() };
        let queue = support::Site::with(dispatch::Config::default(), config, lane::quic::Config::default());
        let (accepting, opening) = (queue.listener.clone(), queue.coordinator.clone());
        tokio::spawn(async move {
            while let Some((caller, submits, replies)) = accepting.accept_client().await {
                let (opened, _) = oneshot::channel();
                let config = client::Config::default();
                tokio::spawn(client::run(opening.clone(), caller, submits, replies, config, opened));
            }
        });
        Site { queue }
    }

    async fn client(&self, config: wire::client::Config) -> (Raw, RawAnswers) {
        let token = self.queue.token(Role::Client);
        let identity =
            Identity::enrol_as(Role::Client, &self.queue.addr, &token, "client").await.expect("enrolled");
        soon(wire::client::connect(&self.queue.addr, identity, config)).await.expect("connected")
    }

    async fn worker(&self, credit: u32) -> (Node, mpsc::Receiver<Event>) {
        worker(self.queue.addr.clone(), self.queue.token(Role::Worker), credit).await
    }

    /// A worker that does its work.
    async fn busy(&self) -> (Node, JoinHandle<u64>) {
        let (node, mut events) = self.worker(64).await;
        let mut double = wire::erase(Double);
        let working = tokio::spawn(async move {
            let mut done = 0;
            while let Some(event) = events.recv().await {
                if let Event::Jobs(jobs) = event {
                    for job in jobs {
                        job.reply.send(double.process(job.message), Timings::default());
                        done += 1;
                    }
                }
            }
            done
        });
        (node, working)
    }

    /// Threads of the coordinator itself.
    async fn threads(&self, threads: u32) -> CancellationToken {
        let stop = CancellationToken::new();
        let (joined, has_joined) = oneshot::channel();
        let config = lane::local::Config {
            name: "here".into(),
            worker: WorkerId(0),
            threads: NonZeroU32::new(threads).expect("some"),
            credit: NonZeroU32::new(4 * threads).expect("some"),
            processors: [(key(), wire::factory(|| Ok::<_, BoxError>(Double)))].into(),
        };
        tokio::spawn(lane::local::run(self.queue.coordinator.clone(), config, stop.clone(), joined));
        soon(has_joined).await.expect("joined");
        stop
    }

    async fn until(&self, what: &str, holds: impl Fn(&dispatch::dump::Dump) -> bool) {
        let look = async {
            loop {
                let dump = self.queue.coordinator.dump().await.expect("the queue runs");
                if holds(&dump) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), look)
            .await
            .unwrap_or_else(|_| panic!("{what} in time"));
    }
}

/// A worker whose jobs come to the test.
async fn worker(addr: String, token: Token, credit: u32) -> (Node, mpsc::Receiver<Event>) {
    let (node, mut jobs) = support::join(&addr, &token, "worker", key(), credit, &[]).await;
    let (event, events) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let next = jobs.next().await;
            let over = matches!(next, Event::Closed(_));
            if event.send(next).await.is_err() || over {
                return;
            }
        }
    });
    (node, events)
}

fn job(number: u64) -> Message {
    wire::encode(Cbor(number)).expect("a number can be written")
}

fn number(answer: Message) -> u64 {
    wire::decode::<Cbor<u64>>(answer).expect("a number").0
}

fn config() -> wire::client::Config {
    wire::client::Config::new("client")
}

fn once() -> wire::client::Config {
    wire::client::Config { reconnect: false, ..config() }
}

fn tasks(tasks: u32) -> Clients {
    Clients { tasks, ..Clients::default() }
}

/// Pushes numbers and checks that each comes back doubled, in order.
async fn pushes((raw, mut answers): (Raw, RawAnswers), from: u64, count: u64) {
    let pushing = raw.clone();
    let push = async move {
        for n in from..from + count {
            pushing.push(n, &key(), job(n)).await.expect("taken");
        }
    };
    let check = async {
        for n in from..from + count {
            let (id, answer) = soon(answers.next()).await.expect("an answer");
            assert_eq!((id, number(answer.expect("an answer"))), (Id::Number(n), 2 * n));
        }
    };
    tokio::join!(push, check);
    soon(raw.close()).await;
    assert_eq!(soon(answers.next()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_remote_workers_and_local_threads_each_in_its_order() {
    let site = Site::new(tasks(256)).await;
    let (first, second) = (site.busy().await, site.busy().await);
    let stop = site.threads(2).await;
    let mut clients = Vec::new();
    for n in 1..=6_u64 {
        let client = site.client(once()).await;
        clients.push(tokio::spawn(pushes(client, 1000 * n, 500)));
    }
    for client in clients {
        soon(client).await.expect("a client that has all its answers");
    }
    let dump = site.queue.coordinator.dump().await.expect("the queue runs");
    let lanes: Vec<_> = dump.lanes.iter().map(|lane| (lane.kind, lane.answered)).collect();
    assert_eq!(lanes.iter().map(|lane| lane.1).sum::<u64>(), 6 * 500, "{lanes:?}");
    assert!(lanes.iter().all(|lane| lane.1 > 0), "all of them worked: {lanes:?}");
    stop.cancel();
    drop((first, second));
    // A flow whose client has gone leaves nothing behind.
    site.until("all flows are gone", |dump| dump.flows.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_works_itself_for_a_typed_client_and_failures_say_why() {
    let site = Site::new(Clients::default()).await;
    let _stop = site.threads(1).await;
    let (raw, _answers) = site.client(once()).await;
    let client = Client::<Double>::new(raw).expect("a name");
    let first = soon(client.submit(Cbor(4))).await.expect("taken");
    let bad = soon(client.submit(Cbor(13))).await.expect("taken");
    let hopeless = soon(client.submit(Cbor(14))).await.expect("taken");
    assert_eq!(soon(first).await.expect("an answer").0, 8);
    assert_eq!(soon(bad).await, Err(Unanswered::Failed("bad job: 13 is unlucky".into())));
    assert_eq!(soon(hopeless).await, Err(Unanswered::Failed("failed: 14 never works".into())));
    let lanes = site.queue.coordinator.lanes().await.expect("the queue runs");
    assert_eq!(
        (lanes[0].answered, lanes[0].failed),
        (1, 1 + 3),
        "a bad job is tried once, a failed one thrice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_submits_for_ever_against_no_worker_is_held() {
    let site = Site::new(tasks(32)).await;
    let (raw, mut answers) = site.client(once()).await;
    let pushing = raw.clone();
    let (taken, mut counts) = mpsc::channel(10_000);
    let forever = tokio::spawn(async move {
        for n in 100_u64.. {
            if pushing.push(n, &key(), job(n)).await.is_err() || taken.send(n).await.is_err() {
                return;
            }
        }
    });
    site.until("the window is full", |all| all.flows.iter().any(|flow| flow.books.pending == 32)).await;
    // It is held at its window, and so is what the coordinator holds of it.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let dump = site.queue.coordinator.dump().await.expect("the queue runs");
    assert_eq!(dump.flows[0].books.held, 32);
    let mut taken = 0;
    while counts.try_recv().is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 32);
    // A worker comes, and it goes on where it was.
    let _busy = site.busy().await;
    for n in 100..400 {
        assert_eq!(soon(answers.next()).await.expect("an answer").0, Id::Number(n));
    }
    forever.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_future_reaches_the_worker_and_the_others_go_on() {
    let site = Site::new(Clients::default()).await;
    let (_node, mut events) = site.worker(2).await;
    let (raw, _answers) = site.client(once()).await;
    let first = soon(raw.submit(&key(), job(1))).await.expect("taken");
    let Some(Event::Jobs(held)) = soon(events.recv()).await else { panic!("a job") };
    let second = soon(raw.submit(&key(), job(2))).await.expect("taken");
    drop(first);
    let mut seen = (false, None);
    while !(seen.0 && seen.1.is_some()) {
        match soon(events.recv()).await.expect("an event") {
            Event::Cancel(ticket) => {
                assert_eq!(ticket, held[0].ticket);
                seen.0 = true;
            }
            Event::Jobs(mut jobs) => seen.1 = jobs.pop(),
            other => panic!("{other:?}"),
        }
    }
    drop(held);
    let reply = seen.1.expect("seen above").reply;
    reply.send(Ok(job(4)), Timings::default());
    assert_eq!(number(soon(second).await.expect("an answer")), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_leaves_nothing_behind_and_its_tasks_are_cancelled() {
    let site = Site::new(Clients::default()).await;
    let (_node, mut events) = site.worker(4).await;
    let (raw, answers) = site.client(once()).await;
    for n in 1..=10 {
        raw.push(n, &key(), job(n)).await.expect("taken");
    }
    let mut held = Vec::new();
    while held.len() < 4 {
        if let Some(Event::Jobs(jobs)) = soon(events.recv()).await {
            held.extend(jobs);
        }
    }
    drop((raw, answers));
    let mut cancelled = 0;
    while cancelled < 4 {
        match soon(events.recv()).await.expect("an event") {
            Event::Cancel(_) => cancelled += 1,
            Event::Jobs(jobs) => panic!("{} jobs of a dead client", jobs.len()),
            _ => {}
        }
    }
    drop(held);
    site.until("its flow is gone", |all| all.flows.is_empty() && all.lanes[0].outstanding == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_no_matter_to_a_client() {
    let site = Site::new(Clients::default()).await;
    // A runtime of its own, which is gone without a word.
    let doomed =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("one");
    let joining = doomed.spawn(worker(site.queue.addr.clone(), site.queue.token(Role::Worker), 8));
    let (_node, mut events) = joining.await.expect("joined");
    let (raw, mut answers) = site.client(once()).await;
    for n in 100..140 {
        raw.push(n, &key(), job(n)).await.expect("taken");
    }
    let Some(Event::Jobs(_held)) = soon(events.recv()).await else { panic!("a job") };
    doomed.shutdown_background();
    let _other = site.busy().await;
    for n in 100..140 {
        let (id, answer) = soon(answers.next()).await.expect("an answer");
        assert_eq!((id, number(answer.expect("an answer"))), (Id::Number(n), 2 * n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_stops_tells_its_clients_and_answers_what_it_has() {
    let site = Site::new(Clients::default()).await;
    let (_node, mut events) = site.worker(64).await;
    let (raw, mut answers) = site.client(once()).await;
    for n in 1..=3 {
        raw.push(n, &key(), job(n)).await.expect("taken");
    }
    let mut held = Vec::new();
    while held.len() < 3 {
        if let Some(Event::Jobs(jobs)) = soon(events.recv()).await {
            held.extend(jobs);
        }
    }
    let listener = site.queue.listener.clone();
    let draining = tokio::spawn(async move {
        listener.drain_clients(Duration::from_secs(30)).await;
        listener.close().await;
    });
    for held in held {
        held.reply.send(Ok(job(7)), Timings::default());
    }
    let mut answered = 0;
    while let Some((_, answer)) = soon(answers.next()).await {
        assert_eq!(number(answer.expect("what it has is answered")), 7);
        answered += 1;
    }
    assert_eq!(answered, 3);
    soon(draining).await.expect("drained");
    assert!(raw.push(4, &key(), job(4)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answers_holds_nobody_but_itself() {
    let site = Site::new(tasks(64)).await;
    let _busy = site.busy().await;
    let (deaf, _unread) = site.client(once()).await;
    let pushing = deaf.clone();
    let body = Bytes::from(vec![7; 200_000]);
    let stuck = tokio::spawn(async move {
        for n in 0_u64.. {
            // Not a number: it is refused with a text, and the answers pile up all the same.
            let job = Message { head: job(n).head, body: body.clone() };
            if pushing.push(n, &key(), job).await.is_err() {
                return;
            }
        }
    });
    soon(pushes(site.client(once()).await, 100, 300)).await;
    stuck.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_are_heeded_a_budget_and_a_worker_of_its_own() {
    let site = Site::new(Clients::default()).await;
    let _busy = site.busy().await;
    let wishes = Wishes { budget_ms: Some(50), worker: Some(99), ..Wishes::default() };
    let (raw, _answers) = site.client(wire::client::Config { wishes, ..once() }).await;
    let late = soon(raw.submit(&key(), job(1))).await.expect("taken");
    assert_eq!(soon(late).await, Err(Unanswered::Late), "there is no such worker");
}
