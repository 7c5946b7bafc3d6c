//! The jobs that wait, and who works on what: the one thing that the threads share.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue::Key;
use tokio::sync::Notify;
use wire::practice;

use super::bench::Worked;
use super::{Cancelled, Config, Counts, Job, JobId, Refused, RefusedWhy, Running};

pub(super) struct Line {
    config: Config,
    /// By key, where it is not the config's.
    batches: BTreeMap<Key, NonZeroUsize>,
    state: Mutex<State>,
    /// There is work, or there will be none: for threads that wait here ...
    changed: Condvar,
    /// ... and for one that does something else meanwhile.
    came: Notify,
}

struct State {
    waiting: VecDeque<(Job, Instant)>,
    /// By thread.
    running: Vec<Option<Work>>,
    closing: bool,
    /// The thread that waits does so outside, for [`Line::came`].
    outside: bool,
    counts: Counts,
    /// Seconds that a job takes of late, by key: as many as the registry has, and practice.
    service: BTreeMap<Key, f64>,
    /// The same over all keys.
    mean: f64,
}

struct Work {
    key: Key,
    ids: Vec<JobId>,
    since: Instant,
}

/// What a thread is to do next.
pub(super) enum Next {
    /// These jobs.
    Work(Taken),
    /// To make this key's processor.
    Load(Key),
    /// To end: the line is closed and empty.
    End,
}

/// Work for a thread.
pub(super) struct Taken {
    pub(super) key: Key,
    /// Jobs of this key, and when each came.
    pub(super) jobs: Vec<(Job, Instant)>,
    /// Jobs whose time is over.
    pub(super) late: Vec<Job>,
    /// Whether to do them in one go, or one after the other.
    pub(super) together: bool,
    /// Whether it is one job that takes less than [`QUICK`], with none behind it.
    pub(super) quick: bool,
}

/// Jobs that are so short that taking them one by one would cost more than doing them are taken by this
/// much work at once, and done one after the other.
const SHORT: Duration = Duration::from_micros(50);
/// The most that are.
const MOST: f64 = 64.0;
/// A job is quick where it takes less than this: the network can wait for it.
const QUICK: Duration = Duration::from_micros(200);

