//! The task `detect`: a picture goes in, boxes around things come out, in pixels of the frame.
//!
//! A picture travels in one of three [`Encoding`]s, which the job's head names. Every worker reads `i420`. Who
//! reads others says so when it greets, with [`READS_JPEG`] and [`READS_RGB`], and who would rather have RGB
//! says [`WANTS_RGB`].

mod encoded;
mod found;
mod jpeg;

pub use encoded::{Encoded, Encoding};
pub use found::{Detection, Detections};
pub use jpeg::{Jpeg, JpegError, Quality};

use bytes::Bytes;
use picture::{Colour, Letterbox, Picture, Rgb, Size};
use serde::{Deserialize, Serialize};
use wire::{Payload, PayloadError, Task};

/// The ability, in a greeting, to read pictures as JPEG.
pub const READS_JPEG: &str = "detect-jpeg";
/// The ability, in a greeting, to read pictures as RGB.
pub const READS_RGB: &str = "detect-rgb";
/// The wish, in a greeting, for pictures as RGB. It implies [`READS_RGB`].
pub const WANTS_RGB: &str = "detect-wants-rgb";

/// The task.
#[derive(Debug)]
pub struct Detect;

impl Task for Detect {
    const NAME: &'static str = "detect";
    type Job = DetectJob;
    type Answer = Detections;
}

/// A picture to find things in. It knows the size of the frame that it shows.
#[derive(Clone, Debug)]
pub struct DetectJob {
    /// The frame, in the model's input size, as it travels.
    pub picture: Encoded,
}

impl From<Picture> for DetectJob {
    fn from(picture: Picture) -> Self {
        Self { picture: Encoded::I420(picture) }
    }
}

impl From<Encoded> for DetectJob {
    fn from(picture: Encoded) -> Self {
        Self { picture }
    }
}

/// What travels beside the pixels.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobHead {
    encoding: Name,
    size: Size,
    source: Size,
    /// For YUV. RGB has none, and that of a JPEG is always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    colour: Option<Colour>,
}

/// How the pixels are written in the body.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    /// Tight I420: luma, blue, red difference.
    I420,
    /// A baseline JPEG, YCbCr 4:2:0 in one scan.
    Jpeg,
    /// 8-bit red, green, blue, pixel after pixel.
    Rgb,
}

impl Payload for DetectJob {
    type Head = JobHead;

    fn split(self) -> (JobHead, Bytes) {
        let letterbox = self.picture.letterbox();
        let (encoding, colour, body) = match self.picture {
            Encoded::I420(picture) => (Name::I420, Some(picture.colour()), picture.into_data()),
            Encoded::Jpeg(jpeg) => (Name::Jpeg, None, jpeg.into_data()),
            Encoded::Rgb(rgb) => (Name::Rgb, None, rgb.into_data()),
        };
        (JobHead { encoding, size: letterbox.target(), source: letterbox.source(), colour }, body)
    }

    fn join(head: JobHead, body: Bytes) -> Result<Self, PayloadError> {
        let letterbox = Letterbox::fit(head.source, head.size);
        let wrong =
            |what: &str, why: String| PayloadError::body(format!("{what} picture of {}: {why}", head.size));
        let picture = match head.encoding {
            Name::I420 => {
                let colour =
                    head.colour.ok_or_else(|| wrong("an I420", "its head names no colour".into()))?;
                let picture = Picture::new(colour, letterbox, body);
                Encoded::I420(picture.map_err(|error| wrong("an I420", error.to_string()))?)
            }
            Name::Jpeg => {
                Encoded::Jpeg(Jpeg::new(letterbox, body).map_err(|error| wrong("a JPEG", error.to_string()))?)
            }
            Name::Rgb => {
                Encoded::Rgb(Rgb::new(letterbox, body).map_err(|error| wrong("an RGB", error.to_string()))?)
            }
        };
        Ok(Self { picture })
    }
}

#[cfg(test)]
mod tests {
    use picture::{Frame, Pts, Stamp, scale};
    use wire::{Message, decode, encode};

    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size::new(width, height).unwrap()
    }

    fn picture() -> Picture {
        let frame = Frame::black(Stamp::at(Pts::ZERO), size(768, 577), Colour::BT709_LIMITED);
        scale(&frame, size(416, 320))
    }

    #[test]
    fn a_job_survives_the_trip_and_its_body_is_only_pixels() {
        let sent = picture();
        let message = encode(DetectJob::from(sent.clone())).unwrap();
        assert!(message.head.len() < 150, "{} bytes", message.head.len());
        assert_eq!(message.body.len(), sent.size().i420_len());
        let Encoded::I420(came) = decode::<DetectJob>(message).unwrap().picture else { panic!("I420") };
        assert_eq!((came.letterbox(), came.colour()), (sent.letterbox(), sent.colour()));
        assert_eq!(came.data(), sent.data());
    }

    #[test]
    fn every_encoding_survives_the_trip() {
        for encoding in [Encoding::I420, Encoding::Jpeg(Quality::default()), Encoding::Rgb] {
            let sent = Encoded::new(picture(), encoding);
            let message = encode(DetectJob::from(sent.clone())).unwrap();
            let came = decode::<DetectJob>(message.clone()).unwrap().picture;
            assert_eq!((came.name(), came.letterbox()), (encoding.name(), sent.letterbox()));
            assert_eq!(message.body.len(), sent.len());
            let (sent, came) = (sent.decode().unwrap(), came.decode().unwrap());
            let bytes = [sent, came].map(|pixels| {
                let mut out = vec![0; pixels.size().bgr_len()];
                pixels.to_interleaved_u8(picture::yuv::Order::Rgb, &mut out).unwrap();
                out
            });
            assert_eq!(bytes[0], bytes[1]);
        }
    }

    /// What a worker before JPEG and RGB wrote and read, byte for byte.
    #[test]
    fn the_head_of_i420_is_what_it_always_was() {
        let message = encode(DetectJob::from(picture())).unwrap();
        let hex: String = message.head.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = concat!(
            "a468656e636f64696e6764693432306473697a65821901a019014066736f75726365821903001902",
            "4166636f6c6f7572a3666d61747269786562743730396572616e6765676c696d6974656466736974",
            "696e676663656e747265",
        );
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_body_of_another_length_is_refused() {
        for encoding in [Encoding::I420, Encoding::Rgb] {
            let message = encode(DetectJob::from(Encoded::new(picture(), encoding))).unwrap();
            let short = Message { body: message.body.slice(1..), head: message.head };
            let error = decode::<DetectJob>(short).unwrap_err();
            assert!(matches!(error, PayloadError::Body(_)), "{error}");
        }
    }

    #[test]
    fn a_jpeg_longer_than_its_pixels_is_refused_unread() {
        let message =
            encode(DetectJob::from(Encoded::new(picture(), Encoding::Jpeg(Quality::default())))).unwrap();
        let long = Message { body: Bytes::from(vec![0; 1 << 20]), head: message.head };
        let error = decode::<DetectJob>(long).unwrap_err().to_string();
        assert!(error.contains("a JPEG picture of 416x320") && error.contains("1048576 bytes"), "{error}");
    }
}
