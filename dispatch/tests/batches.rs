//! Small hand-outs share streams: how many came together, as a worker sees it.

mod support;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use dispatch::lane::quic::{Batching, Config};
use dispatch::{Admission, Inlet, Link, Outlet, Prepare, Unprepared};
use framelane_dispatch as dispatch;
use queue::{Key, Policy, Seq, TaskName, Verdict};
use support::soon;
use tokio::sync::mpsc;
use wire::{Cbor, Message, Task, Timings};
use wire::{node, server};

struct Repeat;

impl Task for Repeat {
    const NAME: &'static str = "repeat";
    type Job = Cbor<String>;
    type Answer = Cbor<String>;
}

/// Items are sent as they are.
struct Texts;

impl Prepare for Texts {
    type Task = Repeat;
    type Item = String;

    fn prepare(&self, text: &String, _: &Link) -> Result<Cbor<String>, Unprepared> {
        Ok(Cbor(text.clone()))
    }
}

fn key() -> Key {
    Key::task(TaskName::new(Repeat::NAME).expect("a name"))
}

struct Site {
    inlet: Inlet<Texts>,
    outlet: Outlet<Texts>,
    /// How many were sent, and those of them that were not taken yet.
    sent: u64,
    under_way: VecDeque<(Seq, String)>,
    /// The sizes of the events in which jobs came.
    sizes: mpsc::Receiver<usize>,
    /// Lets the worker answer so many jobs.
    answers: mpsc::Sender<usize>,
    _queue: support::Site,
}

/// A queue with one worker that answers what it holds when it is told to.
async fn site(batching: Batching) -> Site {
    let config = Config { batching, ..Config::default() };
    let queue = support::Site::with(dispatch::Config::default(), server::Config::default(), config);
    let (node, jobs) = queue.worker("texts", key(), 1000, &[]).await;
    let (told, sizes) = mpsc::channel(1000);
    let (answers, allowed) = mpsc::channel(1000);
    tokio::spawn(work(node, jobs, told, allowed));
    let (inlet, outlet) =
        queue.coordinator.open(Policy::lossless(), key(), Texts).await.expect("the queue runs");
    Site { inlet, outlet, sent: 0, under_way: VecDeque::new(), sizes, answers, _queue: queue }
}

async fn work(
    _node: node::Node,
    mut jobs: node::Jobs,
    told: mpsc::Sender<usize>,
    mut allowed: mpsc::Receiver<usize>,
) {
    let (mut held, mut left) = (VecDeque::new(), 0);
    loop {
        tokio::select! {
            event = jobs.next() => match event {
                node::Event::Jobs(jobs) => {
                    told.try_send(jobs.len()).expect("fewer events than there is room for");
                    held.extend(jobs);
                }
                node::Event::Closed(_) => return,
                _ => {}
            },
            Some(more) = allowed.recv() => left += more,
        }
        while left > 0
            && let Some(node::Job { message, reply, .. }) = held.pop_front()
        {
            reply.send(Ok(Message { ..message }), Timings::default());
            left -= 1;
        }
    }
}

impl Site {
    async fn send(&mut self, length: usize, count: usize) {
        for _ in 0..count {
            // Each is another text, or answers that were mixed up would not show.
            let text = format!("{:0length$}", self.sent);
            let seq = self.inlet.send(Admission::now(text.clone())).await.expect("admitted");
            assert_eq!(seq.get(), self.sent, "numbers without gaps");
            self.sent += 1;
            self.under_way.push_back((seq, text));
        }
    }

    /// Lets so many be answered and takes them: each in its turn, with its own answer.
    async fn finish(&mut self, count: usize) {
        self.answers.send(count).await.expect("the worker runs");
        for _ in 0..count {
            let done = soon(self.outlet.next()).await;
            let done = done.expect("a place");
            let (seq, text) = self.under_way.pop_front().expect("no more come out than went in");
            assert_eq!((done.seq, &*done.item, done.verdict), (seq, &text, Verdict::Answered));
            assert_eq!(done.answer, Some(Cbor(text)));
        }
    }

    /// Ends the flow: all that went in came out, nothing is left, and its books say the same.
    async fn close(mut self) {
        let count = self.sent;
        assert_eq!(self.under_way, []);
        self.inlet.close();
        let end = soon(self.outlet.next()).await;
        assert!(end.is_none(), "one place too many");
        let books = self.outlet.closing_books().expect("it is over");
        books.balances().expect("the books balance");
        assert_eq!((books.admitted, books.answered, books.held), (count, count, 0));
        assert_eq!((books.parts.asked, books.parts.answered), (count, count));
    }

    /// The sizes of the next events, until they make this sum.
    async fn sizes(&mut self, sum: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < sum {
            let next = soon(self.sizes.recv()).await;
            sizes.push(next.expect("the worker runs"));
        }
        sizes
    }

    /// Sends jobs of this length one by one, until the lane knows what they are like.
    async fn get_used_to(&mut self, length: usize) {
        for _ in 0..50 {
            self.send(length, 1).await;
            self.finish(1).await;
            assert_eq!(self.sizes(1).await, [1]);
        }
    }
}

fn batching(tasks: usize, linger: Duration) -> Batching {
    Batching { tasks: NonZeroUsize::new(tasks).expect("some"), linger }
}

// One thread, so that what is offered in one go is there in one go.
#[tokio::test]
async fn small_ones_that_are_there_together_go_together_up_to_the_bound() {
    let mut site = site(batching(16, Duration::ZERO)).await;
    site.get_used_to(10).await;
    site.send(10, 40).await;
    let sizes = site.sizes(40).await;
    assert!(sizes.iter().all(|size| *size <= 16), "{sizes:?}");
    assert!(sizes.len() <= 10, "40 in few streams: {sizes:?}");
    site.finish(40).await;
    site.close().await;
}

#[tokio::test]
async fn sharing_can_be_turned_off() {
    let mut site = site(batching(1, Duration::ZERO)).await;
    site.get_used_to(10).await;
    site.send(10, 20).await;
    assert_eq!(site.sizes(20).await, [1; 20]);
    site.finish(20).await;
    site.close().await;
}

#[tokio::test]
async fn a_batch_that_lingers_is_sent_when_its_time_is_over_or_it_is_full() {
    let linger = Duration::from_millis(50);
    let mut site = site(batching(8, linger)).await;
    site.get_used_to(10).await;
    site.send(10, 8).await;
    assert_eq!(site.sizes(8).await, [8], "full");
    let begun = tokio::time::Instant::now();
    site.send(10, 3).await;
    assert_eq!(site.sizes(3).await, [3], "partial");
    assert!(begun.elapsed() >= linger, "it waited for more");
    site.finish(11).await;
    site.close().await;
}
