//! Trouble with every hand-out of a lane: a line a second, with the number of those it stands for.

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use dispatch::{Admission, Inlet, Link, Outlet, Prepare, Unprepared};
use framelane_dispatch as dispatch;
use queue::{Policy, Reason, Verdict};
use support::{Warnings, soon};
use wire::node;
use wire::{Cbor, Message, Task, Timings};

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

/// Waits until the lines stand for so many hand-outs, and returns how many lines these are.
async fn stands_for(warnings: &Warnings, count: u64, text: &str) -> usize {
    soon(async {
        loop {
            let lines = warnings.all();
            assert!(lines.iter().all(|line| line.text.contains(text)), "{lines:#?}");
            let sum: u64 = lines.iter().map(|line| line.count).sum();
            assert!(sum <= count, "{lines:#?}");
            if sum == count {
                return lines.len();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

struct Site {
    inlet: Inlet<Texts>,
    outlet: Outlet<Texts>,
    _site: support::Site,
}

/// A queue with one worker whose answers nobody can read.
async fn site() -> Site {
    let site = support::Site::new();
    let key = Texts::key().expect("a name");
    let (node, mut jobs) = site.worker("texts", key.clone(), 4, &[]).await;
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
    let (inlet, outlet) = site.coordinator.open(policy, key, Texts).await.expect("the queue runs");
    Site { inlet, outlet, _site: site }
}

impl Site {
    /// Sends so many of this length, of which none is answered.
    async fn fail(&mut self, length: usize, count: usize) {
        for _ in 0..count {
            self.inlet.send(Admission::now(length)).await.expect("admitted");
            let done = soon(self.outlet.next()).await;
            assert_eq!(done.expect("a place").verdict, Verdict::Missing(Reason::Failed));
        }
    }
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_told_once_a_second_with_their_number() {
    let (warnings, _guard) = Warnings::here();
    let mut site = site().await;
    let begun = std::time::Instant::now();
    site.fail(5, 300).await;
    let lines = stands_for(&warnings, 300, "answers cannot be read").await;
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(lines >= 2 && lines <= seconds + 2, "{lines} lines in {seconds} seconds");
}

#[tokio::test]
async fn a_job_that_is_too_long_for_its_head_is_told_with_what_to_do() {
    let (warnings, _guard) = Warnings::here();
    let mut site = site().await;
    site.fail(70_000, 20).await;
    stands_for(&warnings, 20, "no jobs could be made of items").await;
    for line in warnings.all() {
        for word in ["70005 bytes", "65536 at most", "body"] {
            assert!(line.text.contains(word), "{word} is not in {}", line.text);
        }
    }
}
