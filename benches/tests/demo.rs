//! The demo as a stranger meets it: one line, a page with a moving picture, and a quiet end.

mod support;

use std::fs;
use std::process::Stdio;

use framelane_bench::child::beside;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{WITHIN, assets, vtest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// In the environment of the demo and of all that it starts.
const MARK: &str = "FRAMELANE_TEST_DEMO";

/// Processes that carry the mark.
fn marked(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let carries = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| pair == format!("{MARK}={mark}").as_bytes())
    };
    processes.filter(carries).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_boxes_on_a_moving_picture_and_ends_quietly() {
    let mark = std::process::id().to_string();
    let assets = assets();
    let mut demo = Command::new(beside("framelane-bench").expect("built"))
        .arg("demo")
        .args(["--clip", &vtest(), "--model", "nanodet-int8"])
        .args(["--models".as_ref(), assets.models.as_os_str()])
        .args(["--onnxruntime".as_ref(), assets.onnxruntime.as_os_str()])
        .envs(["HTTP", "RTSP", "QUIC"].map(|port| (format!("FRAMELANE_{port}"), "127.0.0.1:0")))
        .env(MARK, &mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo starts");
    let mut stdout = BufReader::new(demo.stdout.take().expect("piped")).lines();
    let mut stderr = demo.stderr.take().expect("piped");
    let ready =
        timeout(WITHIN, stdout.next_line()).await.expect("ready in time").expect("text").expect("a line");
    let mut words = ready.strip_prefix("Framelane is ready: ").expect("the ready line").split(' ');
    let (page, rtsp) = (words.next().expect("the page"), words.next().expect("the RTSP URL"));
    assert!(page.starts_with("http://127.0.0.1:") && rtsp.starts_with("rtsp://127.0.0.1:"), "{ready}");

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/tests/browser/page.mjs");
    let picture = tempfile::tempdir().expect("a folder");
    let shown = Command::new("node")
        .args([script.as_ref(), page.as_ref(), picture.path().join("page.png").as_os_str()])
        .output();
    let shown = timeout(2 * WITHIN, shown)
        .await
        .expect("the page in time")
        .expect("node is installed: run scripts/setup test");
    let said = String::from_utf8_lossy(&shown.stdout).into_owned() + &String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{said}");

    assert!(marked(&mark).len() >= 4, "the demo, camera, server and worker run");
    let pid = demo.id().expect("it runs").try_into().expect("a process id");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("the signal is sent");
    let status = timeout(WITHIN, demo.wait()).await.expect("it ends in time").expect("its status");
    let mut complaints = String::new();
    stderr.read_to_string(&mut complaints).await.expect("text");
    assert!(status.success(), "{status}: {complaints}");
    assert_eq!(complaints, "", "it ends without a word");
    assert_eq!(marked(&mark), Vec::<String>::new(), "nothing outlives it");
}
