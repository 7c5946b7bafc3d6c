//! Piece one: the task. A grey picture goes out, one of the same size comes back, white where there is an edge.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::{Payload, PayloadError, Task};

/// Find the edges in a picture.
pub struct FindEdges;

impl Task for FindEdges {
    const NAME: &'static str = "find-edges";
    type Job = Picture;
    type Answer = Picture;
}

/// A grey picture: one byte a pixel, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width and height in pixels.
    pub size: Size,
    /// The pixels, shared and not copied.
    pub pixels: Bytes,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Size {
    pub width: u16,
    pub height: u16,
}

impl Size {
    /// How many there are.
    pub fn pixels(self) -> usize {
        usize::from(self.width) * usize::from(self.height)
    }
}

impl Payload for Picture {
    type Head = Size;

    fn split(self) -> (Size, Bytes) {
        (self.size, self.pixels)
    }

    fn join(size: Size, pixels: Bytes) -> Result<Self, PayloadError> {
        if pixels.len() != size.pixels() || pixels.is_empty() {
            let Size { width, height } = size;
            return Err(PayloadError::body(format!("{width}x{height} pixels in {} bytes", pixels.len())));
        }
        Ok(Picture { size, pixels })
    }
}
