//! The measurements from end to end, short: each gives the figures that are promised, and finds nothing wrong.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Far more than it takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

async fn measure(args: &[&str], figures: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("figures.json");
    let run = Command::new(env!("CARGO_BIN_EXE_framelane-bench"))
        .args(args)
        .arg("--json")
        .arg(&json)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = timeout(WITHIN, run).await.expect("it ends").expect("it runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("figures")).expect("figures are JSON");
    for name in ["name", "machine", "commit"] {
        assert!(report[name].is_string(), "{name}: {report}");
    }
    for figure in figures {
        assert!(report["figures"][figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {report}");
    }
    for fault in ["out_of_order", "duplicates", "lost", "unbalanced"] {
        assert_eq!(report["figures"][fault], 0.0, "{fault}: {said}");
    }
}

#[tokio::test]
async fn dispatch_has_its_figures() {
    let figures = [
        "life_ns",
        "life_1000_ns",
        "quinn_ratio",
        "quinn_cpu_ratio",
        "echo_ratio",
        "shm_per_s",
        "shm_p50_ms",
    ];
    // No Python, so that it is the same wherever it runs.
    measure(&["dispatch", "--rounds", "1", "--seconds", "0.3", "--python", "/nonexistent"], &figures).await;
}

#[tokio::test]
async fn wordcount_has_its_figures() {
    let figures = [
        "tasks_per_s",
        "unbatched_per_s",
        "local_tasks_per_s",
        "pushed_per_s",
        "rtt_p50_us",
        "rounds",
        "seconds",
    ];
    measure(&["wordcount", "--alone", "--rounds", "1", "--seconds", "0.3"], &figures).await;
}

#[tokio::test]
async fn lanes_have_their_figures() {
    let figures =
        ["redis_ratio", "redis_per_s", "redis_bare_per_s", "amqp_ratio", "amqp_per_s", "amqp_bare_per_s"];
    measure(&["lanes", "--rounds", "1", "--seconds", "0.5"], &figures).await;
}

#[tokio::test]
async fn scale_has_its_figures() {
    let figures = ["worst_ratio", "ratio_1", "ratio_9"];
    measure(&["scale", "--rounds", "1", "--seconds", "0.3", "--workers", "1,9"], &figures).await;
}

#[tokio::test]
async fn python_has_its_figures() {
    let bench = std::path::Path::new(env!("CARGO_BIN_EXE_framelane-bench"));
    let ours = bench.ancestors().nth(2).expect("TARGET").join("python/dev/venv/bin/python");
    let ours = ours.to_str().expect("the path is text");
    let args =
        ["python", "--alone", "--rounds", "1", "--seconds", "0.3", "--scripts", "versus", "--ours", ours];
    measure(&args, &["words_per_s", "frames_per_s"]).await;
}
