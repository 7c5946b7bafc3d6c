//! Second hand-outs beside slow ones, over real QUIC: the first answer counts, the other worker is told, lets go
//! and has its credit back, and nothing comes twice.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dispatch::lane::View;
use dispatch::{Admission, Inlet, Link, Outlet, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::{Hedge, Key, Policy, Share, TaskName, Ticket, Verdict, WorkerId};
use support::soon;
use wire::node::{self, Event, Jobs, Node, Reply, ReplyError};
use wire::server;
use wire::{Message, Task, Timings};

/// Short enough to share a stream with others.
const SHORT: usize = 64;
/// Long enough for a stream of its own, and for shared memory where that is had.
const LONG: usize = 32 << 10;

struct Look;

impl Task for Look {
    const NAME: &'static str = "look";
    type Job = Bytes;
    type Answer = Bytes;
}

/// Of each worker whether bodies had been measured on its connection when it was last given a job: those that lie
/// in shared memory are not.
type Measured = Arc<Mutex<BTreeMap<WorkerId, bool>>>;

struct Looks(Measured);

impl Prepare for Looks {
    type Task = Look;
    type Item = Bytes;

    fn prepare(&self, body: &Bytes, link: &Link) -> Result<Bytes, Unprepared> {
        if let Link::Remote { worker, bytes_per_s, .. } = link {
            let mut measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            measured.insert(*worker, bytes_per_s.is_some());
        }
        Ok(body.clone())
    }
}

fn key() -> Key {
    Key::task(TaskName::new(Look::NAME).expect("a name"))
}

/// A queue that workers can join, and a flow.
struct Site {
    queue: support::Site,
    inlet: Inlet<Looks>,
    outlet: Outlet<Looks>,
    length: usize,
    offered: u64,
    measured: Measured,
}

impl Site {
    /// With bodies of this length, and memory for so many of them.
    async fn new(hedge: Hedge, length: usize, in_memory: u64) -> Site {
        let shared_memory = in_memory * length as u64;
        let config = server::Config { shared_memory, ..server::Config::default() };
        let queue = support::Site::with(dispatch::Config::default(), config, lane::quic::Config::default());
        let policy = Policy { hedge: Some(hedge), ..Policy::lossless() };
        let measured = Measured::default();
        let opened = queue.coordinator.open(policy, key(), Looks(Arc::clone(&measured))).await;
        let (inlet, outlet) = opened.expect("the queue runs");
        Site { queue, inlet, outlet, length, offered: 0, measured }
    }

    async fn worker(&self, name: &str, credit: u32) -> Worker {
        let (node, jobs) = self.queue.worker(name, key(), credit, &[]).await;
        Worker { name: name.to_owned(), node, jobs }
    }

    async fn lane(&self, worker: &Worker) -> View {
        let lanes = self.queue.lanes().await;
        lanes.into_iter().find(|lane| lane.worker == worker.id()).expect("it is connected")
    }

    /// Waits until a worker has all its credit back.
    async fn idle(&self, worker: &Worker) {
        let id = worker.id();
        let idle = |lanes: &[View]| lanes.iter().any(|lane| lane.worker == id && lane.outstanding == 0);
        self.queue.until("its credit is back", idle).await;
    }

    /// Offers the next item.
    async fn offer(&mut self) -> u64 {
        let number = self.offered;
        self.offered += 1;
        let mut body = number.to_be_bytes().to_vec();
        body.resize(self.length, 7);
        self.inlet.send(Admission::now(body.into())).await.expect("admitted");
        number
    }

    /// The next place must be this one, with the answer of one of these workers.
    async fn take(&mut self, number: u64, from: &[&Worker]) {
        let done = soon(self.outlet.next()).await.expect("a place");
        assert_eq!((done.seq.get(), done.verdict), (number, Verdict::Answered));
        let answer = done.answer.expect("answered");
        assert!(from.iter().any(|worker| answer == worker.answer(number)), "{number}: {answer:?}");
    }

    fn is_measured(&self, worker: &Worker) -> bool {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)[&worker.id()]
    }

    /// Teaches the queue how long a job takes and how long its body is, with one worker alone.
    async fn learn(&mut self, worker: &mut Worker, jobs: u64) {
        for _ in 0..jobs {
            let number = self.offer().await;
            let (_, reply) = worker.job(number).await;
            worker.give(number, reply);
            self.take(number, &[worker]).await;
        }
    }

    /// Ends the flow: the books must say that each item left once, answered.
    async fn end(self) -> queue::Books {
        let Site { inlet, mut outlet, offered, .. } = self;
        inlet.close();
        assert!(soon(outlet.next()).await.is_none(), "something came twice");
        let books = *outlet.closing_books().expect("closed");
        books.balances().expect("the books balance");
        assert_eq!((books.admitted, books.answered, books.held), (offered, offered, 0));
        assert_eq!((books.parts.asked, books.parts.answered), (offered, offered));
        books
    }
}

