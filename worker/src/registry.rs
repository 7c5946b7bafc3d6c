//! Which task is done by which processor.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use queue::Key;
use wire::{BoxError, Factory, Processor, Task, Untyped, erase_untyped, practice};

/// What a worker can do: for each key, how a processor for it is made.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<Key, Factory>,
    batches: BTreeMap<Key, NonZeroUsize>,
}

/// Why a key cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The processor does another task than the key names.
    #[error("{key} cannot be served by a processor of the task '{task}'")]
    OtherTask {
        /// The key.
        key: Key,
        /// The processor's task.
        task: &'static str,
    },
    /// The key is served already.
    #[error("{0} is served already")]
    Twice(Key),
    /// The key is that of [practice](wire::practice).
    #[error("{0} is a name of Framelane's own; choose another")]
    Reserved(Key),
}

impl Registry {
    /// One that serves nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a key with processors that `make` makes: one for each thread, on that thread, and another
    /// one after each panic.
    ///
    /// # Errors
    /// [`RegistryError`]: mistakes of the program.
    pub fn serve<P, E>(
        &mut self,
        key: Key,
        make: impl Fn() -> Result<P, E> + Send + Sync + 'static,
    ) -> Result<(), RegistryError>
    where
        P: Processor + 'static,
        E: Into<BoxError>,
    {
        let task = P::Task::NAME;
        if key.task.as_str() != task {
            return Err(RegistryError::OtherTask { key, task });
        }
        self.insert(key, wire::factory(make))
    }

    /// Serves a key with processors that know its jobs and answers as messages only. Otherwise as
    /// [`serve`](Self::serve).
    ///
    /// # Errors
    /// [`RegistryError::Twice`], [`RegistryError::Reserved`].
    pub fn serve_any<P, E>(
        &mut self,
        key: Key,
        make: impl Fn() -> Result<P, E> + Send + Sync + 'static,
    ) -> Result<(), RegistryError>
    where
        P: Untyped + 'static,
        E: Into<BoxError>,
    {
        let task = key.task.clone();
        let make = move || make().map(|made| erase_untyped(task.as_str(), made)).map_err(Into::into);
        self.insert(key, Arc::new(make))
    }

    fn insert(&mut self, key: Key, factory: Factory) -> Result<(), RegistryError> {
        if key == *practice::key() {
            return Err(RegistryError::Reserved(key));
        }
        if self.factories.contains_key(&key) {
            return Err(RegistryError::Twice(key));
        }
        self.factories.insert(key, factory);
        Ok(())
    }

    /// Lets a thread take up to so many waiting jobs of this key at once, whatever the host's own
    /// [`batch`](crate::host::Config::batch) is.
    pub fn batch(&mut self, key: Key, jobs: NonZeroUsize) {
        self.batches.insert(key, jobs);
    }

    /// The keys that are served.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.factories.keys()
    }

    /// Whether nothing is served.
    pub fn is_empty(&self) -> bool {
        self.factories.is_empty()
    }

    /// The makers themselves, for a host of another kind, such as the server's own threads.
    pub fn into_factories(self) -> BTreeMap<Key, Factory> {
        self.factories
    }

    pub(crate) fn factories(&self) -> &BTreeMap<Key, Factory> {
        &self.factories
    }

    pub(crate) fn batches(&self) -> &BTreeMap<Key, NonZeroUsize> {
        &self.batches
    }
}
