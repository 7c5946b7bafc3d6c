//! The GStreamer pipeline of one connection to a source.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks};
use gst_video::{VideoInfo, VideoMeta};
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use picture::{Pts, Rate, Size};

use super::queue::WhenFull;
use super::supervise::Control;
use super::timeline::Timeline;
use super::{Config, Error, Pace, Transport};
use crate::init::{Missing, make};
use crate::{Source, Test, buffer, colour};

/// What the decoder's thread shares with the supervisor, over all connections to one source.
pub(super) struct Shared {
    pub(super) control: Arc<Control>,
    pub(super) timeline: Mutex<Timeline>,
    /// Frames of all connections.
    pub(super) frames: AtomicU64,
    /// A frame is being handed to the channel, which may wait for room.
    delivering: AtomicBool,
    /// When the last frame was handed over, or this connection began.
    last_frame: Mutex<Instant>,
}

impl Shared {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            timeline: Mutex::new(Timeline::new()),
            frames: AtomicU64::new(0),
            delivering: AtomicBool::new(false),
            last_frame: Mutex::new(Instant::now()),
        }
    }

    /// Starts the stall clock anew.
    pub(super) fn touch(&self) {
        *self.last_frame.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ask this before `silent_for`: a frame is handed over before it stops being delivered.
    pub(super) fn delivering(&self) -> bool {
        self.delivering.load(Ordering::SeqCst)
    }

    pub(super) fn silent_for(&self) -> Duration {
        self.last_frame.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// A pipeline; dropping it closes it and waits for its threads.
pub(super) struct Pipeline {
    pipeline: gst::Pipeline,
    pub(super) bus: gst::Bus,
}

impl Pipeline {
    pub(super) fn build(source: &Source, config: &Config, shared: &Arc<Shared>) -> Result<Self, Error> {
        crate::init::start()?;
        let pipeline = gst::Pipeline::new();
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let convert = make("videoconvert")?;
        let filter = make("capsfilter")?;
        let i420 = gst::Caps::builder("video/x-raw").field("format", "I420");
        filter.set_property("caps", i420.build());
        let sink = sink(source, config, shared)?;
        let all = [&convert, &filter, sink.upcast_ref()];
        join(&pipeline, &all)?;
        match source {
            Source::File(path) => {
                let file = make("filesrc")?;
                file.set_property("location", path);
                let decode = decodebin(config, false, &convert)?;
                join(&pipeline, &[&file, &decode])?;
            }
            Source::Rtsp(url) => {
                let rtsp = rtspsrc(url.as_str(), config)?;
                let decode = decodebin(config, true, &convert)?;
                pipeline.add_many([&rtsp, &decode]).map_err(wiring)?;
                link_when_there(&rtsp, &decode);
            }
            Source::Test(test) => {
                let scene = videotestsrc(*test)?;
                pipeline.add(&scene).map_err(wiring)?;
                let caps = colour::to_info(test.size, default_colour(test.size), Some(test.rate));
                let caps = caps.to_caps().map_err(wiring)?;
                scene.link_filtered(&convert, &caps).map_err(wiring)?;
            }
        }
        Ok(Self { pipeline, bus })
    }

    /// Starts it. What goes wrong comes on the bus.
    pub(super) fn play(&self) {
        // The error of the state change says nothing; the message on the bus says why.
        let _ = self.pipeline.set_state(gst::State::Playing);
    }

    /// Starts a file again from its first frame. False: it cannot seek.
    pub(super) fn rewind(&self) -> bool {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
        self.pipeline.seek_simple(flags, gst::ClockTime::ZERO).is_ok()
    }

    /// Whether a demuxer stopped before it found a stream. decodebin swallows the error of a demuxer that
    /// fails while it is being linked, and then nothing ever comes, not even the end.
    pub(super) fn gave_up(&self) -> bool {
        let stopped = |element: &gst::Element| {
            element.num_src_pads() == 0
                && element
                    .sink_pads()
                    .iter()
                    .any(|pad| pad.mode() == gst::PadMode::Pull && pad.task_state() == gst::TaskState::Paused)
        };
        let elements = self.pipeline.iterate_all_by_element_factory_name("decodebin");
        let mut bins = elements.into_iter().flatten();
        let inside = bins.find_map(|bin| bin.downcast::<gst::Bin>().ok());
        inside.is_some_and(|bin| bin.children().iter().any(stopped))
    }

    pub(super) fn recalculate_latency(&self) {
        let _ = self.pipeline.recalculate_latency();
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn wiring(error: glib::BoolError) -> Error {
    Error::Pipeline {
        from: "the pipeline".to_owned(),
        element: "gstreamer".to_owned(),
        why: error.message.into_owned(),
    }
}

fn join(pipeline: &gst::Pipeline, elements: &[&gst::Element]) -> Result<(), Error> {
    pipeline.add_many(elements).map_err(wiring)?;
    gst::Element::link_many(elements).map_err(wiring)
}

fn default_colour(size: Size) -> picture::Colour {
    if size.height() > 576 { picture::Colour::BT709_LIMITED } else { picture::Colour::BT601_LIMITED }
}

fn videotestsrc(test: Test) -> Result<gst::Element, Missing> {
    let scene = make("videotestsrc")?;
    // Moving colour bars: every pixel changes, so encoders and detectors have work to do.
    scene.set_property_from_str("pattern", "smpte");
    scene.set_property("horizontal-speed", 3_i32);
    if let Some(frames) = test.frames.and_then(|frames| i32::try_from(frames).ok()) {
        scene.set_property("num-buffers", frames);
    }
    Ok(scene)
}

fn rtspsrc(url: &str, config: &Config) -> Result<gst::Element, Missing> {
    let rtsp = make("rtspsrc")?;
    rtsp.set_property("location", url);
    let millis = u32::try_from(config.latency.as_millis()).unwrap_or(u32::MAX);
    rtsp.set_property("latency", millis);
    let micros = u64::try_from(config.connect_within.as_micros()).unwrap_or(u64::MAX);
    rtsp.set_property("tcp-timeout", micros);
    let protocols = match config.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp+udp-mcast+tcp",
    };
    rtsp.set_property_from_str("protocols", protocols);
    // Sound and metadata are not even asked for.
    rtsp.connect("select-stream", false, |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        Some(caps.is_some_and(|caps| is_video_rtp(&caps)).to_value())
    });
    Ok(rtsp)
}

fn is_video_rtp(caps: &gst::CapsRef) -> bool {
    caps.structure(0).is_some_and(|s| s.get::<&str>("media") == Ok("video"))
}

/// Links the first video pad of `from` to `to` once it is known.
fn link_when_there(from: &gst::Element, to: &gst::Element) {
    let to = to.downgrade();
    from.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let is_video =
            caps.structure(0).is_some_and(|s| s.name().starts_with("video/") || is_video_rtp(&caps));
        let sink = to.upgrade().and_then(|to| to.static_pad("sink"));
        if let Some(sink) = sink.filter(|sink| is_video && !sink.is_linked()) {
            // A pad that does not fit shows as an error of the element that it starves.
            let _ = pad.link(&sink);
        }
    });
}

