//! A crate of a user's own, with the dependencies that docs/custom-task.md names and no others, is one that cargo can
//! resolve, outside the workspace, where no other crate's features help; and nothing heavy comes with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_documented_dependencies_resolve_outside_this_workspace_and_bring_nothing_heavy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let outside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    fs::create_dir_all(outside.join("src")).expect("a folder");
    fs::write(outside.join("src/main.rs"), "fn main() {}\n").expect("written");
    // The versions that are known to be here.
    fs::copy(root.join("Cargo.lock"), outside.join("Cargo.lock")).expect("copied");
    fs::write(outside.join("Cargo.toml"), manifest(&root)).expect("written");

    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(&outside)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let ours: Vec<&str> = crates.iter().copied().filter(|name| name.starts_with("framelane-")).collect();
    // The page's four, and what the worker has around it.
    let with_them =
        ["dispatch", "program", "queue", "wire", "worker"].map(|name| format!("framelane-{name}"));
    assert_eq!(ours, with_them);
    for heavy in ["gstreamer", "opencv", "ort", "lapin", "redis", "pprof"] {
        assert!(!crates.contains(heavy), "{heavy} comes with it");
    }
    // What the feature `kit` brings.
    assert!(crates.contains("clap") && crates.contains("tempfile"), "{crates:?}");
}

/// The page's dependencies, from here instead of from afar.
fn manifest(root: &Path) -> String {
    let page = fs::read_to_string(root.join("docs/custom-task.md")).expect("the page");
    let (_, rest) = page.split_once("```toml\n").expect("the page shows the dependencies");
    let (shown, _) = rest.split_once("```").expect("they end");
    let mut manifest =
        "[workspace]\n[package]\nname = \"wordcount\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
                        [dependencies]\n"
            .to_owned();
    for line in shown.lines() {
        let ours = line.split_once("framelane-").and_then(|(_, rest)| rest.split_once('"'));
        let path = ours.map(|(name, _)| format!("path = '{}'", root.join(name).display()));
        manifest += &path.map_or(line.to_owned(), |path| line.replace("git = \"…\"", &path));
        manifest += "\n";
    }
    manifest
}
