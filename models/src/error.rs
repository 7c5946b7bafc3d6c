//! What can be wrong with a model's folder.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A model that cannot be used; the text names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file of the model is missing or unreadable.
    #[error("cannot read {}: {source}. {hint}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The manifest holds a mistake.
    #[error("{}:{line}: {what}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The mistake, with the nearest right word where one is near.
        what: String,
    },
    /// The ONNX file is not the one that the manifest means.
    #[error(
        "{} has the sha256 {found}, its manifest says {expected}: fetch the file again with scripts/setup, \
         or correct `sha256` if the file was changed on purpose", path.display()
    )]
    Digest {
        /// The ONNX file.
        path: PathBuf,
        /// What the manifest says.
        expected: crate::Digest,
        /// What the file has.
        found: crate::Digest,
    },
    /// Two folders of a zoo hold a model of the same name.
    #[error("{} has the name '{name}', as another model of the zoo does: rename one of them", path.display())]
    SameName {
        /// The later folder's manifest.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

impl ModelError {
    /// A mistake at a place in the manifest's text.
    pub(crate) fn manifest(path: &Path, text: &str, at: Option<Range<usize>>, what: String) -> Self {
        let end = at.map_or(0, |at| at.start).min(text.len());
        let line = text.as_bytes()[..end].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Self::Manifest { path: path.to_owned(), line, what }
    }

    /// A mistake that the TOML reader found.
    pub(crate) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim_end();
        let what = match nearest(message) {
            Some(word) => format!("{message}; did you mean `{word}`?"),
            None => message.to_owned(),
        };
        Self::manifest(path, text, error.span(), what)
    }
}

/// The nearest of the words that serde offers in messages such as ``unknown field `labls`, expected one of
/// `labels`, `name` ``, unless none is near.
fn nearest(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let near = |word: &&str| strsim::damerau_levenshtein(unknown, word);
    words.min_by_key(near).filter(|word| near(word) <= 2.max(unknown.len() / 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_if_it_is_near() {
        assert_eq!(nearest("unknown field `labls`, expected `labels`"), Some("labels"));
        assert_eq!(nearest("unknown field `nme`, expected one of `labels`, `name`"), Some("name"));
        assert_eq!(nearest("unknown field `zzzzzz`, expected one of `labels`, `name`"), None);
        assert_eq!(nearest("unknown field ``, there are no fields"), None);
        assert_eq!(nearest("missing field `name`"), None);
    }
}
