//! Piece two, the side that asks: the job for each item, and what becomes of the answers.

use dispatch::{Done, Finish, Link, Prepare, Unprepared};
use wire::Cbor;

use crate::task::{Counts, WordCount};

/// Each word is an item, and a job of its own.
pub struct Words;

impl Prepare for Words {
    type Task = WordCount;
    type Item = String;

    fn prepare(&self, word: &String, _: &Link) -> Result<Cbor<String>, Unprepared> {
        Ok(Cbor(word.clone()))
    }
}

/// Adds up the counters that come back.
#[derive(Debug, Default)]
pub struct Sum {
    /// How often each word was counted.
    pub words: Counts,
    /// Items without an answer.
    pub missing: u64,
}

impl Finish for Sum {
    type Prepare = Words;

    async fn finish(&mut self, done: Done<Words>) {
        match done.answer {
            Some(Cbor(counts)) => {
                for (word, count) in counts {
                    *self.words.entry(word).or_default() += count;
                }
            }
            None => self.missing += 1,
        }
    }
}
