//! Tells the program which commit it is built from, since figures are published with it.
//!
//! Of an optimised build alone: it is the one whose figures count, and the others are spared a new build after every
//! commit.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program reads.
const COMMIT: &str = "FRAMELANE_COMMIT";
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        println!("cargo::rustc-env={COMMIT}=debug build");
        return;
    }
    println!("cargo::rustc-env={COMMIT}={}", commit().unwrap_or_else(|| "unknown".into()));
}

/// The commit, with a `+` where sources differ from it; none outside a checkout.
fn commit() -> Option<String> {
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // A commit and a checkout write there. Where there is no such file, cargo asks every time.
    for file in ["HEAD", "logs/HEAD"] {
        watch(Path::new(&git(&["rev-parse", "--git-path", file])?));
    }
    let sources = sources(&PathBuf::from(git(&["rev-parse", "--show-toplevel"])?))?;
    sources.iter().for_each(|path| watch(path));
    let mut status = Command::new("git");
    status.args(["status", "--porcelain", "--untracked-files=no", "--"]).args(&sources);
    let mark = if said(status)?.is_empty() { "" } else { "+" };
    Some(format!("{commit}{mark}"))
}

/// What our programs are made of: whatever changes there makes this one anew anyway.
fn sources(root: &Path) -> Option<Vec<PathBuf>> {
    let mut sources = ["Cargo.toml", "Cargo.lock"].map(|file| root.join(file)).to_vec();
    let crates = std::fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    for folder in crates.filter(|folder| folder.join("Cargo.toml").exists()) {
        let parts = std::fs::read_dir(folder).ok()?.flatten();
        sources.extend(parts.filter(|part| part.file_name() != "tests").map(|part| part.path()));
    }
    sources.sort();
    Some(sources)
}

fn watch(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}

fn git(args: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.args(args);
    said(git)
}

fn said(mut command: Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
