//! ONNX Runtime, loaded when it is needed: a program without it starts, and says what is missing once a model
//! is to be run.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::{Engine, EngineError, Tensor, TensorData, TensorView};
use crate::{DType, Input, Layout, Model, adapter};

/// The loaded library. Cloning it is cheap; sessions keep it alive.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// The library can be loaded once in a process, and its environment made once: that is ONNX Runtime's rule, and
/// the reason for this one global. It is touched in [`Runtime::load`] alone.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Names the library's file, like the flag `--onnxruntime`.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// A library that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// It is nowhere.
    #[error(
        "ONNX Runtime's library was not found; tried: {}. Run scripts/setup, or pass its path with \
         --onnxruntime or in {LIBRARY_VARIABLE}", .tried.join(", ")
    )]
    NotFound {
        /// Where it was looked for.
        tried: Vec<String>,
    },
    /// It is there and cannot be loaded.
    #[error("cannot load ONNX Runtime: {why}. scripts/setup fetches a library that fits")]
    Load {
        /// What the loader says, with the path.
        why: String,
    },
    /// Another one is loaded already.
    #[error("ONNX Runtime is loaded from {} already, a process cannot load {} too", .loaded.display(), .asked.display())]
    Another {
        /// The one that is loaded.
        loaded: PathBuf,
        /// The one that was asked for.
        asked: PathBuf,
    },
}

impl Runtime {
    /// Loads the library from `path`; without one from where [`LIBRARY_VARIABLE`] says; without that from the
    /// first place of a short list that has it: `assets/onnxruntime` in the working directory, beside the
    /// program, where the system keeps libraries. A second call gives the same runtime.
    ///
    /// # Errors
    /// The library is not found, is none, or is too old.
    pub fn load(path: Option<&Path>) -> Result<Self, LibraryError> {
        let asked = path
            .map(Path::to_owned)
            .or_else(|| env::var_os(LIBRARY_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from));
        // A panic while it was held left `None` or a complete runtime, both fine to go on with.
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return match asked {
                Some(asked) if !same_file(&asked, &runtime.library) => {
                    Err(LibraryError::Another { loaded: runtime.library.clone(), asked })
                }
                _ => Ok(runtime.clone()),
            };
        }
        let library = find(asked)?;
        let why = |error: String| LibraryError::Load { why: error };
        let environment = ort::init_from(&library)
            .map_err(|error| why(error.to_string()))?
            .with_name("framelane")
            .with_telemetry(false)
            .build()
            .map_err(|error| why(format!("{}: {error}", library.display())))?;
        let runtime = Self { environment, library };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.library
    }
}

/// The library's file: an absolute path, for the loader looks elsewhere for relative ones.
fn find(asked: Option<PathBuf>) -> Result<PathBuf, LibraryError> {
    let candidates = asked.map_or_else(places, |asked| vec![asked]);
    let found = candidates.iter().find(|candidate| candidate.is_file());
    match found {
        Some(found) => Ok(std::path::absolute(found).unwrap_or_else(|_| found.clone())),
        None => Err(LibraryError::NotFound {
            tried: candidates.iter().map(|path| path.display().to_string()).collect(),
        }),
    }
}

fn places() -> Vec<PathBuf> {
    let name = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let mut places = vec![Path::new("assets/onnxruntime").join(&name)];
    if let Some(dir) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.extend([dir.join(&name), dir.join("../lib").join(&name)]);
    }
    let system = ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    places.extend(system.iter().map(|dir| Path::new(dir).join(&name)));
    places
}

fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    a == b || (real(a).is_some() && real(a) == real(b))
}

/// How a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The threads that one run uses. 1, the default, does the most work where several sessions share the
    /// processor; more shorten a single run.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

/// A model that cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is no ONNX model, or none that this runtime knows how to run.
    #[error(
        "{} is not an ONNX model that ONNX Runtime can run: {why}. Check `file` in the manifest of '{model}', or \
         fetch the model again with scripts/setup", path.display()
    )]
    NotOnnx {
        /// The model's name.
        model: String,
        /// The file.
        path: PathBuf,
        /// What the runtime says.
        why: String,
    },
    /// The file is a model, but not the one that the manifest describes.
    #[error("{} does not match the manifest of '{model}': {why}", path.display())]
    Mismatch {
        /// The model's name.
        model: String,
        /// The file.
        path: PathBuf,
        /// What differs, and what the file has.
        why: String,
    },
    /// The runtime does not take the options.
    #[error("ONNX Runtime cannot start a session: {why}")]
    Session {
        /// What the runtime says.
        why: String,
    },
}

/// One session of ONNX Runtime.
pub struct Onnx {
    session: Session,
    options: RunOptions,
    input: String,
    outputs: Vec<String>,
}

