//! A lane of threads in this process: jobs and answers stay values, nothing is encoded.
//!
//! The threads read the lane's orders straight from the queue's channel, so nothing waits in a
//! second queue. A thread takes one order at a time, but several where the work is so short that taking
//! would cost more than doing, and reports them together. A cancel needs no work here: it arrives behind
//! its hand-out, which a thread has taken by then and will answer, and that answer gives the credit back.

use std::any::Any;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use queue::{Failure, Key, LaneKey, WorkerId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wire::{BoxError, Factory, Process, Timings, Unprocessed};

use super::pace::Pace;
use super::{HandOut, Join, Label, Order, Reporter, answered};
use crate::command::Report;
use crate::prepare::Job;
use crate::{Coordinator, Stopped};

/// The threads and what they can do.
pub struct Config {
    /// What people see.
    pub name: String,
    /// The identity of these threads as a worker.
    pub worker: WorkerId,
    /// How many threads, each with processors of its own.
    pub threads: NonZeroU32,
    /// How many hand-outs the lane holds at a time: at least the threads. One more per thread keeps
    /// them busy while answers travel; tasks of microseconds want some dozens.
    pub credit: NonZeroU32,
    /// A processor's maker for each key. Every thread makes one of each before the lane joins.
    pub processors: BTreeMap<Key, Factory>,
}

/// Why a local lane ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A processor cannot be made.
    #[error("no processor for {key} could be made: {source}")]
    Processor {
        /// What it would have done.
        key: Key,
        /// The maker's reason.
        source: BoxError,
    },
    /// The system gives no more threads.
    #[error("a worker thread could not be started: {0}")]
    Thread(#[source] std::io::Error),
    /// The queue has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

type Orders = Arc<Mutex<super::Orders>>;

/// Makes the processors, joins the queue, and serves until `stop`; then finishes what the lane
/// holds and leaves. `joined` is told when the lane serves.
pub async fn run(
    coordinator: Coordinator,
    config: Config,
    stop: CancellationToken,
    joined: oneshot::Sender<()>,
) -> Result<(), Error> {
    let threads = config.threads.get();
    let processors = Arc::new(config.processors);
    let (built, mut all_built) = mpsc::channel(threads as usize);
    let mut starts = Vec::new();
    for number in 0..threads {
        let (start, begin) = oneshot::channel::<(Orders, Reporter)>();
        let (processors, built) = (Arc::clone(&processors), built.clone());
        let body = move || {
            let made = Bench::new(processors);
            let (told, bench) = match made {
                Ok(bench) => (Ok(()), Some(bench)),
                Err(error) => (Err(error), None),
            };
            // Kept until the thread ends: that all of these are gone tells that all threads are.
            let alive = built;
            let _ = alive.blocking_send(told);
            // A start that never comes is a lane that was given up before it joined.
            if let (Some(bench), Ok((orders, reporter))) = (bench, begin.blocking_recv()) {
                serve(bench, threads as usize, &orders, &reporter);
            }
        };
        thread::Builder::new().name(format!("local-{number}")).spawn(body).map_err(Error::Thread)?;
        starts.push(start);
    }
    drop(built);
    for _ in 0..threads {
        all_built.recv().await.unwrap_or(Ok(()))?;
    }
    let keys = processors.keys().map(|key| LaneKey { key: key.clone(), warm: true }).collect();
    let credit = config.credit.get().max(threads);
    let label = Label { name: config.name, kind: "local", remote: None, shared_memory: false };
    let join = Join { worker: config.worker, label, keys, credit, max_credit: credit, practice: None };
    let (orders, reporter) = coordinator.join(join).await?;
    let orders = Arc::new(Mutex::new(orders));
    for start in starts {
        let _ = start.send((Arc::clone(&orders), reporter.clone()));
    }
    let _ = joined.send(());
    let ended = async { while all_built.recv().await.is_some() {} };
    tokio::pin!(ended);
    tokio::select! {
        biased;
        () = &mut ended => return Ok(()),
        () = stop.cancelled() => reporter.drain().await?,
    }
    ended.await;
    Ok(())
}

/// The most orders that a thread takes at once.
const TOGETHER: usize = 64;

/// One thread: takes orders until the lane is over.
fn serve(mut bench: Bench, threads: usize, orders: &Orders, reporter: &Reporter) {
    let mut taken = Vec::with_capacity(TOGETHER);
    let mut pace = Pace::default();
    loop {
        take(orders, &mut taken, pace.together().min(TOGETHER), threads);
        if taken.is_empty() {
            return;
        }
        let mut reports = Vec::with_capacity(taken.len());
        let begun = Instant::now();
        for order in taken.drain(..) {
            match order {
                Order::HandOut(hand_out) if is_over(&hand_out) => {
                    reports.push(Report::Released(hand_out.ticket));
                }
                Order::HandOut(hand_out) => {
                    reports.push(answered(hand_out.ticket, bench.work(&hand_out)));
                }
                // What it is about was taken before; and the end was seen when it was taken.
                Order::Cancel(_) | Order::Drained | Order::Lost => {}
            }
        }
        pace.learn(begun.elapsed(), reports.len());
        if !reports.is_empty() && reporter.report_blocking(reports).is_err() {
            return;
        }
    }
}

/// Waits for orders and takes this thread's share of those that are there, `most` at most; none when
/// the lane is over. The one that says so closes the channel while it is still locked: afterwards another
/// thread may hold the lock and wait in it for orders that never come.
fn take(orders: &Orders, taken: &mut Vec<Order>, most: usize, threads: usize) {
    let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(first) = orders.blocking_recv() else { return };
    let share = (orders.len() + 1).div_ceil(threads).min(most);
    let mut next = Some(first);
    while let Some(order) = next {
        if matches!(order, Order::Drained | Order::Lost) {
            orders.close();
        }
        taken.push(order);
        next = if taken.len() < share { orders.try_recv().ok() } else { None };
    }
}

/// The work would be for nothing: its budget ended while it waited for a thread.
fn is_over(hand_out: &HandOut) -> bool {
    hand_out.deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now().into_std())
}

type Worked = Result<(Box<dyn Any + Send>, Timings), Failure>;

/// One thread's processors.
struct Bench {
    makers: Arc<BTreeMap<Key, Factory>>,
    made: BTreeMap<Key, Box<dyn Process>>,
}

impl Bench {
    fn new(makers: Arc<BTreeMap<Key, Factory>>) -> Result<Self, Error> {
        let mut made = BTreeMap::new();
        for (key, make) in makers.iter() {
            let processor = make().map_err(|source| Error::Processor { key: key.clone(), source })?;
            made.insert(key.clone(), processor);
        }
        Ok(Bench { makers, made })
    }

    fn work(&mut self, hand_out: &HandOut) -> Worked {
        let job = hand_out.job().map_err(|unprepared| {
            tracing::debug!(ticket = ?hand_out.ticket, %unprepared, "no job");
            Failure::Bad
        })?;
        let processor = self.processor(hand_out.key())?;
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let answer = match job {
                Job::Value(job) => processor.process_any(job),
                Job::Encoded(job) => processor.process(job).map(|answer| Box::new(answer) as _),
            };
            (answer, processor.timings())
        }));
        match worked {
            Ok((Ok(answer), timings)) => Ok((answer, timings)),
            Ok((Err(unprocessed), _)) => {
                tracing::debug!(ticket = ?hand_out.ticket, %unprocessed, "no answer");
                hand_out.failed(&unprocessed);
                Err(match unprocessed {
                    Unprocessed::Bad(_) => Failure::Bad,
                    Unprocessed::Failed(_) => Failure::Failed,
                })
            }
            Err(_) => {
                // Its state may be torn; the next job gets a new one.
                self.made.remove(hand_out.key());
                tracing::error!(key = %hand_out.key(), "a processor panicked; its job has failed");
                hand_out.failed(&Unprocessed::Failed("the processor panicked".into()));
                Err(Failure::Failed)
            }
        }
    }

    fn processor(&mut self, key: &Key) -> Result<&mut Box<dyn Process>, Failure> {
        if !self.made.contains_key(key) {
            let make = self.makers.get(key).ok_or(Failure::Failed)?;
            let made = make().map_err(|error| {
                tracing::error!(%key, %error, "a processor could not be made again");
                Failure::Failed
            })?;
            self.made.insert(key.clone(), made);
        }
        Ok(self.made.get_mut(key).expect("there from the start, or just inserted"))
    }
}
