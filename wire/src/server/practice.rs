//! The server's end of [practice](crate::practice).

use bytes::{Bytes, BytesMut};

use super::peer::{Peer, Shared};
use crate::framing;
use crate::practice;
use crate::protocol::{AnswerHead, JobHead};
use crate::stream::FrameReader;

impl Peer {
    /// Whether the worker does jobs that are for practice only.
    pub fn can_practise(&self) -> bool {
        self.hello().capabilities.iter().any(|ability| ability == practice::ABILITY)
    }

    /// Sends one to a worker that can, and waits until it is done, or the connection has ended. To be called for one
    /// at a time.
    pub async fn practise(&self) {
        // What goes wrong on the way goes wrong for the connection, which tells of it.
        let _ = self.0.practise().await;
    }
}

impl Shared {
    async fn practise(&self) -> Option<()> {
        let key = Some(practice::key().clone());
        let head =
            JobHead { ticket: practice::TICKET, key, budget_left_us: None, job: Bytes::new(), place: None };
        let mut out = BytesMut::with_capacity(128);
        framing::append(&mut out, &head, &[], self.limits).ok()?;
        let (mut send, recv) = self.connection.open_bi().await.ok()?;
        send.write_chunk(out.freeze()).await.ok()?;
        let _ = send.finish();
        let mut reader = FrameReader::new(recv);
        reader.read_beside::<AnswerHead>(self.limits, &self.reading).await.ok()?;
        reader.end();
        Some(())
    }
}
