//! What documents say is so: figures are those that are committed, and what is named exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use framelane_bench::table;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `make figures` has put there. A measurement that is not there yet is shown nowhere.
fn figures() -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(root().join("docs/figures")) else { return Vec::new() };
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn the_tables_are_what_the_committed_figures_give() {
    let files = figures();
    let reports = table::read(&files).expect("reports");
    for (file, report) in files.iter().zip(&reports) {
        assert_eq!(file.file_name().expect("a name"), format!("{}.json", report.name).as_str());
    }
    for document in ["README.md", "docs/benchmarks.md"] {
        let shown = text(document);
        let given = table::into(&shown, &reports).expect("it has places for tables");
        assert_eq!(shown, given, "{document} shows other figures than docs/figures: run `make figures`");
    }
}

/// Every file of this repository, from the root.
fn files() -> BTreeSet<String> {
    let (mut files, mut folders) = (BTreeSet::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_str().expect("names are text");
            // What is built or fetched is not of the repository.
            let made = ["target", "assets", "node_modules", "."].iter().any(|made| name.starts_with(made));
            if made {
                continue;
            }
            match entry.file_type().expect("its type").is_dir() {
                true => folders.push(path),
                false => {
                    let path = path.strip_prefix(root()).expect("below the root");
                    files.insert(path.to_str().expect("names are text").to_owned());
                }
            }
        }
    }
    files
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<&str> {
    let parts: Vec<_> = text.split('`').collect();
    assert!(parts.len() % 2 == 1, "a backtick has no other");
    parts.into_iter().skip(1).step_by(2).collect()
}

/// Whether it is there: a path from the root or, where neither `src` nor `tests` is in it, the end of one.
fn exists(files: &BTreeSet<String>, path: &str) -> bool {
    if path.ends_with('/') {
        return files.iter().any(|file| file.starts_with(path));
    }
    let whole = ["src", "tests"].iter().any(|part| path.split('/').any(|it| it == *part));
    files.contains(path) || !whole && files.iter().any(|file| file.ends_with(&format!("/{path}")))
}

fn is_path(quoted: &str) -> bool {
    let ends = [".rs", ".py", ".toml", ".md", "/"].iter().any(|end| quoted.ends_with(end));
    ends && !quoted.contains(char::is_whitespace)
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let (architecture, files) = (text("ARCHITECTURE.md"), files());
    let paths: Vec<_> = quoted(&architecture).into_iter().filter(|quoted| is_path(quoted)).collect();
    assert!(paths.len() > 50, "these alone were found: {paths:?}");
    let gone: Vec<_> = paths.iter().filter(|path| !exists(&files, path)).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names what is not there: {gone:?}");
}

#[test]
fn every_test_that_the_architecture_names_is_there() {
    let architecture = text("ARCHITECTURE.md");
    let tests = files().into_iter().filter(|file| file.ends_with(".rs")).map(text).collect::<String>();
    let mut named = 0;
    let mut gone = Vec::new();
    for name in quoted(&architecture) {
        // `..._and_so_on` is the end of a name.
        let there = match name.strip_prefix("...") {
            Some(end) => tests.match_indices(&format!("{end}(")).any(|(at, _)| {
                let mut words = tests[..at].rsplit(char::is_whitespace);
                words.next().is_some_and(|begin| begin.starts_with("invariant"))
            }),
            None if name.starts_with("invariant") => tests.contains(&format!("fn {name}(")),
            None => continue,
        };
        named += 1;
        if !there {
            gone.push(name);
        }
    }
    assert!(named > 15, "only {named} were found");
    assert!(gone.is_empty(), "ARCHITECTURE.md names tests that are not there: {gone:?}");
}
