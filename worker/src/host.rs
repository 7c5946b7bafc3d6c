//! Threads that run processors.
//!
//! Each thread makes a processor of every key when it starts, so the first job of a key that is ready is
//! no slower than the next. A job that comes before waits for that. Jobs wait in one short queue, oldest
//! first. A panic is a failed job and nothing more: it is counted, and the thread goes on with a new
//! processor.

mod bench;
mod calm;
mod line;
mod loads;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use queue::{Key, Ticket};
use tokio::sync::watch;
use wire::node::HelloKey;
use wire::practice;
use wire::{BoxError, Message, Timings, Unprocessed};

use crate::drive::Wheel;
use crate::registry::Registry;
use bench::Bench;
use calm::Calm;
use line::{Line, Next, Taken};
use loads::Loads;

/// How a [`Host`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How many jobs are worked on at a time. Default 1.
    pub threads: NonZeroUsize,
    /// How many jobs may wait for a thread; more are refused. Default 2048: credit bounds them first.
    pub waiting: usize,
    /// How many waiting jobs of one key a thread takes at once. Default 1: batches help on devices that
    /// run them in parallel, and only delay the first job elsewhere. [`Registry::batch`] sets it for one key.
    pub batch: NonZeroUsize,
    /// For how long after a quick job a host that drives the network (see [`open_driving`](Host::open_driving))
    /// looks for the next one without sleeping. It costs a processor for that long, and spares the next job
    /// the time that one takes to wake up. Default zero.
    pub busy_poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            threads: NonZeroUsize::MIN,
            waiting: 2048,
            batch: NonZeroUsize::MIN,
            busy_poll: Duration::ZERO,
        }
    }
}

/// Which job: the connection that it came over, and the ticket that it has there. A server that starts
/// anew counts its tickets from the beginning, so the ticket alone could name two jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobId {
    /// The number of the connection, as the caller counts them.
    pub session: u64,
    /// The hand-out.
    pub ticket: Ticket,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of session {}", self.ticket, self.session)
    }
}

/// Takes a job's result, on the thread that made it; it must not block. Dropped without a call when the
/// job is cancelled before a thread took it, or the host is dropped.
pub type Done = Box<dyn FnOnce(Result<Message, Unprocessed>, Timings) + Send>;

/// A job to do.
pub struct Job {
    /// Which one, for [`Host::cancel`].
    pub id: JobId,
    /// What to do.
    pub key: Key,
    /// The encoded job.
    pub message: Message,
    /// After this moment nobody wants the answer: a job that waited until then fails unworked.
    pub deadline: Option<Instant>,
    /// Takes the result.
    pub done: Done,
}

/// A job that was not taken, handed back.
pub struct Refused {
    /// The job.
    pub job: Job,
    /// Why.
    pub why: RefusedWhy,
}

/// Why a job is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedWhy {
    /// No processor is registered for its key.
    #[error("this worker does not serve the key")]
    UnknownKey,
    /// As many jobs wait as may.
    #[error("too many jobs wait already")]
    Full,
    /// The host is closing.
    #[error("this worker is stopping")]
    Closing,
}

/// What became of a [`Host::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not begun and will not; its [`Done`] was dropped.
    Dropped,
    /// A thread works on it and will finish.
    Running,
    /// The host does not have it: it is done, or never came.
    Unknown,
}

/// Jobs since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Done, with an answer.
    pub answered: u64,
    /// Done, with a reason why not, panics included.
    pub failed: u64,
    /// Processors that panicked.
    pub panics: u64,
    /// Not begun, since their time was over.
    pub late: u64,
}

/// A thread at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The thread, from 0.
    pub thread: usize,
    /// What it does.
    pub key: Key,
    /// The job, or the first one of its batch.
    pub job: JobId,
    /// For how long.
    pub time: Duration,
}

/// Why a host cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A processor cannot be made.
    #[error("no processor for {key} can be made: {source}")]
    Processor {
        /// What it would have done.
        key: Key,
        /// The maker's reason.
        source: BoxError,
    },
    /// The system gives no more threads.
    #[error("a worker thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// A pool of threads with processors.
pub struct Host {
    line: Arc<Line>,
    loads: Arc<Loads>,
    config: Config,
    threads: Vec<thread::JoinHandle<()>>,
    sessions: AtomicU64,
}

impl Host {
    /// Starts the threads and waits until each has made its processors, which may load models: not to be
    /// called where others must not wait.
    ///
    /// # Errors
    /// [`StartError`]; what was started ends.
    pub fn start(registry: &Registry, config: Config) -> Result<Host, StartError> {
        let host = Self::open(registry, config)?;
        host.loads.wait()?;
        Ok(host)
    }

    /// Starts the threads, which begin to make their processors, and does not wait: [`keys`](Self::keys)
    /// tells what is ready. A key whose processor cannot be made is logged and not served any more.
    ///
    /// # Errors
    /// [`StartError::Thread`]; what was started ends.
    pub fn open(registry: &Registry, config: Config) -> Result<Host, StartError> {
        Self::open_driving(registry, config, None)
    }

    /// As [`open`](Self::open). Where there is one thread only, it drives the network as well while jobs are
    /// quick and come one at a time.
    ///
    /// # Errors
    /// [`StartError::Thread`]; what was started ends.
    pub fn open_driving(
        registry: &Registry,
        config: Config,
        wheel: Option<Wheel>,
    ) -> Result<Host, StartError> {
        let line = Arc::new(Line::new(config, registry.batches().clone()));
        let loads = Arc::new(Loads::new(config.threads.get(), registry.keys().cloned()));
        // Dropped on an error, which ends the threads that wait for work.
        let mut host = Host {
            line: Arc::clone(&line),
            loads: Arc::clone(&loads),
            config,
            threads: Vec::new(),
            sessions: AtomicU64::new(1),
        };
        let mut wheel = wheel.filter(|_| config.threads == NonZeroUsize::MIN);
        for number in 0..config.threads.get() {
            let (line, loads, registry) = (Arc::clone(&line), Arc::clone(&loads), registry.clone());
            let calm = Calm::new(wheel.take(), config.busy_poll);
            let body = move || run(&line, &loads, number, Bench::new(registry), calm);
            let thread = thread::Builder::new().name(format!("host-{number}")).spawn(body);
            host.threads.push(thread.map_err(StartError::Thread)?);
        }
        Ok(host)
    }

