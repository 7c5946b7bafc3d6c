//! Frames and GStreamer buffers, both ways, without copying pixels where that is safe.

use bytes::Bytes;
use gstreamer as gst;
use gstreamer_video as gst_video;
use picture::{Frame, FrameError, Plane, Size, SizeError, Stamp};

use crate::colour;

/// A decoded buffer that is not the I420 that its caps say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BufferError {
    #[error("the decoder's buffer cannot be read")]
    Map,
    #[error("the decoder gave {0:?}, which cannot be used as I420")]
    Layout(gst_video::VideoFormat),
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A frame over a decoded buffer's own memory: the buffer lives as long as the frame's bytes do.
///
/// Only plain system memory is kept. The pools of GStreamer's software decoders grow as needed, so holding
/// their buffers stops nobody; any other memory (V4L2, DMABuf, VA) comes from a pool of fixed size, whose
/// decoder would wait for us while we wait for it, so it is copied once and given back.
pub(crate) fn to_frame(
    buffer: gst::Buffer,
    info: &gst_video::VideoInfo,
    stamp: Stamp,
) -> Result<Frame, BufferError> {
    if info.format() != gst_video::VideoFormat::I420 {
        return Err(BufferError::Layout(info.format()));
    }
    let size = Size::new(info.width(), info.height())?;
    let planes = planes(&buffer, info)?;
    let keep = is_plain(&buffer);
    let mapped = buffer.into_mapped_buffer_readable().map_err(|_| BufferError::Map)?;
    let data = if keep { Bytes::from_owner(mapped) } else { Bytes::copy_from_slice(&mapped) };
    Ok(Frame::new(stamp, size, colour::from_info(info), planes, data)?)
}

/// One block of memory that no pool of fixed size waits for: GStreamer's own, or what a Rust element made.
fn is_plain(buffer: &gst::BufferRef) -> bool {
    buffer.n_memory() == 1
        && buffer.peek_memory(0).allocator().is_none_or(|allocator| {
            matches!(allocator.memory_type().as_str(), "SystemMemory" | "RustGlobalAllocatorMemory")
        })
}

/// Where the planes lie: as the buffer's own meta says (decoders pad), else as the caps imply.
fn planes(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Result<[Plane; 3], BufferError> {
    let (offsets, strides) = match buffer.meta::<gst_video::VideoMeta>() {
        Some(meta) => (meta.offset().to_vec(), meta.stride().to_vec()),
        None => (info.offset().to_vec(), info.stride().to_vec()),
    };
    let plane = |number: usize| {
        // A negative stride is a picture stored bottom up: no decoder of ours makes one, and it is refused.
        let stride = strides.get(number).and_then(|&stride| usize::try_from(stride).ok());
        match (offsets.get(number), stride) {
            (Some(&offset), Some(stride)) => Ok(Plane { offset, stride }),
            _ => Err(BufferError::Layout(info.format())),
        }
    };
    Ok([plane(0)?, plane(1)?, plane(2)?])
}

/// A buffer over a frame's own bytes. `guard` is dropped when GStreamer is done with the pixels.
pub(crate) fn from_frame<G: Send + 'static>(frame: &Frame, guard: G) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(Guarded { data: frame.data().clone(), _guard: guard });
    let planes = frame.planes();
    {
        let buffer = buffer.get_mut().expect("a new buffer has one owner");
        buffer.set_pts(gst::ClockTime::from_nseconds(frame.pts().nanos()));
        // The meta says where the planes are, so padded frames need no copy either.
        let added = gst_video::VideoMeta::add_full(
            buffer,
            gst_video::VideoFrameFlags::empty(),
            gst_video::VideoFormat::I420,
            frame.size().width(),
            frame.size().height(),
            &planes.map(|plane| plane.offset),
            &planes.map(|plane| i32::try_from(plane.stride).unwrap_or(i32::MAX)),
        );
        added.expect("the planes of a frame lie inside its data");
    }
    buffer
}

/// A frame's bytes, and what must be freed with them.
struct Guarded<G> {
    data: Bytes,
    _guard: G,
}

impl<G> AsRef<[u8]> for Guarded<G> {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use picture::{Colour, Pts};

    use super::*;

    fn size() -> Size {
        Size::new(6, 4).unwrap()
    }

