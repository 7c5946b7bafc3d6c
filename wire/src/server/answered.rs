//! The answers to a client, in the order of its tasks.

use std::sync::Arc;

use bytes::Bytes;
use quinn::SendStream;

use super::caller::{Reply, Shared};
use crate::client::write_together;
use crate::close::Closed;
use crate::framing::{Limits, encode_head};
use crate::protocol::{MAX_TEXT, cut};
use crate::pushed::{Answered, NoAnswer, fits};
use crate::task::Message;

/// The most answers in one message.
const MOST: usize = 512;

/// Answers a client, task by task in their order.
#[derive(Debug)]
pub struct Replies {
    shared: Arc<Shared>,
    send: SendStream,
    next: u64,
}

/// Answers that share a message.
#[derive(Default)]
struct Group {
    bytes: usize,
    messages: Vec<Message>,
    missing: Vec<(u32, NoAnswer)>,
}

impl Replies {
    pub(super) fn new(shared: Arc<Shared>, send: SendStream) -> Self {
        Self { shared, send, next: 0 }
    }

    /// Tells what became of the next tasks, and waits until it is on its way: a client that does not read its
    /// answers is held here, and nobody else.
    ///
    /// # Errors
    /// How the connection ended.
    pub async fn send(&mut self, replies: impl IntoIterator<Item = Reply>) -> Result<(), Closed> {
        let mut group = Group::default();
        for reply in replies {
            let (message, why) = match reply {
                Ok(message) => (message, None),
                Err((why, text)) => {
                    let text = cut(text, MAX_TEXT).into_bytes();
                    (Message { head: text.into(), body: Bytes::new() }, Some(why))
                }
            };
            let full = group.messages.len() >= MOST || !fits(group.bytes, &message);
            if full && !group.messages.is_empty() {
                self.write(std::mem::take(&mut group)).await?;
            }
            group.bytes += message.head.len() + message.body.len();
            group.missing.extend(why.map(|why| (group.messages.len() as u32, why)));
            group.messages.push(message);
        }
        if group.messages.is_empty() { Ok(()) } else { self.write(group).await }
    }

    async fn write(&mut self, group: Group) -> Result<(), Closed> {
        let Group { bytes, messages, missing } = group;
        let tasks = messages.len();
        // The client may use the room as soon as it has read of it.
        self.shared.over(tasks);
        let lengths = messages.iter().flat_map(|m| [m.head.len() as u32, m.body.len() as u32]).collect();
        let head = Answered { first: self.next, lengths, missing };
        self.next += tasks as u64;
        let limits = Limits { head: Limits::HEAD, body: u32::MAX as usize };
        let head = encode_head(&head, bytes, limits).map_err(|e| Closed::Here(e.to_string()))?;
        let written = write_together(&mut self.send, head, bytes, messages).await;
        written.map_err(|error| match error {
            quinn::WriteError::ConnectionLost(error) => Closed::from_quic(error),
            error => self.shared.violated(format!("it takes no answers: {error}")),
        })
    }

    /// There are no more answers. Waits until the client has them all.
    pub async fn finish(mut self) {
        let _ = self.send.finish();
        let _ = self.send.stopped().await;
    }
}