/// A worker whose jobs come to the test.
struct Worker {
    name: String,
    node: Node,
    jobs: Jobs,
}

impl Worker {
    fn id(&self) -> WorkerId {
        self.node.worker()
    }

    /// Waits for this job, which must be the next thing that comes.
    async fn job(&mut self, number: u64) -> (Ticket, Reply) {
        match soon(self.jobs.next()).await {
            Event::Jobs(mut jobs) if jobs.len() == 1 => {
                let node::Job { ticket, message, reply, .. } = jobs.remove(0);
                assert_eq!(message.body[..8], number.to_be_bytes(), "{} waits for {number}", self.name);
                (ticket, reply)
            }
            other => panic!("{} waits for job {number}, and there is {other:?}", self.name),
        }
    }

    fn answer(&self, number: u64) -> Bytes {
        format!("{number} by {}", self.name).into()
    }

    fn message(&self, number: u64) -> Message {
        wire::encode(self.answer(number)).expect("bytes are bytes")
    }

    fn give(&self, number: u64, reply: Reply) {
        reply.send(Ok(self.message(number)), Timings::default());
    }
}

/// The slowest tenth, and a fifth more hand-outs.
fn tenth() -> Hedge {
    Hedge::slowest_percent(10).expect("a percentage")
}

/// Two workers. The slow one has more room and so gets what comes next, and was not slow until now.
async fn race(hedge: Hedge, length: usize, in_memory: u64) -> (Site, Worker, Worker) {
    let mut site = Site::new(hedge, length, in_memory).await;
    let mut slow = site.worker("slow", 3).await;
    site.learn(&mut slow, 10).await;
    let quick = site.worker("quick", 1).await;
    (site, quick, slow)
}

/// One item: the slow worker has it, the quick one gets it too and answers first. Gives what the slow one holds.
async fn overtaken(site: &mut Site, quick: &mut Worker, slow: &mut Worker) -> (u64, Reply) {
    let number = site.offer().await;
    let (first, reply) = slow.job(number).await;
    let (second, answer) = quick.job(number).await;
    assert_eq!((first.seq, first.attempt + 1), (second.seq, second.attempt), "one part, handed out twice");
    quick.give(number, answer);
    site.take(number, &[quick]).await;
    match soon(slow.jobs.next()).await {
        Event::Cancel(ticket) => assert_eq!(ticket, first),
        other => panic!("it is not told: {other:?}"),
    }
    (number, reply)
}

