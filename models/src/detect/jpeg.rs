//! Pictures as JPEG: BT.601 in full range, as everybody reads it, 4:2:0, baseline, one scan.

mod head;
mod planes;

use std::num::NonZeroU8;

use bytes::Bytes;
use jpeg_encoder::{Encoder, QuantizationTableType, SamplingFactor};
use picture::{Colour, Letterbox, Matrix, Picture, Range, Siting, Size};
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use planes::Planes;

/// What a JPEG's values mean, whatever the picture was before.
const COLOUR: Colour = Colour { matrix: Matrix::Bt601, range: Range::Full, siting: Siting::Centre };

/// What tables and markers may take beside the pixels. No encoder takes a tenth of it.
const HEADERS: usize = 16 << 10;

/// How steps grow with frequency. The usual table (annex K of the standard) is for eyes, which miss what is fine
/// and coloured; a detector does not, and finds the same boxes in a fifth fewer bytes with this one.
const TABLE: QuantizationTableType = QuantizationTableType::ImageMagick;

/// How much a JPEG keeps, from 1 to 100. Default 91: the least at which the golden frames give the same boxes
/// to the tolerance of I420 (`tests/golden.rs`), in about a fifth of its bytes. At 80 faint boxes are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Quality(NonZeroU8);

impl Quality {
    /// The number.
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self(const { NonZeroU8::new(91).expect("91 is not 0") })
    }
}

impl TryFrom<u8> for Quality {
    type Error = String;

    fn try_from(value: u8) -> Result<Self, String> {
        let quality = NonZeroU8::new(value).filter(|quality| quality.get() <= 100);
        quality.map(Self).ok_or_else(|| format!("{value} is no JPEG quality: use 1 to 100"))
    }
}

impl From<Quality> for u8 {
    fn from(quality: Quality) -> Self {
        quality.get()
    }
}

/// A picture as a JPEG. Where it came over a network, nobody has looked into it yet.
#[derive(Clone, Debug)]
pub struct Jpeg {
    letterbox: Letterbox,
    data: Bytes,
}

/// A JPEG that shows no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// Longer than the pixels that it should hold.
    #[error("{len} bytes, where its pixels take no more than {most}")]
    Long {
        /// The bytes there are.
        len: usize,
        /// The most that are looked at.
        most: usize,
    },
    /// Of another size than its head says. Found before anything is set aside for the pixels.
    #[error("the JPEG shows {width}x{height}, its head says {expected}")]
    Size {
        /// The width in the JPEG.
        width: u16,
        /// The height in the JPEG.
        height: u16,
        /// What the head says.
        expected: Size,
    },
    /// A kind of JPEG that no encoder here writes: progressive, grey, 4:4:4, arithmetic, several scans.
    #[error("{0}; a baseline JPEG is expected, YCbCr 4:2:0 in one scan")]
    Kind(&'static str),
    /// Not a JPEG, or one that breaks off or contradicts itself.
    #[error("not a JPEG that can be read: {0}")]
    Broken(String),
}

impl Jpeg {
    /// Takes bytes that came over a network for a JPEG; [`Jpeg::decode`] looks into them.
    ///
    /// # Errors
    /// [`JpegError::Long`].
    pub fn new(letterbox: Letterbox, data: Bytes) -> Result<Self, JpegError> {
        let most = letterbox.target().bgr_len() + HEADERS;
        if data.len() > most {
            return Err(JpegError::Long { len: data.len(), most });
        }
        Ok(Self { letterbox, data })
    }

    /// Encodes a picture, after its values were made those of a JPEG.
    pub fn encode(picture: Picture, quality: Quality) -> Self {
        let (letterbox, size) = (picture.letterbox(), picture.size());
        let picture = picture.recoloured(COLOUR);
        // A guess that most pictures stay below, so that the buffer grows once at most.
        let mut data = Vec::with_capacity(size.pixels() / 4);
        let mut encoder = Encoder::new(&mut data, quality.get());
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.set_quantization_tables(TABLE, TABLE);
        encoder
            .encode_image(Planes(&picture))
            .expect("a Vec takes all bytes, and a Size fits a JPEG's 16 bits");
        Self { letterbox, data: Bytes::from(data) }
    }

