//! The program as a person runs it: the same edges, in order, whoever found them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use edges::detector::Detector;
use edges::{drawn, file};
use wire::Processor;

fn run(args: &[&str], paths: &[&Path]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_edges"));
    program.args(args).args(paths).env_clear().stdin(Stdio::null());
    program.output().expect("the program starts")
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().expect("a name of ordinary letters");
            (name, fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

#[test]
fn threads_and_processes_find_the_same_edges() {
    let folder = tempfile::tempdir().expect("a folder");
    let (threads, processes) = (folder.path().join("threads"), folder.path().join("processes"));
    for (who, out) in [(["--local", "2"], &threads), (["--workers", "2"], &processes)] {
        let output = run(&[&who[..], &["--drawn", "20", "--out"]].concat(), &[out]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("20 pictures"));
    }
    let found = files(&threads);
    assert_eq!(found.len(), 20);
    assert!(found == files(&processes));
    // Each under its own name: the ball has moved on from one to the next.
    for number in [0, 7, 19] {
        let own = Detector::default().process(drawn::picture(number)).expect("a picture");
        let path = threads.join(format!("{number:05}.png"));
        assert_eq!(file::read(&path).expect("readable"), own);
    }
}

#[test]
fn a_folder_goes_through_and_what_is_no_picture_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pictures, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&pictures).expect("made");
    for number in 0..3 {
        file::write(&pictures.join(format!("{number}.png")), &drawn::picture(number)).expect("written");
    }
    fs::write(pictures.join("1a.png"), "no picture").expect("written");
    fs::write(pictures.join("notes.txt"), "not asked for").expect("written");
    let output = run(&["--workers", "1", "--out"], &[&out, &pictures]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("3 pictures"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1a.png"));
    assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["0.png", "1.png", "2.png"]);
}

#[test]
fn an_empty_folder_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(&["--local", "1"], &[folder.path()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no PNG file"));
}
