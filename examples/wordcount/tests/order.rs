//! Places leave in order, each with its own answer, whoever did it and whoever died over it.

mod support;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::Stdio;
use std::sync::Arc;

use dispatch::{Admission, Coordinator, Done, Finish, lane};
use queue::{Books, Policy, Seq, WorkerId};
use tokio_util::sync::CancellationToken;
use wire::identity::{Authority, TokenOptions};
use wire::server::{self, Listener};
use wire::{BoxError, Cbor, Processor, Task};
use wordcount::counter::Counter;
use wordcount::flow::{Sum, Words};
use wordcount::task::{Counts, WordCount};

use support::{Ended, program};

const LINES: u64 = 2000;

fn lines() -> impl Iterator<Item = String> {
    (0..LINES).map(|line| format!("all the words of line {line} and {} more", line % 7))
}

fn counted(text: &str) -> Counts {
    Counter.process(Cbor(text.to_owned())).expect("any text can be counted").0
}

/// Adds up as the program does, and checks on the way.
#[derive(Default)]
struct Checked {
    sum: Sum,
    next: Option<Seq>,
}

impl Finish for Checked {
    type Prepare = Words;

    async fn finish(&mut self, done: Done<Words>) {
        if let Some(next) = self.next {
            assert_eq!(done.seq, next, "places leave in order without a gap");
        }
        self.next = Some(Seq(done.seq.0 + 1));
        let answer = done.answer.as_ref().expect("a lossless flow answers everything");
        assert_eq!(answer.0, counted(&done.item), "the answer belongs to the item");
        self.sum.finish(done).await;
    }
}

/// Runs the lines through; `at_half` is called in between.
async fn run(coordinator: &Coordinator, at_half: impl FnOnce()) -> (Sum, Books) {
    let key = WordCount::key().expect("a name");
    let (mut inlet, outlet) = coordinator.open(Policy::lossless(), key, Words).await.expect("the queue runs");
    let batch = NonZeroUsize::new(32).expect("32 is not 0");
    let finished = tokio::spawn(outlet.batched(batch).run(Checked::default()));
    let mut at_half = Some(at_half);
    for (number, line) in lines().enumerate() {
        inlet.send(Admission::now(line)).await.expect("admitted");
        if number as u64 == LINES / 2 {
            at_half.take().expect("once")();
        }
    }
    inlet.close();
    let (checked, books) = finished.await.expect("nothing panics");
    (checked.sum, books.expect("the flow came to its end"))
}

fn check(sum: &Sum, books: &Books) {
    let text: Vec<String> = lines().collect();
    assert_eq!(sum.words, counted(&text.join("\n")));
    assert_eq!((books.admitted, books.answered, books.held), (LINES, LINES, 0));
    books.balances().expect("the books balance");
}

fn coordinator() -> Coordinator {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
    tokio::spawn(driver);
    coordinator
}

async fn threads(coordinator: &Coordinator) -> CancellationToken {
    let config = lane::local::Config {
        name: "threads".into(),
        worker: WorkerId(0),
        threads: NonZeroU32::new(2).expect("2 is not 0"),
        credit: NonZeroU32::new(16).expect("16 is not 0"),
        processors: [(WordCount::key().expect("a name"), wire::factory(|| Ok::<_, BoxError>(Counter)))]
            .into(),
    };
    let (joined, ready) = tokio::sync::oneshot::channel();
    let stop = CancellationToken::new();
    tokio::spawn(lane::local::run(coordinator.clone(), config, stop.clone(), joined));
    ready.await.expect("the threads joined");
    stop
}

/// Where workers dial in, and those that did.
struct Door {
    address: SocketAddr,
    listener: Arc<Listener>,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Door {
    fn open(coordinator: &Coordinator) -> Door {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::load_or_create(folder.path()).expect("an authority");
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener =
            Listener::bind(any, authority.clone(), server::Config::default()).expect("a free port");
        let listener = Arc::new(listener);
        let lanes = lane::quic::accept(coordinator.clone(), Arc::clone(&listener), Default::default());
        tokio::spawn(lanes);
        Door { address: listener.local_addr(), listener, authority, folder }
    }

    fn worker(&self, name: &str) -> Ended {
        let token = self.authority.token(TokenOptions::default()).expect("a token");
        let child = program()
            .args(["worker", "--server", &self.address.to_string(), "--name", name, "--threads", "1"])
            .arg("--state")
            .arg(self.folder.path().join(name))
            .env("FRAMELANE_TOKEN", token.to_string())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        Ended(child)
    }
}

#[tokio::test]
async fn on_threads_of_this_process() {
    let coordinator = coordinator();
    let stop = threads(&coordinator).await;
    let (sum, books) = run(&coordinator, || {}).await;
    check(&sum, &books);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_worker_process() {
    let coordinator = coordinator();
    let door = Door::open(&coordinator);
    let _worker = door.worker("one");
    let (sum, books) = run(&coordinator, || {}).await;
    check(&sum, &books);
    door.listener.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_both_while_workers_die() {
    let coordinator = coordinator();
    let stop = threads(&coordinator).await;
    let door = Door::open(&coordinator);
    let workers = [door.worker("one"), door.worker("two")];
    // The threads would do it all before a worker is there.
    while coordinator.lanes().await.expect("the queue runs").len() < 3 {
        tokio::task::yield_now().await;
    }
    let (sum, books) = run(&coordinator, || drop(workers)).await;
    check(&sum, &books);
    stop.cancel();
    door.listener.close().await;
}
