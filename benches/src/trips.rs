//! One word at a time, there and back, at a rate that leaves both ends asleep in between.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use dispatch::{Admission, Coordinator};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

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

/// A queue and a worker process that both poll: between two words neither sleeps, and both do soon after the last.
/// The queue is on a runtime of one thread, as [`dispatch::Config::busy_poll`] wants it.
pub(crate) struct Polling {
    asked: mpsc::Sender<Asked>,
    thread: thread::JoinHandle<anyhow::Result<()>>,
}

/// How long to measure, and whom to tell.
type Asked = (Duration, oneshot::Sender<anyhow::Result<(f64, Sums)>>);

/// Longer than the pause between two words.
const POLL: Duration = Duration::from_millis(20);

impl Polling {
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Polling> {
        let (asked, asks) = mpsc::channel(1);
        let (ready, is_ready) = oneshot::channel();
        let folder = folder.to_owned();
        let body = move || {
            let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
            runtime.block_on(serve(&folder, ready, asks))
        };
        let thread = thread::Builder::new().name("polling".to_owned()).spawn(body).context("no thread")?;
        if is_ready.await.is_err() {
            join(thread).await?;
            anyhow::bail!("the polling queue ended");
        }
        Ok(Polling { asked, thread })
    }

    /// As [`run`].
    pub(crate) async fn trips(&self, time: Duration, sums: &mut Sums) -> anyhow::Result<f64> {
        let (told, tells) = oneshot::channel();
        self.asked.send((time, told)).await.context("the polling queue ended")?;
        let (median, wrong) = tells.await.context("the polling queue ended")??;
        sums.merge(&wrong);
        Ok(median)
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        drop(self.asked);
        join(self.thread).await
    }
}

async fn join(thread: thread::JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let joined = tokio::task::spawn_blocking(|| thread.join());
    joined.await?.map_err(|_| anyhow::anyhow!("the polling queue panicked"))?
}

async fn serve(
    folder: &Path,
    ready: oneshot::Sender<()>,
    mut asks: mpsc::Receiver<Asked>,
) -> anyhow::Result<()> {
    let pool = Pool::polling(([127, 0, 0, 1], 0).into(), &folder.join("pool"), POLL)?;
    let poll = POLL.as_millis().to_string();
    let crew = Crew::start(&pool, &folder.join("crew"), 1, Some(1), &["--busy-poll-ms", &poll]).await?;
    let _ = ready.send(());
    while let Some((time, told)) = asks.recv().await {
        let mut sums = Sums::default();
        let median = run(&pool.coordinator, time, &mut sums).await;
        let _ = told.send(median.map(|median| (median, sums)));
    }
    crew.end().await?;
    pool.stop().await;
    Ok(())
}
