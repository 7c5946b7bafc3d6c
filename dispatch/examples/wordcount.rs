//! Counts words: a whole task in three pieces, on worker threads of this process.
//!
//! `cargo run -p framelane-dispatch --example wordcount [FILE]`

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use dispatch::{Admission, Done, Finish, Link, Prepare, Unprepared, lane};
use framelane_dispatch as dispatch;
use queue::{Key, Policy, TaskName, WorkerId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wire::{Cbor, Processor, Task, Unprocessed};

/// Piece one, the task: a line goes out, its counted words come back.
struct WordCount;

impl Task for WordCount {
    const NAME: &'static str = "word-count";
    type Job = Cbor<String>;
    type Answer = Cbor<BTreeMap<String, u64>>;
}

/// Piece two, the coordinator's side: what is sent for a line, and what becomes of the answers.
struct Lines;

impl Prepare for Lines {
    type Task = WordCount;
    type Item = String;

    fn prepare(&self, line: &String, _: &Link) -> Result<Cbor<String>, Unprepared> {
        Ok(Cbor(line.clone()))
    }
}

#[derive(Default)]
struct Sum {
    words: BTreeMap<String, u64>,
    lines_without_answer: u64,
}

impl Finish for Sum {
    type Prepare = Lines;

    async fn finish(&mut self, done: Done<Lines>) {
        match done.answer {
            Some(Cbor(counts)) => {
                for (word, count) in counts {
                    *self.words.entry(word).or_default() += count;
                }
            }
            None => self.lines_without_answer += 1,
        }
    }
}

/// Piece three, the worker's side.
struct Counter;

impl Processor for Counter {
    type Task = WordCount;

    fn process(&mut self, Cbor(line): Cbor<String>) -> Result<Cbor<BTreeMap<String, u64>>, Unprocessed> {
        let mut counts = BTreeMap::new();
        for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        Ok(Cbor(counts))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => include_str!("wordcount.rs").to_owned(),
    };
    let sum = count(text.lines().map(str::to_owned)).await?;
    let mut words: Vec<_> = sum.words.into_iter().collect();
    words.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), word.clone()));
    for (word, count) in words.iter().take(10) {
        println!("{count:6} {word}");
    }
    println!("{} words in all, {} lines without an answer", words.len(), sum.lines_without_answer);
    Ok(())
}

/// Opens the queue, lets two threads join it, and runs the lines through.
async fn count(lines: impl Iterator<Item = String>) -> Result<Sum, Box<dyn std::error::Error>> {
    let (coordinator, driver) = dispatch::new(queue::Config::default());
    tokio::spawn(driver);

    let key = Key { task: TaskName::new(WordCount::NAME)?, model: None };
    let threads = lane::local::Config {
        name: "counters".into(),
        worker: WorkerId(1),
        threads: const { NonZeroU32::new(2).expect("2 is not 0") },
        credit: const { NonZeroU32::new(64).expect("64 is not 0") },
        processors: [(key.clone(), wire::factory(|| Ok::<_, wire::BoxError>(Counter)))].into(),
    };
    let stop = CancellationToken::new();
    let (joined, _) = oneshot::channel();
    let local = tokio::spawn(lane::local::run(coordinator.clone(), threads, stop.clone(), joined));

    let (mut inlet, outlet) = coordinator.open(Policy::lossless(), key, Lines).await?;
    let outlet = outlet.batched(const { NonZeroUsize::new(64).expect("64 is not 0") });
    let finished = tokio::spawn(outlet.run(Sum::default()));
    for line in lines {
        inlet.send(Admission::now(line)).await.map_err(|refused| refused.why)?;
    }
    inlet.close();
    let (sum, books) = finished.await?;
    books.ok_or("the queue stopped")?.balances()?;
    stop.cancel();
    local.await??;
    Ok(sum)
}
