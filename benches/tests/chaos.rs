//! The chaos command from end to end, short; and that it notices when a promise is broken.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// Far more than it takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

/// Runs it; gives its success, its figures, and what it said.
async fn chaos(args: &[&str]) -> (bool, serde_json::Value, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("chaos.json");
    let run = Command::new(env!("CARGO_BIN_EXE_framelane-bench"))
        .args(["chaos", "--seed", "7", "--json"])
        .arg(&json)
        // A machine that is busy with other tests is less punctual than one that measures, but not by the budget itself.
        .args(["--tick-ms", "250"])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = timeout(WITHIN, run).await.expect("it ends").expect("it runs");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let json = std::fs::read(&json).unwrap_or_else(|error| panic!("no figures ({error}): {said}"));
    let report: serde_json::Value = serde_json::from_slice(&json).expect("figures are JSON");
    (run.status.success(), report["figures"].clone(), said)
}

/// All was played, and nothing was broken.
async fn kept(scenarios: &str, seconds: &str) -> (serde_json::Value, String) {
    let (kept, figures, said) = chaos(&["--scenario", scenarios, "--seconds", seconds]).await;
    assert!(kept, "{said}");
    for name in ["out_of_order", "duplicates", "lost", "wrong", "unbalanced", "broken", "skipped"] {
        assert_eq!(figures[name], 0.0, "{name}: {said}");
    }
    assert_eq!(figures["scenarios"], scenarios.split(',').count() as f64, "{said}");
    assert!(figures["answered"].as_f64() > Some(100.0), "{said}");
    (figures, said)
}

#[tokio::test]
async fn promises_hold_while_workers_die_and_lie_behind_a_bad_network() {
    let (figures, said) = kept("kill,closed,fails,garbage,network", "4").await;
    // Who was lost is known by name, both to who killed it and to who handed out.
    for name in ["recover_samples", "recover_closed_samples"] {
        assert!(figures[name].as_f64() > Some(0.0), "{name}: {said}");
    }
    for name in ["recover_unknown", "recover_closed_unknown"] {
        assert_eq!(figures[name], 0.0, "{name}: {said}");
    }
}

#[tokio::test]
async fn promises_hold_while_workers_stop_and_are_late_and_the_server_dies() {
    let (figures, said) = kept("stop,late,twice,never,restart,all", "5").await;
    assert!(figures["restart_back_ms"].as_f64() > Some(0.0), "{said}");
}

#[tokio::test]
async fn a_promise_that_is_broken_is_named_and_fails_the_run() {
    for (way, figure, promise) in [
        ("drop", "lost", "exactly once (Lossless): 1 places never left"),
        ("swap", "out_of_order", "order (Lossless)"),
        ("duplicate", "duplicates", "exactly once (Lossless): 1 places left twice"),
        ("wrong", "wrong", "its own answer (Lossless): 1 answers of other jobs"),
        ("missing", "broken", "nothing lost: 1 places of the lossless flow"),
        ("unbalanced", "unbalanced", "the books: "),
        ("late", "broken", "in time: a place left "),
        ("leak", "broken", "bounded memory: it grew by "),
    ] {
        // What leaks must come to more than memory moves by itself.
        let seconds = if way == "leak" { "7" } else { "1.5" };
        let (kept, figures, said) =
            chaos(&["--scenario", "slow", "--seconds", seconds, "--break", way]).await;
        assert!(!kept, "{way} was not seen: {said}");
        assert!(figures[figure].as_f64() >= Some(1.0), "{way}: {said}");
        assert!(said.contains(&format!("BROKEN: {promise}")), "{way}: {said}");
    }
}

/// Processes that this one started and that still run, as the kernel knows them. Not those that are no program of
/// ours yet: a copy of this one, or `setpriv`, does not yet end with who started it.
fn children(of: u32) -> Vec<u32> {
    let words_of_parent = std::fs::read_to_string(format!("/proc/{of}/cmdline")).expect("it runs");
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let words = |pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = |pid| {
        let words = words(pid);
        !words.is_empty() && !words.starts_with("setpriv\0") && words != words_of_parent
    };
    pids.filter(|pid| stat(*pid).is_some_and(|(_, parent)| parent == of) && ours(*pid)).collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Nobody tells of processes that are not this one's own.
async fn until(holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WITHIN, look).await.expect("it comes to that");
}

#[tokio::test]
async fn a_bench_that_is_killed_leaves_no_process_behind() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_framelane-bench"))
        .args(["chaos", "--scenario", "slow", "--seconds", "600", "--seed", "7"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let pid = bench.id().expect("it runs");
    // A coordinator and four workers.
    until(|| children(pid).len() == 5).await;
    let left = children(pid);
    bench.kill().await.expect("it is killed");
    until(|| left.iter().all(|pid| stat(*pid).is_none_or(|(state, _)| state == 'Z'))).await;
}

#[tokio::test]
async fn a_measurement_that_is_interrupted_leaves_no_process_behind() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_framelane-bench"))
        .args(["scale", "--workers", "2", "--seconds", "600"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let pid = bench.id().expect("it runs");
    until(|| !children(pid).is_empty()).await;
    let left = children(pid);
    let mut stderr = BufReader::new(bench.stderr.take().expect("it is piped")).lines();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).expect("it is there");
    let ended = timeout(WITHIN, bench.wait()).await.expect("it ends").expect("it is ours");
    assert_eq!(ended.code(), Some(1));
    // What it said before is how far it was.
    let mut told = false;
    while let Some(said) = timeout(WITHIN, stderr.next_line()).await.expect("it ends").expect("text") {
        told |= said.contains("Ctrl-C");
    }
    assert!(told);
    until(|| left.iter().all(|pid| stat(*pid).is_none_or(|(state, _)| state == 'Z'))).await;
}
