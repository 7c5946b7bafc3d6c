//! Models: what a model's folder says, how pictures go into it and boxes come out, and the engine that runs it.
//!
//! A model is a folder with a [`Manifest`] (`model.toml`) and an ONNX file; [`Model::load`] checks both and
//! gives the hash that names exactly this model on the network, [`Zoo`] loads all folders of a directory.
//! An [`Adapter`](adapter::Adapter) knows a family of models: it makes the input tensor and reads the output
//! tensors, and is pure. An [`Engine`](engine::Engine) runs the network: [`onnx`](engine::onnx) with ONNX
//! Runtime (feature `onnx`, loaded when it is needed), [`fake`](engine::fake) for tests. A [`Detector`] is both
//! together, one for each thread: it does the [`Detect`](detect::Detect) task.
//!
//! ```
//! use framelane_models::{Detector, engine::fake};
//! use framelane_models::detect::DetectJob;
//! use picture::{Colour, Frame, Pts, Size, Stamp, scale};
//! use wire::Processor;
//!
//! let model = fake::model("pretend", Size::new(416, 320)?);
//! let person = fake::Box { class: 0, score: 0.9, rect: [100.0, 80.0, 140.0, 200.0] };
//! let mut detector = Detector::new(&model, fake::Fake::finds([person]))?;
//!
//! let frame = Frame::black(Stamp::at(Pts::ZERO), Size::new(832, 640)?, Colour::BT601_LIMITED);
//! let picture = scale(&frame, model.manifest.input.size);
//! let found = detector.process(DetectJob::from(picture))?;
//! assert_eq!(found.boxes[0].rect, [200.0, 160.0, 280.0, 400.0], "in the frame's pixels");
//! assert_eq!(model.manifest.labels.name(found.boxes[0].class), "person");
//! # Ok::<(), std::boxed::Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
pub mod detect;
mod detector;
pub mod engine;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod hash;
mod labels;
mod manifest;
mod model;
mod nms;
mod zoo;

pub use detector::{Detector, DetectorError};
pub use error::ModelError;
pub use hash::Digest;
pub use labels::Labels;
pub use manifest::{AdapterKind, DType, Fraction, Input, Layout, Manifest, Output, TaskKind};
pub use model::Model;
pub use zoo::{Zoo, ZooError};
