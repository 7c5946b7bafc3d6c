//! Tasks pushed from Python to the program framelane-tasks, and done by a worker in Python and one in Rust.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{WITHIN, Worker, built, file};

/// The program, with two workers that count words: `tasks.py`, and `wordcount worker`.
struct Tasks {
    serving: Ended,
    addr: String,
    folder: tempfile::TempDir,
    python: Worker,
    _rust: Ended,
}

/// Ends it with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tasks {
    async fn start() -> Tasks {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut serving = Command::new(built("framelane-tasks"));
        serving.args(["serve", "--bind", "127.0.0.1:0", "--log", "warn", "--state"]).arg(&state);
        let mut serving = Ended(serving.stdin(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        // It says where it listens when it does.
        let addr = loop {
            if let Ok(addr) = std::fs::read_to_string(state.join("address")) {
                break addr.trim().to_owned();
            }
            assert!(serving.0.try_wait().unwrap().is_none() && begun.elapsed() < WITHIN, "it does not serve");
            tokio::task::yield_now().await;
        };
        let token = |role| ask(&folder, &["token", "--role", role]);
        let program = file("workers/tasks.py");
        let args = [program.to_str().unwrap(), "1", "loud"];
        let python = Worker::start(&folder.path().join("python"), &args, &addr, token("worker").trim());
        let rust = Command::new(built("wordcount"))
            .args(["worker", "--server", &addr, "--name", "rust", "--threads", "1", "--state"])
            .arg(folder.path().join("rust"))
            .env("FRAMELANE_TOKEN", token("worker").trim())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let tasks = Tasks { serving, addr, folder, python, _rust: Ended(rust) };
        tasks.until("two workers", |status| status.matches("\"wordcount\"").count() == 3).await;
        tasks
    }

    fn status(&self) -> String {
        ask(&self.folder, &["status"])
    }

    /// Waits until the status says so.
    async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(begun.elapsed() < WITHIN, "{what}: not in time:\n{status}\n{}", self.python.log());
            // Nobody tells when it changes.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn client(&self, args: &[&str]) -> Worker {
        let program = file("workers/push.py");
        let args: Vec<&str> = [&[program.to_str().unwrap()], args].concat();
        let token = ask(&self.folder, &["token", "--role", "client", "--uses", "3"]);
        Worker::start(&self.folder.path().join(args[1]), &args, &self.addr, token.trim())
    }

    async fn push(&self, args: &[&str]) {
        let mut client = self.client(args);
        assert!(client.ended().await.success(), "{}\nthe worker:\n{}", client.log(), self.python.log());
        assert_eq!(client.out(), "over\n");
    }
}

/// Says something to the coordinator from its own host.
fn ask(folder: &tempfile::TempDir, args: &[&str]) -> String {
    let asked = Command::new(built("framelane-tasks"))
        .args(args)
        .args(["--log", "warn", "--state"])
        .arg(folder.path().join("state"))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{args:?}: {}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).unwrap()
}

/// A field of each worker in the status, by the worker's name.
fn of_workers(status: &str, field: &str) -> Vec<(String, String)> {
    let all: Value = serde_json::from_str(status).unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let workers = all["workers"].as_array().unwrap().iter();
    workers.map(|worker| (text(&worker["name"]), text(&worker[field]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_counted_in_python_and_in_rust_for_a_client_in_python() {
    let tasks = Tasks::start().await;
    tasks.push(&["words"]).await;
    let answered = of_workers(&tasks.status(), "answered");
    assert_eq!(answered.iter().map(|(_, count)| count.parse::<u64>().unwrap()).sum::<u64>(), 2000);
    assert!(answered.iter().all(|(_, count)| count != "0"), "both worked: {answered:?}");

    let ids = of_workers(&tasks.status(), "id");
    let (_, rust) = ids.iter().find(|(name, _)| name == "rust").unwrap();
    tasks.push(&["rest", rust]).await;
    let log = tasks.python.log();
    assert!(log.contains("Traceback") && log.contains("ValueError: no luck with that"), "{log}");
    // Each client took its flow along.
    tasks.until("no queue is left", |status| status.contains("\"queues\": []")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_client_and_its_tasks_and_a_stop_ends_everybody() {
    let mut tasks = Tasks::start().await;
    let mut waits = tasks.client(&["waits"]);
    waits.says("waits\n").await;
    tasks.until("a task waits", |status| status.contains("\"pending\": 1")).await;
    waits.signal(Signal::SIGINT);
    assert!(!waits.ended().await.success());
    assert!(waits.log().contains("KeyboardInterrupt"), "{}", waits.log());
    tasks.until("its queue is gone", |status| status.contains("\"queues\": []")).await;

    let mut stopped = tasks.client(&["stopped"]);
    stopped.says("under way\n").await;
    tasks.until("it is with a worker", |status| status.contains("\"outstanding\": 1")).await;
    ask(&tasks.folder, &["stop"]);
    assert!(stopped.ended().await.success(), "{}", stopped.log());
    assert!(stopped.out().contains("told: "), "{}", stopped.out());
    assert!(tasks.serving.0.wait().unwrap().success());
    // It was told that the coordinator has stopped, which is for good, and says so.
    tasks.python.signal(Signal::SIGTERM);
    assert!(tasks.python.ended().await.success(), "{}", tasks.python.log());
}
