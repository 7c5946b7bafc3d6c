//! From a source to decoded frames.
//!
//! [`open`] starts one thread that owns a GStreamer pipeline; [`Ingest::next`] gives its frames in order.
//!
//! ```text
//! rtspsrc ─┐
//! filesrc ─┼─ decodebin ─ [videoconvert to I420] ─ appsink ─ bounded channel ─ Ingest::next
//! videotestsrc ────────────┘
//! ```
//!
//! # Every buffer between the camera and `next`
//!
//! Latency is the sum of these, and none of them grows:
//!
//! | buffer | frames or time |
//! |---|---|
//! | jitter buffer of `rtspsrc` | [`Config::latency`] (200 ms) while a packet is missing; packets in order pass at once |
//! | decoder, network source | none: slice threads only, because each frame thread holds a frame back |
//! | decoder, file | up to [`Config::decoder_threads`] frames (and demuxer queues), which delay no camera |
//! | `appsink` | 1 frame |
//! | the channel | [`Config::queue`] frames; live, the oldest gives way and is counted as skipped |
//!
//! # The books
//!
//! [`Counts`] is read under one lock: `decoded = waiting + skipped + delivered` holds at every reading.

mod backoff;
mod error;
mod pipeline;
mod queue;
mod report;
mod supervise;
mod timeline;

use std::sync::Arc;
use std::time::Duration;

use picture::{Frame, Rate};

use crate::Source;
use supervise::Control;

pub use error::Error;

/// How fast a file (or a test scene) plays. A network source always comes at its own pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// In real time, as a camera would: a frame that finds the channel full makes the oldest one give way.
    #[default]
    Live,
    /// As fast as the consumer takes frames. Nothing is skipped.
    Fast,
}

/// Over which transport a camera sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// RTP inside the RTSP connection: no packet is lost, and a lost packet costs pictures until the next
    /// key frame.
    #[default]
    Tcp,
    /// UDP, and TCP where nothing comes over UDP within five seconds.
    Udp,
}

/// How a source is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How fast a file plays.
    pub pace: Pace,
    /// Start a file (or a test scene with an end) again at its end.
    pub loop_file: bool,
    /// Frames that wait for the consumer, at least 1.
    pub queue: usize,
    /// How long a jitter buffer waits for a missing packet.
    pub latency: Duration,
    /// Over which transport a camera sends.
    pub transport: Transport,
    /// Threads of the decoder, at least 1.
    pub decoder_threads: u32,
    /// How long a camera may take until its first frame.
    pub connect_within: Duration,
    /// How long a running source may be silent.
    pub stall_after: Duration,
    /// The first wait before a reconnect; it doubles each time.
    pub retry_first: Duration,
    /// The longest wait before a reconnect.
    pub retry_cap: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pace: Pace::Live,
            loop_file: false,
            queue: 4,
            latency: Duration::from_millis(200),
            transport: Transport::Tcp,
            decoder_threads: 2,
            connect_within: Duration::from_secs(10),
            stall_after: Duration::from_secs(5),
            retry_first: Duration::from_millis(500),
            retry_cap: Duration::from_secs(15),
        }
    }
}

/// What comes from a source.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The next frame. A new `stamp.epoch` tells of a jump, loop or reconnect, a new size of a change.
    Frame(Frame),
    /// It does not work now and is tried again; the text says why. Passwords are left out.
    Trouble(String),
    /// The source came to its end, or was stopped. Every later event is this one.
    Ended,
    /// The source cannot work; the last event before `Ended`.
    Failed(Error),
}

/// Frames of one source since it was opened: `decoded = waiting + skipped + delivered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that the decoder gave.
    pub decoded: u64,
    /// Frames in the channel now.
    pub waiting: u64,
    /// Frames that gave way to newer ones, and those that waited when it was stopped.
    pub skipped: u64,
    /// Frames that [`Ingest::next`] gave.
    pub delivered: u64,
}

impl Counts {
    /// Whether `decoded = waiting + skipped + delivered`.
    pub fn balances(&self) -> bool {
        self.decoded == self.waiting + self.skipped + self.delivered
    }
}

/// Opens a source. It never fails at once: what is wrong comes as an [`Event`], so that a stream whose
/// camera is off looks the same as one whose camera goes off later.
pub fn open(source: Source, config: Config) -> Ingest {
    Ingest { control: supervise::start(source, config) }
}

/// A running source. Dropping it stops it.
#[derive(Debug)]
pub struct Ingest {
    control: Arc<Control>,
}

impl Ingest {
    /// The next event. Cancel-safe: a frame is taken out only when it is returned.
    pub async fn next(&mut self) -> Event {
        self.control.queue().next().await
    }

    /// The books as they stand now.
    pub fn counts(&self) -> Counts {
        self.control.queue().counts()
    }

    /// The frame rate that the source names; none before the first frame, or where it varies or is not named.
    /// Only for planning: cameras name one rate and send another.
    pub fn rate(&self) -> Option<Rate> {
        self.control.rate()
    }

    /// A handle that reads the books and stops the source from elsewhere.
    pub fn monitor(&self) -> Monitor {
        Monitor { control: self.control.clone() }
    }

    /// Stops the source: what waits is discarded and counted as skipped, `next` gives `Ended`.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Returns when the source's thread is gone and its pipeline closed. It ends by itself, or by
    /// [`Ingest::stop`].
    pub async fn closed(&self) {
        self.control.closed().await;
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.control.stop();
    }
}

/// Reads the books of a source and stops it, without its frames.
#[derive(Clone, Debug)]
pub struct Monitor {
    control: Arc<Control>,
}

impl Monitor {
    /// The books as they stand now.
    pub fn counts(&self) -> Counts {
        self.control.queue().counts()
    }

    /// As [`Ingest::stop`].
    pub fn stop(&self) {
        self.control.stop();
    }
}
