//! The server's end of [practice](crate::practice).

use bytes::Bytes;
use quinn::SendStream;

use super::peer::{Peer, Shared};
use crate::close::CANCELLED;
use crate::framing::Limits;
use crate::practice;
use crate::protocol::{AnswerHead, JobHead};
use crate::stream::{FrameReader, ReadFailed, write};

impl Peer {
    /// Whether the worker does jobs that are for practice only.
    pub fn can_practise(&self) -> bool {
        self.0.practises
    }

    /// Sends one to a worker that can, and waits until it is done, or the connection has ended. To be called for one
    /// at a time.
    pub async fn practise(&self) {
        let _ = self.0.practise().await;
    }
}

impl Shared {
    /// None where the connection ends, or the worker breaks the protocol, which ends it.
    async fn practise(&self) -> Option<()> {
        let key = Some(practice::key().clone());
        let head =
            JobHead { ticket: practice::TICKET, key, budget_left_us: None, job: Bytes::new(), place: None };
        let (mut send, recv) = self.connection.open_bi().await.ok()?;
        let mut send = Whole { send: &mut send, sent: false };
        write(send.send, &head, Bytes::new(), self.limits).await.ok()?;
        send.sent = true;
        let _ = send.send.finish();
        let mut reader = FrameReader::new(recv);
        match reader.read::<AnswerHead>(Limits::NO_BODY).await {
            Ok(Some((head, _))) if head.ticket == practice::TICKET => {}
            Ok(Some((head, _))) => drop(self.violated(format!("it answered {} for practice", head.ticket))),
            // As of any other job: it has let go of it.
            Ok(None) | Err(ReadFailed::Stream(_)) => {}
            Err(error) => drop(self.violated(format!("its answer for practice: {error}"))),
        }
        reader.end();
        Some(())
    }
}

/// Takes back what was sent in part: half a message would be the worker's to complain about.
struct Whole<'a> {
    send: &'a mut SendStream,
    sent: bool,
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if !self.sent {
            let _ = self.send.reset(CANCELLED);
        }
    }
}
