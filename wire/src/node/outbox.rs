//! Where a stream's answers wait to be written.

use std::sync::{Mutex, PoisonError};

use queue::Ticket;
use tokio::sync::{Notify, oneshot};

use crate::process::{Timings, Unprocessed};
use crate::task::Message;

/// Answers that threads put in and the stream's task takes out, all that are there at once: what is
/// ready together is written together. It holds no more than there are jobs on the stream.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    answers: Mutex<Vec<(Ticket, Given)>>,
    filled: Notify,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) result: Result<Message, Unprocessed>,
    pub(super) timings: Timings,
    /// Told when it is on its way.
    pub(super) written: Option<oneshot::Sender<()>>,
}

impl Outbox {
    pub(super) fn put(&self, ticket: Ticket, given: Given) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.push((ticket, given));
        let first = answers.len() == 1;
        drop(answers);
        if first {
            self.filled.notify_one();
        }
    }

    /// Waits for answers and takes all of them, in the order in which they were given. Dropping the
    /// future loses nothing.
    pub(super) async fn take(&self) -> Vec<(Ticket, Given)> {
        loop {
            let answers = std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
            if !answers.is_empty() {
                return answers;
            }
            self.filled.notified().await;
        }
    }
}