    #[test]
    fn frame_to_buffer_to_frame_shares_the_pixels() {
        crate::init::start().unwrap();
        let stamp = Stamp::at(Pts::from_nanos(7));
        let frame = Frame::black(stamp, size(), Colour::BT709_LIMITED);
        let buffer = from_frame(&frame, ());
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_nseconds(7)));

        let info = colour::to_info(size(), frame.colour(), None);
        let back = to_frame(buffer, &info, stamp).unwrap();
        assert_eq!(back.data().as_ptr(), frame.data().as_ptr());
        assert_eq!(back.colour(), frame.colour());
        assert_eq!(back.planes(), frame.planes());
    }

    #[test]
    fn a_software_decoder_s_buffers_are_not_copied() {
        use gst::prelude::*;
        crate::init::start().unwrap();
        let launch = "videotestsrc num-buffers=5 ! video/x-raw,format=I420,width=160,height=120 \
                      ! x264enc tune=zerolatency ! avdec_h264 ! appsink name=out sync=false";
        let pipeline = gst::parse::launch(launch).unwrap().downcast::<gst::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gstreamer_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frames = 0;
        while let Some(sample) = out.try_pull_sample(gst::ClockTime::from_seconds(60)) {
            let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
            let decoded = sample.buffer_owned().unwrap();
            let frame = to_frame(decoded.clone(), &info, Stamp::at(Pts::ZERO)).unwrap();
            assert_eq!(decoded.map_readable().unwrap().as_ptr(), frame.data().as_ptr());
            frames += 1;
        }
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(frames, 5);
    }

    #[test]
    fn the_guard_goes_with_the_last_user_of_the_pixels() {
        crate::init::start().unwrap();
        let stamp = Stamp::at(Pts::ZERO);
        let frame = Frame::black(stamp, size(), Colour::BT601_LIMITED);
        let guard = std::sync::Arc::new(());
        let buffer = from_frame(&frame, guard.clone());
        let back = to_frame(buffer, &colour::to_info(size(), frame.colour(), None), stamp).unwrap();
        assert_eq!(std::sync::Arc::strong_count(&guard), 2);
        drop(back);
        assert_eq!(std::sync::Arc::strong_count(&guard), 1);
    }

    #[test]
    fn padded_planes_are_followed() {
        crate::init::start().unwrap();
        let plane = |offset, stride| Plane { offset, stride };
        let planes = [plane(8, 16), plane(80, 8), plane(100, 8)];
        let data: Bytes = (0..120).collect();
        let stamp = Stamp::at(Pts::ZERO);
        let frame = Frame::new(stamp, size(), Colour::BT601_LIMITED, planes, data).unwrap();
        let info = colour::to_info(size(), frame.colour(), None);
        let back = to_frame(from_frame(&frame, ()), &info, stamp).unwrap();
        assert_eq!(back.view().y().row(3), frame.view().y().row(3));
        assert_eq!(back.view().v().row(1), [108, 109, 110]);
    }

    #[test]
    fn memory_of_a_bounded_pool_is_copied() {
        crate::init::start().unwrap();
        // Two blocks stand for what is not one plain block: they cannot be kept as one either.
        let mut buffer = gst::Buffer::new();
        {
            let buffer = buffer.get_mut().unwrap();
            buffer.append_memory(gst::Memory::from_slice([1_u8; 32]));
            buffer.append_memory(gst::Memory::from_slice([2_u8; 16]));
        }
        assert!(!is_plain(&buffer));
        let info = colour::to_info(size(), Colour::BT601_LIMITED, None);
        let kept = buffer.clone();
        let frame = to_frame(buffer, &info, Stamp::at(Pts::ZERO)).unwrap();
        assert_eq!(frame.plane(1).0[0], 2);
        drop(kept);
        assert_eq!(frame.plane(0).0[0], 1);
    }

    #[test]
    fn a_buffer_that_is_too_short_is_an_error() {
        crate::init::start().unwrap();
        let info = colour::to_info(size(), Colour::BT601_LIMITED, None);
        let buffer = gst::Buffer::from_slice([0_u8; 20]);
        assert!(matches!(to_frame(buffer, &info, Stamp::at(Pts::ZERO)), Err(BufferError::Frame(_))));
    }
}