    /// Decodes into YUV 4:2:0.
    ///
    /// Total: any bytes give a picture of the announced size, or an error, and no more memory is set aside
    /// than that picture takes.
    ///
    /// # Errors
    /// [`JpegError`].
    pub fn decode(&self) -> Result<Picture, JpegError> {
        let size = self.letterbox.target();
        head::check(&self.data, size)?;
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(size.width() as usize)
            .set_max_height(size.height() as usize)
            .jpeg_set_out_colorspace(ColorSpace::YCbCr);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&self.data[..]), options);
        let broken = |error: zune_jpeg::errors::DecodeErrors| JpegError::Broken(format!("{error:?}"));
        decoder.decode_headers().map_err(broken)?;
        let mut pixels = vec![0; size.bgr_len()];
        decoder.decode_into(&mut pixels).map_err(broken)?;
        let planes = planes::to_i420(&pixels, size);
        Picture::new(COLOUR, self.letterbox, Bytes::from(planes))
            .map_err(|error| JpegError::Broken(error.to_string()))
    }

    /// Where the frame lies in the picture.
    pub fn letterbox(&self) -> Letterbox {
        self.letterbox
    }

    /// The file's bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The file's bytes, without the rest.
    pub fn into_data(self) -> Bytes {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use picture::yuv;

    use super::*;

    fn picture(size: Size, colour: Colour, of: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        let pixels: Vec<u8> = (0..size.height())
            .flat_map(|y| (0..size.width()).flat_map(move |x| [(x, y)]))
            .flat_map(|(x, y)| of(x, y))
            .collect();
        let data = picture::bgr::to_i420(&pixels, size, colour).unwrap();
        Picture::new(colour, Letterbox::fit(size, size), Bytes::from(data)).unwrap()
    }

    fn bgr(picture: &Picture) -> Vec<u8> {
        let mut out = vec![0; picture.size().bgr_len()];
        yuv::to_bgr_u8(&picture.view(), &mut out).unwrap();
        out
    }

    /// Odd sides too, and every matrix and range: a decoder sees the colours that went in.
    #[test]
    fn colours_survive_whatever_the_picture_was() {
        for (width, height) in [(64, 48), (33, 17), (1, 1), (16, 2)] {
            let size = Size::new(width, height).unwrap();
            for matrix in [Matrix::Bt601, Matrix::Bt709] {
                for range in [Range::Limited, Range::Full] {
                    let colour = Colour { matrix, range, siting: Siting::Centre };
                    let ramp = |x: u32, y: u32| [30, 60 + (x * 2) as u8, 200 - (y * 2) as u8];
                    let before = picture(size, colour, ramp);
                    let jpeg = Jpeg::encode(before.clone(), Quality::try_from(100).unwrap());
                    let after = jpeg.decode().unwrap();
                    assert_eq!((after.size(), after.colour()), (size, COLOUR));
                    let (before, after) = (bgr(&before), bgr(&after));
                    let worst = before.iter().zip(&after).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                    assert!(worst <= 6, "{size} {colour:?}: {worst}");
                }
            }
        }
    }

    #[test]
    fn a_lower_quality_is_shorter() {
        let size = Size::new(128, 96).unwrap();
        let noisy = |x: u32, y: u32| [(x * 37 + y * 91) as u8, (x * y) as u8, (x * 7) as u8];
        let picture = picture(size, Colour::BT601_LIMITED, noisy);
        let len = |quality| Jpeg::encode(picture.clone(), Quality::try_from(quality).unwrap()).data().len();
        assert!(len(20) < len(60) && len(60) < len(95));
        assert!(Quality::try_from(0).is_err() && Quality::try_from(101).is_err());
    }
}
