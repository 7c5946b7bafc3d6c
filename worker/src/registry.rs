//! Which task is done by which processor.

use std::collections::BTreeMap;

use queue::Key;
use wire::{BoxError, Factory, Processor, Task};

/// What a worker can do: for each key, how a processor for it is made.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<Key, Factory>,
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
        if self.factories.contains_key(&key) {
            return Err(RegistryError::Twice(key));
        }
        self.factories.insert(key, wire::factory(make));
        Ok(())
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
}
