//! A directory of models.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::{Manifest, Model, ModelError};

/// The models in a directory: each folder in it is one. A bad model does not keep the others from being used.
#[derive(Debug)]
pub struct Zoo {
    dir: PathBuf,
    models: Vec<Model>,
    bad: Vec<ModelError>,
}

/// A directory that cannot be looked into.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the models directory {}: {source}. Pass the right one with --models, or fetch models with scripts/setup", dir.display())]
pub struct ZooError {
    /// The directory.
    pub dir: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl Zoo {
    /// Loads every model under `dir`, in the order of their folders' names. Plain files and folders whose name
    /// starts with a dot are passed over.
    ///
    /// # Errors
    /// The directory cannot be read. A model that cannot be loaded is no error here: see [`Zoo::bad`].
    pub fn open(dir: &Path) -> Result<Self, ZooError> {
        let failed = |source| ZooError { dir: dir.to_owned(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Follows links, so that a zoo may be made of them.
            if entry.path().is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                folders.push(entry.path());
            }
        }
        folders.sort();
        let mut zoo = Self { dir: dir.to_owned(), models: Vec::new(), bad: Vec::new() };
        for folder in folders {
            match Model::load(&folder) {
                Ok(model) if zoo.get(&model.manifest.name).is_some() => {
                    let name = model.manifest.name.clone();
                    zoo.bad.push(ModelError::SameName { path: folder.join(Manifest::FILE), name });
                }
                Ok(model) => zoo.models.push(model),
                Err(error) => zoo.bad.push(error),
            }
        }
        Ok(zoo)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The models that can be used.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// What is wrong with the others, one error a model.
    pub fn bad(&self) -> &[ModelError] {
        &self.bad
    }

    /// The model of that name.
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.manifest.name == name)
    }

    /// The model with that hash.
    pub fn by_hash(&self, hash: &[u8; 32]) -> Option<&Model> {
        self.models.iter().find(|model| model.hash == *hash)
    }
}