impl Onnx {
    /// Opens a model's ONNX file and compares it with the manifest.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(model: &Model, runtime: &Runtime, options: Options) -> Result<Self, OpenError> {
        let path = model.file();
        let name = || model.manifest.name.clone();
        let mut builder = builder(runtime, options).map_err(|why| OpenError::Session { why })?;
        let session = builder.commit_from_file(&path).map_err(|error| OpenError::NotOnnx {
            model: name(),
            path: path.clone(),
            why: error.message().trim().to_owned(),
        })?;
        let outputs = adapter::of(&model.manifest).outputs();
        check_input(&session, &model.manifest.input)
            .and_then(|()| check_outputs(&session, &outputs))
            .map_err(|why| OpenError::Mismatch { model: name(), path, why })?;
        let options = RunOptions::new().map_err(|error| OpenError::Session { why: error.to_string() })?;
        Ok(Self { session, options, input: model.manifest.input.name.clone(), outputs })
    }
}

fn builder(runtime: &Runtime, options: Options) -> Result<SessionBuilder, String> {
    let builder = Session::builder(&runtime.environment).map_err(|error| error.to_string())?;
    let builder = builder.with_intra_threads(options.threads.max(1)).map_err(|error| error.to_string())?;
    // Threads that spin while they wait for work take the processor from decoders and other sessions.
    builder.with_intra_op_spinning(false).map_err(|error| error.to_string())
}

fn check_input(session: &Session, input: &Input) -> Result<(), String> {
    let [only] = session.inputs() else {
        let names: Vec<_> = session.inputs().iter().map(|outlet| outlet.name()).collect();
        return Err(format!("it has {} inputs ({}), one is expected", names.len(), names.join(", ")));
    };
    if only.name() != input.name {
        return Err(format!("its input is named '{}', the manifest says '{}'", only.name(), input.name));
    }
    let ValueType::Tensor { ty, shape, .. } = only.dtype() else {
        return Err(format!("its input '{}' is no tensor", input.name));
    };
    let expected = match input.dtype {
        DType::U8 => TensorElementType::Uint8,
        DType::F32 => TensorElementType::Float32,
    };
    if *ty != expected {
        return Err(format!(
            "its input '{}' takes {ty}, the manifest says {}",
            input.name,
            input.dtype.as_str()
        ));
    }
    let (width, height) = (i64::from(input.size.width()), i64::from(input.size.height()));
    let wanted = match input.layout {
        Layout::Nhwc => [1, height, width, 3],
        Layout::Nchw => [1, 3, height, width],
    };
    // A side of -1 is one that the model leaves open.
    let fits = shape.len() == 4 && shape.iter().zip(wanted).all(|(&has, wants)| has == -1 || has == wants);
    if fits {
        Ok(())
    } else {
        let has: &[i64] = shape;
        Err(format!("its input '{}' has the shape {has:?}, the manifest says {wanted:?}", input.name))
    }
}

fn check_outputs(session: &Session, wanted: &[String]) -> Result<(), String> {
    for name in wanted {
        let Some(output) = session.outputs().iter().find(|outlet| outlet.name() == name) else {
            let has: Vec<_> = session.outputs().iter().map(|outlet| outlet.name()).collect();
            return Err(format!("it has no output '{name}' as the manifest says, but {}", has.join(", ")));
        };
        if output.dtype().tensor_type() != Some(TensorElementType::Float32) {
            return Err(format!("its output '{name}' is no tensor of f32"));
        }
    }
    Ok(())
}

impl Engine for Onnx {
    fn run(&mut self, input: &Tensor, read: &mut dyn FnMut(&[TensorView<'_>])) -> Result<(), EngineError> {
        let failed = |error: ort::Error| EngineError(error.message().to_owned());
        let shape = input.shape();
        let value: ort::session::SessionInputValue<'_> = match &input.data {
            TensorData::U8(data) => {
                TensorRef::from_array_view((shape, data.as_slice())).map_err(failed)?.into()
            }
            TensorData::F32(data) => {
                TensorRef::from_array_view((shape, data.as_slice())).map_err(failed)?.into()
            }
        };
        let inputs = vec![(self.input.as_str(), value)];
        let outputs = self.session.run_with_options(inputs, &self.options).map_err(failed)?;

        let mut tensors = Vec::with_capacity(self.outputs.len());
        for name in &self.outputs {
            let value =
                outputs.get(name).ok_or_else(|| EngineError(format!("there is no output '{name}'")))?;
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(failed)?;
            let shape: Option<Vec<usize>> = shape.iter().map(|&side| usize::try_from(side).ok()).collect();
            tensors.push((name, shape.unwrap_or_default(), data));
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, data) in &tensors {
            let view = TensorView::new(shape, data);
            views.push(
                view.ok_or_else(|| EngineError(format!("output '{name}' is not as long as its shape")))?,
            );
        }
        read(&views);
        Ok(())
    }
}
