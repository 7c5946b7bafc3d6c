//! Engines: what runs a network. They know tensors and nothing of pictures or boxes.

pub mod fake;
#[cfg(feature = "onnx")]
pub mod onnx;

use crate::{DType, Layout};

/// Runs one network, on one thread.
pub trait Engine: Send {
    /// Runs the network on an input and hands its outputs to `read`, in the order in which the engine was
    /// asked for them. They are borrowed: nothing is copied.
    ///
    /// # Errors
    /// The network could not be run, or did not give what it should.
    fn run(&mut self, input: &Tensor, read: &mut dyn FnMut(&[TensorView<'_>])) -> Result<(), EngineError>;
}

/// A run that gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine failed: {0}")]
pub struct EngineError(pub String);

/// An input tensor. Its memory is kept from one picture to the next.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: [usize; 4],
    /// The values, as many as the shape says.
    pub data: TensorData,
}

/// The values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 8-bit values.
    U8(Vec<u8>),
    /// Floats.
    F32(Vec<f32>),
}

impl Tensor {
    /// A tensor without values.
    pub fn empty() -> Self {
        Self { shape: [0; 4], data: TensorData::U8(Vec::new()) }
    }

    /// Gives the tensor the shape of a picture with three channels. Values left from before keep their places;
    /// whoever asks for a shape writes all of them.
    pub fn reshape(&mut self, dtype: DType, layout: Layout, width: usize, height: usize) {
        let len = 3 * width * height;
        match (&mut self.data, dtype) {
            (TensorData::U8(data), DType::U8) => data.resize(len, 0),
            (TensorData::F32(data), DType::F32) => data.resize(len, 0.0),
            (data, DType::U8) => *data = TensorData::U8(vec![0; len]),
            (data, DType::F32) => *data = TensorData::F32(vec![0.0; len]),
        }
        self.shape = match layout {
            Layout::Nhwc => [1, height, width, 3],
            Layout::Nchw => [1, 3, height, width],
        };
    }

    /// The shape.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }
}

/// An output tensor of floats, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    data: &'a [f32],
}

impl<'a> TensorView<'a> {
    /// A view of `data`; `None` if there are not as many values as the shape says.
    pub fn new(shape: &'a [usize], data: &'a [f32]) -> Option<Self> {
        let len = shape.iter().try_fold(1usize, |len, &side| len.checked_mul(side));
        (len == Some(data.len())).then_some(Self { shape, data })
    }

    /// The shape.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The values, as many as the shape says.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }
}
