//! A frame scaled into a model's input size.

use bytes::Bytes;

use crate::frame::{plane_size, tight_planes};
use crate::{BufferSize, Colour, Letterbox, PlaneView, Size, View};

/// A frame inside a model's input size: tight I420, so that luma, then both chroma planes, lie without padding
/// in [`Size::i420_len`] bytes. Cloning it counts references.
#[derive(Clone, Debug)]
pub struct Picture {
    colour: Colour,
    letterbox: Letterbox,
    data: Bytes,
}

impl Picture {
    /// Puts a picture together from bytes, such as those that came over a network.
    ///
    /// # Errors
    /// `data` is not as long as a tight I420 picture of the letterbox's target.
    pub fn new(colour: Colour, letterbox: Letterbox, data: Bytes) -> Result<Self, BufferSize> {
        BufferSize::check(letterbox.target().i420_len(), data.len())?;
        Ok(Self { colour, letterbox, data })
    }

    /// The data has the right length.
    pub(crate) fn from_parts(colour: Colour, letterbox: Letterbox, data: Bytes) -> Self {
        debug_assert_eq!(data.len(), letterbox.target().i420_len());
        Self { colour, letterbox, data }
    }

    /// The size in pixels: the letterbox's target.
    pub fn size(&self) -> Size {
        self.letterbox.target()
    }

    /// The size of the frame that the picture shows.
    pub fn source(&self) -> Size {
        self.letterbox.source()
    }

    /// What the values mean.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Where the frame lies in the picture.
    pub fn letterbox(&self) -> Letterbox {
        self.letterbox
    }

    /// The planes' bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The planes' bytes, without the rest.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The planes, to read pixels from.
    pub fn view(&self) -> View<'_> {
        let size = self.size();
        let planes = tight_planes(size);
        let plane = |number: usize| {
            let plane = planes[number];
            PlaneView::new(&self.data[plane.offset..], plane.stride, plane_size(size, number))
        };
        View::new(size, self.colour, [plane(0), plane(1), plane(2)])
    }
}