impl Line {
    pub(super) fn new(config: Config, batches: BTreeMap<Key, NonZeroUsize>) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            running: (0..config.threads.get()).map(|_| None).collect(),
            closing: false,
            outside: false,
            counts: Counts::default(),
            service: BTreeMap::new(),
            mean: 0.0,
        };
        Line { config, batches, state: Mutex::new(state), changed: Condvar::new(), came: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes jobs, in order; gives back those that find no place.
    pub(super) fn put(&self, jobs: Vec<Job>) -> Vec<Refused> {
        let now = Instant::now();
        let mut refused = Vec::new();
        let mut state = self.state();
        let before = state.waiting.len();
        for job in jobs {
            if state.closing {
                refused.push(Refused { job, why: RefusedWhy::Closing });
            } else if state.waiting.len() >= self.config.waiting {
                refused.push(Refused { job, why: RefusedWhy::Full });
            } else {
                state.waiting.push_back((job, now));
            }
        }
        let came = state.waiting.len() - before;
        let outside = came > 0 && std::mem::take(&mut state.outside);
        drop(state);
        match came {
            0 => {}
            _ if outside => self.came.notify_one(),
            1 => self.changed.notify_one(),
            _ => self.changed.notify_all(),
        }
        refused
    }

    /// Waits for something to do. Jobs of what is made already go first, then what jobs wait for, then
    /// what else is `cold`: so a slow load holds up nothing but its own jobs.
    pub(super) fn take(&self, thread: usize, cold: &[Key]) -> Next {
        let mut state = self.state();
        loop {
            if let Some(next) = state.next(thread, self, cold) {
                return next;
            }
            // Whoever waits here has made everything, so it matters not which one is woken for a job.
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`take`](Self::take) for the only thread, which does not wait: where there is nothing to do,
    /// [`came`](Self::came) tells when there is.
    pub(super) fn look(&self, cold: &[Key]) -> Option<Next> {
        let mut state = self.state();
        let next = state.next(0, self, cold);
        state.outside = next.is_none();
        next
    }

    /// Told once after a [`look`](Self::look) that found nothing.
    pub(super) fn came(&self) -> &Notify {
        &self.came
    }

    /// Takes out the jobs of a key.
    pub(super) fn remove(&self, key: &Key) -> Vec<Job> {
        let mut state = self.state();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) =
            state.waiting.drain(..).partition(|(job, _)| job.key == *key);
        state.waiting = kept;
        gone.into_iter().map(|(job, _)| job).collect()
    }

    /// A thread has done what it took: so many jobs, in this time.
    pub(super) fn ended(&self, thread: usize, took: Duration, jobs: usize) {
        let mut state = self.state();
        let each = took.as_secs_f64() / jobs.max(1) as f64;
        // Rises fast and falls slowly: behind a job that is taken for a short one, others wait.
        let learn = |known: &mut f64| *known += (each - *known) * if each > *known { 0.5 } else { 0.125 };
        if let Some(work) = state.running[thread].take() {
            if work.key != *practice::key() {
                learn(&mut state.mean);
            }
            state.service.entry(work.key).and_modify(learn).or_insert(each);
        }
    }

    pub(super) fn count(&self, worked: &Worked) {
        let mut state = self.state();
        state.counts.panics += u64::from(worked.panicked);
        for result in &worked.results {
            match result {
                Ok(_) => state.counts.answered += 1,
                Err(_) => state.counts.failed += 1,
            }
        }
    }

    pub(super) fn service(&self) -> Duration {
        Duration::from_secs_f64(self.state().mean)
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
        self.came.notify_one();
    }

    pub(super) fn clear(&self) {
        let dropped = std::mem::take(&mut self.state().waiting);
        drop(dropped);
    }
}

impl State {
    /// What there is to do.
    fn next(&mut self, thread: usize, line: &Line, cold: &[Key]) -> Option<Next> {
        if let Some(taken) = self.take(thread, line, cold) {
            return Some(Next::Work(taken));
        }
        // Only jobs of cold keys are left, if any.
        let wanted = self.waiting.front().map(|(job, _)| &job.key);
        if let Some(key) = wanted.or(if self.closing { None } else { cold.first() }) {
            return Some(Next::Load(key.clone()));
        }
        self.closing.then_some(Next::End)
    }

    /// How many jobs are worth taking at once where they are done one by one.
    fn short(&self, key: &Key) -> usize {
        let service = self.service.get(key).filter(|service| **service > 0.0);
        service.map_or(1, |service| (SHORT.as_secs_f64() / service).clamp(1.0, MOST) as usize)
    }

    /// The oldest job whose key is not cold, and as many others of its key as are to be taken with it.
    fn take(&mut self, thread: usize, line: &Line, cold: &[Key]) -> Option<Taken> {
        let mut place = self.waiting.iter().position(|(job, _)| !cold.contains(&job.key))?;
        let key = self.waiting[place].0.key.clone();
        let now = Instant::now();
        let batch = line.batches.get(&key).unwrap_or(&line.config.batch).get();
        let together = batch > 1;
        let batch = match together {
            true => batch,
            // No more than this thread's share: the others are not to stand idle beside it.
            false => self.short(&key).min(self.waiting.len().div_ceil(line.config.threads.get())),
        };
        let mut taken = Taken { key, jobs: Vec::new(), late: Vec::new(), together, quick: false };
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
        let known = self.service.get(&taken.key).is_some_and(|each| *each < QUICK.as_secs_f64());
        taken.quick = known && taken.jobs.len() == 1 && self.waiting.is_empty();
        if !taken.jobs.is_empty() {
            let ids = taken.jobs.iter().map(|(job, _)| job.id).collect();
            self.running[thread] = Some(Work { key: taken.key.clone(), ids, since: now });
        }
        Some(taken)
    }
}
