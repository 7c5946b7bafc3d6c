//! The handle: tasks in, futures of their answers out. It knows no types.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use queue::{Key, WorkerId};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::answers::Came;
use super::error::{SubmitError, Unanswered};
use super::state::{Outcome, Settled, State, To, Window};
use super::{Answer, Id};
use crate::close::Closed;
use crate::framing::{FrameError, Lengths};
use crate::pushed::weight;
use crate::task::Message;

/// Pushes tasks to a coordinator. Cloning is a reference count. When the last clone, [`Submitted`] and
/// [`RawAnswers`](super::RawAnswers) are gone the connection ends, and what is left is cancelled.
#[derive(Debug, Clone)]
pub struct Raw(Arc<Handle>);

/// Ends the connection when it is dropped.
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandoned.cancel();
    }
}

/// What the handles and the client's own task share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when there is something to send, or to end.
    pub(super) filled: Notify,
    /// The room of the window: tasks, and their bytes.
    tasks: Semaphore,
    bytes: Semaphore,
    /// As announced by the first greeting. Later ones may be narrower, which [`State::next`] heeds.
    window: Window,
    /// No more tasks are taken here; the rest is answered.
    pub(super) closing: CancellationToken,
    /// Nobody waits for anything any more.
    pub(super) abandoned: CancellationToken,
    /// The coordinator takes nothing more, and it is not waited for another one.
    pub(super) stopping: CancellationToken,
    /// How it ended for good.
    ended: OnceLock<Closed>,
    pub(super) over: watch::Sender<bool>,
    client: WorkerId,
}

impl Shared {
    pub(super) fn new(client: WorkerId, window: Window) -> Self {
        Self {
            state: Mutex::default(),
            filled: Notify::new(),
            tasks: Semaphore::new(window.tasks),
            bytes: Semaphore::new(usize::try_from(window.bytes).unwrap_or(usize::MAX)),
            window,
            closing: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            stopping: CancellationToken::new(),
            ended: OnceLock::new(),
            over: watch::Sender::new(false),
            client,
        }
    }

    /// Never held over an await; each use is one step.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives outcomes to who waits for them, and their room to others. Returns those of the stream.
    pub(super) fn settle(&self, settled: Vec<Settled>) -> Came {
        let mut came = Vec::new();
        let (tasks, mut bytes) = (settled.len(), 0);
        for Settled { to, outcome, weight } in settled {
            bytes += weight;
            match to {
                // Who dropped the future at this moment wants nothing.
                Some(To::Future(waiting)) => drop(waiting.send(outcome)),
                Some(To::Stream(id)) => came.push((id, outcome)),
                None => {}
            }
        }
        self.give_room(tasks, bytes);
        came
    }

    fn give_room(&self, tasks: usize, bytes: u64) {
        if tasks > 0 {
            self.tasks.add_permits(tasks);
        }
        if bytes > 0 {
            self.bytes.add_permits(usize::try_from(bytes).unwrap_or(0));
        }
    }

    /// Nothing more is taken or answered. Returns what is to be told on the stream of answers.
    pub(super) fn end(&self, why: Closed) -> Came {
        let mut settled = Vec::new();
        {
            let mut state = self.state();
            // Together with the rest: who adds a task looks here under the same lock.
            let _ = self.ended.set(why.clone());
            state.end(&why, &mut settled);
        }
        let came = self.settle(settled);
        self.tasks.close();
        self.bytes.close();
        came
    }

    fn refused(&self) -> Option<SubmitError> {
        if let Some(why) = self.ended.get() {
            return Some(SubmitError::Closed(why.clone()));
        }
        if self.closing.is_cancelled() {
            return Some(SubmitError::Closed(Closed::Here("closed".into())));
        }
        self.stopping.is_cancelled().then_some(SubmitError::Stopping)
    }

    fn cancel(&self, number: u64) {
        let (tell, room) = self.state().cancel(number);
        if tell {
            self.filled.notify_one();
        }
        if let Some(bytes) = room {
            self.give_room(1, bytes);
        }
    }
}

