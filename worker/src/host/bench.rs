//! One thread's processors.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use queue::Key;
use wire::practice;
use wire::{BoxError, Factory, Message, Process, Timings, Unprocessed};

use super::StartError;
use crate::registry::Registry;

pub(super) struct Bench {
    registry: Registry,
    made: BTreeMap<Key, Box<dyn Process>>,
    /// Keys that were not tried yet.
    cold: Vec<Key>,
}

/// What came of a batch: a result for each job, in order.
pub(super) struct Worked {
    pub(super) results: Vec<Result<Message, Unprocessed>>,
    pub(super) timings: Timings,
    pub(super) panicked: bool,
}

impl Bench {
    /// With nothing made yet.
    pub(super) fn new(registry: Registry) -> Self {
        let cold = registry.keys().cloned().collect();
        Bench { registry, made: BTreeMap::new(), cold }
    }

    /// Keys that were not tried yet.
    pub(super) fn cold(&self) -> &[Key] {
        &self.cold
    }

    /// Makes a key's processor, on the calling thread.
    pub(super) fn load(&mut self, key: &Key) -> Result<(), StartError> {
        self.skip(key);
        let Some(factory) = self.registry.factories().get(key) else { return Ok(()) };
        let processor = make(factory).map_err(|source| StartError::Processor { key: key.clone(), source })?;
        self.made.insert(key.clone(), processor);
        Ok(())
    }

    /// Does not try this key.
    pub(super) fn skip(&mut self, key: &Key) {
        self.cold.retain(|cold| cold != key);
    }

    /// Does a batch of one key.
    pub(super) fn work(&mut self, key: &Key, mut messages: Vec<Message>) -> Worked {
        let jobs = messages.len();
        if *key == *practice::key() {
            let results = messages.into_iter().map(|_| Ok(Message::default())).collect();
            return Worked { results, timings: Timings::default(), panicked: false };
        }
        if !self.made.contains_key(key) {
            self.renew(key);
        }
        let Some(processor) = self.made.get_mut(key) else {
            return failed(jobs, "its processor cannot be made", false);
        };
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let results = match messages.len() {
                1 => messages.drain(..).map(|message| processor.process(message)).collect(),
                _ => processor.process_batch(messages),
            };
            (results, processor.timings())
        }));
        match worked {
            Ok((results, timings)) => Worked { results, timings, panicked: false },
            Err(panic) => {
                // Its state may be torn.
                self.made.remove(key);
                let text = text(&*panic);
                tracing::error!(%key, panic = text, "a processor panicked; its jobs have failed");
                failed(jobs, &format!("the processor panicked: {text}"), true)
            }
        }
    }

    /// Makes a processor that is not there. A failure is logged; the next job tries again.
    pub(super) fn renew(&mut self, key: &Key) {
        let Some(factory) = self.registry.factories().get(key) else { return };
        match make(factory) {
            Ok(processor) => {
                self.made.insert(key.clone(), processor);
            }
            Err(error) => tracing::error!(%key, %error, "a processor cannot be made again"),
        }
    }
}

fn failed(jobs: usize, why: &str, panicked: bool) -> Worked {
    let results = (0..jobs).map(|_| Err(Unprocessed::Failed(why.to_owned()))).collect();
    Worked { results, timings: Timings::default(), panicked }
}

fn make(factory: &Factory) -> Result<Box<dyn Process>, BoxError> {
    catch_unwind(AssertUnwindSafe(|| factory()))
        .unwrap_or_else(|panic| Err(format!("its maker panicked: {}", text(&*panic)).into()))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it gave no reason")
}
