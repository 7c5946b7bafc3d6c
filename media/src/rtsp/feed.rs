//! One player's pipeline and the future that feeds it from the ring.

use std::sync::Arc;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst_app::{AppSrc, AppSrcCallbacks};
use gst_rtsp::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as gst_rtsp;
use picture::Pts;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ring::{Next, Packet, Reader, Ring};

/// Packets inside a player's pipeline: enough to smooth a key frame over TCP, little enough to add no delay
/// that anyone sees.
pub(super) const INSIDE: u64 = 8;

/// A player's pipeline. SPS and PPS go before each key frame, and in the SDP from the first one.
const LAUNCH: &str = "( appsrc name=feed format=time is-live=true ! h264parse config-interval=-1 \
                      ! rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency )";

/// `GST_STATE_PLAYING`, which the signal gives as a number.
const PLAYING: i32 = 4;

/// Makes a pipeline for each player.
pub(super) fn factory(
    ring: Arc<Ring>,
    context: glib::MainContext,
    behind: Duration,
    stop: CancellationToken,
) -> gst_rtsp::RTSPMediaFactory {
    let factory = gst_rtsp::RTSPMediaFactory::new();
    factory.set_launch(LAUNCH);
    factory.set_shared(false);
    factory.connect_media_configure(move |_, media| {
        let element = media.element().downcast::<gst::Bin>().ok();
        let source = element.and_then(|bin| bin.by_name("feed"));
        let Some(source) = source.and_then(|source| source.downcast::<AppSrc>().ok()) else {
            tracing::error!("an RTSP player's pipeline has no appsrc");
            return;
        };
        // Packets go out as they come. A player's PLAY turns waiting for their times on again, and by
        // then the pipeline's time may have begun anew: every packet would wait for seconds, for ever.
        media.set_rate_control(false);
        media.connect_new_state(|media, state| {
            if state == PLAYING {
                media.set_rate_control(false);
            }
        });
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        source.set_caps(Some(&caps));
        // `feed` counts what is inside.
        source.set_max_bytes(0);
        let room = Arc::new(Notify::new());
        let wake = room.clone();
        let callbacks = AppSrcCallbacks::builder().need_data(move |_, _| wake.notify_one());
        source.set_callbacks(callbacks.build());

        let stop = stop.child_token();
        let gone = stop.clone();
        media.connect_unprepared(move |_| gone.cancel());
        let reader = ring.subscribe().within(behind);
        context.spawn(async move {
            // Not `select!` inside: whatever the feeder waits for, the player's end ends it.
            let mut start = None;
            stop.run_until_cancelled_owned(feed(&source, reader, &room, &mut start)).await;
            if start.is_none() {
                // A DESCRIBE waits for the first packet, and an end without one does not wake it.
                gst::element_error!(source, gst::ResourceError::Read, ["the stream ended before its start"]);
            }
            // Harmless where the player is gone; tells it where the path was taken away.
            let _ = source.end_of_stream();
        });
    });
    factory
}

/// Feeds one player until the ring or the player ends. `start` is set with its first packet.
async fn feed(source: &AppSrc, mut reader: Reader, room: &Notify, start: &mut Option<Start>) {
    let mut jump = true;
    loop {
        while source.current_level_buffers() >= INSIDE {
            room.notified().await;
        }
        match reader.next().await {
            Next::Packet(packet) => {
                let start = *start.get_or_insert_with(|| Start::new(source, &packet));
                if source.push_buffer(start.buffer(packet, std::mem::take(&mut jump))).is_err() {
                    return;
                }
            }
            Next::Lagged(packets) => {
                tracing::debug!(packets, "an RTSP player is too slow and skips to a key frame");
                jump = true;
            }
            Next::End => return,
        }
    }
}

/// Where a player's times begin: its first packet is now.
#[derive(Clone, Copy)]
struct Start {
    pts: Pts,
    running: gst::ClockTime,
}

impl Start {
    fn new(source: &AppSrc, packet: &Packet) -> Self {
        // A pipeline that starts gets its clock first and its base time afterwards. In between, GStreamer's
        // own running time is the machine's uptime, and a stream that begins there is never played.
        let base = source.base_time().filter(|base| !base.is_zero());
        let now = source.clock().map(|clock| clock.time());
        let running = base.zip(now).map(|(base, now)| now.saturating_sub(base));
        Self { pts: packet.pts, running: running.unwrap_or(gst::ClockTime::ZERO) }
    }

    /// The packet with the player's time, without copying its data.
    fn buffer(self, packet: Packet, jump: bool) -> gst::Buffer {
        let since = packet.pts.since(self.pts).as_nanos();
        let since = gst::ClockTime::from_nseconds(u64::try_from(since).unwrap_or(u64::MAX / 2));
        let mut buffer = gst::Buffer::from_slice(packet.data);
        let new = buffer.get_mut().expect("a new buffer has one owner");
        new.set_pts(self.running + since);
        new.set_dts(self.running + since);
        if !packet.key {
            new.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        if jump {
            new.set_flags(gst::BufferFlags::DISCONT);
        }
        buffer
    }
}
