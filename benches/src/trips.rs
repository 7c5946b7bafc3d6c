//! One word at a time, there and back, at a rate that leaves both ends asleep in between.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use dispatch::{Admission, Coordinator};

use crate::crew::Crew;
use crate::pool::Pool;
use crate::report::percentile;
use crate::wordcount::{Sums, open};
use crate::words::{Counts, Sum};

/// Words a second, as in the rivals' scripts.
pub(crate) const RATE: f64 = 100.0;

/// Sends words for so long; gives the median time there and back in microseconds.
pub(crate) async fn run(coordinator: &Coordinator, time: Duration, sums: &mut Sums) -> anyhow::Result<f64> {
    let (mut inlet, mut outlet) = open(coordinator).await?;
    let going = tokio::spawn(async move {
        let (mut sum, mut times) = (Sum::default(), Vec::new());
        let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / RATE));
        let begin = Instant::now();
        while begin.elapsed() < time {
            tick.tick().await;
            let sent = Instant::now();
            inlet.send(Admission::now("kiwi")).await.map_err(|refused| refused.why)?;
            let done = outlet.next().await.context("the queue stopped")?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
            sum.add(done);
        }
        drop(inlet);
        anyhow::ensure!(outlet.next().await.is_none(), "a place that nobody offered");
        anyhow::Ok((times, sum, outlet))
    });
    let (times, sum, outlet) = going.await.context("it panicked")??;
    sums.add(&sum, &outlet, &Counts::from([("kiwi".to_owned(), times.len() as u64)]));
    Ok(percentile(&times, 50.0))
}

/// Longer than the pause between two words.
const POLL: Duration = Duration::from_millis(20);

/// As [`run`], with a queue and a worker process that both poll: between two words neither sleeps, and both do soon
/// after the last. To be called on a runtime of one thread, as [`dispatch::Config::busy_poll`] wants it.
pub(crate) async fn polling(folder: &Path, time: Duration, sums: &mut Sums) -> anyhow::Result<f64> {
    let pool = Pool::polling(([127, 0, 0, 1], 0).into(), &folder.join("pool"), POLL)?;
    let poll = POLL.as_millis().to_string();
    let crew = Crew::start(&pool, &folder.join("crew"), 1, Some(1), &["--busy-poll-ms", &poll]).await?;
    let median = run(&pool.coordinator, time, sums).await?;
    crew.end().await?;
    pool.stop().await;
    Ok(median)
}
