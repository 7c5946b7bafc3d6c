//! The control stream after the greeting, as both ends use it.

use std::time::Duration;

use bytes::Bytes;
use quinn::SendStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::close::Closed;
use crate::framing::{Limits, encode_head};
use crate::protocol::Control;
use crate::stream::{FrameReader, ReadFailed};

/// Above every hand-out: a heartbeat or a cancel must not queue behind pictures.
pub(crate) const PRIORITY: i32 = i32::MAX;

/// How often both ends say that they are here, and how long they wait for each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat {
    pub(crate) every: Duration,
    pub(crate) dead_after: Duration,
}

/// Sends what comes and a heartbeat at each interval. Ends when the stream does, or with the channel.
pub(crate) async fn write(mut send: SendStream, mut out: mpsc::Receiver<Control>, beat: Beat) {
    let mut tick = interval_at(Instant::now() + beat.every, beat.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut messages = Vec::new();
    let mut frames: Vec<Bytes> = Vec::new();
    loop {
        tokio::select! {
            n = out.recv_many(&mut messages, 64) => if n == 0 { return },
            _ = tick.tick() => messages.push(Control::Beat),
        }
        for message in messages.drain(..) {
            match encode_head(&message, 0, Limits::NO_BODY) {
                Ok(frame) => frames.push(frame),
                // Keys are checked before they come here, and all else is short.
                Err(e) => tracing::error!(error = %e, "a control message is too long and was not sent"),
            }
        }
        if send.write_all_chunks(&mut frames).await.is_err() {
            return; // The reader learns why.
        }
        frames.clear();
    }
}

/// A silence is counted in so many parts, each from when the one before was found to be over: an end that
/// was itself stopped for a while misses one part by that, and then finds what has come meanwhile.
const PARTS: u32 = 6;

/// Reads the next message, or why there will be none.
pub(crate) async fn read(reader: &mut FrameReader, beat: Beat) -> Result<Control, Closed> {
    let message = reader.read::<Control>(Limits::NO_BODY);
    tokio::pin!(message);
    for _ in 0..PARTS {
        return match timeout(beat.dead_after / PARTS, &mut message).await {
            Err(_) => continue,
            Ok(Ok(Some((control, _)))) => Ok(control),
            Ok(Ok(None)) => Err(Closed::Violation("it ended the control stream".into())),
            Ok(Err(e)) => Err(broken(e)),
        };
    }
    Err(Closed::Silent)
}

/// What a failure to read a message says about the other end.
pub(crate) fn broken(e: ReadFailed) -> Closed {
    match e {
        ReadFailed::Stream(quinn::ReadError::ConnectionLost(e)) => Closed::from_quic(e),
        other => Closed::Violation(other.to_string()),
    }
}
