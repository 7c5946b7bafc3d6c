//! Which keys are ready: made and warmed up by every thread.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use queue::Key;
use tokio::sync::watch;
use wire::node::HelloKey;
use wire::practice;

use super::{Job, StartError};

pub(super) struct Loads {
    threads: usize,
    state: Mutex<State>,
    changed: Condvar,
    told: watch::Sender<Vec<HelloKey>>,
}

struct State {
    keys: BTreeMap<Key, Load>,
    /// The first failure, until somebody takes it, and its text.
    error: Option<StartError>,
    why: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// This many threads have it.
    Cold(usize),
    Warm,
    Failed,
}

impl Loads {
    pub(super) fn new(threads: usize, keys: impl Iterator<Item = Key>) -> Self {
        let state = State { keys: keys.map(|key| (key, Load::Cold(0))).collect(), error: None, why: None };
        let told = watch::Sender::new(state.served());
        Loads { threads, state: Mutex::new(state), changed: Condvar::new(), told }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread has made a key's processor, or could not.
    pub(super) fn settled(&self, key: &Key, made: Result<(), StartError>) {
        let mut state = self.state();
        let Some(load) = state.keys.get_mut(key) else { return };
        let before = *load;
        *load = match (before, &made) {
            (Load::Failed, _) | (_, Err(_)) => Load::Failed,
            (Load::Cold(have), Ok(())) if have + 1 < self.threads => Load::Cold(have + 1),
            _ => Load::Warm,
        };
        let now = *load;
        if let (Err(error), true) = (made, before != Load::Failed) {
            tracing::error!("left out: {error}");
            state.why.get_or_insert_with(|| error.to_string());
            state.error.get_or_insert(error);
        }
        match (before, now) {
            (Load::Cold(_), Load::Warm) => tracing::info!(%key, "ready"),
            (Load::Cold(_), Load::Failed) => {}
            _ => return,
        }
        // Under the lock, so that what is told last is what is true.
        self.told.send_replace(state.served());
        self.changed.notify_all();
    }

    /// Whether a thread could not make it, so that the others need not try.
    pub(super) fn has_failed(&self, key: &Key) -> bool {
        self.state().keys.get(key) == Some(&Load::Failed)
    }

    /// The jobs whose key is served, and the others.
    pub(super) fn split(&self, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
        let state = self.state();
        jobs.into_iter().partition(|job| match state.keys.get(&job.key) {
            None => job.key == *practice::key(),
            Some(load) => *load != Load::Failed,
        })
    }

    pub(super) fn watch(&self) -> watch::Receiver<Vec<HelloKey>> {
        self.told.subscribe()
    }

    /// Why nothing is left to serve.
    pub(super) fn nothing_left(&self) -> Option<String> {
        let state = self.state();
        let left = state.keys.values().any(|load| *load != Load::Failed);
        if left { None } else { state.why.clone() }
    }

    /// Waits until every key is ready, or one has failed.
    pub(super) fn wait(&self) -> Result<(), StartError> {
        let mut state = self.state();
        loop {
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.keys.values().all(|load| *load == Load::Warm) {
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn served(&self) -> Vec<HelloKey> {
        let served = self.keys.iter().filter(|(_, load)| **load != Load::Failed);
        served.map(|(key, load)| HelloKey { key: key.clone(), warm: *load == Load::Warm }).collect()
    }
}
