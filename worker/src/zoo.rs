//! Detectors for the models in a folder.

use std::path::{Path, PathBuf};

use models::detect::{READS_JPEG, READS_RGB};
use models::engine::onnx::{LibraryError, Options, Runtime};
use models::{Detector, Model, TaskKind, Zoo};
use queue::{Key, ModelHash, TaskName, TaskNameError};

use crate::registry::Registry;

/// Why no model can be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] models::ZooError),
    /// ONNX Runtime cannot be had.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// There is nothing in the folder that works.
    #[error("no usable model in {}: pass the right folder with --models, or fetch models with scripts/setup", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
}

/// What the detectors of [`registry`] read beside I420; for [`node::Config::abilities`](crate::node::Config).
pub const ABILITIES: [&str; 2] = [READS_JPEG, READS_RGB];

/// A registry with every model of the folder `dir` whose manifest and file are right. One that is not is
/// logged, with what to do, and left out. The models are loaded by the host's threads, which takes longer
/// than a worker should wait before it joins. `library` is ONNX Runtime's; without it the usual places are
/// searched.
///
/// # Errors
/// [`ZooError`], when nothing would be served.
pub fn registry(dir: &Path, library: Option<&Path>) -> Result<Registry, ZooError> {
    let zoo = Zoo::open(dir)?;
    for error in zoo.bad() {
        tracing::error!("a model is left out: {error}");
    }
    let runtime = Runtime::load(library)?;
    tracing::debug!(library = %runtime.library().display(), "ONNX Runtime");
    let mut registry = Registry::new();
    for model in zoo.models() {
        match serve(&mut registry, model, &runtime) {
            Ok(key) => tracing::info!(model = model.manifest.name, %key, "loading"),
            Err(error) => tracing::error!("a model is left out: {error}"),
        }
    }
    if registry.is_empty() {
        return Err(ZooError::Empty { dir: dir.to_owned() });
    }
    Ok(registry)
}

/// The key under which a model is asked for.
///
/// # Errors
/// The task's name is none that can travel.
pub fn key(model: &Model) -> Result<Key, TaskNameError> {
    Ok(Key::model(TaskName::new(model.manifest.task.as_str())?, ModelHash(model.hash)))
}

fn serve(registry: &mut Registry, model: &Model, runtime: &Runtime) -> Result<Key, wire::BoxError> {
    if model.manifest.task != TaskKind::Detect {
        let (name, task) = (&model.manifest.name, model.manifest.task.as_str());
        return Err(
            format!("the model '{name}' is for the task '{task}', which this version does not know").into()
        );
    }
    let key = key(model)?;
    let (model, runtime) = (model.clone(), runtime.clone());
    registry.serve(key.clone(), move || Detector::open(&model, &runtime, Options::default()))?;
    Ok(key)
}
