//! Workers as processes that die or are stopped without a word, beside the queue that they work for.
#![cfg(unix)]

mod support;

use std::num::NonZeroU32;
use std::process::{Child, Command};
use std::time::Duration;

use dispatch::lane::View;
use dispatch::{Admission, Inlet, Link, Outlet, Prepare, Unprepared};
use framelane_dispatch as dispatch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use queue::{Key, Policy, TaskName, Verdict, WorkerId};
use support::soon;
use wire::identity::{Identity, Role};
use wire::node::{self, Hello, HelloKey};
use wire::{Cbor, Task, Timings};

const SERVER: &str = "FRAMELANE_TEST_SERVER";
const TOKEN: &str = "FRAMELANE_TEST_TOKEN";
/// Milliseconds that the worker takes for each job.
const TAKES: &str = "FRAMELANE_TEST_TAKES";

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

    fn prepare(&self, number: &u32, _: &Link) -> Result<Cbor<u32>, Unprepared> {
        Ok(Cbor(*number))
    }
}

fn key() -> Key {
    Key::task(TaskName::new(Wait::NAME).expect("a name"))
}

/// Answers each job with itself after some time.
#[tokio::test]
#[ignore = "the workers' process of the tests below"]
async fn worker() {
    let env = |name| std::env::var(name).expect("set by the test that starts this");
    let (server, takes) = (env(SERVER), Duration::from_millis(env(TAKES).parse().expect("a number")));
    let token = env(TOKEN).parse().expect("a token");
    let identity = Identity::enrol(&server, &token, "worker").await.expect("enrolled");
    let keys = vec![HelloKey { key: key(), warm: true }];
    let hello = Hello { name: "worker".into(), keys, credit: 4, capabilities: Vec::new() };
    let (_node, mut jobs) =
        node::connect(&server, &identity, hello, node::Config::default()).await.expect("joined");
    loop {
        match jobs.next().await {
            node::Event::Jobs(jobs) => jobs.into_iter().for_each(|job| {
                tokio::spawn(async move {
                    tokio::time::sleep(takes).await;
                    job.reply.send(Ok(job.message), Timings::default());
                });
            }),
            node::Event::Closed(_) => return,
            _ => {}
        }
    }
}

struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().expect("a process id"));
        kill(pid, signal).expect("the signal is sent");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A queue that workers can join, and a flow that gives each item one attempt.
struct Site {
    queue: support::Site,
    inlet: Inlet<Numbers>,
    outlet: Outlet<Numbers>,
}

impl Site {
    async fn new() -> Site {
        let queue = support::Site::new();
        let policy = Policy { attempts: NonZeroU32::new(1), ..Policy::lossless() };
        let (inlet, outlet) = queue.coordinator.open(policy, key(), Numbers).await.expect("the queue runs");
        Site { queue, inlet, outlet }
    }

    /// Starts a worker and waits until it has joined.
    async fn worker(&self, takes: Duration) -> (Process, WorkerId) {
        let token = self.queue.token(Role::Worker).to_string();
        let before = self.queue.lanes().await;
        let process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "worker"])
            .env(SERVER, &self.queue.addr)
            .env(TOKEN, token)
            .env(TAKES, takes.as_millis().to_string())
            .spawn()
            .expect("started");
        let process = Process(process);
        let lanes = self.queue.until("it has joined", |lanes| lanes.len() > before.len()).await;
        let new = lanes.iter().find(|lane| before.iter().all(|known| known.lane != lane.lane));
        (process, new.expect("one more").worker)
    }

    async fn offer(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.inlet.send(Admission::now(number)).await.expect("admitted");
        }
    }

    async fn take(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let done = soon(self.outlet.next()).await.expect("a place");
            let Cbor(answer) = done.answer.expect("answered");
            assert_eq!((*done.item, done.verdict, answer), (number, Verdict::Answered, number));
        }
    }

    async fn rescued(&self) -> u64 {
        let books = self.queue.coordinator.books(self.outlet.flow()).await.expect("the queue runs");
        books.expect("its books").parts.rescued
    }
}

fn holds(worker: WorkerId, outstanding: u32) -> impl Fn(&[View]) -> bool {
    move |lanes| lanes.iter().any(|lane| lane.worker == worker && lane.outstanding == outstanding)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_tasks_are_answered_by_another_before_its_death_is_known() {
    let mut site = Site::new().await;
    // It never answers.
    let (doomed, identity) = site.worker(Duration::from_secs(3600)).await;
    site.offer(0..4).await;
    site.queue.until("it has them", holds(identity, 4)).await;
    let (_other, _) = site.worker(Duration::ZERO).await;
    doomed.signal(Signal::SIGKILL);
    site.take(0..4).await;
    let lanes = site.queue.lanes().await;
    let dead = lanes.iter().find(|lane| lane.worker == identity).expect("it is still counted in");
    assert!(dead.suspected);
    assert_eq!(site.rescued().await, 4);
    // Once it is given up, nothing is left of it.
    site.queue.until("it is given up", |lanes| lanes.len() == 1).await;
    site.offer(4..8).await;
    site.take(4..8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_keeps_connection_identity_and_work() {
    let mut site = Site::new().await;
    let (worker, identity) = site.worker(Duration::from_millis(500)).await;
    site.offer(0..2).await;
    let before = site.queue.until("it has them", holds(identity, 2)).await;
    worker.signal(Signal::SIGSTOP);
    let silent = site.queue.until("it is suspected", |lanes| lanes[0].suspected).await;
    assert_eq!(silent[0].outstanding, 2, "what it has is left to it");
    worker.signal(Signal::SIGCONT);
    site.take(0..2).await;
    let after = site.queue.until("it is trusted", |lanes| !lanes[0].suspected).await;
    assert_eq!((after[0].lane, after[0].worker), (before[0].lane, identity));
    assert_eq!((after[0].answered, after[0].stale, site.rescued().await), (2, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_workers_tasks_are_answered_by_another_and_its_own_answers_are_stale() {
    let mut site = Site::new().await;
    let (stopped, identity) = site.worker(Duration::ZERO).await;
    let (_other, _) = site.worker(Duration::ZERO).await;
    stopped.signal(Signal::SIGSTOP);
    // Nobody knows yet, so it gets some of them.
    site.offer(0..4).await;
    site.take(0..4).await;
    let rescued = site.rescued().await;
    assert!(rescued >= 1);
    stopped.signal(Signal::SIGCONT);
    let lanes = site
        .queue
        .until("all are idle and trusted", |lanes| {
            lanes.iter().all(|lane| !lane.suspected && lane.outstanding == 0)
        })
        .await;
    assert_eq!(lanes.len(), 2, "it was not given up");
    let back = lanes.iter().find(|lane| lane.worker == identity).expect("the same one");
    // Each cancelled ticket came back as an answer or as a release.
    assert!(back.stale <= rescued, "{back:?}");
    site.offer(4..8).await;
    site.take(4..8).await;
}
