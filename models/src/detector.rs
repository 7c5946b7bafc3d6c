//! A detector: an adapter and an engine, for one thread.

use std::time::Instant;

use picture::{Colour, Frame, Pts, Stamp, scale};
use wire::{Processor, Timings, Unprocessed};

use crate::adapter::{self, Adapter};
use crate::detect::{Detect, DetectJob, Detections};
use crate::engine::{Engine, EngineError, Tensor};
use crate::{Model, adapter::DecodeError};

/// Does the task [`Detect`] with one model, on the thread that holds it. Input tensor and candidates keep their
/// memory from one picture to the next.
pub struct Detector {
    adapter: Box<dyn Adapter>,
    engine: Box<dyn Engine>,
    input: Tensor,
    timings: Timings,
}

/// A detector that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// The engine cannot open the model.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Open(#[from] crate::engine::onnx::OpenError),
    /// The model could be opened and did not get through its first picture.
    #[error("the model '{model}' failed its trial run on a black picture: {why}")]
    Trial {
        /// The model's name.
        model: String,
        /// What went wrong.
        why: String,
    },
}

impl Detector {
    /// Joins a model's adapter with an engine that runs the model, and tries both on a black picture: that
    /// finds a model that is not what its manifest says, and does the work that engines put off until their
    /// first run.
    ///
    /// # Errors
    /// [`DetectorError::Trial`].
    pub fn new(model: &Model, engine: impl Engine + 'static) -> Result<Self, DetectorError> {
        let mut detector = Self {
            adapter: adapter::of(&model.manifest),
            engine: Box::new(engine),
            input: Tensor::empty(),
            timings: Timings::default(),
        };
        let size = model.manifest.input.size;
        let frame = Frame::black(Stamp::at(Pts::ZERO), size, Colour::BT601_LIMITED);
        match detector.process(DetectJob::from(scale(&frame, size))) {
            Ok(_) => Ok(detector),
            Err(Unprocessed::Bad(why) | Unprocessed::Failed(why)) => {
                Err(DetectorError::Trial { model: model.manifest.name.clone(), why })
            }
        }
    }

    /// A detector that runs a model's ONNX file with ONNX Runtime.
    ///
    /// # Errors
    /// The file is no model that the runtime can open, its inputs and outputs are not what the manifest says,
    /// or it does not get through a first picture.
    #[cfg(feature = "onnx")]
    pub fn open(
        model: &Model,
        runtime: &crate::engine::onnx::Runtime,
        options: crate::engine::onnx::Options,
    ) -> Result<Self, DetectorError> {
        Self::new(model, crate::engine::onnx::Onnx::open(model, runtime, options)?)
    }

    fn detect(&mut self, job: DetectJob) -> Result<Detections, Unprocessed> {
        let letterbox = job.picture.letterbox();
        let started = Instant::now();
        let size = letterbox.target();
        let pixels = job.picture.decode();
        let pixels =
            pixels.map_err(|e| Unprocessed::Bad(format!("the picture of {size} cannot be read: {e}")))?;
        self.adapter.prepare(&pixels, &mut self.input).map_err(|e| Unprocessed::Bad(e.to_string()))?;

        let prepared = Instant::now();
        let (mut inferred, mut boxes) = (prepared, Vec::new());
        let mut decoded: Result<(), DecodeError> = Ok(());
        let adapter = &mut self.adapter;
        let ran = self.engine.run(&self.input, &mut |outputs| {
            inferred = Instant::now();
            decoded = adapter.decode(outputs, &letterbox, &mut boxes);
        });
        ran.map_err(|EngineError(why)| Unprocessed::Failed(why))?;
        decoded.map_err(|error| Unprocessed::Failed(error.to_string()))?;

        let micros = |from: Instant, to: Instant| to.duration_since(from).as_micros() as u64;
        self.timings = Timings {
            queue_us: 0,
            prepare_us: micros(started, prepared),
            infer_us: micros(prepared, inferred),
            decode_us: micros(inferred, Instant::now()),
            batch: 1,
        };
        Ok(Detections { boxes })
    }
}

impl Processor for Detector {
    type Task = Detect;

    fn process(&mut self, job: DetectJob) -> Result<Detections, Unprocessed> {
        self.timings = Timings::default();
        self.detect(job)
    }

    fn timings(&mut self) -> Timings {
        self.timings
    }
}
