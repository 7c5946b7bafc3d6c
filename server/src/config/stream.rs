//! One stream of the config file.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use models::detect::Quality;
use picture::Rate;
use queue::{Hedge, NoLane, Policy, WorkerId};
use serde::Deserialize;

use super::ModelRate;

/// A source, the model that looks at it, and the policy between them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// `rtsp://…`, a file, or `test:` for a synthetic scene.
    pub source: String,
    /// The folder name of a model. Without one, frames pass as they are.
    #[serde(default)]
    pub model: Option<String>,
    /// How many frames a second the model is asked about; the others pass as *not asked*. Default: every one.
    #[serde(default)]
    pub model_rate: Option<ModelRate>,
    /// Draws the boxes of the last answer on frames that were not asked about, until the next answer or its
    /// absence. Default false: a frame shows its own boxes or none.
    #[serde(default)]
    pub hold_boxes: bool,
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
    /// How long a frame rests after a failure before it is handed out again, in milliseconds. Default 0.
    #[serde(default)]
    pub retry_after_ms: u64,
    /// How long a worker may take over a frame before another gets it, in milliseconds. It is what frees a stream
    /// without a budget from a worker that never answers. Default 0: as long as the worker lives.
    #[serde(default)]
    pub answer_within_ms: u64,
    /// A frame whose worker takes longer than all but the slowest so many percent do is given to a second one
    /// too, if one has nothing else to do: the first answer counts, the other is cancelled. Default 0: none is.
    #[serde(default)]
    pub hedge_percent: u16,
    /// What happens where no worker serves the model. Default: `pass` with a budget, `wait` without.
    #[serde(default)]
    pub no_worker: Option<NoWorker>,
    /// The share of the workers beside other streams: twice the weight, twice the frames. Default 1.
    #[serde(default = "default_weight")]
    pub weight: NonZeroU32,
    /// The one worker that may have frames of this stream: its id, as the API shows it. Default: any.
    #[serde(default)]
    pub pin: Option<String>,
    /// What pictures travel as to workers that dial in. Default `auto`: by each one's link.
    #[serde(default)]
    pub send_as: SendAs,
    /// From 1 to 100, where pictures travel as JPEG. Default 91.
    #[serde(default)]
    pub jpeg_quality: Quality,
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

fn default_weight() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// What pictures travel as to workers that dial in. A worker that does not read it gets I420.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendAs {
    /// I420 (or RGB, to a worker that asks for it) where the link carries that easily, else JPEG.
    #[default]
    Auto,
    /// YUV 4:2:0 as it is.
    I420,
    /// JPEG.
    Jpeg,
    /// RGB, twice as much as I420.
    Rgb,
}

/// What happens to a frame where no worker serves the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoWorker {
    /// It passes at once, without boxes: video flows without a worker.
    Pass,
    /// It waits for a worker, or for the end of its budget.
    Wait,
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

/// A time of which 0 means that there is none.
fn some_ms(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

impl Stream {
    /// The queue's policy for this stream.
    pub fn policy(&self) -> Policy {
        let budget = self.budget();
        let usual = if budget.is_some() { NoWorker::Pass } else { NoWorker::Wait };
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
            retry_after: some_ms(self.retry_after_ms),
            answer_within: some_ms(self.answer_within_ms),
            no_lane: match self.no_worker.unwrap_or(usual) {
                NoWorker::Pass => NoLane::Pass,
                NoWorker::Wait => NoLane::Wait,
            },
            pin: self.pin.as_deref().and_then(worker),
            weight: self.weight,
            hedge: Hedge::slowest_percent(self.hedge_percent),
        }
    }

    /// The budget as a duration; none where a frame waits as long as it takes.
    pub fn budget(&self) -> Option<Duration> {
        some_ms(self.budget_ms)
    }

    /// How often the model is asked about a source of this rate; none where neither is known.
    pub fn asked_rate(&self, source: Option<Rate>) -> Option<Rate> {
        match (self.model_rate.map(ModelRate::get), source) {
            (Some(asked), Some(source)) if asked.as_f64() > source.as_f64() => Some(source),
            (asked, source) => asked.or(source),
        }
    }
}

/// Reads a worker's id, as the API shows it: `w` and a number.
pub(super) fn worker(text: &str) -> Option<WorkerId> {
    let number = text.strip_prefix('w')?;
    // `parse` would take a sign too.
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok().map(WorkerId))?
}
