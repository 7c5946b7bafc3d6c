//! Answers that wait to be sent: what threads put down and the session takes up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use queue::Ticket;
use tokio::sync::Notify;

use super::message;
use crate::framing::Limits;
use crate::process::{Timings, Unprocessed};
use crate::task::Message;

/// What a worker is to say of one job, and then to acknowledge.
pub(super) enum Word {
    /// How it went.
    Done(Result<Message, Unprocessed>, Timings),
    /// It was redelivered.
    Gone,
    /// Nothing: nobody wants to hear of it.
    Silence,
}

/// A job that is over here.
pub(super) struct Over<M> {
    /// Where its answer goes.
    pub(super) reply: String,
    pub(super) ticket: Ticket,
    pub(super) word: Word,
    /// How the broker knows it.
    pub(super) mark: M,
}

/// Jobs that are over: as many as the credit at most.
pub(super) struct Outbox<M> {
    state: Mutex<State<M>>,
    /// Something was put in, or taken out.
    changed: Notify,
    freed: Notify,
}

struct State<M> {
    over: Vec<Over<M>>,
    held: usize,
}

impl<M> Outbox<M> {
    pub(super) fn new() -> Self {
        let state = State { over: Vec::new(), held: 0 };
        Outbox { state: Mutex::new(state), changed: Notify::new(), freed: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<M>> {
        // No step panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many jobs more are here.
    pub(super) fn came(&self, jobs: usize) {
        self.state().held += jobs;
    }

    /// So many jobs are acknowledged.
    pub(super) fn went(&self, jobs: usize) {
        let mut state = self.state();
        state.held = state.held.saturating_sub(jobs);
        drop(state);
        self.freed.notify_one();
    }

    /// Jobs that are here and not acknowledged yet.
    pub(super) fn held(&self) -> usize {
        self.state().held
    }

    /// Waits until [`went`](Self::went) was called after the last wait.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(super) fn put(&self, over: Over<M>) {
        let mut state = self.state();
        state.over.push(over);
        let first = state.over.len() == 1;
        drop(state);
        if first {
            self.changed.notify_one();
        }
    }

    /// Waits for jobs that are over, and takes all there are.
    pub(super) async fn take(&self) -> Vec<Over<M>> {
        loop {
            let over = std::mem::take(&mut self.state().over);
            if !over.is_empty() {
                return over;
            }
            self.changed.notified().await;
        }
    }
}

/// Answers for one address, and which jobs they are about.
pub(super) struct Letter<M> {
    pub(super) reply: String,
    pub(super) bytes: BytesMut,
    pub(super) marks: Vec<M>,
}

/// About so long is a letter at most, unless one answer alone is longer.
const LETTER: usize = 1 << 20;

/// Writes the words into as few letters as will do, and gives the marks of what gets none.
pub(super) fn letters<M>(over: Vec<Over<M>>, limits: Limits) -> (Vec<Letter<M>>, Vec<M>) {
    let mut letters: Vec<Letter<M>> = Vec::new();
    let mut open: HashMap<String, usize> = HashMap::new();
    let mut unsaid = Vec::new();
    for Over { reply, ticket, word, mark } in over {
        if matches!(word, Word::Silence) {
            unsaid.push(mark);
            continue;
        }
        // Mostly there is one server.
        let last = letters.len().checked_sub(1).filter(|last| letters[*last].reply == reply);
        let at = match last.or_else(|| open.get(&reply).copied()) {
            Some(at) if letters[at].bytes.len() < LETTER => at,
            _ => {
                let at = letters.len();
                open.insert(reply.clone(), at);
                letters.push(Letter { reply, bytes: BytesMut::new(), marks: Vec::new() });
                at
            }
        };
        let letter = &mut letters[at];
        match word {
            Word::Done(result, timings) => {
                message::append_answer(&mut letter.bytes, ticket, result, timings, limits);
            }
            Word::Gone => message::append_gone(&mut letter.bytes, ticket, limits),
            Word::Silence => {}
        }
        letter.marks.push(mark);
    }
    (letters, unsaid)
}
