//! The life of workers in Python: several processes, signals, deaths, and who is not let in.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use queue::Policy;
use support::{Site, WITHIN, attempts};
use wire::Cbor;
use wire::identity::{Role, TokenOptions};

task!(ProcessId, "pid", Cbor<f64>, Cbor<i32>);
task!(Hang, "hang", Cbor<String>, Cbor<i32>);
task!(Meet, "meet", Cbor<()>, Cbor<String>);

/// Process ids of all processes that answer.
async fn pids(site: &Site, count: usize) -> BTreeSet<i32> {
    let mut pids = BTreeSet::new();
    let mut flow = site.open::<ProcessId>(Policy::lossless()).await;
    while pids.len() < count {
        for _ in 0..count * 4 {
            flow.send(Cbor(0.02)).await;
        }
        for _ in 0..count * 4 {
            pids.insert(flow.next().await.answer.unwrap().0);
        }
    }
    pids
}

fn is_quiet(log: &str) {
    for word in ["Traceback", "KeyboardInterrupt", "Error", "ERROR", "panicked"] {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
    }
}

/// Whatever is in hand when it is told to stop is finished.
async fn ends_well(processes: &str, lanes: usize, signal: Signal, group: bool) {
    let site = Site::new().await;
    let mut worker = site.worker("stopped", "tasks.py", &[processes], lanes).await;
    let mut flow = site.open::<ProcessId>(Policy::lossless()).await;
    for _ in 0..lanes {
        flow.send(Cbor(0.3)).await;
    }
    site.until(|all| all.iter().filter(|lane| lane.outstanding > 0).count() == lanes).await;
    match group {
        true => worker.signal_group(signal),
        false => worker.signal(signal),
    }
    for _ in 0..lanes {
        assert!(flow.next().await.answer.is_some());
    }
    let status = worker.ended().await;
    assert_eq!((status.code(), worker.out().as_str()), (Some(0), "over\n"), "{}", worker.log());
    is_quiet(&worker.log());
    site.until(|lanes| lanes.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_one_process_quietly() {
    ends_well("1", 1, Signal::SIGINT, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_all_processes_quietly() {
    ends_well("2", 2, Signal::SIGINT, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_all_processes_when_they_are_done() {
    ends_well("2", 2, Signal::SIGTERM, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_does_not_wait() {
    let site = Site::new().await;
    let mut worker = site.worker("impatient", "tasks.py", &["2"], 2).await;
    let mut flow = site.open::<ProcessId>(Policy::lossless()).await;
    for _ in 0..2 {
        flow.send(Cbor(3600.0)).await;
    }
    site.until(|all| all.iter().filter(|lane| lane.outstanding > 0).count() == 2).await;
    let children = children(&worker);
    worker.signal_group(Signal::SIGINT);
    site.until(|lanes| lanes.iter().all(|lane| lane.draining)).await;
    worker.signal_group(Signal::SIGINT);
    assert_eq!(worker.ended().await.code(), Some(130));
    for child in children {
        gone(child).await;
    }
}

/// The processes that a worker started.
fn children(worker: &support::Worker) -> Vec<Pid> {
    let parent = worker.pid();
    let path = format!("/proc/{parent}/task/{parent}/children");
    let all = std::fs::read_to_string(path).unwrap();
    let all: Vec<_> = all.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect();
    assert_eq!(all.len(), 2);
    all
}

async fn gone(pid: Pid) {
    let gone = tokio::time::timeout(WITHIN, async {
        // Not there, or dead and not yet collected by whoever inherited it.
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
        };
        while lives() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(gone.await.is_ok(), "{pid} is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_process_that_is_killed_and_it_comes_back() {
    let site = Site::new().await;
    let worker = site.worker("killed", "tasks.py", &["2"], 2).await;
    let victim = *pids(&site, 2).await.first().unwrap();
    let mut flow = site.open::<ProcessId>(Policy::lossless()).await;
    let before = site.lanes().await;
    for number in 0..200 {
        flow.send(Cbor(0.005)).await;
        if number == 60 {
            kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        }
    }
    for number in 0..200 {
        let done = flow.next().await;
        assert_eq!(done.seq.0, number);
        assert!(done.answer.is_some());
    }
    flow.inlet.close();
    assert!(flow.outlet.next().await.is_none());
    flow.outlet.closing_books().unwrap().balances().unwrap();
    let is_new = |lane: &support::View| before.iter().all(|known| known.lane != lane.lane);
    site.until(|lanes| lanes.len() == 2 && lanes.iter().any(is_new)).await;
    assert!(!pids(&site, 2).await.contains(&victim));
    assert!(worker.log().contains("ended by signal 9: it is started again"), "{}", worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_outlives_a_parent_that_is_killed() {
    let site = Site::new().await;
    let mut worker = site.worker("orphaned", "tasks.py", &["2"], 2).await;
    let children = children(&worker);
    worker.signal(Signal::SIGKILL);
    worker.ended().await;
    for child in children {
        gone(child).await;
    }
    site.until(|lanes| lanes.is_empty()).await;
}

/// The file that the first job which hangs leaves behind.
fn mark(site: &Site) -> Cbor<String> {
    Cbor(site.folder.path().join("mark").to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_hangs_with_the_whole_interpreter_ends_its_process() {
    let site = Site::new().await;
    let args = ["-m", "framelane", "serve", "tasks", "--hang-after", "0.5"];
    let mut worker = site.python("hangs", &args);
    site.joined(&mut worker, 1).await;
    let mut flow = site.open::<Hang>(attempts(1)).await;
    flow.send(mark(&site)).await;
    assert_eq!(worker.ended().await.code(), Some(86), "{}", worker.log());
    assert!(worker.log().contains("it hangs"), "{}", worker.log());
    assert!(flow.next().await.answer.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_processes_the_one_that_hangs_is_started_again_and_its_job_is_done_elsewhere() {
    let site = Site::new().await;
    let args = ["-m", "framelane", "serve", "tasks", "--processes", "2", "--hang-after", "0.5"];
    let mut worker = site.python("hangs", &args);
    site.joined(&mut worker, 2).await;
    let before = site.lanes().await;
    assert!(site.ask::<Hang>(mark(&site)).await.0 > 0);
    let is_new = |lane: &support::View| before.iter().all(|known| known.lane != lane.lane);
    site.until(|lanes| lanes.len() == 2 && lanes.iter().any(is_new)).await;
    assert!(worker.log().contains("ended since a job hung: it is started again"), "{}", worker.log());
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_threads_of_one_process_wait_at_once() {
    let site = Site::new().await;
    let mut worker = site.python("threads", &["-m", "framelane", "serve", "tasks:meet", "--threads", "2"]);
    site.joined(&mut worker, 1).await;
    let mut flow = site.open::<Meet>(attempts(1)).await;
    for _ in 0..2 {
        flow.send(Cbor(())).await;
    }
    for _ in 0..2 {
        // Each waits for the other in Python.
        assert_eq!(flow.next().await.answer, Some(Cbor("met".to_owned())), "{}", worker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_connected_as_it_was_told_and_ends_with_its_connection() {
    let site = Site::new().await;
    let ways = ["--once", "--credit", "3", "--no-shared-memory"];
    let mut worker = site.python("once", &[&["-m", "framelane", "serve", "tasks"], &ways[..]].concat());
    site.joined(&mut worker, 1).await;
    let lanes = site.lanes().await;
    assert_eq!((lanes[0].credit, lanes[0].label.shared_memory), (3, false));
    site.listener.close().await;
    assert_eq!(worker.ended().await.code(), Some(1), "{}", worker.log());
    let log = worker.log();
    assert!(log.contains("the server stops") && !log.contains("connecting again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_serves_a_module_or_some_of_its_tasks() {
    let site = Site::new().await;
    let mut all = site.python("all", &["-m", "framelane", "serve", "tasks", "--processes", "2"]);
    site.joined(&mut all, 2).await;
    assert_eq!(pids(&site, 2).await.len(), 2);
    let mut some = site.python("some", &["-m", "framelane", "serve", "tasks:echo,kind", "--name", "some"]);
    site.joined(&mut some, 3).await;
    let lanes = site.lanes().await;
    let keys = lanes.iter().find(|lane| lane.label.name == "some").map(|lane| lane.keys.len());
    assert_eq!(keys, Some(2));
    all.signal_group(Signal::SIGINT);
    assert_eq!(all.ended().await.code(), Some(0));
    is_quiet(&all.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_let_in_is_told_what_to_do() {
    let site = Site::new().await;
    for (name, args, code, said) in [
        ("nothing", &["-m", "framelane", "serve", "json"][..], 1, "there is nothing to serve"),
        ("unknown", &["-m", "framelane", "serve", "tasks:nope"], 1, "no function does the task 'nope'"),
        ("module", &["-m", "framelane", "serve", "nowhere"], 1, "No module named 'nowhere'"),
        ("server", &["-m", "framelane", "serve", "tasks", "--server", "here"], 1, "give it as HOST:PORT"),
        ("token", &["-m", "framelane", "serve", "tasks", "--token", "fl1_x"], 1, "the token is damaged"),
        ("hang", &["-m", "framelane", "serve", "tasks", "--hang-after", "-1"], 1, "0 for never"),
    ] {
        let mut worker = site.python(name, args);
        assert_eq!(worker.ended().await.code(), Some(code), "{}", worker.log());
        assert!(worker.log().contains(said), "{name}: {}", worker.log());
        is_quiet(&worker.log().replace("ModuleNotFoundError", ""));
    }
    let clients = site.authority.token_for(Role::Client, TokenOptions::default()).unwrap().to_string();
    let mut client = site.python("client", &["-m", "framelane", "serve", "tasks", "--token", &clients]);
    assert_eq!(client.ended().await.code(), Some(77), "{}", client.log());
    assert!(client.log().contains("another role and no worker"), "{}", client.log());
    // A token that was used up by another.
    let token = site.token();
    let mut first = site.python("first", &["-m", "framelane", "serve", "tasks", "--token", &token]);
    site.joined(&mut first, 1).await;
    for (name, processes) in [("second", "1"), ("third", "2")] {
        let args = ["-m", "framelane", "serve", "tasks", "--token", &token, "--processes", processes];
        let mut late = site.python(name, &args);
        assert_eq!(late.ended().await.code(), Some(77), "{}", late.log());
        is_quiet(&late.log());
    }
}
