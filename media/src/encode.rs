//! Frames to H.264, once per stream, into a [`Ring`].
//!
//! x264 with `tune=zerolatency`: no frame is held back, none is reordered or dropped. At most
//! [`Config::queue`] frames are inside; [`Encoder::push`] waits for room, so nothing grows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use gst::glib;
use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks, AppSrc};
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use picture::{Colour, Frame, Pts, Rate, Size};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::init::{Missing, make};
use crate::ring::{Bounds, Codec, Packet, Ring};
use crate::{buffer, colour, range};

/// How a stream is encoded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The size of the output; frames of another size are scaled into it. Odd sides are rounded down, because
    /// H.264 in 4:2:0 has none.
    pub size: Size,
    /// The nominal frame rate, which the rate control plans with.
    pub rate: Rate,
    /// Quality or bit rate.
    pub quality: Quality,
    /// Speed against size.
    pub preset: Preset,
    /// Threads of the encoder: one is the most efficient where several streams share the machine.
    pub threads: u32,
    /// The most frames from one key frame to the next. None: two seconds.
    pub key_interval: Option<u32>,
    /// Frames that wait for the encoder, at least 1.
    pub queue: usize,
    /// How much the ring holds.
    pub ring: Bounds,
}

impl Config {
    /// Constant quality at the given size and rate.
    pub fn new(size: Size, rate: Rate) -> Self {
        Self {
            size,
            rate,
            quality: Quality::default(),
            preset: Preset::Superfast,
            threads: 1,
            key_interval: None,
            queue: 4,
            ring: Bounds::default(),
        }
    }
}

/// What the encoder keeps constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// The quality, 0 (best) to 51, with a cap on the bit rate.
    Constant {
        /// x264's CRF.
        crf: u8,
        /// At most so many kbit/s.
        max_kbps: u32,
    },
    /// The bit rate in kbit/s.
    Bitrate(u32),
}

impl Default for Quality {
    /// CRF 23, at most 8 Mbit/s.
    fn default() -> Self {
        Self::Constant { crf: 23, max_kbps: 8000 }
    }
}

/// x264's presets that are fast enough for live video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// The least work, visibly larger.
    Ultrafast,
    /// The default: three quarters of the time of `Veryfast`, and a quarter larger.
    #[default]
    Superfast,
    /// Smaller, slower.
    Veryfast,
    /// Smaller and slower again.
    Faster,
}

impl Preset {
    fn name(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
        }
    }
}

/// Why there is no encoded video.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An element is not installed.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The encoder did not start.
    #[error("the H.264 encoder does not start at {size}: {why}")]
    Start {
        /// The output's size.
        size: Size,
        /// What GStreamer said.
        why: String,
    },
    /// The encoder failed while running; no further frame is taken.
    #[error("the H.264 encoder failed: {0}")]
    Failed(String),
    /// The encoder was ended.
    #[error("the H.264 encoder was ended")]
    Ended,
}

/// Encodes one stream. Dropping it ends its ring.
#[derive(Debug)]
pub struct Encoder {
    pipeline: gst::Pipeline,
    source: AppSrc,
    sink: AppSink,
    fixed: gst::Element,
    size: Size,
    rate: Rate,
    ring: Arc<Ring>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    input: Mutex<Option<Input>>,
}

/// What the pipeline is set up to take. The range never changes after the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Input {
    size: Size,
    colour: Colour,
}

/// What the encoder's thread writes.
#[derive(Debug)]
struct Shared {
    failed: Mutex<Option<String>>,
    ended: watch::Sender<bool>,
}

