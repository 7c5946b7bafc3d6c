//! From a frame to the picture that a detector is sent.

use dispatch::{Link, Prepare, Unprepared};
use models::detect::{Detect, DetectJob};
use picture::{Frame, Size};

/// Scales frames to a model's input size, in YUV 4:2:0.
pub(super) struct Letterbox {
    /// The model's input.
    pub(super) input: Size,
}

impl Prepare for Letterbox {
    type Task = Detect;
    type Item = Frame;

    fn prepare(&self, frame: &Frame, _: &Link) -> Result<DetectJob, Unprepared> {
        Ok(DetectJob::from(picture::scale(frame, self.input)))
    }
}
