//! A host whose only thread drives the network too: who does what, and what a job that takes long holds up.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use framelane_worker::host::{Config, Job, JobId};
use framelane_worker::{Cbor, Drive, Host, Key, Processor, Registry, Task, TaskName, Unprocessed};
use queue::{FlowId, Seq, Ticket};
use tokio::sync::oneshot;

/// Nothing here should take a fraction of it; it only turns a hang into a failure.
const WITHIN: Duration = Duration::from_secs(30);

struct Wait;

impl Task for Wait {
    const NAME: &'static str = "wait";
    type Job = Cbor<bool>;
    type Answer = Cbor<bool>;
}

/// Waits for the test where it is told to.
#[derive(Clone)]
struct Waiter(Arc<Mutex<mpsc::Receiver<()>>>);

impl Processor for Waiter {
    type Task = Wait;

    fn process(&mut self, Cbor(wait): Cbor<bool>) -> Result<Cbor<bool>, Unprocessed> {
        match wait {
            true => Ok(Cbor(self.0.lock().unwrap().recv_timeout(WITHIN).is_ok())),
            false => Ok(Cbor(true)),
        }
    }
}

/// Does a job; gives whether it went well, and the thread that did it.
async fn done(host: &Host, number: u64, wait: bool) -> (bool, ThreadId) {
    let (tell, told) = oneshot::channel();
    let job = Job {
        id: JobId { session: 1, ticket: Ticket { flow: FlowId(1), seq: Seq(number), part: 0, attempt: 1 } },
        key: key(),
        message: wire::encode(Cbor(wait)).unwrap(),
        deadline: None,
        done: Box::new(move |result, _| drop(tell.send((result, thread::current().id())))),
    };
    assert!(host.submit(job).is_ok());
    let (result, thread) = told.await.unwrap();
    let Cbor(good) = wire::decode::<Cbor<bool>>(result.unwrap()).unwrap();
    (good, thread)
}

fn key() -> Key {
    Key::task(TaskName::new(Wait::NAME).unwrap())
}

#[test]
fn quick_jobs_are_done_by_the_thread_that_drives_and_a_long_one_holds_up_nothing() {
    let mut drive = Drive::new().unwrap();
    let wheel = drive.wheel();
    let main = thread::current().id();
    drive.block_on(async move {
        let (go_on, gate) = mpsc::channel();
        let waiter = Waiter(Arc::new(Mutex::new(gate)));
        let mut registry = Registry::new();
        registry.serve(key(), move || Ok::<_, Infallible>(waiter.clone())).unwrap();
        let host = Arc::new(Host::open_driving(&registry, Config::default(), wheel).unwrap());

        assert_eq!(thread::current().id(), main, "nothing is known of the jobs yet");
        let mut number = 0;
        let (good, host_thread) = done(&host, number, false).await;
        assert!(good);
        // A machine that is busy may make a quick job slow.
        while thread::current().id() == main {
            number += 1;
            assert!(number < 100_000, "the host's thread never drove");
            assert_eq!(done(&host, number, false).await, (true, host_thread));
        }
        assert_eq!(thread::current().id(), host_thread);

        // It looks like a quick one until it is begun, on the very thread that drives.
        let long = tokio::spawn({
            let host = Arc::clone(&host);
            async move { done(&host, number + 1, true).await }
        });
        while host.longest().is_none() {
            assert!(!long.is_finished(), "nobody drove while it was at work");
            tokio::task::yield_now().await;
        }
        assert_eq!(thread::current().id(), main, "who stood by drives");
        go_on.send(()).unwrap();
        assert_eq!(long.await.unwrap(), (true, host_thread));
        let host = Arc::into_inner(host).unwrap();
        tokio::task::spawn_blocking(|| host.close()).await.unwrap();
    });
}
