//! What docs/custom-task.md shows is this example's code.

use std::fs;
use std::path::Path;

#[test]
fn the_quoted_code_is_the_code() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(here.join("../../docs/custom-task.md")).expect("the page");
    let mut sources = String::new();
    for file in fs::read_dir(here.join("src")).expect("the sources") {
        sources += &fs::read_to_string(file.expect("a file").path()).expect("text");
    }
    let quotes: Vec<&str> = page
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a split has a first piece"))
        .collect();
    assert!(quotes.len() >= 6, "three pieces and what joins them: {}", quotes.len());
    for quote in quotes {
        assert!(sources.contains(quote), "this is not in the example any more:\n{quote}");
    }
}
