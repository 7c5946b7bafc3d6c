//! The side that asks, from the text to the table.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Read;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dispatch::kit::{Config, Pool, Who};
use dispatch::{Admission, Coordinator};
use queue::{Key, Policy};
use tokio_util::sync::CancellationToken;
use wire::{Factory, Task};
use wordcount::flow::{Sum, Words};
use wordcount::task::WordCount;

use crate::AT_HAND;

/// Whose words are counted, and by whom.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The text; `-` reads it from the standard input [default: a licence of 1,600 words].
    #[arg(value_name = "FILE")]
    text: Option<PathBuf>,
    /// Count the same text so many times.
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZeroU32,
    #[command(flatten)]
    who: Who,
}

const TEXT: &str = include_str!("../../../LICENSE-APACHE");
/// How many words the table has.
const SHOWN: usize = 10;
/// How many places leave the flow at a time. They are small, so some dozens save most of the turns.
const TOGETHER: NonZeroUsize = NonZeroUsize::new(256).expect("256 is not 0");

/// Counts, and prints the table.
pub(crate) async fn run(
    args: Args,
    processors: BTreeMap<Key, Factory>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let text = args.text()?;
    let mut pool = Pool::start(Config { at_hand: AT_HAND, ..Config::new(args.who, processors) })?;
    if let Some(command) = pool.command() {
        println!("{command}");
    }
    tokio::select! {
        () = stop.cancelled() => {}
        joined = pool.joined() => joined?,
    }
    let counted = count(pool.coordinator(), &text, args.repeat.get(), &stop).await;
    pool.stop().await;
    let (sum, tasks, took) = counted?;
    ensure!(sum.missing == 0, "{} words have no answer", sum.missing);
    print(&sum, tasks, took);
    Ok(())
}

/// Sends every word and waits for every counter. A stop ends the sending, and the waiting too where nobody counts.
async fn count(
    coordinator: &Coordinator,
    text: &str,
    repeat: u32,
    stop: &CancellationToken,
) -> anyhow::Result<(Sum, u64, Duration)> {
    let (mut inlet, outlet) = coordinator.open(Policy::lossless(), WordCount::key()?, Words).await?;
    let summed = tokio::spawn(outlet.batched(TOGETHER).run(Sum::default()));
    let begun = Instant::now();
    let mut tasks = 0;
    for word in (0..repeat).flat_map(|_| text.split_whitespace()) {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            sent = inlet.send(Admission::now(word.to_owned())) => {
                sent.map_err(|refused| refused.why)?;
            }
        }
        tasks += 1;
    }
    if stop.is_cancelled() && !coordinator.serves(WordCount::key()?).await? {
        bail!("stopped, and there is nobody to count what is left");
    }
    inlet.close();
    let (sum, books) = summed.await.context("adding up panicked")?;
    let took = begun.elapsed();
    books.context("the queue stopped")?.balances()?;
    Ok((sum, tasks, took))
}

fn print(sum: &Sum, tasks: u64, took: Duration) {
    let mut words: Vec<_> = sum.words.iter().collect();
    words.sort_by_key(|&(word, count)| (Reverse(*count), word));
    for (word, count) in words.iter().take(SHOWN) {
        println!("{count:8}  {word}");
    }
    let a_second = tasks as f64 / took.as_secs_f64();
    println!(
        "{tasks} tasks in {:.3} s: {a_second:.0} tasks a second; {} words",
        took.as_secs_f64(),
        words.len()
    );
}

impl Args {
    fn text(&self) -> anyhow::Result<String> {
        let Some(path) = &self.text else { return Ok(TEXT.to_owned()) };
        if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("the standard input cannot be read")?;
            return Ok(text);
        }
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
    }
}
