//! Piece one: the task, which both sides share.

use std::collections::BTreeMap;

use wire::{Cbor, Task};

/// Count the words of a text.
pub struct WordCount;

/// How often each word occurs.
pub type Counts = BTreeMap<String, u64>;

impl Task for WordCount {
    const NAME: &'static str = "wordcount";
    type Job = Cbor<String>;
    type Answer = Cbor<Counts>;
}
