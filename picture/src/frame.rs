//! A decoded frame: planes in shared bytes, its times and its colour.

use std::time::Instant;

use bytes::Bytes;

use crate::view::PlaneView;
use crate::{Colour, Pts, Size, View};

/// A decoded frame. Cloning it counts references and copies no pixel.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When the frame was taken and when it is shown.
    pub stamp: Stamp,
    size: Size,
    format: Format,
    colour: Colour,
    planes: [Plane; 3],
    data: Bytes,
}

/// The times of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Our presentation time: rises strictly from frame to frame, over reconnects and loops too.
    pub pts: Pts,
    /// The source's own presentation time, where it gave one.
    pub source_pts: Option<Pts>,
    /// Rises by one with each jump, loop or reconnect of the source.
    pub epoch: u32,
    /// When the frame reached this machine: budgets count from here.
    pub captured_at: Instant,
}

impl Stamp {
    /// A frame captured now, in the first epoch, without a time of the source's own.
    pub fn at(pts: Pts) -> Self {
        Self { pts, source_pts: None, epoch: 0, captured_at: Instant::now() }
    }
}

/// How the pixels lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// 8-bit luma plane, then two chroma planes at half size rounded up.
    I420,
}

/// Where a plane lies in a frame's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plane {
    /// The first sample of the first row, in bytes from the start of the data.
    pub offset: usize,
    /// From one row to the next, in bytes; at least the plane's width.
    pub stride: usize,
}

/// Planes that do not fit the bytes they are said to lie in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Rows would overlap.
    #[error("plane {plane} of a {size} frame has rows {stride} bytes apart, less than its width of {width}")]
    Stride {
        /// The plane's number: 0 luma, 1 and 2 chroma.
        plane: usize,
        /// The frame's size.
        size: Size,
        /// The stride that was given.
        stride: usize,
        /// The plane's width.
        width: u32,
    },
    /// The plane reaches over the end of the data.
    #[error("plane {plane} of a {size} frame needs bytes up to {needs}, there are {len}")]
    Short {
        /// The plane's number: 0 luma, 1 and 2 chroma.
        plane: usize,
        /// The frame's size.
        size: Size,
        /// The end of the plane's last row.
        needs: usize,
        /// The bytes there are.
        len: usize,
    },
}

impl Frame {
    /// A frame over bytes that already hold its I420 planes.
    ///
    /// # Errors
    /// A stride below the plane's width, or a plane that does not lie inside `data`.
    pub fn new(
        stamp: Stamp,
        size: Size,
        colour: Colour,
        planes: [Plane; 3],
        data: Bytes,
    ) -> Result<Self, FrameError> {
        for (number, plane) in planes.iter().enumerate() {
            let of = plane_size(size, number);
            let (width, stride) = (of.width(), plane.stride);
            if stride < width as usize {
                return Err(FrameError::Stride { plane: number, size, stride, width });
            }
            // Both come from outside; a saturated end is beyond any data and so refused.
            let last_row = stride.saturating_mul(of.height() as usize - 1);
            let needs = plane.offset.saturating_add(last_row).saturating_add(width as usize);
            if needs > data.len() {
                return Err(FrameError::Short { plane: number, size, needs, len: data.len() });
            }
        }
        Ok(Self { stamp, size, format: Format::I420, colour, planes, data })
    }

    /// A frame whose planes follow each other without padding, [`Size::i420_len`] bytes in all.
    ///
    /// # Errors
    /// Fewer bytes than that.
    pub fn tight(stamp: Stamp, size: Size, colour: Colour, data: Bytes) -> Result<Self, FrameError> {
        Self::new(stamp, size, colour, tight_planes(size), data)
    }

    /// A black frame.
    pub fn black(stamp: Stamp, size: Size, colour: Colour) -> Self {
        let data = Bytes::from(black_i420(size, colour));
        Self { stamp, size, format: Format::I420, colour, planes: tight_planes(size), data }
    }

    /// The presentation time: short for `stamp.pts`.
    pub fn pts(&self) -> Pts {
        self.stamp.pts
    }

    /// The size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How the pixels lie in memory.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the values mean.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Where the planes lie in [`Frame::data`].
    pub fn planes(&self) -> [Plane; 3] {
        self.planes
    }

