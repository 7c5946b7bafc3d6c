//! A model's input as plain RGB: what a picture is for those who cannot read YUV.

use bytes::Bytes;

use crate::yuv::{self, Normalise, Order};
use crate::{BufferSize, Letterbox, Picture, Size};

/// A frame inside a model's input size as 8-bit red, green, blue, pixel after pixel without padding, in
/// [`Size::bgr_len`] bytes. Cloning it counts references.
#[derive(Clone, Debug)]
pub struct Rgb {
    letterbox: Letterbox,
    data: Bytes,
}

impl Rgb {
    /// Puts a picture together from bytes, such as those that came over a network.
    ///
    /// # Errors
    /// `data` is not as long as the letterbox's target needs.
    pub fn new(letterbox: Letterbox, data: Bytes) -> Result<Self, BufferSize> {
        BufferSize::check(letterbox.target().bgr_len(), data.len())?;
        Ok(Self { letterbox, data })
    }

    /// The size in pixels: the letterbox's target.
    pub fn size(&self) -> Size {
        self.letterbox.target()
    }

    /// Where the frame lies in the picture.
    pub fn letterbox(&self) -> Letterbox {
        self.letterbox
    }

    /// The pixels' bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The pixels' bytes, without the rest.
    pub fn into_data(self) -> Bytes {
        self.data
    }
}

impl From<&Picture> for Rgb {
    fn from(picture: &Picture) -> Self {
        let mut data = vec![0; picture.size().bgr_len()];
        yuv::to_interleaved_u8(&picture.view(), Order::Rgb, &mut data)
            .expect("the buffer was made for the picture's size");
        Self { letterbox: picture.letterbox(), data: Bytes::from(data) }
    }
}

/// What a model's input is made of.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// YUV 4:2:0.
    Yuv(Picture),
    /// 8-bit RGB.
    Rgb(Rgb),
}

impl Pixels {
    /// The size in pixels.
    pub fn size(&self) -> Size {
        self.letterbox().target()
    }

    /// Where the frame lies in the picture.
    pub fn letterbox(&self) -> Letterbox {
        match self {
            Self::Yuv(picture) => picture.letterbox(),
            Self::Rgb(rgb) => rgb.letterbox(),
        }
    }

    /// Writes 8-bit pixels, channels in `order`: `[height, width, 3]`, [`Size::bgr_len`] bytes.
    ///
    /// # Errors
    /// `out` has another length.
    pub fn to_interleaved_u8(&self, order: Order, out: &mut [u8]) -> Result<(), BufferSize> {
        let rgb = match self {
            Self::Yuv(picture) => return yuv::to_interleaved_u8(&picture.view(), order, out),
            Self::Rgb(rgb) => rgb,
        };
        BufferSize::check(rgb.data.len(), out.len())?;
        out.copy_from_slice(&rgb.data);
        if order == Order::Bgr {
            out.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        Ok(())
    }

    /// Writes one plane of floats after the other, channels in `order`: `[3, height, width]`.
    ///
    /// # Errors
    /// `out` does not hold three times the picture's pixels.
    pub fn to_planar_f32(
        &self,
        order: Order,
        normalise: Normalise,
        out: &mut [f32],
    ) -> Result<(), BufferSize> {
        let rgb = match self {
            Self::Yuv(picture) => return yuv::to_planar_f32(&picture.view(), order, normalise, out),
            Self::Rgb(rgb) => rgb,
        };
        BufferSize::check(rgb.data.len(), out.len())?;
        for (channel, plane) in out.chunks_exact_mut(rgb.size().pixels()).enumerate() {
            let (factor, offset) = normalise.line(channel);
            let channel = if order == Order::Bgr { 2 - channel } else { channel };
            for (out, pixel) in plane.iter_mut().zip(rgb.data.chunks_exact(3)) {
                *out = f32::from(pixel[channel]) * factor + offset;
            }
        }
        Ok(())
    }
}

impl From<Picture> for Pixels {
    fn from(picture: Picture) -> Self {
        Self::Yuv(picture)
    }
}
