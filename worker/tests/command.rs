//! `framelane-worker` as a person runs it: in at the first try, out on a signal, and clear about what is
//! wrong.
#![cfg(unix)]

mod support;

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use support::{Server, WITHIN, Worker, assets, text};
use tokio::time::timeout;
use wire::Closed;
use wire::identity::Authority;
use wire::protocol::HelloKey;
use wire::server::Event;

/// How it ends when only another token can help.
const NOT_ADMITTED: i32 = 77;

/// Arguments for a worker that would work.
struct Arguments {
    server: String,
    state: String,
    models: String,
    library: String,
}

impl Arguments {
    fn new(server: &str, state: &Path) -> Self {
        let assets = assets();
        Arguments {
            server: server.to_owned(),
            state: text(state),
            models: text(&assets.join("models")),
            library: text(&assets.join("onnxruntime/libonnxruntime.so")),
        }
    }

    fn start(&self, more: &[&str]) -> Worker {
        let mut all = vec![
            "--server",
            &self.server,
            "--state",
            &self.state,
            "--models",
            &self.models,
            "--onnxruntime",
            &self.library,
            "--threads",
            "1",
        ];
        all.extend(more);
        Worker::start(&all)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_enrols_once_serves_its_models_and_leaves_on_sigterm() {
    let server = Server::start();
    let state = tempfile::tempdir().expect("a folder");
    let arguments = Arguments::new(&server.listener.local_addr().to_string(), state.path());
    let mut worker = arguments.start(&["--token", &server.token(), "--name", "first"]);
    let (peer, mut events) = server.peer().await;
    let hello = peer.hello();
    assert_eq!((hello.name.as_str(), hello.credit), ("first", 2));
    let ours = |keys: &[HelloKey]| {
        keys.iter().all(|key| key.key.task.as_str() == "detect" && key.key.model.is_some())
    };
    assert!(!hello.keys.is_empty() && ours(&hello.keys));
    let identity = peer.worker();
    // It joined before its models were loaded, and says when they are.
    let mut keys = hello.keys.clone();
    while !keys.iter().all(|key| key.warm) {
        match timeout(WITHIN, events.next()).await.expect("in time") {
            Event::Keys(now) => keys = now,
            other => panic!("{other:?}"),
        }
    }
    assert!(!keys.is_empty() && ours(&keys));

    worker.signal(Signal::SIGTERM);
    assert_eq!(timeout(WITHIN, events.next()).await.expect("in time"), Event::Drain);
    assert!(matches!(timeout(WITHIN, events.next()).await.expect("in time"), Event::Closed(_)));
    assert!(worker.ended().await.success(), "{}", worker.heard);

    let mut again = arguments.start(&[]);
    let (peer, _events) = server.peer().await;
    assert_eq!(peer.worker(), identity, "the identity on disk is the one that it got");
    again.signal(Signal::SIGTERM);
    assert!(again.ended().await.success(), "{}", again.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_logs_to_a_file_and_draws_where_its_time_went() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (log, profile) = (folder.path().join("log"), folder.path().join("profile.svg"));
    fs::write(&log, "from before\n").expect("written");
    let arguments = Arguments::new(&server.listener.local_addr().to_string(), &folder.path().join("state"));
    let (token, log_file, graph) = (server.token(), text(&log), text(&profile));
    let mut worker = arguments.start(&["--token", &token, "--log-file", &log_file, "--profile", &graph]);
    let (_peer, _events) = server.peer().await;
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().await.success(), "{}", worker.heard);
    assert_eq!(worker.heard, "", "all of it is in the file");
    let said = fs::read_to_string(&log).expect("the log");
    assert!(
        said.starts_with("from before\n") && said.contains("enrolled") && said.contains("drain"),
        "{said}"
    );
    assert!(fs::read_to_string(&profile).expect("the graph").starts_with("<svg"));
    assert!(folder.path().join("profile.svg.folded").exists());

    // A full disk costs the log, and nothing else.
    #[cfg(target_os = "linux")]
    {
        let mut full = arguments.start(&["--log-file", "/dev/full"]);
        let (_peer, _events) = server.peer().await;
        full.signal(Signal::SIGTERM);
        assert!(full.ended().await.success(), "{}", full.heard);
        let told = |what| full.heard.matches(what).count() == 1;
        assert!(told("--log-file /dev/full: No space left"), "{}", full.heard);
        assert!(told("lines are missing in this log"), "{}", full.heard);
    }

    let mut nowhere = arguments.start(&["--log-file", "no/such/folder/log"]);
    assert_eq!(nowhere.ended().await.code(), Some(1));
    assert!(nowhere.heard.contains("--log-file no/such/folder/log"), "{}", nowhere.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retrying_it_ends_when_the_server_is_not_there() {
    let server = Server::start();
    let (token, address) = (server.token(), server.listener.local_addr().to_string());
    let state = tempfile::tempdir().expect("a folder");
    let arguments = Arguments::new(&address, state.path());
    let mut enrolled = arguments.start(&["--token", &token]);
    let (peer, _events) = server.peer().await;
    enrolled.signal(Signal::SIGTERM);
    assert!(enrolled.ended().await.success(), "{}", enrolled.heard);
    drop(peer);
    server.listener.close().await;
    drop(server);

    // One that could connect, and one that would have to enrol first.
    let other = tempfile::tempdir().expect("a folder");
    let stranger = Arguments::new(&address, other.path());
    for mut worker in [arguments.start(&["--no-retry"]), stranger.start(&["--no-retry", "--token", &token])] {
        assert_eq!(worker.ended().await.code(), Some(1), "{}", worker.heard);
        assert!(worker.heard.contains(&address), "{}", worker.heard);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_when_the_server_does() {
    let server = Server::start();
    let state = tempfile::tempdir().expect("a folder");
    let arguments = Arguments::new(&server.listener.local_addr().to_string(), state.path());
    let mut worker = arguments.start(&["--token", &server.token()]);
    // Only for a moment: a connection that is held keeps the port.
    let identity = server.peer().await.0.worker();
    let server = server.restart().await;
    let (peer, _events) = server.peer().await;
    assert_eq!(peer.worker(), identity);
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().await.success(), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_used_up_or_mistyped_is_refused_with_what_to_do() {
    let server = Server::start();
    let state = tempfile::tempdir().expect("a folder");
    let address = server.listener.local_addr().to_string();
    let token = server.token();
    let first = Arguments::new(&address, &state.path().join("first"));
    let mut worker = first.start(&["--token", &token]);
    let _joined = server.peer().await;
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().await.success());

    let second = Arguments::new(&address, &state.path().join("second"));
    let mut worker = second.start(&["--token", &token]);
    assert_eq!(worker.ended().await.code(), Some(NOT_ADMITTED), "{}", worker.heard);
    assert!(worker.heard.contains("framelane workers token"), "{}", worker.heard);

    let mut worker = second.start(&["--token", "fl1_nonsense"]);
    assert_eq!(worker.ended().await.code(), Some(2), "{}", worker.heard);
    assert!(worker.heard.contains("--token"), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_server_is_refused() {
    let (server, other) = (Server::start(), Server::start());
    let state = tempfile::tempdir().expect("a folder");
    let arguments = Arguments::new(&server.listener.local_addr().to_string(), state.path());
    let mut worker = arguments.start(&["--token", &other.token()]);
    assert_eq!(worker.ended().await.code(), Some(NOT_ADMITTED), "{}", worker.heard);
    assert!(worker.heard.contains("token"), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_or_an_identity_it_says_how_to_get_one() {
    let state = tempfile::tempdir().expect("a folder");
    let mut worker = Arguments::new("127.0.0.1:9", state.path()).start(&[]);
    assert_eq!(worker.ended().await.code(), Some(NOT_ADMITTED), "{}", worker.heard);
    assert!(worker.heard.contains("--token"), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_tried_again_until_a_signal() {
    let server = Server::start();
    let token = server.token();
    let address = server.listener.local_addr().to_string();
    server.listener.close().await;
    drop(server);
    let state = tempfile::tempdir().expect("a folder");
    let mut worker = Arguments::new(&address, state.path()).start(&["--token", &token]);
    worker.says("will try again").await;
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().await.success(), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_onnx_is_named() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("models/nanodet-int8");
    fs::create_dir_all(&model).expect("made");
    // This manifest names no sha256, so only ONNX Runtime can tell.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/zoo/nanodet-int8/model.toml");
    fs::copy(manifest, model.join("model.toml")).expect("copied");
    fs::write(model.join("model.onnx"), "no model").expect("written");
    let mut arguments =
        Arguments::new(&server.listener.local_addr().to_string(), &folder.path().join("state"));
    arguments.models = text(&folder.path().join("models"));
    let mut worker = arguments.start(&["--token", &server.token()]);
    assert_eq!(worker.ended().await.code(), Some(1), "{}", worker.heard);
    assert!(worker.heard.contains("model.onnx is not an ONNX model"), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_library_and_missing_models_are_named() {
    let server = Server::start();
    let state = tempfile::tempdir().expect("a folder");
    let address = server.listener.local_addr().to_string();
    let mut arguments = Arguments::new(&address, state.path());
    arguments.library = "no/libonnxruntime.so".into();
    let mut worker = arguments.start(&["--token", &server.token()]);
    assert_eq!(worker.ended().await.code(), Some(1), "{}", worker.heard);
    assert!(worker.heard.contains("no/libonnxruntime.so"), "{}", worker.heard);

    // Enrolled by now, so no token is needed.
    let mut arguments = Arguments::new(&address, state.path());
    arguments.models = "no/models".into();
    let mut worker = arguments.start(&[]);
    assert_eq!(worker.ended().await.code(), Some(1), "{}", worker.heard);
    assert!(worker.heard.contains("no/models"), "{}", worker.heard);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_worker_is_sent_away_and_stops_with_what_to_do() {
    let server = Server::start();
    let state = tempfile::tempdir().expect("a folder");
    let arguments = Arguments::new(&server.listener.local_addr().to_string(), state.path());
    let mut worker = arguments.start(&["--token", &server.token()]);
    let (peer, mut events) = server.peer().await;
    // Another handle on the folder, as `framelane workers revoke` has.
    let operator = Authority::load(server.folder.path()).expect("the authority");
    operator.revoke(peer.worker()).expect("written").expect("it is known");
    loop {
        match timeout(WITHIN, events.next()).await.expect("in time") {
            Event::Closed(closed) => break assert!(matches!(closed, Closed::Revoked(_)), "{closed}"),
            _ => continue,
        }
    }
    assert_eq!(worker.ended().await.code(), Some(NOT_ADMITTED), "{}", worker.heard);
    assert!(worker.heard.contains("revoked") && worker.heard.contains("workers token"), "{}", worker.heard);

    // Nor does it get in again, until it has a new token.
    let mut again = arguments.start(&[]);
    assert_eq!(again.ended().await.code(), Some(NOT_ADMITTED), "{}", again.heard);
    let mut anew = arguments.start(&["--token", &server.token()]);
    let (other, _events) = server.peer().await;
    assert_ne!(other.worker(), peer.worker());
    anew.signal(Signal::SIGTERM);
    assert!(anew.ended().await.success(), "{}", anew.heard);
}