impl Raw {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self(handle)
    }

    /// The id in the client's certificate.
    pub fn client(&self) -> WorkerId {
        self.0.0.client
    }

    /// Submits a task, and waits while the coordinator has no room. Dropping this future submits nothing.
    ///
    /// # Errors
    /// [`SubmitError`]: then it was not sent.
    pub async fn submit(&self, key: &Key, job: Message) -> Result<Submitted, SubmitError> {
        let (to, answer) = oneshot::channel();
        let number = self.add(key, job, To::Future(to)).await?;
        Ok(Submitted { handle: Arc::clone(&self.0), number, answer, over: false })
    }

    /// Submits a task whose answer comes to the stream of answers; otherwise as [`submit`](Self::submit).
    ///
    /// # Errors
    /// [`SubmitError`]: then it was not sent, and nothing comes to the stream.
    pub async fn push(&self, id: impl Into<Id>, key: &Key, job: Message) -> Result<(), SubmitError> {
        self.add(key, job, To::Stream(id.into())).await.map(drop)
    }

    async fn add(&self, key: &Key, job: Message, to: To) -> Result<u64, SubmitError> {
        let shared = &*self.0.0;
        let lengths = Lengths { head: job.head.len(), body: job.body.len() };
        lengths.check(shared.window.limits)?;
        let weight = weight(&job);
        let refused = || shared.refused().unwrap_or(SubmitError::Stopping);
        let room = tokio::select! {
            biased;
            room = shared.tasks.acquire() => room.map_err(|_| refused())?,
            () = shared.stopping.cancelled() => return Err(refused()),
            () = shared.closing.cancelled() => return Err(refused()),
        };
        let heavy = match u32::try_from(weight) {
            Ok(0) => None,
            Ok(weight) => Some(shared.bytes.acquire_many(weight).await.map_err(|_| refused())?),
            Err(_) => {
                return Err(
                    FrameError::BodyTooLong { len: lengths.body, limit: shared.window.limits.body }.into()
                );
            }
        };
        let (number, first) = {
            let mut state = shared.state();
            if let Some(error) = shared.refused() {
                return Err(error);
            }
            room.forget();
            if let Some(heavy) = heavy {
                heavy.forget();
            }
            state.add(key.clone(), job, to)
        };
        if first {
            shared.filled.notify_one();
        }
        Ok(number)
    }

    /// Takes no more tasks, waits for the answers to those that were taken, and ends the connection.
    pub async fn close(&self) {
        let shared = &self.0.0;
        shared.closing.cancel();
        shared.filled.notify_one();
        // The sender lives as long as what is waited for.
        let _ = shared.over.subscribe().wait_for(|over| *over).await;
    }

    /// Ends the connection now: what has no answer is cancelled. Waits until the coordinator was told.
    pub async fn abandon(&self) {
        let shared = &self.0.0;
        shared.abandoned.cancel();
        let _ = shared.over.subscribe().wait_for(|over| *over).await;
    }

    /// How the connection ended for good; none while it lives, or is made again.
    pub fn ended(&self) -> Option<Closed> {
        self.0.0.ended.get().cloned()
    }
}

/// The answer to a task, to be awaited. Dropping it cancels the task.
#[derive(Debug)]
pub struct Submitted {
    handle: Arc<Handle>,
    number: u64,
    answer: oneshot::Receiver<Outcome>,
    over: bool,
}

impl Submitted {
    /// Lets the task run to its end though nobody waits for its answer.
    pub fn detach(mut self) {
        self.over = true;
    }
}

impl Future for Submitted {
    type Output = Result<Answer, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        self.over = true;
        Poll::Ready(answer.unwrap_or_else(|_| {
            // The client's task is gone without a word: the runtime shut down.
            let why = self.handle.0.ended.get().cloned();
            let why = why.unwrap_or_else(|| Closed::Here("the runtime stopped".into()));
            Err(Unanswered::Lost { sent: true, why })
        }))
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if !self.over {
            self.handle.0.cancel(self.number);
        }
    }
}