impl Encoder {
    /// Starts an encoder and the ring that it fills.
    ///
    /// # Errors
    /// An element is missing, or the encoder does not take the size.
    pub fn start(config: Config) -> Result<(Self, Arc<Ring>), Error> {
        let refused = |why: String| Error::Start { size: config.size, why };
        let even = |side: u32| (side & !1).max(2);
        let size = Size::new(even(config.size.width()), even(config.size.height()));
        let size = size.map_err(|error| refused(error.to_string()))?;

        crate::init::start()?;
        let pipeline = gst::Pipeline::new();
        let source = make("appsrc")?.downcast::<AppSrc>().expect("appsrc is an AppSrc");
        source.set_format(gst::Format::Time);
        // The semaphore bounds the frames inside; a second bound in bytes would drop or block.
        source.set_max_bytes(0);
        let scale = make("videoscale")?;
        let convert = make("videoconvert")?;
        let fixed = make("capsfilter")?;
        let x264 = x264enc(&config)?;
        let out = make("capsfilter")?;
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        out.set_property("caps", caps);

        let ring = Ring::new(config.ring);
        let shared = Arc::new(Shared { failed: Mutex::default(), ended: watch::Sender::new(false) });
        let sink = sink(&ring, &shared)?;
        let all = [source.upcast_ref(), &scale, &convert, &fixed, &x264, &out, sink.upcast_ref()];
        let wiring = |error: glib::BoolError| refused(error.message.into_owned());
        pipeline.add_many(all).map_err(wiring)?;
        gst::Element::link_many(all).map_err(wiring)?;

        let room = Arc::new(Semaphore::new(config.queue.max(1)));
        watch_bus(&pipeline, &ring, &shared, &room);
        let input = Mutex::default();
        let encoder = Self {
            pipeline,
            source,
            sink,
            fixed,
            size,
            rate: config.rate,
            ring: ring.clone(),
            room,
            shared,
            input,
        };
        encoder.pipeline.set_state(gst::State::Playing).map_err(|error| refused(error.to_string()))?;
        Ok((encoder, ring))
    }

    /// Gives the encoder a frame, in rising order of `pts`, as soon as there is room. Its pixels are not
    /// copied.
    ///
    /// # Errors
    /// The encoder failed or was ended; the frame is dropped.
    pub async fn push(&self, frame: Frame) -> Result<(), Error> {
        let permit = self.room.clone().acquire_owned().await;
        let permit: OwnedSemaphorePermit = permit.map_err(|_| self.why())?;
        let frame = self.follow(frame)?;
        if self.ring.take_key_request(Instant::now()) {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            self.sink.send_event(event);
        }
        // The permit comes back when x264 is done with the pixels.
        let pushed = self.source.push_buffer(buffer::from_frame(&frame, permit));
        pushed.map(drop).map_err(|_| self.why())
    }

    /// Follows a change of the input's size or colour. The first frame's colour becomes the output's. Gives
    /// the frame in the output's range.
    fn follow(&self, frame: Frame) -> Result<Frame, Error> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let range = input.map_or(frame.colour().range, |input| input.colour.range);
        let frame = range::to_range(frame, range);
        let now = Input { size: frame.size(), colour: frame.colour() };
        if *input == Some(now) {
            return Ok(frame);
        }
        let caps = |size, rate| colour::to_info(size, frame.colour(), rate).to_caps();
        let failed = |error: glib::BoolError| Error::Failed(error.message.into_owned());
        if input.is_none() {
            // x264enc keeps the colour that it started with in its headers, so later colours are converted
            // into it. Square pixels: other proportions get black borders instead of another shape.
            let mut fixed = caps(self.size, None).map_err(failed)?;
            fixed.make_mut().iter_mut().for_each(|structure| structure.remove_field("framerate"));
            self.fixed.set_property("caps", fixed);
        }
        self.source.set_caps(Some(&caps(frame.size(), Some(self.rate)).map_err(failed)?));
        *input = Some(now);
        Ok(frame)
    }

    fn why(&self) -> Error {
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone().map_or(Error::Ended, Error::Failed)
    }

    /// The ring that it fills.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Encodes what was pushed, ends the ring, and closes.
    ///
    /// # Errors
    /// The encoder failed before its last frame.
    pub async fn finish(self) -> Result<(), Error> {
        let mut ended = self.shared.ended.subscribe();
        if self.source.end_of_stream().is_ok() {
            // The sender lives in self, so waiting cannot fail.
            let _ = ended.wait_for(|ended| *ended).await;
        }
        match self.why() {
            Error::Ended => Ok(()),
            failed => Err(failed),
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.room.close();
        let _ = self.pipeline.set_state(gst::State::Null);
        self.ring.end();
    }
}

fn x264enc(config: &Config) -> Result<gst::Element, Error> {
    let x264 = make("x264enc")?;
    x264.set_property_from_str("tune", "zerolatency");
    x264.set_property_from_str("speed-preset", config.preset.name());
    x264.set_property("threads", config.threads.max(1));
    x264.set_property("byte-stream", true);
    let two_seconds = (2.0 * config.rate.as_f64()).ceil().clamp(1.0, 600.0) as u32;
    x264.set_property("key-int-max", config.key_interval.unwrap_or(two_seconds).max(1));
    match config.quality {
        Quality::Constant { crf, max_kbps } => {
            x264.set_property_from_str("pass", "qual");
            x264.set_property("quantizer", u32::from(crf.min(50)));
            x264.set_property("bitrate", max_kbps.clamp(1, 2_048_000));
        }
        Quality::Bitrate(kbps) => {
            x264.set_property_from_str("pass", "cbr");
            x264.set_property("bitrate", kbps.clamp(1, 2_048_000));
        }
    }
    Ok(x264)
}

