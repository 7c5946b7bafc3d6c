//! The word count that queues of tasks are compared by: a word goes, counters come back and are added up.

use std::collections::BTreeMap;

use dispatch::{Done, Link, Prepare, Unprepared};
use queue::{Key, TaskName, Verdict};
use wire::{Cbor, Processor, Task, Unprocessed};

/// What is counted, as the rivals' scripts have it.
pub const WORDS: [&str; 6] = ["banana", "apple", "orange", "grape", "kiwi", "cherry"];

/// How often each word occurs.
pub type Counts = BTreeMap<String, u64>;

/// A text goes, its words' counts come.
pub struct CountWords;

impl Task for CountWords {
    const NAME: &'static str = "count-words";
    type Job = Cbor<String>;
    type Answer = Cbor<Counts>;
}

impl CountWords {
    /// The key under which it is handed out.
    pub fn key() -> Key {
        Key::task(TaskName::new(Self::NAME).expect("the name is well formed"))
    }
}

/// Counts.
#[derive(Clone)]
pub struct Counter;

impl Processor for Counter {
    type Task = CountWords;

    fn process(&mut self, Cbor(text): Cbor<String>) -> Result<Cbor<Counts>, Unprocessed> {
        let mut counts = Counts::new();
        for word in text.split([',', ';', '|', '.']) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        Ok(Cbor(counts))
    }
}

/// Sends a word as it is.
pub struct Send;

impl Prepare for Send {
    type Task = CountWords;
    type Item = &'static str;

    fn prepare(&self, word: &&'static str, _: &Link) -> Result<Cbor<String>, Unprepared> {
        Ok(Cbor((*word).to_owned()))
    }
}

/// What came back, added up, and whether it is what it should be.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sum {
    /// All counters together.
    pub counts: Counts,
    /// Places that left, answered.
    pub answered: u64,
    /// Places that left without an answer, or with another's.
    pub wrong: u64,
    /// Places that left after a later one.
    pub out_of_order: u64,
    /// Places that left twice.
    pub duplicates: u64,
    next: u64,
}

impl Sum {
    /// Adds a place up.
    pub fn add(&mut self, done: Done<Send>) {
        let seq = done.seq.get();
        match seq.cmp(&self.next) {
            std::cmp::Ordering::Equal => self.next += 1,
            std::cmp::Ordering::Less if seq + 1 == self.next => self.duplicates += 1,
            _ => self.out_of_order += 1,
        }
        match (done.verdict, done.answer) {
            (Verdict::Answered, Some(Cbor(counts)))
                if counts.len() == 1 && counts.contains_key(*done.item) =>
            {
                self.answered += 1;
                for (word, count) in counts {
                    match self.counts.get_mut(&word) {
                        Some(sum) => *sum += count,
                        None => drop(self.counts.insert(word, count)),
                    }
                }
            }
            _ => self.wrong += 1,
        }
    }
}
