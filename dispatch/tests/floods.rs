//! Trouble with every hand-out of a lane: a line a second, with the number of those it stands for.

use std::fmt::{Debug, Write};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dispatch::{Admission, Inlet, Link, Outlet, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::{Key, Policy, Reason, TaskName, Verdict};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};
use wire::identity::{Authority, Identity, TokenOptions};
use wire::node::{self, Hello, HelloKey};
use wire::server::{self, Listener};
use wire::{Cbor, Message, Task, Timings};

const WITHIN: Duration = Duration::from_secs(20);

struct Texts;

impl Task for Texts {
    const NAME: &'static str = "texts";
    type Job = Cbor<String>;
    type Answer = Cbor<String>;
}

impl Prepare for Texts {
    type Task = Texts;
    /// The length of a text.
    type Item = usize;

    fn prepare(&self, length: &usize, _: &Link) -> Result<Cbor<String>, Unprepared> {
        Ok(Cbor("x".repeat(*length)))
    }
}

/// What was logged as a warning.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Line>>>);

#[derive(Debug, Clone, Default)]
struct Line {
    count: u64,
    text: String,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.text, "{field}={value:?} ").expect("writing to a string does not fail");
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("framelane_dispatch")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().expect("no test panics with it").push(line);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Log {
    /// Gets what this thread logs, on which the whole test runs.
    fn here() -> (Self, DefaultGuard) {
        let log = Self::default();
        (log.clone(), tracing::subscriber::set_default(log))
    }

    fn lines(&self) -> Vec<Line> {
        self.0.lock().expect("no test panics with it").clone()
    }

    /// Waits until the lines stand for so many hand-outs, and returns how many lines these are.
    async fn stands_for(&self, count: u64, text: &str) -> usize {
        let told = async {
            loop {
                let lines = self.lines();
                assert!(lines.iter().all(|line| line.text.contains(text)), "{lines:#?}");
                let sum: u64 = lines.iter().map(|line| line.count).sum();
                assert!(sum <= count, "{lines:#?}");
                if sum == count {
                    return lines.len();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WITHIN, told).await.expect("all are told, the last ones too")
    }
}

struct Site {
    inlet: Inlet<Texts>,
    outlet: Outlet<Texts>,
    _folder: tempfile::TempDir,
}

/// A queue with one worker whose answers nobody can read.
async fn site() -> Site {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
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
    let identity = Identity::enrol(&server, &token, "texts").await.expect("enrolled");
    let key = Key::task(TaskName::new(Texts::NAME).expect("a name"));
    let keys = vec![HelloKey { key: key.clone(), warm: true }];
    let hello = Hello { name: "texts".into(), keys, credit: 4, capabilities: Vec::new() };
    let (node, mut jobs) =
        node::connect(&server, &identity, hello, node::Config::default()).await.expect("joined");
    tokio::spawn(async move {
        let _node = node;
        loop {
            match jobs.next().await {
                node::Event::Jobs(jobs) => {
                    for node::Job { reply, .. } in jobs {
                        // No text, and no CBOR at all.
                        reply.send(
                            Ok(Message { head: vec![0xff].into(), ..Message::default() }),
                            Timings::default(),
                        );
                    }
                }
                node::Event::Closed(_) => return,
                _ => {}
            }
        }
    });
    let policy = Policy { attempts: Some(NonZeroU32::MIN), ..Policy::lossless() };
    let (inlet, outlet) = coordinator.open(policy, key, Texts).await.expect("the queue runs");
    Site { inlet, outlet, _folder: folder }
}

impl Site {
    /// Sends so many of this length, of which none is answered.
    async fn fail(&mut self, length: usize, count: usize) {
        for _ in 0..count {
            self.inlet.send(Admission::now(length)).await.expect("admitted");
            let done = tokio::time::timeout(WITHIN, self.outlet.next()).await.expect("in time");
            assert_eq!(done.expect("a place").verdict, Verdict::Missing(Reason::Failed));
        }
    }
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_told_once_a_second_with_their_number() {
    let (log, _guard) = Log::here();
    let mut site = site().await;
    let begun = std::time::Instant::now();
    site.fail(5, 300).await;
    let lines = log.stands_for(300, "answers cannot be read").await;
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(lines >= 2 && lines <= seconds + 2, "{lines} lines in {seconds} seconds");
}

#[tokio::test]
async fn a_job_that_is_too_long_for_its_head_is_told_with_what_to_do() {
    let (log, _guard) = Log::here();
    let mut site = site().await;
    site.fail(70_000, 20).await;
    log.stands_for(20, "no jobs could be made of items").await;
    for line in log.lines() {
        for word in ["70005 bytes", "65536 at most", "body"] {
            assert!(line.text.contains(word), "{word} is not in {}", line.text);
        }
    }
}
