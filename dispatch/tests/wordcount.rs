//! A word count runs through the queue as a frame does: over QUIC, on threads, and on both at once.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use dispatch::{Admission, Coordinator, Done, Finish, Link, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::{Books, Key, Policy, Seq, TaskName, WorkerId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wire::identity::{Authority, Identity, TokenOptions};
use wire::node::{self, Hello, HelloKey};
use wire::server::{self, Listener};
use wire::{Cbor, Processor, Task, Unprocessed};

struct WordCount;

impl Task for WordCount {
    const NAME: &'static str = "word-count";
    type Job = Cbor<String>;
    type Answer = Cbor<BTreeMap<String, u64>>;
}

struct Counter;

impl Processor for Counter {
    type Task = WordCount;

    fn process(&mut self, Cbor(line): Cbor<String>) -> Result<Cbor<BTreeMap<String, u64>>, Unprocessed> {
        Ok(Cbor(counted(&line)))
    }
}

fn counted(line: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in line.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

struct Lines;

impl Prepare for Lines {
    type Task = WordCount;
    type Item = String;

    fn prepare(&self, line: &String, _: &Link) -> Result<Cbor<String>, Unprepared> {
        Ok(Cbor(line.clone()))
    }
}

/// Adds the counts up, and checks on the way that nothing overtakes and nothing is another's.
#[derive(Default)]
struct Sum {
    words: BTreeMap<String, u64>,
    next: Option<Seq>,
}

impl Finish for Sum {
    type Prepare = Lines;

    async fn finish(&mut self, done: Done<Lines>) {
        if let Some(next) = self.next {
            assert_eq!(done.seq, next, "places leave in order without a gap");
        }
        self.next = Some(Seq(done.seq.0 + 1));
        let Cbor(counts) = done.answer.expect("a lossless flow answers everything");
        assert_eq!(counts, counted(&done.item), "the answer belongs to the item");
        for (word, count) in counts {
            *self.words.entry(word).or_default() += count;
        }
    }
}

fn key() -> Key {
    Key::task(TaskName::new(WordCount::NAME).expect("a name"))
}

fn lines() -> Vec<String> {
    (0..2000).map(|line| format!("all the words of line {line} and {} more", line % 7)).collect()
}

async fn run(coordinator: &Coordinator) -> (Sum, Books) {
    let (mut inlet, outlet) =
        coordinator.open(Policy::lossless(), key(), Lines).await.expect("the queue runs");
    let batch = NonZeroUsize::new(32).expect("32 is not 0");
    let finished = tokio::spawn(outlet.batched(batch).run(Sum::default()));
    for line in lines() {
        inlet.send(Admission::now(line)).await.expect("admitted");
    }
    inlet.close();
    let (sum, books) = finished.await.expect("nothing panics");
    (sum, books.expect("the flow came to its end"))
}

fn check(sum: &Sum, books: &Books) {
    let mut expected = BTreeMap::new();
    for (word, count) in lines().iter().flat_map(|line| counted(line)) {
        *expected.entry(word).or_default() += count;
    }
    assert_eq!(sum.words, expected);
    assert_eq!((books.admitted, books.answered, books.held), (2000, 2000, 0));
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
        processors: [(key(), wire::factory(|| Ok::<_, wire::BoxError>(Counter)))].into(),
    };
    let (joined, ready) = oneshot::channel();
    let stop = CancellationToken::new();
    tokio::spawn(lane::local::run(coordinator.clone(), config, stop.clone(), joined));
    ready.await.expect("the threads joined");
    stop
}

/// A server that lets workers join the queue, and the folder with its authority.
async fn listener(coordinator: &Coordinator) -> (std::net::SocketAddr, Authority, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::load_or_create(folder.path()).expect("an authority");
    let config = server::Config::default();
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(any, authority.clone(), config).expect("a free port");
    let address = listener.local_addr();
    let coordinator = coordinator.clone();
    tokio::spawn(async move {
        while let Some((peer, events)) = listener.accept().await {
            tokio::spawn(lane::quic::run(coordinator.clone(), peer, events, lane::quic::Config::default()));
        }
    });
    (address, authority, folder)
}

/// A worker over QUIC that dies without a word after so many answers.
async fn worker(server: std::net::SocketAddr, authority: &Authority, dies_after: usize) {
    let options = TokenOptions { expires_in: Duration::from_secs(60), uses: NonZeroU32::MIN };
    let token = authority.token(options).expect("a token");
    let server = server.to_string();
    let identity = Identity::enrol(&server, &token, "counter").await.expect("enrolled");
    let hello = Hello {
        name: "counter".into(),
        keys: vec![HelloKey { key: key(), warm: true }],
        credit: 4,
        capabilities: Vec::new(),
    };
    let (node, mut jobs) =
        node::connect(&server, &identity, hello, node::Config::default()).await.expect("joined");
    let mut counter = wire::erase(Counter);
    let mut answers = 0;
    while answers < dies_after {
        match jobs.next().await {
            node::Event::Jobs(jobs) => {
                for node::Job { message, reply, .. } in jobs {
                    // A reply nobody wants any more is the queue's business.
                    let _ = reply.answer(counter.process(message), wire::Timings::default()).await;
                    answers += 1;
                }
            }
            node::Event::Closed(_) => return,
            _ => {}
        }
    }
    node.close("died").await;
}

#[tokio::test]
async fn on_threads_of_this_process() {
    let coordinator = coordinator();
    let stop = threads(&coordinator).await;
    let (sum, books) = run(&coordinator).await;
    check(&sum, &books);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn over_quic() {
    let coordinator = coordinator();
    let (address, authority, _folder) = listener(&coordinator).await;
    let worker = tokio::spawn(async move { worker(address, &authority, usize::MAX).await });
    let (sum, books) = run(&coordinator).await;
    check(&sum, &books);
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_both_while_workers_die() {
    let coordinator = coordinator();
    let stop = threads(&coordinator).await;
    let (address, authority, _folder) = listener(&coordinator).await;
    let dying = tokio::spawn(async move {
        for _ in 0..5 {
            worker(address, &authority, 20).await;
        }
    });
    let (sum, books) = run(&coordinator).await;
    check(&sum, &books);
    dying.abort();
    stop.cancel();
}
