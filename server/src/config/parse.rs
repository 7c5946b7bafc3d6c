//! From the file's text to a [`Config`], with errors that name file, line and the nearest key.

use std::path::{Path, PathBuf};

use super::Config;

/// A config file that cannot be read or understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot read the config file {path}: {source}; name another with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what a config file must be.
    #[error("{path}:{line}: {problem}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong and what would be right.
        problem: String,
    },
}

pub(super) fn read(path: &Path) -> Result<Config, ReadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ReadError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ReadError::Wrong {
        path: path.to_owned(),
        line: line_of(&text, error.span().map_or(0, |span| span.start)),
        problem: problem_of(error.message()),
    })
}

fn line_of(text: &str, byte: usize) -> usize {
    text.as_bytes().iter().take(byte).filter(|byte| **byte == b'\n').count() + 1
}

/// Puts the parser's "unknown field" into words that help: the nearest key there is.
fn problem_of(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let Some(unknown) = quoted.next() else { return message.to_owned() };
    let known: Vec<&str> = quoted.collect();
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)));
    match nearest {
        Some(nearest) if strsim::jaro_winkler(unknown, nearest) > 0.7 => {
            format!("unknown key `{unknown}`; did you mean `{nearest}`?")
        }
        _ => format!("unknown key `{unknown}`; the keys here are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("framelane.toml");
        std::fs::write(&path, text).expect("written");
        let error = read(&path).expect_err("refused").to_string();
        error.rsplit_once("framelane.toml").expect("names the file").1.to_owned()
    }

    #[test]
    fn an_unknown_key_is_refused_with_line_and_nearest_key() {
        let text = "http = \"127.0.0.1:0\"\n\n[streams.door]\nsource = \"test:\"\nmodle = \"nanodet\"\n";
        assert_eq!(error(text), ":5: unknown key `modle`; did you mean `model`?");
    }

    #[test]
    fn a_key_like_none_gets_the_list() {
        assert!(error("zzz = 1\n").starts_with(":1: unknown key `zzz`; the keys here are http, rtsp, quic"));
    }

    #[test]
    fn a_wrong_type_names_its_line() {
        assert!(error("\n\nlocal_workers = \"two\"\n").starts_with(":3: invalid type"));
    }

    #[test]
    fn a_missing_source_is_named() {
        let text = error("[streams.door]\nmodel = \"nanodet\"\n");
        assert!(text.contains("missing field `source`"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read(Path::new("no/such.toml")).expect_err("refused").to_string();
        assert!(error.starts_with("cannot read the config file no/such.toml"), "{error}");
    }
}
