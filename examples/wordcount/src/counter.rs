//! Piece three, the worker's side: what is done with a job.

use wire::{Cbor, Processor, Unprocessed};

use crate::task::{Counts, WordCount};

/// Counts. There is one for each thread, so it could hold a buffer, a model, a device.
pub struct Counter;

impl Processor for Counter {
    type Task = WordCount;

    fn process(&mut self, Cbor(text): Cbor<String>) -> Result<Cbor<Counts>, Unprocessed> {
        let mut counts = Counts::new();
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        Ok(Cbor(counts))
    }
}
