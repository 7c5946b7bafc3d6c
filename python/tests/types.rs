//! The package as type checkers see it: the stubs say what there is, and no more.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{file, python};

/// mypy, which `scripts/setup test` installs beside other tools, with the package to be seen as it is installed.
fn mypy(module: &str) -> Command {
    let checker = file("../../assets/.venv/bin/python");
    assert!(checker.exists(), "{} is not there: run scripts/setup test", checker.display());
    let where_to = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let installed = Command::new(python()).args(["-c", where_to]).output().unwrap();
    let installed = String::from_utf8(installed.stdout).unwrap();
    let mut mypy = Command::new(checker);
    mypy.args(["-m", module]).env("PYTHONPATH", installed.trim()).env("PYTHONDONTWRITEBYTECODE", "1");
    mypy
}

fn passes(mypy: &mut Command) {
    let checked = mypy.output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    assert!(said.contains("Success: no issues found"), "{said}");
}

/// Not among the sources.
fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mypy")
}

#[test]
fn the_stubs_say_what_the_native_half_has() {
    // Python shows it as a method from 3.12 on, though all versions have buffers.
    let known = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stubtest-known");
    std::fs::write(&known, "framelane._framelane.Body.__buffer__\n").unwrap();
    let mut stubtest = mypy("mypy.stubtest");
    stubtest.args(["framelane", "--ignore-unused-allowlist", "--allowlist"]).arg(known);
    passes(stubtest.current_dir(env!("CARGO_TARGET_TMPDIR")));
}

#[test]
fn a_program_and_the_package_itself_are_well_typed() {
    let mut package = mypy("mypy");
    passes(package.args(["--strict", "--cache-dir"]).arg(cache()).args(["--package", "framelane"]));
    // An error that is not one any more would be one: `--strict` wants no comment without a use.
    let mut program = mypy("mypy");
    passes(program.args(["--strict", "--cache-dir"]).arg(cache()).arg(file("workers/typed.py")));
}
