//! A host by itself: batches, bounds, deadlines, processors that break, jobs that hang.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use framelane_worker::host::{Cancelled, Config, Job, JobId, RefusedWhy};
use framelane_worker::{
    BoxError, Cbor, Host, Key, Message, Processor, Registry, Task, TaskName, Timings, Unprocessed, watchdog,
};
use queue::{FlowId, Seq, Ticket};

/// Nothing here should take a fraction of it; it only turns a hang into a failure.
const WITHIN: Duration = Duration::from_secs(30);

struct Double;

impl Task for Double {
    const NAME: &'static str = "double";
    type Job = Cbor<i64>;
    type Answer = Cbor<i64>;
}

/// Doubles; tells the size of each batch; waits for the test at 0 and panics below.
struct Doubler {
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
    batches: mpsc::Sender<usize>,
}

impl Processor for Doubler {
    type Task = Double;

    fn process(&mut self, Cbor(n): Cbor<i64>) -> Result<Cbor<i64>, Unprocessed> {
        let _ = self.batches.send(1);
        match n {
            0 => drop(self.gate.lock().unwrap().recv_timeout(WITHIN)),
            ..0 => panic!("{n} is too little"),
            1.. => {}
        }
        Ok(Cbor(2 * n))
    }

    fn process_batch(&mut self, jobs: Vec<Cbor<i64>>) -> Vec<Result<Cbor<i64>, Unprocessed>> {
        let _ = self.batches.send(jobs.len());
        assert!(jobs.iter().all(|Cbor(n)| *n > 0), "too little");
        jobs.into_iter().map(|Cbor(n)| Ok(Cbor(2 * n))).collect()
    }
}

type Given = (Result<Message, Unprocessed>, Timings);

struct Rig {
    host: Host,
    gate: mpsc::Sender<()>,
    batches: mpsc::Receiver<usize>,
    made: Arc<AtomicUsize>,
    outcomes: VecDeque<mpsc::Receiver<Given>>,
    next: u64,
}

fn key() -> Key {
    Key::task(TaskName::new(Double::NAME).unwrap())
}

fn id(session: u64, number: u64) -> JobId {
    JobId { session, ticket: Ticket { flow: FlowId(1), seq: Seq(number), part: 0, attempt: 1 } }
}

fn config(waiting: usize, batch: usize) -> Config {
    Config { waiting, batch: NonZeroUsize::new(batch).unwrap(), ..Config::default() }
}

fn rig(config: Config) -> Rig {
    let (gate, gated) = mpsc::channel();
    let (told, batches) = mpsc::channel();
    let (gated, made) = (Arc::new(Mutex::new(gated)), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&made);
    let mut registry = Registry::new();
    let make = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok::<_, BoxError>(Doubler { gate: Arc::clone(&gated), batches: told.clone() })
    };
    registry.serve(key(), make).unwrap();
    let host = Host::start(&registry, config).unwrap();
    Rig { host, gate, batches, made, outcomes: VecDeque::new(), next: 0 }
}

impl Rig {
    fn submit(&mut self, session: u64, n: i64, deadline: Option<Instant>) -> Result<JobId, RefusedWhy> {
        let id = id(session, self.next);
        let (done, outcome) = mpsc::channel();
        let done = Box::new(move |result, timings| done.send((result, timings)).unwrap());
        let message = wire::encode(Cbor(n)).unwrap();
        let job = Job { id, key: key(), message, deadline, done };
        self.host.submit(job).map_err(|refused| refused.why)?;
        self.outcomes.push_back(outcome);
        self.next += 1;
        Ok(id)
    }

    /// Occupies the only thread until [`open`](Self::open).
    fn block(&mut self) -> JobId {
        let id = self.submit(1, 0, None).unwrap();
        assert_eq!(self.batches.recv_timeout(WITHIN), Ok(1));
        id
    }

    fn open(&self) {
        self.gate.send(()).unwrap();
    }