/// Finds demuxer, parser and decoder by itself, and follows a change of codec. Software decoders only:
/// their frames lie in plain memory.
fn decodebin(config: &Config, live: bool, to: &gst::Element) -> Result<gst::Element, Missing> {
    let decode = make("decodebin")?;
    decode.set_property("force-sw-decoders", true);
    decode.set_property("expose-all-streams", false);
    // With any features: decoders list several kinds of memory, and one of plain memory alone fits none.
    decode.set_property("caps", gst::Caps::builder("video/x-raw").any_features().build());
    link_when_there(&decode, to);
    let threads = i32::try_from(config.decoder_threads.max(1)).unwrap_or(i32::MAX);
    let bin = decode.downcast_ref::<gst::Bin>().expect("decodebin is a bin");
    bin.connect_deep_element_added(move |_, _, element| {
        if element.has_property_with_type("max-threads", i32::static_type()) {
            element.set_property("max-threads", threads);
        }
        if live && element.has_property("thread-type") {
            element.set_property_from_str("thread-type", "slice");
        }
    });
    Ok(decode)
}

fn sink(source: &Source, config: &Config, shared: &Arc<Shared>) -> Result<AppSink, Error> {
    let sink = make("appsink")?.downcast::<AppSink>().expect("appsink is an AppSink");
    // In real time the sink's clock paces a file; a camera paces itself.
    let live = config.pace == Pace::Live || source.is_network();
    sink.set_sync(live && !source.is_network());
    sink.set_qos(false);
    sink.set_max_buffers(1);
    sink.set_enable_last_sample(false);
    let pad = sink.static_pad("sink").expect("a sink has a sink pad");
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        // Decoders that know that we read the planes' places from the meta give their own padded buffers;
        // otherwise they would copy each frame into an unpadded one.
        if let Some(query) = info.query_mut()
            && let gst::QueryViewMut::Allocation(allocation) = query.view_mut()
        {
            allocation.add_allocation_meta::<VideoMeta>(None);
            return gst::PadProbeReturn::Handled;
        }
        gst::PadProbeReturn::Ok
    });
    let mut receiver = Receiver {
        shared: shared.clone(),
        when_full: if live { WhenFull::SkipOldest } else { WhenFull::Wait },
        // A frame of a camera reached us when its packets did; what the jitter buffer and the decoder took
        // since is part of its age. Beyond this the estimate is not to be trusted.
        oldest: source.is_network().then(|| config.latency + Duration::from_secs(2)),
        info: None,
    };
    let callbacks = AppSinkCallbacks::builder().new_sample(move |sink| receiver.receive(sink));
    sink.set_callbacks(callbacks.build());
    Ok(sink)
}