fn sink(ring: &Arc<Ring>, shared: &Arc<Shared>) -> Result<AppSink, Missing> {
    let sink = make("appsink")?.downcast::<AppSink>().expect("appsink is an AppSink");
    sink.set_sync(false);
    sink.set_enable_last_sample(false);
    sink.set_max_buffers(1);
    let mut packets = Packets { ring: ring.clone(), codec: None };
    let at_end = (ring.clone(), shared.clone());
    let callbacks = AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            packets.take(&sample).ok_or(gst::FlowError::Error)?;
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            let (ring, shared) = &at_end;
            ring.end();
            shared.ended.send_replace(true);
        });
    sink.set_callbacks(callbacks.build());
    Ok(sink)
}

/// Turns the encoder's buffers into packets, on its thread.
struct Packets {
    ring: Arc<Ring>,
    codec: Option<Arc<Codec>>,
}

impl Packets {
    fn take(&mut self, sample: &gst::Sample) -> Option<()> {
        let buffer = sample.buffer_owned()?;
        // x264enc shifts its times by 1000 hours and says so in the segment: the running time is ours again.
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let pts = Pts::from_nanos(segment.to_running_time(buffer.pts()?)?.nseconds());
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
        if key {
            self.read_codec(&data);
        }
        // Before the first key frame there is nothing that a decoder could use.
        if let Some(codec) = self.codec.clone() {
            self.ring.push(Packet { pts, encoded_at: Instant::now(), key, data, codec });
        }
        Some(())
    }

    fn read_codec(&mut self, data: &Bytes) {
        let (Some(sps), Some(pps)) = (nal(data, 7), nal(data, 8)) else { return };
        let version = match &self.codec {
            Some(codec) if codec.sps == sps && codec.pps == pps => return,
            Some(codec) => codec.version + 1,
            None => 1,
        };
        // Copied, because they outlive the packet that brought them.
        let (sps, pps) = (Bytes::copy_from_slice(&sps), Bytes::copy_from_slice(&pps));
        self.codec = Some(Arc::new(Codec { version, sps, pps }));
    }
}

/// The first NAL unit of a type in an Annex B byte stream, without start code and trailing zeros.
fn nal(data: &Bytes, nal_type: u8) -> Option<Bytes> {
    let mut at = 0;
    while let Some(start) = start_code(data, at).map(|code| code + 3) {
        let end = start_code(data, start).unwrap_or(data.len());
        if data.get(start).is_some_and(|header| header & 0x1f == nal_type) {
            let mut unit = data.slice(start..end);
            while unit.last() == Some(&0) {
                unit.truncate(unit.len() - 1);
            }
            return Some(unit);
        }
        at = start;
    }
    None
}

fn start_code(data: &[u8], from: usize) -> Option<usize> {
    data.get(from..)?.windows(3).position(|w| w == [0, 0, 1]).map(|at| from + at)
}

/// Ends the ring and frees those who wait when an element fails.
fn watch_bus(pipeline: &gst::Pipeline, ring: &Arc<Ring>, shared: &Arc<Shared>, room: &Arc<Semaphore>) {
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let (ring, shared, room) = (ring.clone(), shared.clone(), room.clone());
    bus.set_sync_handler(move |_, message| {
        if let gst::MessageView::Error(error) = message.view() {
            let mut failed = shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.error().to_string());
            drop(failed);
            room.close();
            ring.end();
            shared.ended.send_replace(true);
        }
        gst::BusSyncReply::Drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_are_found_with_both_start_codes() {
        let data = Bytes::from_static(&[
            0, 0, 0, 1, 9, 16, 0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 1, 0x68, 4, 0, 0, 0, 1, 0x65, 9,
        ]);
        assert_eq!(nal(&data, 7).unwrap(), [0x67, 1, 2, 3][..]);
        assert_eq!(nal(&data, 8).unwrap(), [0x68, 4][..]);
        assert_eq!(nal(&data, 5).unwrap(), [0x65, 9][..]);
        assert_eq!(nal(&data, 1), None);
        assert_eq!(nal(&Bytes::from_static(&[0, 0, 1]), 7), None);
        assert_eq!(nal(&Bytes::new(), 7), None);
    }
}