#[tokio::test]
async fn the_second_worker_wins_and_the_slow_one_is_told_and_its_late_answer_is_nobodys() {
    for length in [SHORT, LONG] {
        let (mut site, mut quick, mut slow) = race(tenth(), length, 0).await;
        let (number, reply) = overtaken(&mut site, &mut quick, &mut slow).await;
        let before = site.lane(&slow).await;
        assert_eq!((before.outstanding, before.label.shared_memory), (1, false), "it has not let go");
        let late = soon(reply.answer(Ok(slow.message(number)), Timings::default())).await;
        // A stream that carries others is not stopped for one: the answer travels, and is dropped at the other end.
        assert_eq!(late, if length == LONG { Err(ReplyError::Unwanted) } else { Ok(()) });
        site.idle(&slow).await;
        let after = site.lane(&slow).await;
        assert_eq!((after.answered, after.failed), (number, 0), "losing a race is no failure");
        let books = site.queue.coordinator.books(site.outlet.flow()).await.expect("the queue runs");
        let parts = books.expect("its books").parts;
        assert_eq!((parts.hedged, parts.hedges_won, parts.rescued), (1, 1, 0));

        // Its credit is good for all that it was.
        let mut held = Vec::new();
        for _ in 0..2 {
            let number = site.offer().await;
            held.push((number, slow.job(number).await.1));
        }
        for (number, reply) in held {
            slow.give(number, reply);
            site.take(number, &[&slow, &quick]).await;
        }
        site.end().await;
    }
}

/// Answers that are sent before the other end can know of the first one.
#[tokio::test]
async fn of_two_answers_that_cross_one_counts_and_both_workers_have_their_credit_back() {
    const ROUNDS: u64 = 40;
    const ALL: Share = Share::percent(100).expect("a percentage");
    // Every job is slow, and each earns a second hand-out.
    let every = Hedge { slowest: ALL, extra: ALL };
    for length in [SHORT, LONG] {
        let (mut site, mut quick, mut slow) = race(every, length, 0).await;
        for round in 0..ROUNDS {
            let number = site.offer().await;
            let (_, first) = slow.job(number).await;
            let (_, second) = quick.job(number).await;
            let mut answers = [(&slow, first), (&quick, second)];
            if round % 2 == 0 {
                answers.reverse();
            }
            for (worker, reply) in answers {
                worker.give(number, reply);
            }
            site.take(number, &[&quick, &slow]).await;
            // The next one would find a worker that is not told yet.
            site.idle(&slow).await;
            site.idle(&quick).await;
        }
        let counted = site.lane(&quick).await.answered + site.lane(&slow).await.answered;
        let books = site.end().await;
        assert_eq!(counted, books.answered, "each was counted for one worker");
        assert_eq!(books.parts.hedged, ROUNDS);
    }
}

/// There is memory for one body: the second is sent another way for as long as the first lies there.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_memory_of_a_body_that_was_cancelled_is_free_once_its_worker_has_let_go() {
    let (mut site, mut quick, mut slow) = race(tenth(), LONG, 1).await;
    assert!(site.lane(&slow).await.label.shared_memory);
    // A hedge is earned by every fifth.
    for _ in 0..2 {
        let (_, reply) = overtaken(&mut site, &mut quick, &mut slow).await;
        drop(reply);
        site.idle(&slow).await;
        assert!(!site.is_measured(&slow), "a body has taken another way");
    }
    let number = site.offer().await;
    let (_, kept) = slow.job(number).await;
    assert!(!site.is_measured(&slow), "the memory of the cancelled ones did not come back");

    // As long as it is kept, another one finds none, which is seen by the third.
    let mut others = Vec::new();
    for _ in 0..2 {
        let before = site.lane(&slow).await.answered;
        let number = site.offer().await;
        let (_, reply) = slow.job(number).await;
        slow.give(number, reply);
        others.push(number);
        let counted =
            |lanes: &[View]| lanes.iter().any(|lane| lane.worker == slow.id() && lane.answered == before + 1);
        site.queue.until("it is answered", counted).await;
    }
    assert!(site.is_measured(&slow), "there was memory for more than one");
    slow.give(number, kept);
    for number in [number].into_iter().chain(others) {
        site.take(number, &[&slow, &quick]).await;
    }
    site.end().await;
}
