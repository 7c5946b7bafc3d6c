//! Borrowed I420 planes: the one form in which [`scale`](crate::scale()) and [`yuv`](crate::yuv) read pixels.

use crate::{Colour, Size};

/// The three planes of an I420 image, borrowed. Each plane holds all of its rows: the types that hand views
/// out have checked it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    size: Size,
    colour: Colour,
    planes: [PlaneView<'a>; 3],
}

impl<'a> View<'a> {
    /// The planes must hold `size`, with chroma rounded up.
    pub(crate) fn new(size: Size, colour: Colour, planes: [PlaneView<'a>; 3]) -> Self {
        Self { size, colour, planes }
    }

    /// The size of the luma plane.
    pub fn size(&self) -> Size {
        self.size
    }

    /// What the values mean.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Luma (8 bits a pixel).
    pub fn y(&self) -> PlaneView<'a> {
        self.planes[0]
    }

    /// Blue difference, at half size rounded up.
    pub fn u(&self) -> PlaneView<'a> {
        self.planes[1]
    }

    /// Red difference, at half size rounded up.
    pub fn v(&self) -> PlaneView<'a> {
        self.planes[2]
    }
}

/// One borrowed 8-bit plane.
#[derive(Clone, Copy, Debug)]
pub struct PlaneView<'a> {
    data: &'a [u8],
    stride: usize,
    size: Size,
}

impl<'a> PlaneView<'a> {
    /// `data` starts at the first row and must reach to the end of the last one.
    pub(crate) fn new(data: &'a [u8], stride: usize, size: Size) -> Self {
        debug_assert!(stride >= size.width() as usize);
        debug_assert!(data.len() >= stride * (size.height() as usize - 1) + size.width() as usize);
        Self { data, stride, size }
    }

    /// The size of this plane in samples.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The bytes from the first sample on, and the distance between two rows in bytes.
    pub fn raw(&self) -> (&'a [u8], usize) {
        (self.data, self.stride)
    }

    /// The samples of row `y`; rows below the last one repeat it.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y.min(self.size.height() as usize - 1) * self.stride;
        &self.data[start..start + self.size.width() as usize]
    }
}
