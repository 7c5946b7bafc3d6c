//! Messages off a stream that comes in pieces, for [`crate::fuzz`].
#![allow(clippy::unwrap_used, reason = "it is run by tests and by a developer's command")]

use bytes::Bytes;
use futures_util::FutureExt;
use quinn::ReadError;

use crate::framing::{self, Limits};
use crate::protocol::AnswerHead;
use crate::stream::{Chunks, FrameReader};

/// So low that messages of a few kilobytes are too long.
const LIMITS: Limits = Limits { head: 300, body: 2000 };

/// A stream that is here, and comes in pieces of these lengths over and over.
struct Pieces<'a> {
    left: Bytes,
    lengths: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Chunks for Pieces<'_> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        let len = self.lengths.next().map_or(usize::MAX, |&len| usize::from(len).max(1));
        let piece = self.left.split_to(len.min(self.left.len()));
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The first byte says how many cuts follow, and these how long each piece of the rest is. In pieces it must
/// be the same messages, and the same end, as at once.
pub(crate) fn frames(bytes: &[u8]) {
    let Some((n, rest)) = bytes.split_first() else { return };
    let (lengths, stream) = rest.split_at(usize::from(n % 16).min(rest.len()));
    let mut whole = Bytes::copy_from_slice(stream);
    let reader = FrameReader::new(Pieces { left: whole.clone(), lengths: lengths.iter().cycle() });
    let mut at_once = Vec::new();
    while let Ok(Some(message)) = framing::decode::<AnswerHead>(&mut whole, LIMITS) {
        at_once.push(message);
    }
    let (in_pieces, ended) = read(reader).now_or_never().unwrap();
    assert_eq!((in_pieces, ended), (at_once, whole.is_empty()));
}

/// All messages, as the answers to a batch are read, and whether the end came between two.
async fn read(mut reader: FrameReader<Pieces<'_>>) -> (Vec<(AnswerHead, Bytes)>, bool) {
    let mut messages = Vec::new();
    loop {
        match reader.read(LIMITS).await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, true),
            Err(_) => return (messages, false),
        }
        loop {
            match reader.here(LIMITS) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
    }
}
