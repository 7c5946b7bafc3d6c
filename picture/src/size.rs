//! The size of a picture in pixels, checked once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Width and height in pixels, each between 1 and [`Size::MAX_SIDE`]. Odd sides are allowed: I420 rounds
/// its chroma planes up.
///
/// Serialised as the pair `[width, height]`, parsed and shown as `WIDTHxHEIGHT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// The longest side. With it no byte count of an I420 or BGR picture overflows 32 bits, so that the
    /// arithmetic on sizes needs no checks of its own.
    pub const MAX_SIDE: u32 = 16_384;

    /// Checks both sides.
    ///
    /// # Errors
    /// A side that is 0 or above [`Size::MAX_SIDE`].
    pub const fn new(width: u32, height: u32) -> Result<Self, SizeError> {
        if width == 0 || height == 0 || width > Self::MAX_SIDE || height > Self::MAX_SIDE {
            return Err(SizeError::OutOfRange { width, height });
        }
        Ok(Self { width, height })
    }

    /// The width in pixels.
    pub const fn width(self) -> u32 {
        self.width
    }

    /// The height in pixels.
    pub const fn height(self) -> u32 {
        self.height
    }

    /// The number of pixels.
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// The size of each chroma plane of I420: half, rounded up.
    pub const fn chroma(self) -> Self {
        Self { width: self.width.div_ceil(2), height: self.height.div_ceil(2) }
    }

    /// The bytes of a tight I420 picture: luma, then both chroma planes, no padding between rows.
    pub const fn i420_len(self) -> usize {
        self.pixels() + 2 * self.chroma().pixels()
    }

    /// The bytes of a tight picture with three 8-bit channels.
    pub const fn bgr_len(self) -> usize {
        self.pixels() * 3
    }
}

/// A size that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A side is 0 or too long.
    #[error("{width}x{height} is not a picture size: each side must be between 1 and {}", Size::MAX_SIDE)]
    OutOfRange {
        /// The width that was given.
        width: u32,
        /// The height that was given.
        height: u32,
    },
    /// A text that does not read as `WIDTHxHEIGHT`.
    #[error("'{0}' is not a size: write WIDTHxHEIGHT, such as 1280x720")]
    Text(String),
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        let (width, height) = sides.ok_or_else(|| SizeError::Text(text.to_owned()))?;
        Self::new(width, height)
    }
}

impl TryFrom<(u32, u32)> for Size {
    type Error = SizeError;

    fn try_from((width, height): (u32, u32)) -> Result<Self, SizeError> {
        Self::new(width, height)
    }
}

impl From<Size> for (u32, u32) {
    fn from(size: Size) -> Self {
        (size.width, size.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sides_round_chroma_up() {
        let size = Size::new(5, 3).unwrap();
        assert_eq!(size.chroma(), Size::new(3, 2).unwrap());
        assert_eq!(size.i420_len(), 15 + 2 * 6);
    }

    #[test]
    fn hostile_sizes_are_errors() {
        assert!(Size::new(0, 5).is_err());
        assert!(Size::new(5, u32::MAX).is_err());
        assert!("1280x".parse::<Size>().is_err());
        assert!("-1x5".parse::<Size>().is_err());
        assert_eq!("1280x720".parse::<Size>(), Size::new(1280, 720));
    }
}
