//! What docs/custom-task.md and docs/tasks.md show is this example's code.

use std::fs;
use std::path::{Path, PathBuf};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All files of a folder, one after the other.
fn sources(folder: &str) -> String {
    let mut sources = String::new();
    for file in fs::read_dir(here(folder)).expect("the sources") {
        let path = file.expect("a file").path();
        if path.is_file() {
            sources += &fs::read_to_string(path).expect("text");
        }
    }
    sources
}

/// How many pieces of a page are code, all of it out of `sources`.
fn quoted(page: &str, sources: &str) -> usize {
    let page = fs::read_to_string(here("../../docs").join(page)).expect("the page");
    let quotes: Vec<&str> = page
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a split has a first piece"))
        .collect();
    for quote in &quotes {
        assert!(sources.contains(quote), "this is not in the example any more:\n{quote}");
    }
    quotes.len()
}

#[test]
fn the_quoted_code_is_the_code() {
    let pieces = quoted("custom-task.md", &sources("src"));
    assert!(pieces >= 6, "three pieces and what joins them: {pieces}");
}

#[test]
fn the_quoted_client_is_one_that_is_tested() {
    assert_eq!(quoted("tasks.md", &sources("tests")), 1);
}
