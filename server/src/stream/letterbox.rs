//! From a frame to the picture that a detector is sent.

use std::sync::Arc;
use std::time::Instant;

use dispatch::{Link, Prepare, Unprepared};
use models::detect::{Detect, DetectJob};
use picture::{Frame, Size};

use super::sending::Sending;

/// Scales frames to a model's input size, in YUV 4:2:0, and writes them as the link wants them.
pub(super) struct Letterbox {
    /// The model's input.
    pub(super) input: Size,
    pub(super) sending: Arc<Sending>,
}

impl Prepare for Letterbox {
    type Task = Detect;
    type Item = Frame;

    fn prepare(&self, frame: &Frame, link: &Link) -> Result<DetectJob, Unprepared> {
        let picture = picture::scale(frame, self.input);
        Ok(DetectJob::from(self.sending.encode(picture, link, Instant::now())))
    }
}