    /// What came of the oldest job that was not asked about yet: none if its callback was dropped.
    fn outcome(&mut self) -> Option<(Result<i64, Unprocessed>, Timings)> {
        match self.outcomes.pop_front().unwrap().recv_timeout(WITHIN) {
            Ok((result, timings)) => {
                Some((result.map(|answer| wire::decode::<Cbor<i64>>(answer).unwrap().0), timings))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the job neither ends nor is dropped"),
        }
    }

    fn answer(&mut self) -> i64 {
        self.outcome().expect("not dropped").0.expect("an answer")
    }
}

#[test]
fn what_waits_is_done_as_a_batch_in_its_order() {
    let mut rig = rig(config(16, 4));
    rig.block();
    for n in 1..=5 {
        rig.submit(1, n, None).unwrap();
    }
    rig.open();
    assert_eq!(rig.answer(), 0);
    for n in 1..=4 {
        let (result, timings) = rig.outcome().unwrap();
        assert_eq!((result, timings.batch), (Ok(2 * n), 4));
    }
    let (result, timings) = rig.outcome().unwrap();
    assert_eq!((result, timings.batch), (Ok(10), 1));
    assert_eq!(rig.batches.iter().take(2).collect::<Vec<_>>(), [4, 1]);
    rig.host.close();
}

#[test]
fn practice_is_done_by_nobody_and_counts_nowhere() {
    let mut rig = rig(config(16, 1));
    rig.submit(1, 4, None).unwrap();
    assert_eq!(rig.answer(), 8);
    let (done, outcome) = mpsc::channel();
    let mut before = None;
    for number in 100..110 {
        // After the first of them what the real one took is learnt too.
        if number == 101 {
            before = Some((rig.host.counts(), rig.host.service()));
        }
        let done = done.clone();
        let done = Box::new(move |result, _| done.send(result).unwrap());
        let key = wire::practice::key().clone();
        let job = Job { id: id(1, number), key, message: Message::default(), deadline: None, done };
        rig.host.submit(job).map_err(|refused| refused.why).unwrap();
        assert_eq!(outcome.recv_timeout(WITHIN).unwrap(), Ok(Message::default()));
    }
    assert_eq!(Some((rig.host.counts(), rig.host.service())), before);
    assert_eq!(rig.batches.try_iter().collect::<Vec<_>>(), [1], "the one job that was none for practice");
    rig.host.close();
}

#[test]
fn a_panic_fails_its_batch_and_the_next_job_has_a_new_processor() {
    let mut rig = rig(config(16, 2));
    rig.block();
    for n in [1, -1, 3] {
        rig.submit(1, n, None).unwrap();
    }
    rig.open();
    rig.answer();
    for _ in 0..2 {
        let (result, _) = rig.outcome().unwrap();
        assert!(matches!(&result, Err(Unprocessed::Failed(text)) if text.contains("panicked")), "{result:?}");
    }
    assert_eq!(rig.answer(), 6);
    let counts = rig.host.counts();
    assert_eq!((counts.answered, counts.failed, counts.panics), (2, 2, 1));
    assert_eq!(rig.made.load(Ordering::SeqCst), 2);
}

#[test]
fn more_than_may_wait_is_handed_back() {
    let mut rig = rig(config(2, 1));
    rig.block();
    rig.submit(1, 1, None).unwrap();
    rig.submit(1, 2, None).unwrap();
    assert_eq!(rig.submit(1, 3, None), Err(RefusedWhy::Full));
    let message = wire::encode(Cbor(1)).unwrap();
    let key = Key::task(TaskName::new("other").unwrap());
    let job = Job { id: id(1, 99), key, message, deadline: None, done: Box::new(|_, _| {}) };
    assert!(matches!(rig.host.submit(job).map_err(|refused| refused.why), Err(RefusedWhy::UnknownKey)));
    rig.open();
    assert_eq!((rig.answer(), rig.answer(), rig.answer()), (0, 2, 4));
}

#[test]
fn a_job_whose_time_was_over_before_its_turn_fails_unworked() {
    let mut rig = rig(config(16, 1));
    rig.block();
    rig.submit(1, 1, Some(Instant::now())).unwrap();
    rig.submit(1, 2, Some(Instant::now() + WITHIN)).unwrap();
    rig.open();
    rig.answer();
    let (result, _) = rig.outcome().unwrap();
    assert!(matches!(result, Err(Unprocessed::Failed(text)) if text.contains("budget")));
    assert_eq!(rig.answer(), 4);
    assert_eq!(rig.host.counts().late, 1);
}

#[test]
fn cancelling_drops_what_waits_and_leaves_what_runs() {
    let mut rig = rig(config(16, 1));
    let running = rig.block();
    let waiting = rig.submit(1, 1, None).unwrap();
    rig.submit(2, 2, None).unwrap();
    rig.submit(1, 3, None).unwrap();
    assert_eq!(rig.host.cancel(waiting), Cancelled::Dropped);
    assert_eq!(rig.host.cancel(waiting), Cancelled::Unknown);
    assert_eq!(rig.host.cancel(running), Cancelled::Running);
    // The same ticket of another connection is another job.
    assert_eq!(rig.host.cancel(JobId { session: 2, ..running }), Cancelled::Unknown);
    rig.host.abandon(1);
    rig.open();
    assert_eq!(rig.answer(), 0);
    assert_eq!(rig.outcome(), None, "cancelled");
    assert_eq!(rig.answer(), 4, "of another session");
    assert_eq!(rig.outcome(), None, "abandoned");
}

#[test]
fn closing_finishes_what_was_taken_and_dropping_does_not() {
    let mut closed = rig(config(16, 1));
    closed.block();
    closed.submit(1, 5, None).unwrap();
    closed.open();
    let Rig { host, outcomes, .. } = closed;
    host.close();
    assert!(outcomes.iter().all(|outcome| outcome.try_recv().is_ok()));

    let mut dropped = rig(config(16, 1));
    dropped.block();
    dropped.submit(1, 5, None).unwrap();
    let Rig { host, gate, mut outcomes, .. } = dropped;
    drop(host);
    let waiting = outcomes.pop_back().unwrap();
    assert!(waiting.recv_timeout(WITHIN).is_err());
    gate.send(()).unwrap();
    let running = outcomes.pop_back().unwrap();
    assert!(running.recv_timeout(WITHIN).is_ok());
}

#[test]
fn a_processor_that_cannot_be_made_keeps_the_host_from_starting() {
    for panics in [false, true] {
        let mut registry = Registry::new();
        let make = move || -> Result<Doubler, BoxError> {
            assert!(!panics, "no device");
            Err("no device".into())
        };
        registry.serve(key(), make).unwrap();
        let threads = NonZeroUsize::new(2).unwrap();
        let error = Host::start(&registry, Config { threads, ..Config::default() }).err().expect("no host");
        assert!(error.to_string().contains("double") && error.to_string().contains("no device"), "{error}");
    }
}

#[test]
fn a_registry_takes_a_key_once_and_only_for_its_task() {
    let mut registry = Registry::new();
    let make = || -> Result<Doubler, BoxError> { Err("never called".into()) };
    let other = Key::task(TaskName::new("other").unwrap());
    assert!(registry.serve(other, make).unwrap_err().to_string().contains("double"));
    registry.serve(key(), make).unwrap();
    assert!(registry.serve(key(), make).unwrap_err().to_string().contains("already"));
    assert_eq!(registry.keys().collect::<Vec<_>>(), [&key()]);
}

#[tokio::test]
async fn the_watchdog_names_the_job_that_hangs_and_overlooks_idle_threads() {
    let after = Duration::from_millis(50);
    let mut rig = rig(config(16, 1));
    assert!(tokio::time::timeout(4 * after, watchdog::watch(&rig.host, after)).await.is_err());
    let job = rig.block();
    let hung = tokio::time::timeout(WITHIN, watchdog::watch(&rig.host, after)).await.expect("found");
    assert_eq!((hung.0.job, hung.0.key.clone()), (job, key()));
    assert!(hung.0.time > after);
    assert!(hung.to_string().contains("double"), "{hung}");
    rig.open();
}
