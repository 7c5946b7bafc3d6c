//! What the numbers in a YUV picture mean.

use serde::{Deserialize, Serialize};

/// The meaning of a picture's YUV values. It goes with the picture to the model and to the encoder:
/// reading BT.709 as BT.601 shifts every green.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Colour {
    /// The matrix between YUV and RGB.
    pub matrix: Matrix,
    /// The range that the values use.
    pub range: Range,
    /// Where the chroma samples sit.
    pub siting: Siting,
}

impl Colour {
    /// What a decoder means when it says nothing about a picture of standard definition.
    pub const BT601_LIMITED: Self =
        Self { matrix: Matrix::Bt601, range: Range::Limited, siting: Siting::Left };

    /// What a decoder means when it says nothing about a picture of high definition.
    pub const BT709_LIMITED: Self =
        Self { matrix: Matrix::Bt709, range: Range::Limited, siting: Siting::Left };

    /// The luma and chroma values of black: `(16, 128)` in limited range, `(0, 128)` in full range.
    pub const fn black(self) -> (u8, u8) {
        match self.range {
            Range::Limited => (16, 128),
            Range::Full => (0, 128),
        }
    }
}

/// The matrix between YUV and RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Matrix {
    /// ITU-R BT.601: standard definition, JPEG.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// The range that 8-bit values use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// Luma 16..=235, chroma 16..=240: video.
    Limited,
    /// 0..=255: JPEG and many USB cameras.
    Full,
}

/// Where a chroma sample sits among the 2x2 luma samples that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Siting {
    /// Between the left two: MPEG-2, H.264.
    Left,
    /// In the middle of the four: JPEG, MPEG-1.
    Centre,
    /// On the top left one: BT.2020, DV.
    TopLeft,
}
