//! A client of one task, with values instead of messages.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use queue::{Key, TaskName};

use super::raw::{Raw, Submitted};
use super::{Id, RawAnswers, SubmitError, Unanswered};
use crate::framing::FrameError;
use crate::task::{PayloadError, Task, decode, encode};

/// Pushes tasks of one kind. Cloning is a reference count, and several kinds may share a [`Raw`].
pub struct Client<T: Task> {
    raw: Raw,
    key: Key,
    kind: PhantomData<fn() -> T>,
}

impl<T: Task> Clone for Client<T> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), key: self.key.clone(), kind: PhantomData }
    }
}

impl<T: Task> Client<T> {
    /// A client for this task.
    ///
    /// # Errors
    /// [`SubmitError::Name`] where [`Task::NAME`] is none.
    pub fn new(raw: Raw) -> Result<Self, SubmitError> {
        let name = TaskName::new(T::NAME).map_err(|e| SubmitError::Name(e.to_string()))?;
        Ok(Self::with_key(raw, Key::task(name)))
    }

    /// A client for this task with a model.
    pub fn with_key(raw: Raw, key: Key) -> Self {
        Self { raw, key, kind: PhantomData }
    }

    /// What is below: for other tasks, and to close it.
    pub fn raw(&self) -> &Raw {
        &self.raw
    }

    /// Submits a job, as [`Raw::submit`].
    ///
    /// # Errors
    /// [`SubmitError`]: then it was not sent.
    pub async fn submit(&self, job: T::Job) -> Result<Answering<T>, SubmitError> {
        let submitted = self.raw.submit(&self.key, encode(job).map_err(unwritten)?).await?;
        Ok(Answering { submitted, kind: PhantomData })
    }

    /// Submits a job whose answer comes to the stream, as [`Raw::push`].
    ///
    /// # Errors
    /// [`SubmitError`]: then it was not sent.
    pub async fn push(&self, id: impl Into<Id>, job: T::Job) -> Result<(), SubmitError> {
        self.raw.push(id, &self.key, encode(job).map_err(unwritten)?).await
    }
}

fn unwritten(error: PayloadError) -> SubmitError {
    match error {
        PayloadError::Head(error) => error.into(),
        // Nothing was read, so there is no checksum that could be wrong.
        error @ (PayloadError::Body(_) | PayloadError::Checksum { .. }) => {
            FrameError::Encode(error.to_string()).into()
        }
    }
}

/// The answer to a job, to be awaited. Dropping it cancels the task.
pub struct Answering<T: Task> {
    submitted: Submitted,
    kind: PhantomData<fn() -> T>,
}

impl<T: Task> Answering<T> {
    /// Lets the task run to its end though nobody waits for its answer.
    pub fn detach(self) {
        self.submitted.detach();
    }
}

impl<T: Task> Future for Answering<T> {
    type Output = Result<T::Answer, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.submitted).poll(cx));
        Poll::Ready(answer.and_then(|message| Ok(decode(message)?)))
    }
}

/// The answers of [`Client::push`], all of this task.
pub struct Answers<T: Task> {
    raw: RawAnswers,
    kind: PhantomData<fn() -> T>,
}

/// An answer with its caller's own name for the task.
pub type Named<T> = (Id, Result<<T as Task>::Answer, Unanswered>);

impl<T: Task> Answers<T> {
    /// Reads them as answers of this task.
    pub fn new(raw: RawAnswers) -> Self {
        Self { raw, kind: PhantomData }
    }

    /// As [`RawAnswers::next`].
    pub async fn next(&mut self) -> Option<Named<T>> {
        self.raw.next().await.map(|(id, outcome)| (id, outcome.and_then(|message| Ok(decode(message)?))))
    }

    /// As [`RawAnswers::batch`].
    pub async fn batch(&mut self, most: usize, within: Duration) -> Vec<Named<T>> {
        let batch = self.raw.batch(most, within).await.into_iter();
        batch.map(|(id, outcome)| (id, outcome.and_then(|message| Ok(decode(message)?)))).collect()
    }
}
