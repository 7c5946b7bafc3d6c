//! A worker for a task of its own: counts the words of a text. No models, no video.
//!
//! `cargo run -p framelane-worker --no-default-features --example wordcount_worker -- HOST:PORT [TOKEN]`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use framelane_worker as worker;
use tokio_util::sync::CancellationToken;
use worker::identity::Seat;
use worker::{Cbor, Host, Key, Processor, Registry, Task, TaskName, Unprocessed, host, node};

/// What is asked and answered; the program that asks has the same lines.
struct WordCount;

impl Task for WordCount {
    const NAME: &'static str = "wordcount";
    type Job = Cbor<String>;
    type Answer = Cbor<BTreeMap<String, u64>>;
}

/// Does it. It could hold a model, a buffer, a device: there is one for each thread.
struct Counter;

impl Processor for Counter {
    type Task = WordCount;

    fn process(&mut self, Cbor(text): Cbor<String>) -> Result<Cbor<BTreeMap<String, u64>>, Unprocessed> {
        let mut counts = BTreeMap::new();
        for word in text.split_whitespace() {
            *counts.entry(word.to_lowercase()).or_insert(0) += 1;
        }
        Ok(Cbor(counts))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let mut args = std::env::args().skip(1);
    let server = args.next().ok_or("usage: wordcount_worker HOST:PORT [TOKEN]")?;
    let token = args.next().map(|token| token.parse()).transpose()?;

    let mut registry = Registry::new();
    registry.serve(Key::task(TaskName::new(WordCount::NAME)?), || Ok::<_, Infallible>(Counter))?;
    let host = Arc::new(Host::start(&registry, host::Config::default())?);

    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            on_signal.cancel();
        }
    });
    let papers = Seat::new(&server, "wordcount", "wordcount-worker-state").take(token, &stop).await?;
    node::run(&node::Config::new(server, "wordcount"), &papers, host, stop).await?;
    Ok(())
}