    /// How many jobs are worked on at a time.
    pub fn threads(&self) -> usize {
        self.config.threads.get()
    }

    /// Whether it looks for its next job without sleeping.
    pub(crate) fn polls(&self) -> bool {
        !self.config.busy_poll.is_zero()
    }

    /// What it does, and whether it is ready for it at once: a key is warm when every thread has made and
    /// tried its processor. Changes as loads end.
    pub fn keys(&self) -> watch::Receiver<Vec<HelloKey>> {
        self.loads.watch()
    }

    /// Why it does nothing at all: no processor of any key could be made.
    pub fn nothing_left(&self) -> Option<String> {
        self.loads.nothing_left()
    }

    /// Takes a job.
    ///
    /// # Errors
    /// [`Refused`] hands it back.
    // The job is what the caller needs back; boxing it would cost an allocation for each that is taken.
    #[allow(clippy::result_large_err)]
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        match self.submit_all(vec![job]).pop() {
            None => Ok(()),
            Some(refused) => Err(refused),
        }
    }

    /// Takes several jobs, in order; gives back those that it does not take.
    pub fn submit_all(&self, jobs: Vec<Job>) -> Vec<Refused> {
        let (known, unknown) = self.loads.split(jobs);
        let mut refused = self.line.put(known);
        refused.extend(unknown.into_iter().map(|job| Refused { job, why: RefusedWhy::UnknownKey }));
        refused
    }

    /// How long a job takes a thread of late, whatever its key. Zero while nothing is known.
    pub fn service(&self) -> Duration {
        self.line.service()
    }

    /// The answer to this job is no longer wanted.
    pub fn cancel(&self, id: JobId) -> Cancelled {
        self.line.cancel(id)
    }

    /// Nobody wants the answers of this session any more: drops those of its jobs that wait.
    pub fn abandon(&self, session: u64) {
        self.line.abandon(session);
    }

    /// A number for a new connection, never given before.
    pub fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// Jobs since the start.
    pub fn counts(&self) -> Counts {
        self.line.counts()
    }

    /// The thread that has been at its job for the longest.
    pub fn longest(&self) -> Option<Running> {
        self.line.longest(Instant::now())
    }

    /// Takes no more jobs, finishes those that it has, and waits for the threads to end: on a thread that may
    /// wait, and never in a runtime that this host drives.
    pub fn close(mut self) {
        self.line.close();
        for thread in self.threads.drain(..) {
            // A panic on the way was caught and counted; there is nothing to add here.
            let _ = thread.join();
        }
    }
}

impl Drop for Host {
    /// Drops what waits. Threads end after their jobs, unwaited for: one of them may hang.
    fn drop(&mut self) {
        self.line.close();
        self.line.clear();
    }
}

/// One thread.
fn run(line: &Line, loads: &Loads, number: usize, mut bench: Bench, mut calm: Calm) {
    loop {
        match calm.next(line, number, bench.cold()) {
            Next::Work(taken) => {
                calm.begins(&taken);
                work(line, number, &mut bench, taken);
                calm.ended();
            }
            Next::Load(key) if loads.has_failed(&key) => bench.skip(&key),
            Next::Load(key) => {
                calm.leaves();
                let made = bench.load(&key);
                let failed = made.is_err();
                loads.settled(&key, made);
                if failed {
                    for job in line.remove(&key) {
                        let why = "its processor cannot be made".to_owned();
                        (job.done)(Err(Unprocessed::Failed(why)), Timings::default());
                    }
                }
            }
            Next::End => return,
        }
    }
}

/// Does what was taken.
fn work(line: &Line, number: usize, bench: &mut Bench, taken: Taken) {
    let Taken { key, jobs, late, together, .. } = taken;
    for job in late {
        let why = "its budget was over before a thread was free".to_owned();
        (job.done)(Err(Unprocessed::Failed(why)), Timings::default());
    }
    if jobs.is_empty() {
        return;
    }
    let begun = Instant::now();
    let count = jobs.len();
    if together {
        do_batch(line, bench, &key, jobs);
    } else {
        for job in jobs {
            do_batch(line, bench, &key, vec![job]);
        }
    }
    line.ended(number, begun.elapsed(), count);
}

/// Does jobs of one key in one go.
fn do_batch(line: &Line, bench: &mut Bench, key: &Key, jobs: Vec<(Job, Instant)>) {
    let begun = Instant::now();
    let batch = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    let mut messages = Vec::with_capacity(jobs.len());
    let mut waiting = Vec::with_capacity(jobs.len());
    for (job, arrived) in jobs {
        messages.push(job.message);
        let waited = begun.saturating_duration_since(arrived).as_micros();
        waiting.push((job.done, u64::try_from(waited).unwrap_or(u64::MAX)));
    }
    let worked = bench.work(key, messages);
    // Before the answers: who has one finds it counted.
    if *key != *practice::key() {
        line.count(&worked);
    }
    for ((done, queue_us), result) in waiting.into_iter().zip(worked.results) {
        done(result, Timings { queue_us, batch, ..worked.timings });
    }
    if worked.panicked {
        // After the answers, which need not wait for it.
        bench.renew(key);
    }
}
