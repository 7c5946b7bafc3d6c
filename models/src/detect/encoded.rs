//! A picture as it travels.

use picture::{Letterbox, Picture, Pixels, Rgb};

use super::{Jpeg, JpegError, Quality};

/// How a picture is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// YUV 4:2:0 as it is: 1.5 bytes a pixel, no work at either end.
    I420,
    /// JPEG: a tenth of that, for a millisecond of work at each end.
    Jpeg(Quality),
    /// RGB: 3 bytes a pixel, for workers that read nothing else.
    Rgb,
}

impl Encoding {
    /// The name in a job's head, in the config and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::I420 => "i420",
            Self::Jpeg(_) => "jpeg",
            Self::Rgb => "rgb",
        }
    }
}

/// A picture in one of the [`Encoding`]s. Cloning it counts references.
#[derive(Clone, Debug)]
pub enum Encoded {
    /// As [`Encoding::I420`].
    I420(Picture),
    /// As [`Encoding::Jpeg`].
    Jpeg(Jpeg),
    /// As [`Encoding::Rgb`].
    Rgb(Rgb),
}

impl Encoded {
    /// Writes a picture.
    pub fn new(picture: Picture, encoding: Encoding) -> Self {
        match encoding {
            Encoding::I420 => Self::I420(picture),
            Encoding::Jpeg(quality) => Self::Jpeg(Jpeg::encode(picture, quality)),
            Encoding::Rgb => Self::Rgb(Rgb::from(&picture)),
        }
    }

    /// Reads the picture.
    ///
    /// # Errors
    /// A JPEG that is none, or another than its head says.
    pub fn decode(self) -> Result<Pixels, JpegError> {
        match self {
            Self::I420(picture) => Ok(Pixels::Yuv(picture)),
            Self::Jpeg(jpeg) => jpeg.decode().map(Pixels::Yuv),
            Self::Rgb(rgb) => Ok(Pixels::Rgb(rgb)),
        }
    }

    /// Where the frame lies in the picture.
    pub fn letterbox(&self) -> Letterbox {
        match self {
            Self::I420(picture) => picture.letterbox(),
            Self::Jpeg(jpeg) => jpeg.letterbox(),
            Self::Rgb(rgb) => rgb.letterbox(),
        }
    }

    /// [`Encoding::name`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::I420(_) => Encoding::I420.name(),
            Self::Jpeg(_) => Encoding::Jpeg(Quality::default()).name(),
            Self::Rgb(_) => Encoding::Rgb.name(),
        }
    }

    /// The bytes that it takes on the way.
    #[allow(clippy::len_without_is_empty, reason = "no picture is empty")]
    pub fn len(&self) -> usize {
        match self {
            Self::I420(picture) => picture.data().len(),
            Self::Jpeg(jpeg) => jpeg.data().len(),
            Self::Rgb(rgb) => rgb.data().len(),
        }
    }
}
