//! A queue that polls keeps its workers in practice, and nothing of that is in its books.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dispatch::{Admission, Config, Coordinator, Link, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::Policy;
use tokio::time::{sleep, timeout};
use wire::identity::{Authority, Identity, TokenOptions};
use wire::node::{self, Hello, HelloKey};
use wire::server::{self, Listener};
use wire::{Cbor, Message, Task, Timings, practice};

const WITHIN: Duration = Duration::from_secs(20);

struct Word;

impl Task for Word {
    const NAME: &'static str = "word";
    type Job = Cbor<()>;
    type Answer = Cbor<()>;
}

impl Prepare for Word {
    type Task = Word;
    type Item = ();

    fn prepare(&self, (): &(), _: &Link) -> Result<Cbor<()>, Unprepared> {
        Ok(Cbor(()))
    }
}

/// A queue with a worker that answers all that it gets.
struct Site {
    coordinator: Coordinator,
    /// How often the worker was asked to practise.
    practised: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

async fn site(busy_poll: Duration, abilities: &[&str]) -> Site {
    let (coordinator, driver) = dispatch::new(Config { busy_poll, ..Config::default() });
    tokio::spawn(driver);
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::load_or_create(folder.path()).expect("an authority");
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(any, authority.clone(), server::Config::default()).expect("a free port");
    let options = TokenOptions { expires_in: Duration::from_secs(60), uses: NonZeroU32::MIN };
    let token = authority.token(options).expect("a token");
    let server = listener.local_addr().to_string();
    let joining = coordinator.clone();
    tokio::spawn(async move {
        let (peer, events) = listener.accept().await.expect("a worker");
        lane::quic::run(joining, peer, events, lane::quic::Config::default()).await
    });
    let identity = Identity::enrol(&server, &token, "w").await.expect("enrolled");
    let keys = vec![HelloKey { key: Word::key().expect("a name"), warm: true }];
    let capabilities = abilities.iter().map(|&ability| ability.to_owned()).collect();
    let hello = Hello { name: "w".into(), keys, credit: 1, capabilities };
    let (node, mut jobs) =
        node::connect(&server, &identity, hello, node::Config::default()).await.expect("joined");
    let practised = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&practised);
    tokio::spawn(async move {
        let _node = node;
        loop {
            match jobs.next().await {
                node::Event::Jobs(jobs) => {
                    for node::Job { key, reply, .. } in jobs {
                        let result = if key == *practice::key() {
                            counter.fetch_add(1, Ordering::Relaxed);
                            Ok(Message::default())
                        } else {
                            Ok(wire::encode(Cbor(())).expect("it is short"))
                        };
                        reply.send(result, Timings::default());
                    }
                }
                node::Event::Closed(_) => return,
                _ => {}
            }
        }
    });
    Site { coordinator, practised, _folder: folder }
}

impl Site {
    fn practised(&self) -> u64 {
        self.practised.load(Ordering::Relaxed)
    }

    /// Sends some words, looks for so long how often the worker practises, and reads the books.
    async fn practised_after_words(&self, time: Duration) -> u64 {
        let key = Word::key().expect("a name");
        let (mut inlet, mut outlet) =
            self.coordinator.open(Policy::lossless(), key, Word).await.expect("the queue runs");
        for _ in 0..3 {
            inlet.send(Admission::now(())).await.expect("admitted");
            let done = timeout(WITHIN, outlet.next()).await.expect("in time").expect("a place");
            assert!(done.answer.is_some());
        }
        sleep(time).await;
        let practised = self.practised();
        let snapshot = self.coordinator.snapshot(vec![outlet.flow()]).await.expect("the queue runs");
        let books = snapshot.books[0].expect("the flow is there");
        assert_eq!((books.admitted, books.answered), (3, 3));
        assert_eq!(books.balances(), Ok(()));
        let [lane] = &snapshot.lanes[..] else { panic!("one lane") };
        assert_eq!((lane.answered, lane.failed, lane.stale, lane.outstanding), (3, 0, 0, 0));
        assert_eq!(lane.keys.len(), 1, "practice is no key of its own");
        practised
    }
}

#[tokio::test]
async fn a_queue_that_polls_keeps_its_worker_in_practice_and_out_of_the_books() {
    let site = site(Duration::from_secs(3600), &[practice::ABILITY]).await;
    let practised = site.practised_after_words(Duration::from_millis(100)).await;
    assert!((2..=101).contains(&practised), "{practised} times, for once a millisecond");
}

#[tokio::test]
async fn practice_ends_with_the_polling() {
    let site = site(Duration::from_millis(50), &[practice::ABILITY]).await;
    let practised = site.practised_after_words(Duration::from_millis(300)).await;
    assert!(practised > 0);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(site.practised(), practised);
}

#[tokio::test]
async fn none_practises_that_did_not_offer_to_or_whose_queue_sleeps() {
    let polls = Duration::from_secs(3600);
    for (busy_poll, abilities) in [(polls, &[][..]), (Duration::ZERO, &[practice::ABILITY][..])] {
        let site = site(busy_poll, abilities).await;
        assert_eq!(site.practised_after_words(Duration::from_millis(100)).await, 0);
    }
}
