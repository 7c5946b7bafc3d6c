//! A model's folder, checked.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Digest, Manifest, ModelError, hash};

/// A model that can be run. Cloning it counts references.
#[derive(Clone, Debug)]
pub struct Model {
    /// What its manifest says.
    pub manifest: Arc<Manifest>,
    /// The sha256 that names exactly this model: of the manifest's values and the ONNX file's content.
    pub hash: [u8; 32],
    /// Its folder.
    pub dir: PathBuf,
}

impl Model {
    /// Loads the model in a folder and checks its ONNX file's sha256 where the manifest gives one.
    ///
    /// # Errors
    /// A file that cannot be read, a mistake in the manifest, another ONNX file than it names. Whether the
    /// file is ONNX at all shows when an engine opens it.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let manifest = Manifest::load(dir)?;
        let path = dir.join(&manifest.file);
        let hint = "It is the `file` of the model's manifest; scripts/setup fetches the models of the demo.";
        let found = File::open(&path).and_then(Digest::of).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
            hint,
        })?;
        match manifest.sha256 {
            Some(expected) if expected != found => Err(ModelError::Digest { path, expected, found }),
            _ => Ok(Self::new(manifest, found, dir)),
        }
    }

    /// The model of a manifest whose ONNX file has the digest `onnx`.
    pub(crate) fn new(manifest: Manifest, onnx: Digest, dir: &Path) -> Self {
        let hash = hash::of_model(&manifest, onnx);
        Self { manifest: Arc::new(manifest), hash, dir: dir.to_owned() }
    }

    /// The ONNX file.
    pub fn file(&self) -> PathBuf {
        self.dir.join(&self.manifest.file)
    }

    /// The hash as text.
    pub fn hash_hex(&self) -> String {
        Digest(self.hash).to_string()
    }
}
