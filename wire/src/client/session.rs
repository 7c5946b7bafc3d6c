//! One connection of a client, from its greeting to its end.

use bytes::Bytes;
use queue::Key;
use quinn::SendStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answers::Came;
use super::connect::Link;
use super::error::Unanswered;
use super::raw::Shared;
use super::state::{Next, Outcome, Window};
use crate::close::Closed;
use crate::control::{self, Beat, broken};
use crate::framing::{FrameError, Limits, encode_head};
use crate::protocol::{Control, MAX_TEXT};
use crate::pushed::{Answered, Pushed, TOGETHER, cut_up};
use crate::stream::{FrameReader, WriteFailed, write};
use crate::task::Message;

/// Answers are read as the coordinator limits them; this only bounds what it can make this end hold.
const ANSWER: Limits = Limits { head: Limits::HEAD, body: Limits::HEAD + Limits::BODY };

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All that was taken is answered, and no more is to be.
    Done,
    /// The coordinator stops, and all that it had of this client is answered.
    Drained,
    Lost(Closed),
}

/// Runs a connection. `stop_at_drain`: the coordinator's stop is the client's end.
pub(super) async fn run(
    shared: &Shared,
    answers: &mpsc::Sender<Came>,
    link: Link,
    stop_at_drain: bool,
) -> Ended {
    let Link { endpoint: _endpoint, connection, window, beat, control, tasks } = link;
    let drained = CancellationToken::new();
    // Nothing is said there but heartbeats.
    let (_said, controls) = mpsc::channel::<Control>(1);
    let ended = tokio::select! {
        biased;
        error = connection.closed() => Ended::Lost(Closed::from_quic(error)),
        () = shared.abandoned.cancelled() => Ended::Done,
        closed = listen(control.1, beat, shared, &drained, stop_at_drain) => Ended::Lost(closed),
        ended = send(shared, answers, tasks.0, window, &drained) => ended,
        closed = receive(shared, answers, tasks.1, &drained) => match closed {
            None if shared.closing.is_cancelled() => Ended::Done,
            None => Ended::Lost(Closed::Violation("it ended the answers".into())),
            Some(closed) => Ended::Lost(closed),
        },
        () = control::write(control.0, controls, beat) => Ended::Lost(match connection.close_reason() {
            Some(error) => Closed::from_quic(error),
            None => Closed::Violation("it stopped the control stream".into()),
        }),
    };
    let (code, text) = match &ended {
        Ended::Done => (Closed::Here("done".into()).code(), "done".into()),
        Ended::Drained => (Closed::Here("drained".into()).code(), "drained".into()),
        Ended::Lost(closed) => (closed.code(), closed.text()),
    };
    connection.close(code.varint(), text.as_bytes());
    ended
}

/// Reads the control stream until it fails.
async fn listen(
    mut reader: FrameReader,
    beat: Beat,
    shared: &Shared,
    drained: &CancellationToken,
    stop: bool,
) -> Closed {
    loop {
        match control::read(&mut reader, beat).await {
            Err(closed) => return closed,
            Ok(Control::Beat) => {}
            Ok(Control::Drain) => {
                drained.cancel();
                if stop {
                    shared.stopping.cancel();
                }
                shared.filled.notify_one();
            }
            Ok(other) => return Closed::Violation(format!("a coordinator does not say {other:?}")),
        }
    }
}

/// Sends what there is to send.
async fn send(
    shared: &Shared,
    answers: &mpsc::Sender<Came>,
    mut stream: SendStream,
    window: Window,
    drained: &CancellationToken,
) -> Ended {
    let mut before: Option<Key> = None;
    let mut finished = false;
    loop {
        let (mut settled, stops) = (Vec::new(), drained.is_cancelled());
        let (next, answered, empty) = {
            let mut state = shared.state();
            (state.next(window, stops, &mut settled), state.is_answered(), state.is_empty())
        };
        tell(answers, shared.settle(settled)).await;
        let written = match next {
            Next::Submit(key, messages) => submit(&mut stream, &mut before, key, messages).await,
            Next::Cancel(tasks) => cancel(&mut stream, tasks).await,
            Next::Nothing if stops && answered => return Ended::Drained,
            Next::Nothing => {
                if empty && shared.closing.is_cancelled() && !finished {
                    finished = true;
                    let _ = stream.finish();
                }
                shared.filled.notified().await;
                continue;
            }
        };
        if let Err(error) = written {
            return Ended::Lost(match error {
                WriteFailed::Stream(quinn::WriteError::ConnectionLost(e)) => Closed::from_quic(e),
                WriteFailed::Stream(e) => Closed::Violation(format!("it takes no tasks: {e}")),
                WriteFailed::Frame(e) => Closed::Here(e.to_string()),
            });
        }
    }
}

