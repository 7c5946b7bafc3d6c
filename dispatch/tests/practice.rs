//! A queue that polls keeps its workers in practice, and nothing of that is in its books.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dispatch::{Admission, Config, Link, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::Policy;
use support::soon;
use tokio::time::sleep;
use wire::{Cbor, Message, Task, Timings, practice};
use wire::{node, server};

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

/// A queue with a worker that answers all that it gets, a word after some time.
struct Site {
    queue: support::Site,
    /// How often the worker was asked to practise.
    practised: Arc<AtomicU64>,
}

async fn site(busy_poll: Duration, abilities: &[&str], takes: Duration) -> Site {
    let config = Config { busy_poll, ..Config::default() };
    let queue = support::Site::with(config, server::Config::default(), lane::quic::Config::default());
    let (node, mut jobs) = queue.worker("w", Word::key().expect("a name"), 1, abilities).await;
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
                            sleep(takes).await;
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
    Site { queue, practised }
}

impl Site {
    fn practised(&self) -> u64 {
        self.practised.load(Ordering::Relaxed)
    }

    /// Sends some words, and gives how often the worker practised meanwhile, and how often in some time after them;
    /// that time; and checks the books.
    async fn words(&self, words: u64, time: Duration) -> (u64, u64, Duration) {
        let key = Word::key().expect("a name");
        let (mut inlet, mut outlet) =
            self.queue.coordinator.open(Policy::lossless(), key, Word).await.expect("the queue runs");
        for _ in 0..words {
            inlet.send(Admission::now(())).await.expect("admitted");
            let done = soon(outlet.next()).await.expect("a place");
            assert!(done.answer.is_some());
        }
        let (meanwhile, begin) = (self.practised(), Instant::now());
        sleep(time).await;
        let (after, took) = (self.practised() - meanwhile, begin.elapsed());
        let snapshot = self.queue.coordinator.snapshot(vec![outlet.flow()]).await.expect("the queue runs");
        let books = snapshot.books[0].expect("the flow is there");
        assert_eq!((books.admitted, books.answered), (words, words));
        assert_eq!(books.balances(), Ok(()));
        let [lane] = &snapshot.lanes[..] else { panic!("one lane") };
        assert_eq!((lane.answered, lane.failed, lane.stale, lane.outstanding), (words, 0, 0, 0));
        assert_eq!(lane.keys.len(), 1, "practice is no key of its own");
        (meanwhile, after, took)
    }
}

const LONG: Duration = Duration::from_secs(3600);
const SOME: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_queue_that_polls_keeps_its_worker_in_practice_and_out_of_the_books() {
    let site = site(LONG, &[practice::ABILITY], Duration::ZERO).await;
    let (_, after, took) = site.words(3, SOME).await;
    assert!(after > 1, "{after} times in {took:?}");
    assert!(u128::from(after) <= 2 * took.as_millis() + 2, "{after} times in {took:?}");
}

/// A worker that has a job needs no practice, and the next job is not to wait for one either.
#[tokio::test]
async fn none_practises_between_jobs_that_follow_each_other() {
    let site = site(LONG, &[practice::ABILITY], Duration::from_millis(5)).await;
    let (meanwhile, _, _) = site.words(40, Duration::ZERO).await;
    assert!(meanwhile < 10, "{meanwhile} times");
}

#[tokio::test]
async fn practice_ends_with_the_polling() {
    let site = site(Duration::from_millis(50), &[practice::ABILITY], Duration::ZERO).await;
    let (_, after, _) = site.words(3, 3 * SOME).await;
    assert!(after > 0);
    let practised = site.practised();
    sleep(SOME).await;
    assert_eq!(site.practised(), practised);
}

#[tokio::test]
async fn none_practises_that_did_not_offer_to_or_whose_queue_sleeps() {
    for (busy_poll, abilities) in [(LONG, &[][..]), (Duration::ZERO, &[practice::ABILITY][..])] {
        let site = site(busy_poll, abilities, Duration::ZERO).await;
        let (meanwhile, after, _) = site.words(3, SOME).await;
        assert_eq!((meanwhile, after), (0, 0));
    }
}
