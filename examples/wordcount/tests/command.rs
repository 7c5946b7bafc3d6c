//! The program as a person runs it: threads, processes that it starts, workers from elsewhere.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Output, Stdio};

use wire::{Cbor, Processor};
use wordcount::counter::Counter;

use support::{Ended, program};

fn run(args: &[&str]) -> Output {
    program().args(args).output().expect("the program starts")
}

/// The most frequent words of a run that went well, and how many tasks it says it did.
fn table(output: &Output) -> (Vec<(String, u64)>, u64) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    let mut tasks = 0;
    let mut words = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [count, word] => words.push((word.to_owned(), count.parse().expect("a number"))),
            [count, "tasks", ..] => tasks = count.parse().expect("a number"),
            _ => panic!("what is this line? {line}"),
        }
    }
    (words, tasks)
}

/// What the table must be.
fn expected(text: &str, repeat: u64) -> (Vec<(String, u64)>, u64) {
    let Cbor(counts) = Counter.process(Cbor(text.to_owned())).expect("text");
    let mut words: Vec<(String, u64)> = counts.into_iter().map(|(word, n)| (word, n * repeat)).collect();
    words.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), word.clone()));
    words.truncate(10);
    (words, text.split_whitespace().count() as u64 * repeat)
}

const LICENCE: &str = include_str!("../../../LICENSE-APACHE");

#[test]
fn two_processes_count_what_one_would_count_alone() {
    let output = run(&["--repeat", "3"]);
    assert_eq!(table(&output), expected(LICENCE, 3));
}

#[test]
fn threads_and_processes_count_together() {
    let output = run(&["--local", "2", "--workers", "1", "--repeat", "3"]);
    assert_eq!(table(&output), expected(LICENCE, 3));
}

#[test]
fn a_file_and_the_standard_input_are_counted() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "To be, or not to be: that is the question.";
    std::fs::write(file.path(), text).expect("written");
    let path = file.path().to_str().expect("a path of ordinary letters");
    assert_eq!(table(&run(&["--local", "1", path])), expected(text, 1));

    let mut child = program()
        .args(["--local", "1", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("read");
    assert_eq!(table(&child.wait_with_output().expect("its output")), expected(text, 1));
}

#[test]
fn a_text_that_is_not_there_is_named() {
    let output = run(&["--local", "1", "no/such/text"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/text"));
}

#[test]
fn workers_from_elsewhere_join_one_dies_and_nothing_is_lost() {
    // Longer than a word takes, so that it does not end before the others are there.
    let child = program()
        .args(["--listen", "127.0.0.1:0", "--repeat", "200"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut counting = Ended(child);
    let mut said = BufReader::new(counting.0.stdout.take().expect("piped"));
    let mut command = String::new();
    said.read_line(&mut command).expect("a line");
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!((words[0], words[1]), ("wordcount", "worker"));

    let states = tempfile::tempdir().expect("a folder");
    let worker = |name: &str| {
        let mut worker = program();
        worker
            .args(&words[1..])
            .arg("--state")
            .arg(states.path().join(name))
            .args(["--name", name, "--once"]);
        Ended(worker.stderr(Stdio::piped()).spawn().expect("the program starts"))
    };
    // It counts alone at first, then dies without a word. Its standard error is closed with it.
    let mut dies = worker("dies");
    let mut log = BufReader::new(dies.0.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(" connected") {
        line.clear();
        assert!(log.read_line(&mut line).expect("text") > 0, "it ended before it was connected");
    }
    dies.0.kill().expect("killed");
    let mut stays = worker("stays");

    let mut stdout = Vec::new();
    said.read_to_end(&mut stdout).expect("its output");
    let status = counting.0.wait().expect("its status");
    assert_eq!(table(&Output { status, stdout, stderr: Vec::new() }), expected(LICENCE, 200));
    assert!(stays.0.wait().expect("its status").success(), "it was let go");
}

#[test]
fn a_worker_that_cannot_start_is_named_at_once() {
    let output = program().env("FRAMELANE_WORKER_CREDIT", "none").output().expect("the program starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(" ended before it had joined") && said.contains("--credit"), "{said}");
}

#[test]
fn a_word_that_is_too_long_for_a_message_is_counted_by_threads_alone() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    // Written, it has a head of its own length beside it.
    std::fs::write(file.path(), "a".repeat(64 * 1024)).expect("written");
    let path = file.path().to_str().expect("a path of ordinary letters");
    assert!(run(&["--local", "1", path]).status.success());
    let output = run(&["--workers", "1", path]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("its head has 65541 bytes, and a head may have 65536 at most"), "{said}");
    assert!(said.contains("1 words have no answer"), "{said}");
}

#[test]
fn the_counter_is_what_people_expect() {
    let Cbor(counts) = Counter.process(Cbor("Aha! aha, (b)".to_owned())).expect("text");
    assert_eq!(counts, BTreeMap::from([("aha".to_owned(), 2), ("b".to_owned(), 1)]));
}
