//! Frames to JPEG, for snapshots and MJPEG.

use std::fmt;

use bytes::Bytes;
use gst::prelude::*;
use gst_app::{AppSink, AppSrc};
use gstreamer as gst;
use gstreamer_app as gst_app;
use picture::{Colour, Frame, Range, Size};

use crate::init::{Missing, make};
use crate::{buffer, colour, range};

/// Longer than any picture takes; an encoder that is silent for so long is broken.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// Why there is no JPEG.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An element is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The encoder failed; make a new one.
    #[error("the JPEG encoder failed on a {size} frame: {why}")]
    Failed {
        /// The frame's size.
        size: Size,
        /// What GStreamer said.
        why: String,
    },
}

/// Encodes frames of any size to JPEG, one after the other.
pub struct Encoder {
    pipeline: gst::Pipeline,
    source: AppSrc,
    sink: AppSink,
    input: Option<(Size, Colour)>,
}

impl Encoder {
    /// An encoder of the given quality, 1 to 100.
    ///
    /// # Errors
    /// An element is missing.
    pub fn new(quality: u8) -> Result<Self, Error> {
        let source = make("appsrc")?.downcast::<AppSrc>().expect("appsrc is an AppSrc");
        source.set_format(gst::Format::Time);
        let convert = make("videoconvert")?;
        // JPEG is BT.601 in full range whatever the picture was; viewers read it so without asking. The range
        // is made before this, the matrix here.
        let full = make("capsfilter")?;
        let caps = gst::Caps::builder("video/x-raw").field("format", "I420");
        full.set_property("caps", caps.field("colorimetry", "1:4:0:0").build());
        let jpeg = make("jpegenc")?;
        jpeg.set_property("quality", i32::from(quality.clamp(1, 100)));
        let sink = make("appsink")?.downcast::<AppSink>().expect("appsink is an AppSink");
        sink.set_sync(false);
        sink.set_enable_last_sample(false);

        let pipeline = gst::Pipeline::new();
        let all = [source.upcast_ref(), &convert, &full, &jpeg, sink.upcast_ref()];
        let wired = pipeline.add_many(all).and_then(|()| gst::Element::link_many(all));
        wired.expect("these elements fit");
        // A failure shows as an error when the first frame is pushed.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self { pipeline, source, sink, input: None })
    }

    /// Encodes one frame. Blocks for the milliseconds that it takes.
    ///
    /// # Errors
    /// The encoder failed; it is of no further use.
    pub fn encode(&mut self, frame: &Frame) -> Result<Bytes, Error> {
        let frame = &range::to_range(frame.clone(), Range::Full);
        let failed = |why: String| Error::Failed { size: frame.size(), why };
        let now = (frame.size(), frame.colour());
        if self.input != Some(now) {
            let caps = colour::to_info(frame.size(), frame.colour(), None).to_caps();
            let caps = caps.map_err(|error| failed(error.message.into_owned()))?;
            self.source.set_caps(Some(&caps));
            self.input = Some(now);
        }
        let pushed = self.source.push_buffer(buffer::from_frame(frame, ()));
        pushed.map_err(|error| failed(self.why().unwrap_or(error.to_string())))?;
        let sample = self.sink.try_pull_sample(PATIENCE);
        let buffer = sample.and_then(|sample| sample.buffer_owned());
        let buffer = buffer.ok_or_else(|| failed(self.why().unwrap_or("no picture came".to_owned())))?;
        let mapped = buffer.into_mapped_buffer_readable();
        mapped.map(Bytes::from_owner).map_err(|_| failed("its output cannot be read".to_owned()))
    }

    fn why(&self) -> Option<String> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(error.error().to_string()),
            _ => None,
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("jpeg::Encoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use picture::{Pts, Stamp};

    use super::*;

    #[test]
    fn frames_of_changing_sizes_become_jpegs() {
        let mut encoder = Encoder::new(85).unwrap();
        for (n, (width, height)) in [(64, 48), (33, 17), (64, 48)].into_iter().enumerate() {
            let size = Size::new(width, height).unwrap();
            let stamp = Stamp::at(Pts::from_nanos(n as u64));
            let jpeg = encoder.encode(&Frame::black(stamp, size, Colour::BT709_LIMITED)).unwrap();
            assert_eq!(jpeg[..2], [0xff, 0xd8]);
            assert_eq!(jpeg[jpeg.len() - 2..], [0xff, 0xd9]);
            // The frame header (SOF0) names the size.
            let sof = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
            let side = |at: usize| u32::from(jpeg[at]) << 8 | u32::from(jpeg[at + 1]);
            assert_eq!((side(sof + 7), side(sof + 5)), (width, height));
        }
    }
}
