//! Frames, planes, letterbox geometry and colour: everything that is known about pixels without a codec.
//!
//! A [`Frame`] is what a decoder hands out: I420 planes inside shared bytes (cloning is a reference
//! count), its times, and the [`Colour`] that says what the numbers mean. A [`Picture`] is the smallest
//! thing worth sending to a model: a frame scaled into the model's input [`Size`] by [`scale`](scale()),
//! still I420, with the [`Letterbox`] that leads from the picture's pixels back to the frame's. [`yuv`]
//! turns a picture into a model's input, [`bgr`] does the same for 8-bit BGR images. Where a picture has
//! travelled as RGB, it arrives as [`Rgb`]; [`Pixels`] is either.
//!
//! ```
//! use framelane_picture::{Colour, Frame, Pts, Size, Stamp, scale, yuv};
//!
//! let size = Size::new(768, 576)?;
//! let frame = Frame::black(Stamp::at(Pts::ZERO), size, Colour::BT601_LIMITED);
//! let picture = scale(&frame, Size::new(416, 320)?);
//! assert_eq!(picture.letterbox().scaled(), Size::new(416, 312)?);
//! assert_eq!(picture.letterbox().to_source(208.0, 156.0), (384.0, 288.0));
//!
//! let mut tensor = vec![0u8; 416 * 320 * 3];
//! yuv::to_bgr_u8(&picture.view(), &mut tensor)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything here is pure and total: sizes are checked when they are made, so hostile ones end as errors
//! and never as a panic or as an allocation nobody bounded.

pub mod bgr;
mod buffer;
mod colour;
mod frame;
mod letterbox;
mod rate;
mod recolour;
mod rgb;
mod scale;
mod scaled;
mod size;
mod thin;
mod time;
mod view;
pub mod yuv;

pub use buffer::BufferSize;
pub use colour::{Colour, Matrix, Range, Siting};
pub use frame::{Format, Frame, FrameError, Plane, Stamp};
pub use letterbox::Letterbox;
pub use rate::{Rate, RateError};
pub use rgb::{Pixels, Rgb};
pub use scale::scale;
pub use scaled::Picture;
pub use size::{Size, SizeError};
pub use thin::Thin;
pub use time::Pts;
pub use view::{PlaneView, View};