    /// All bytes, as the decoder gave them.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Plane 0 (luma), 1 or 2 (chroma) as its bytes from the first row to the end of the last one, and the
    /// distance between rows in bytes.
    ///
    /// # Panics
    /// There is no plane 3.
    pub fn plane(&self, number: usize) -> (&[u8], usize) {
        let (plane, of) = (self.planes[number], plane_size(self.size, number));
        let len = plane.stride * (of.height() as usize - 1) + of.width() as usize;
        (&self.data[plane.offset..plane.offset + len], plane.stride)
    }

    /// The planes, to read pixels from.
    pub fn view(&self) -> View<'_> {
        let plane = |number| {
            let (data, stride) = self.plane(number);
            PlaneView::new(data, stride, plane_size(self.size, number))
        };
        View::new(self.size, self.colour, [plane(0), plane(1), plane(2)])
    }

    /// True where the planes follow each other without any padding, as [`Frame::tight`] makes them.
    pub fn is_tight(&self) -> bool {
        self.planes == tight_planes(self.size)
    }
}

/// The size of plane `number` of an I420 image.
pub(crate) fn plane_size(size: Size, number: usize) -> Size {
    if number == 0 { size } else { size.chroma() }
}

/// Planes one after the other, rows one after the other.
pub(crate) fn tight_planes(size: Size) -> [Plane; 3] {
    let chroma = Plane { offset: size.pixels(), stride: size.chroma().width() as usize };
    [
        Plane { offset: 0, stride: size.width() as usize },
        chroma,
        Plane { offset: chroma.offset + size.chroma().pixels(), ..chroma },
    ]
}

/// A tight black I420 image.
pub(crate) fn black_i420(size: Size, colour: Colour) -> Vec<u8> {
    let (luma, chroma) = colour.black();
    let mut data = Vec::with_capacity(size.i420_len());
    data.resize(size.pixels(), luma);
    data.resize(size.i420_len(), chroma);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size() -> Size {
        Size::new(5, 3).unwrap()
    }

    #[test]
    fn planes_with_padding_are_found() {
        let planes = [
            Plane { offset: 1, stride: 8 },
            Plane { offset: 25, stride: 4 },
            Plane { offset: 33, stride: 4 },
        ];
        let data: Bytes = (0..40).collect();
        let frame = Frame::new(Stamp::at(Pts::ZERO), size(), Colour::BT601_LIMITED, planes, data).unwrap();
        assert_eq!(frame.view().y().row(2), [17, 18, 19, 20, 21]);
        assert_eq!(frame.view().u().row(1), [29, 30, 31]);
        assert_eq!(frame.plane(2), (&[33, 34, 35, 36, 37, 38, 39][..], 4));
        assert!(!frame.is_tight());
    }

    #[test]
    fn planes_outside_the_data_are_refused() {
        let stamp = Stamp::at(Pts::ZERO);
        let colour = Colour::BT601_LIMITED;
        let short = Frame::tight(stamp, size(), colour, Bytes::from(vec![0; 26]));
        assert_eq!(short.unwrap_err(), FrameError::Short { plane: 2, size: size(), needs: 27, len: 26 });

        let mut planes = tight_planes(size());
        planes[1] = Plane { offset: usize::MAX, stride: usize::MAX };
        assert!(Frame::new(stamp, size(), colour, planes, Bytes::from(vec![0; 27])).is_err());
        planes[1] = Plane { offset: 15, stride: 2 };
        assert!(matches!(
            Frame::new(stamp, size(), colour, planes, Bytes::from(vec![0; 27])),
            Err(FrameError::Stride { plane: 1, width: 3, .. })
        ));
    }

    #[test]
    fn black_is_black_and_clones_share_the_bytes() {
        let frame = Frame::black(Stamp::at(Pts::ZERO), size(), Colour::BT709_LIMITED);
        assert!(frame.is_tight());
        assert_eq!(frame.view().y().row(0), [16; 5]);
        assert_eq!(frame.view().v().row(1), [128; 3]);
        assert_eq!(frame.clone().data().as_ptr(), frame.data().as_ptr());
    }
}
