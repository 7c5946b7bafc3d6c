//! Adapters: what goes into a family of models and what comes out of it. Pure: no engine, no file.

pub mod nanodet;

use picture::{BufferSize, Letterbox, Pixels, Size};

use crate::detect::Detection;
use crate::engine::{Tensor, TensorView};
use crate::{AdapterKind, Manifest};

/// Makes a detector's input and reads its output.
pub trait Adapter: Send {
    /// Writes a picture into the model's input tensor, which is given its shape here and reused.
    ///
    /// # Errors
    /// A picture of a size that the model cannot take.
    fn prepare(&mut self, picture: &Pixels, input: &mut Tensor) -> Result<(), Unfit>;

    /// The names of the outputs that [`Adapter::decode`] reads, in its order.
    fn outputs(&self) -> Vec<String>;

    /// Reads the outputs into boxes in pixels of the letterbox's source, best first. `found` is overwritten.
    ///
    /// Total: whatever numbers the outputs hold, there are at most [`Detections::MAX`] boxes, and all of their
    /// numbers are finite.
    ///
    /// # Errors
    /// Outputs of other shapes than the model family has.
    ///
    /// [`Detections::MAX`]: crate::detect::Detections::MAX
    fn decode(
        &mut self,
        outputs: &[TensorView<'_>],
        letterbox: &Letterbox,
        found: &mut Vec<Detection>,
    ) -> Result<(), DecodeError>;
}

/// A picture that a model cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The size is none that the model takes.
    #[error("the model '{model}' takes no picture of {size}: {why}")]
    Size {
        /// The model's name.
        model: String,
        /// The picture's size.
        size: Size,
        /// What it takes.
        why: &'static str,
    },
    /// The input tensor and the picture do not go together.
    #[error(transparent)]
    Buffer(#[from] BufferSize),
}

/// Outputs that are not what the adapter reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the output '{output}' has the shape {found:?}, the adapter reads {expected}; is `adapter` in the manifest right?"
)]
pub struct DecodeError {
    /// The output's name.
    pub output: String,
    /// The shape that it has.
    pub found: Vec<usize>,
    /// The shape that is read.
    pub expected: String,
}

/// The adapter that a manifest names.
pub fn of(manifest: &Manifest) -> Box<dyn Adapter> {
    match manifest.adapter {
        AdapterKind::Nanodet => Box::new(nanodet::Nanodet::new(manifest)),
    }
}

/// What the adapter demands of the manifest that names it.
pub(crate) fn check(manifest: &Manifest) -> Result<(), String> {
    match manifest.adapter {
        AdapterKind::Nanodet => nanodet::check(manifest),
    }
}