/// Turns samples into frames, on the decoder's thread.
struct Receiver {
    shared: Arc<Shared>,
    when_full: WhenFull,
    oldest: Option<Duration>,
    info: Option<(gst::Caps, VideoInfo)>,
}

impl Receiver {
    fn receive(&mut self, sink: &AppSink) -> Result<gst::FlowSuccess, gst::FlowError> {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let captured_at = self.captured_at(sink, &sample);
        let info = self.info(&sample).ok_or(gst::FlowError::NotNegotiated)?;
        let buffer = sample.buffer_owned().ok_or(gst::FlowError::Error)?;
        drop(sample);
        let source_pts = buffer.pts().map(|pts| Pts::from_nanos(pts.nseconds()));
        let stamp = {
            let mut timeline = self.shared.timeline.lock().unwrap_or_else(PoisonError::into_inner);
            timeline.stamp(source_pts, captured_at)
        };
        let frame = buffer::to_frame(buffer, &info, stamp).map_err(|error| {
            gst::element_error!(sink, gst::StreamError::Format, ("{error}"));
            gst::FlowError::Error
        })?;
        self.shared.delivering.store(true, Ordering::SeqCst);
        self.shared.frames.fetch_add(1, Ordering::Relaxed);
        let taken = self.shared.control.queue().push(frame, self.when_full);
        self.shared.touch();
        self.shared.delivering.store(false, Ordering::SeqCst);
        if taken { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Eos) }
    }

    fn captured_at(&self, sink: &AppSink, sample: &gst::Sample) -> Instant {
        let now = Instant::now();
        let age = || {
            let oldest = self.oldest?;
            let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
            let came = segment.to_running_time(sample.buffer()?.pts()?)?;
            let age = Duration::from(sink.current_running_time()?.checked_sub(came)?);
            (age <= oldest).then(|| now.checked_sub(age)).flatten()
        };
        age().unwrap_or(now)
    }

    /// The caps, read once per change.
    fn info(&mut self, sample: &gst::Sample) -> Option<VideoInfo> {
        let caps = sample.caps_owned()?;
        if let Some((known, info)) = &self.info
            && *known == caps
        {
            return Some(info.clone());
        }
        let info = VideoInfo::from_caps(&caps).ok()?;
        let part = |part: i32| u32::try_from(part).unwrap_or(0);
        // 0/1 says that it varies.
        let rate = Rate::new(part(info.fps().numer()), part(info.fps().denom())).ok();
        self.shared.control.set_rate(rate);
        if let Some(rate) = rate {
            let mut timeline = self.shared.timeline.lock().unwrap_or_else(PoisonError::into_inner);
            timeline.set_step(rate.frame_time());
        }
        self.info = Some((caps, info.clone()));
        Some(info)
    }
}
