//! A crate of a user's own, with the dependencies that docs/custom-task.md names and no others, builds: this example
//! in a folder outside the workspace, where no other crate's features help.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_documented_dependencies_are_enough_outside_this_workspace() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    // Kept from one run to the next, so that only the first one builds what is not ours.
    let outside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let member = outside.join("examples/wordcount");
    let _ = fs::remove_dir_all(outside.join("examples"));
    fs::create_dir_all(member.join("src")).expect("a folder");
    for file in fs::read_dir(here.join("src")).expect("the sources") {
        let from = file.expect("a file").path();
        let name = from.file_name().expect("a file has a name");
        fs::copy(&from, member.join("src").join(name)).expect("copied");
    }
    // The text that it counts, and the versions that are known to be here.
    for (from, to) in [("LICENSE-APACHE", &outside), ("Cargo.lock", &member)] {
        fs::copy(root.join(from), to.join(from)).expect("copied");
    }
    fs::write(member.join("Cargo.toml"), manifest(&root)).expect("written");

    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--target-dir"])
        .arg(outside.join("target"))
        .current_dir(&member)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
