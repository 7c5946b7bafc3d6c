//! Tasks that the host knows by name only.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use framelane_worker::host::{Config, Job, JobId};
use framelane_worker::{Host, Key, Message, Registry, RegistryError, TaskName, Unprocessed, Untyped};
use queue::{FlowId, Seq, Ticket};

/// Nothing here should take a fraction of it; it only turns a hang into a failure.
const WITHIN: Duration = Duration::from_secs(30);

/// Gives jobs back, tells how many came at once, and waits for the test at each that is alone.
struct Echo {
    gate: Arc<Mutex<mpsc::Receiver<()>>>,
    told: mpsc::Sender<usize>,
}

impl Untyped for Echo {
    fn process(&mut self, job: Message) -> Result<Message, Unprocessed> {
        self.told.send(1).unwrap();
        self.gate.lock().unwrap().recv_timeout(WITHIN).unwrap();
        Ok(job)
    }

    fn process_batch(&mut self, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
        self.told.send(jobs.len()).unwrap();
        jobs.into_iter().map(Ok).collect()
    }
}

fn key(name: &str) -> Key {
    Key::task(TaskName::new(name).unwrap())
}

fn message(number: u64) -> Message {
    Message { head: vec![number as u8].into(), body: Default::default() }
}

#[test]
fn an_untyped_task_is_served_in_batches_of_its_own_size() {
    let (open, gate) = mpsc::channel();
    let (told, sizes) = mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    let mut registry = Registry::new();
    let make = move || Ok::<_, Infallible>(Echo { gate: Arc::clone(&gate), told: told.clone() });
    registry.serve_any(key("echo"), make.clone()).unwrap();
    assert!(matches!(registry.serve_any(key("echo"), make.clone()), Err(RegistryError::Twice(_))));
    let ours = wire::practice::key().clone();
    assert!(matches!(registry.serve_any(ours, make), Err(RegistryError::Reserved(_))));
    registry.batch(key("echo"), NonZeroUsize::new(3).unwrap());

    let host = Host::start(&registry, Config::default()).unwrap();
    let (done, results) = mpsc::channel();
    let submit = |number| {
        let done = done.clone();
        let job = Job {
            id: JobId {
                session: 1,
                ticket: Ticket { flow: FlowId(1), seq: Seq(number), part: 0, attempt: 1 },
            },
            key: key("echo"),
            message: message(number),
            deadline: None,
            done: Box::new(move |result, timings| done.send((number, result, timings.batch)).unwrap()),
        };
        assert!(host.submit(job).is_ok());
    };
    submit(0);
    assert_eq!(sizes.recv_timeout(WITHIN), Ok(1), "the first is under way alone");
    (1..=4).for_each(submit);
    open.send(()).unwrap();
    assert_eq!(sizes.recv_timeout(WITHIN), Ok(3), "as many as its batch allows");
    assert_eq!(sizes.recv_timeout(WITHIN), Ok(1), "the rest");
    open.send(()).unwrap();
    let got: Vec<_> = (0..5).map(|_| results.recv_timeout(WITHIN).unwrap()).collect();
    for (place, (number, result, batch)) in got.into_iter().enumerate() {
        assert_eq!(number, place as u64);
        assert_eq!(result, Ok(message(number)));
        assert_eq!(batch, if (1..=3).contains(&place) { 3 } else { 1 });
    }
    host.close();
}
