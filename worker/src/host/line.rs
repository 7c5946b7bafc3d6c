//! The jobs that wait, and who works on what: the one thing that the threads share.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use queue::Key;

use super::bench::Worked;
use super::{Cancelled, Config, Counts, Job, JobId, Refused, RefusedWhy, Running};

pub(super) struct Line {
    config: Config,
    state: Mutex<State>,
    /// There is work, or there will be none.
    changed: Condvar,
}

struct State {
    waiting: VecDeque<(Job, Instant)>,
    /// By thread.
    running: Vec<Option<Work>>,
    closing: bool,
    counts: Counts,
}

struct Work {
    key: Key,
    ids: Vec<JobId>,
    since: Instant,
}

/// Work for a thread.
pub(super) struct Taken {
    pub(super) key: Key,
    /// Jobs of this key, and when each came.
    pub(super) jobs: Vec<(Job, Instant)>,
    /// Jobs whose time is over.
    pub(super) late: Vec<Job>,
}

impl Line {
    pub(super) fn new(config: Config) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: (0..config.threads.get()).map(|_| None).collect(),
            closing: false,
            counts: Counts::default(),
        };
        Line { config, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::result_large_err)]
    pub(super) fn put(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.state();
        let why = if state.closing {
            RefusedWhy::Closing
        } else if state.waiting.len() >= self.config.waiting {
            RefusedWhy::Full
        } else {
            state.waiting.push_back((job, Instant::now()));
            drop(state);
            self.changed.notify_one();
            return Ok(());
        };
        Err(Refused { job, why })
    }

    /// Waits for work; none when the line is closed and empty.
    pub(super) fn take(&self, thread: usize) -> Option<Taken> {
        let mut state = self.state();
        loop {
            if let Some(taken) = state.take(thread, self.config.batch.get()) {
                return Some(taken);
            }
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A thread has done what it took.
    pub(super) fn ended(&self, thread: usize, worked: &Worked) {
        let mut state = self.state();
        state.running[thread] = None;
        state.counts.panics += u64::from(worked.panicked);
        for result in &worked.results {
            match result {
                Ok(_) => state.counts.answered += 1,
                Err(_) => state.counts.failed += 1,
            }
        }
    }

    pub(super) fn cancel(&self, id: JobId) -> Cancelled {
        let mut state = self.state();
        let place = state.waiting.iter().position(|(job, _)| job.id == id);
        if let Some(job) = place.and_then(|place| state.waiting.remove(place)) {
            drop(state);
            // Outside of the lock: what it drops is the caller's.
            drop(job);
            return Cancelled::Dropped;
        }
        let running = state.running.iter().flatten().any(|work| work.ids.contains(&id));
        if running { Cancelled::Running } else { Cancelled::Unknown }
    }

    pub(super) fn abandon(&self, session: u64) {
        let dropped = {
            let mut state = self.state();
            let (gone, kept): (VecDeque<_>, VecDeque<_>) =
                state.waiting.drain(..).partition(|(job, _)| job.id.session == session);
            state.waiting = kept;
            gone
        };
        drop(dropped);
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn longest(&self, now: Instant) -> Option<Running> {
        let state = self.state();
        let running = state.running.iter().enumerate();
        let running = running.filter_map(|(thread, work)| {
            let work = work.as_ref()?;
            let job = *work.ids.first()?;
            let time = now.saturating_duration_since(work.since);
            Some(Running { thread, key: work.key.clone(), job, time })
        });
        running.max_by_key(|running| running.time)
    }

    pub(super) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    pub(super) fn clear(&self) {
        let dropped = std::mem::take(&mut self.state().waiting);
        drop(dropped);
    }
}

impl State {
    /// The oldest job, and as many others of its key as make a batch.
    fn take(&mut self, thread: usize, batch: usize) -> Option<Taken> {
        let now = Instant::now();
        let key = self.waiting.front()?.0.key.clone();
        let mut taken = Taken { key, jobs: Vec::new(), late: Vec::new() };
        let mut place = 0;
        while taken.jobs.len() < batch
            && let Some((job, _)) = self.waiting.get(place)
        {
            let late = job.deadline.is_some_and(|deadline| deadline <= now);
            if !late && job.key != taken.key {
                place += 1;
                continue;
            }
            let (job, arrived) = self.waiting.remove(place).expect("it was looked at just now");
            if late {
                self.counts.late += 1;
                taken.late.push(job);
            } else {
                taken.jobs.push((job, arrived));
            }
        }
        if !taken.jobs.is_empty() {
            let ids = taken.jobs.iter().map(|(job, _)| job.id).collect();
            self.running[thread] = Some(Work { key: taken.key.clone(), ids, since: now });
        }
        Some(taken)
    }
}
