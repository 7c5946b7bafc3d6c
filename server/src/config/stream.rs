//! One stream of the config file.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use queue::{NoLane, Policy};
use serde::Deserialize;

/// A source, the model that looks at it, and the policy between them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// `rtsp://…`, a file, or `test:` for a synthetic scene.
    pub source: String,
    /// The folder name of a model. Without one, frames pass as they are.
    #[serde(default)]
    pub model: Option<String>,
    /// The lowest score that is drawn. By default the model's own threshold.
    #[serde(default)]
    pub threshold: Option<f32>,
    /// How long after its capture a frame must have left, in milliseconds. 0: no budget; then a
    /// frame waits for its answer however long that takes. Default 1000.
    #[serde(default = "default_budget")]
    pub budget_ms: u64,
    /// Frames that may wait for an answer. Default 8.
    #[serde(default = "default_bound")]
    pub pending: NonZeroUsize,
    /// Frames that may be inside in all, answered ones that wait to leave among them. Default 16.
    #[serde(default = "default_held")]
    pub held: NonZeroUsize,
    /// What happens to a frame when `pending` is reached. Default `drop-oldest`.
    #[serde(default)]
    pub when_full: WhenFull,
    /// How often a frame is handed out before it is given up. 0: until it is answered. Default 2.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// A file plays in real time (`live`, the default) or as fast as it is worked on (`fast`).
    #[serde(default)]
    pub pace: Pace,
    /// A file starts again at its end. Default false.
    #[serde(default, rename = "loop")]
    pub looped: bool,
    /// The annotated stream.
    #[serde(default)]
    pub output: Output,
}

fn default_budget() -> u64 {
    1000
}

fn default_bound() -> NonZeroUsize {
    const { NonZeroUsize::new(8).expect("8 is not 0") }
}

fn default_held() -> NonZeroUsize {
    const { NonZeroUsize::new(16).expect("16 is not 0") }
}

fn default_attempts() -> u32 {
    2
}

/// What happens to a newcomer when a stream is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The source waits (a file) or counts it as refused (a camera).
    Refuse,
    /// The oldest frame that no worker holds leaves as missing. Live video wants this.
    #[default]
    DropOldest,
    /// The newcomer leaves as missing.
    DropNewest,
}

/// How fast a file plays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// In real time, as a camera would.
    #[default]
    Live,
    /// As fast as it is worked on; the file waits, nothing is skipped.
    Fast,
}

/// The annotated stream.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// Width in pixels; by default the source's at its first frame.
    pub width: Option<u32>,
    /// Height in pixels; by default the source's at its first frame.
    pub height: Option<u32>,
    /// H.264 bit rate in kbit/s. By default the quality is kept constant instead.
    pub bitrate_kbps: Option<NonZeroU32>,
    /// Frames from one key frame to the next at most: what a new viewer may have to wait for. Default 30.
    pub key_frame_every: NonZeroU32,
}

impl Default for Output {
    fn default() -> Self {
        Output {
            width: None,
            height: None,
            bitrate_kbps: None,
            key_frame_every: const { NonZeroU32::new(30).expect("30 is not 0") },
        }
    }
}

impl Stream {
    /// The queue's policy for this stream.
    pub fn policy(&self) -> Policy {
        let budget = (self.budget_ms > 0).then(|| Duration::from_millis(self.budget_ms));
        Policy {
            pending: self.pending,
            held: self.held,
            when_full: match self.when_full {
                WhenFull::Refuse => queue::WhenFull::Refuse,
                WhenFull::DropOldest => queue::WhenFull::DropOldest,
                WhenFull::DropNewest => queue::WhenFull::DropNewest,
            },
            budget,
            attempts: NonZeroU32::new(self.attempts),
            no_lane: if budget.is_some() { NoLane::Pass } else { NoLane::Wait },
            ..Policy::lossless()
        }
    }
}
