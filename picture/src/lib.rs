//! Frames, planes, letterbox geometry and colour: everything that is known about pixels without a codec.
//!
//! A [`Frame`] is what a decoder hands out: I420 planes inside shared bytes (cloning is a reference
//! count), its times, and the [`Colour`] that says what the numbers mean. A `Picture` is the smallest
//! thing worth sending to a model: a frame scaled into the model's input [`Size`] by `scale`,
//! still I420, with the `Letterbox` that leads from the picture's pixels back to the frame's. `yuv`
//! turns a picture into a model's input, `bgr` does the same for 8-bit BGR images.
//!
//! Everything here is pure and total: sizes are checked when they are made, so hostile ones end as errors
//! and never as a panic or as an allocation nobody bounded.

// The crate's own examples use the short name under which the workspace imports it.
extern crate self as picture;

mod colour;
mod frame;
mod rate;
mod size;
mod time;
mod view;

pub use colour::{Colour, Matrix, Range, Siting};
pub use frame::{Format, Frame, FrameError, Plane, Stamp};
pub use rate::{Rate, RateError};
pub use size::{Size, SizeError};
pub use time::Pts;
pub use view::{PlaneView, View};