async fn submit(
    stream: &mut SendStream,
    before: &mut Option<Key>,
    key: Key,
    messages: Vec<Message>,
) -> Result<(), WriteFailed> {
    let lengths = messages.iter().flat_map(|m| [m.head.len() as u32, m.body.len() as u32]).collect();
    let body: usize = messages.iter().map(|m| m.head.len() + m.body.len()).sum();
    let said = (before.as_ref() != Some(&key)).then(|| key.clone());
    let limits = Limits { head: Limits::HEAD, body: u32::MAX as usize };
    let head = encode_head(&Pushed::Submit { key: said, lengths }, body, limits)?;
    *before = Some(key);
    Ok(write_together(stream, head, body, messages).await?)
}

/// Writes a message: what is small as one piece, what is long as it is.
pub(crate) async fn write_together(
    stream: &mut SendStream,
    head: Bytes,
    body: usize,
    messages: Vec<Message>,
) -> Result<(), quinn::WriteError> {
    if body > TOGETHER {
        let mut chunks = vec![head];
        chunks.extend(messages.into_iter().flat_map(|m| [m.head, m.body]).filter(|part| !part.is_empty()));
        return stream.write_all_chunks(&mut chunks).await;
    }
    let mut out = bytes::BytesMut::with_capacity(head.len() + body);
    out.extend_from_slice(&head);
    for message in &messages {
        out.extend_from_slice(&message.head);
        out.extend_from_slice(&message.body);
    }
    stream.write_chunk(out.freeze()).await
}

/// The most cancels in one message, so that its head keeps within the limit.
const CANCELS: usize = 4096;

async fn cancel(stream: &mut SendStream, tasks: Vec<u64>) -> Result<(), WriteFailed> {
    for tasks in tasks.chunks(CANCELS) {
        let cancel = Pushed::Cancel { tasks: tasks.to_vec() };
        write(stream, &cancel, Bytes::new(), Limits::NO_BODY).await?;
    }
    Ok(())
}

/// Reads answers until there are no more; none at the proper end.
async fn receive(
    shared: &Shared,
    answers: &mpsc::Sender<Came>,
    mut reader: FrameReader,
    drained: &CancellationToken,
) -> Option<Closed> {
    loop {
        let (head, body) = match reader.read::<Answered>(ANSWER).await {
            Ok(Some(read)) => read,
            Ok(None) => return None,
            Err(error) => return Some(broken(error)),
        };
        let first = head.first;
        let outcomes = match outcomes(head, body) {
            Ok(outcomes) => outcomes,
            Err(error) => return Some(Closed::Violation(format!("its answers: {error}"))),
        };
        let mut settled = Vec::new();
        let (fits, wake) = {
            let mut state = shared.state();
            let fits = state.answered(first, outcomes, &mut settled);
            // The sender waits for room in a window that may be narrower than the handles', or for the end.
            let ends = drained.is_cancelled() || shared.closing.is_cancelled();
            (fits, state.waits() || ends)
        };
        if !fits {
            return Some(Closed::Violation("it answers what nobody asked".into()));
        }
        if wake {
            shared.filled.notify_one();
        }
        tell(answers, shared.settle(settled)).await;
    }
}

/// What the tasks of a message came to.
pub(crate) fn outcomes(head: Answered, body: Bytes) -> Result<Vec<Outcome>, FrameError> {
    let messages = cut_up(&head.lengths, body, Limits::default())?;
    let mut outcomes: Vec<Outcome> = messages.into_iter().map(Ok).collect();
    for (at, why) in head.missing {
        let Some(outcome) = outcomes.get_mut(at as usize) else {
            return Err(FrameError::Head(format!("there is no task {at} in the message")));
        };
        if let Ok(message) = outcome {
            let text = message.head.slice(..message.head.len().min(MAX_TEXT));
            *outcome = Err(Unanswered::new(why, &text));
        }
    }
    Ok(outcomes)
}

/// Tells the stream of answers, and waits while its caller does not look.
async fn tell(answers: &mpsc::Sender<Came>, came: Came) {
    if !came.is_empty() {
        // Who dropped it wants none.
        let _ = answers.send(came).await;
    }
}
