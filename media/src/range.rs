//! A frame's levels between limited and full range.
//!
//! GStreamer's `videoconvert` changes the label and leaves the levels as they are where nothing but the range
//! differs, so black would turn grey. This does it by table.

use bytes::Bytes;
use picture::{Colour, Frame, Range};

/// The frame in the given range: itself, or a copy.
pub(crate) fn to_range(frame: Frame, range: Range) -> Frame {
    let from = frame.colour();
    if from.range == range {
        return frame;
    }
    let (luma, chroma) = match range {
        Range::Full => (levels(16, 219, 0, 255), levels(128, 224, 128, 255)),
        Range::Limited => (levels(0, 255, 16, 219), levels(128, 255, 128, 224)),
    };
    let size = frame.size();
    let mut data = Vec::with_capacity(size.i420_len());
    let view = frame.view();
    for (plane, table) in [(view.y(), &luma), (view.u(), &chroma), (view.v(), &chroma)] {
        for row in 0..plane.size().height() as usize {
            data.extend(plane.row(row).iter().map(|&level| table[usize::from(level)]));
        }
    }
    let colour = Colour { range, ..from };
    Frame::tight(frame.stamp, size, colour, Bytes::from(data)).expect("every row was copied")
}

/// Maps levels around `zero_in` that span `span_in` to those around `zero_out` that span `span_out`.
fn levels(zero_in: u8, span_in: u8, zero_out: u8, span_out: u8) -> [u8; 256] {
    let scale = f64::from(span_out) / f64::from(span_in);
    std::array::from_fn(|level| {
        let level = (level as f64 - f64::from(zero_in)).mul_add(scale, f64::from(zero_out));
        // The cast saturates: what lies outside the levels in use becomes black or white.
        level.round() as u8
    })
}

#[cfg(test)]
mod tests {
    use picture::{Pts, Size, Stamp};

    use super::*;

    fn frame(colour: Colour) -> Frame {
        let size = Size::new(4, 2).unwrap();
        let data = [16, 235, 126, 0, 255, 81, 41, 145, 17, 240, 128, 90];
        Frame::tight(Stamp::at(Pts::from_nanos(5)), size, colour, Bytes::copy_from_slice(&data)).unwrap()
    }

    #[test]
    fn black_and_white_meet_their_ends_and_grey_stays_grey() {
        let full = to_range(frame(Colour::BT709_LIMITED), Range::Full);
        assert_eq!(full.colour(), Colour { range: Range::Full, ..Colour::BT709_LIMITED });
        assert_eq!(full.pts(), Pts::from_nanos(5));
        assert_eq!(full.data()[..], [0, 255, 128, 0, 255, 76, 29, 150, 2, 255, 128, 85]);
        let back = to_range(full, Range::Limited);
        assert_eq!(back.data()[..], [16, 235, 126, 16, 235, 81, 41, 145, 17, 240, 128, 90]);
    }

    #[test]
    fn a_frame_in_the_range_already_is_not_copied() {
        let frame = frame(Colour::BT601_LIMITED);
        let data = frame.data().as_ptr();
        assert_eq!(to_range(frame, Range::Limited).data().as_ptr(), data);
    }
}
