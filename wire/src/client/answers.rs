//! The answers to pushed tasks, in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Id;
use super::raw::Handle;
use super::state::Outcome;

/// Answers that came together.
pub(super) type Came = Vec<(Id, Outcome)>;

/// The answers to what [`Raw::push`](super::Raw::push) sent, in the order of the pushes. Whoever does not
/// look holds the client up: a few thousand answers wait here, then no more is read.
#[derive(Debug)]
pub struct RawAnswers {
    /// None: the client ended, and so this does.
    handle: Option<Arc<Handle>>,
    came: mpsc::Receiver<Came>,
    waiting: std::vec::IntoIter<(Id, Outcome)>,
}

impl RawAnswers {
    pub(super) fn new(handle: Arc<Handle>, came: mpsc::Receiver<Came>) -> Self {
        Self { handle: Some(handle), came, waiting: Vec::new().into_iter() }
    }

    /// The next answer. None once [`Raw::close`](super::Raw::close) was called and all have come, or the
    /// connection is lost and not made again. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<(Id, Outcome)> {
        loop {
            if let Some(next) = self.waiting.next() {
                return Some(next);
            }
            self.waiting = match self.came.recv().await {
                Some(came) => came.into_iter(),
                None => {
                    self.handle = None;
                    return None;
                }
            };
        }
    }

    /// The next answers, up to `most`: as many as come `within` from now, at least one however long that
    /// takes. None of them at the end.
    pub async fn batch(&mut self, most: usize, within: Duration) -> Vec<(Id, Outcome)> {
        let mut batch = Vec::new();
        let until = Instant::now() + within;
        batch.extend(self.next().await);
        while !batch.is_empty() && batch.len() < most {
            match timeout_at(until, self.next()).await {
                Ok(Some(next)) => batch.push(next),
                Ok(None) | Err(_) => break,
            }
        }
        batch
    }
}
