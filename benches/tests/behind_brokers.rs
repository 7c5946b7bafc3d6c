//! `framelane serve` and `framelane-worker` as docs/brokers.md starts them, with a Redis and with a RabbitMQ between
//! them, and over TLS; a real model on a real clip.

mod support;

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use framelane_bench::brokers::{Broker, MORTAL};
use framelane_bench::child::{Child, beside};
use framelane_bench::rig::{self, Server};
use support::{WITHIN, assets, vtest};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use web::api::WorkerKind;
use wire::broker::Kind;

/// Where programs look for authorities instead of in the system's folder.
const ROOTS: &str = "SSL_CERT_FILE";

fn flag(kind: Kind) -> String {
    format!("--{}", kind.name())
}

fn worker(kind: Kind, address: &str, roots: Option<&Path>) -> Child {
    let assets = assets();
    let mut args = vec![flag(kind), address.to_owned()];
    args.extend(["--threads", "1", "--models"].map(str::to_owned));
    let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
    args.extend([assets.models.into(), "--onnxruntime".into(), assets.onnxruntime.into()]);
    Child::start_by(&by(roots), "framelane-worker", args, "warn").expect("a worker")
}

/// What becomes the program.
fn by(roots: Option<&Path>) -> Vec<String> {
    let set = roots.map(|roots| format!("{ROOTS}={}", roots.display()));
    MORTAL
        .map(str::to_owned)
        .into_iter()
        .chain(set.into_iter().flat_map(|set| ["env".to_owned(), set]))
        .collect()
}

async fn frames_are_answered(kind: Kind, address: &str, roots: Option<&Path>, shown: WorkerKind) {
    let folder = tempfile::tempdir().expect("a folder");
    let (camera, url) = rig::camera(["--source", &vtest(), "--loop"]).await.expect("a camera");
    // Tried until answered, with time enough for a busy machine: within this policy nothing is lost.
    let streams = format!(
        "[[broker]]\nurl = {address:?}\ncredit = 4\n[streams.street]\nsource = {url:?}\nmodel = \"nanodet-int8\"\n\
         budget_ms = 20000\nattempts = 0\npending = 200\nheld = 400\n"
    );
    let started = Server::start_by(&by(roots), folder.path(), &streams, &assets(), [""; 0]).await;
    let (server, api) = started.expect("a server");
    let worker = worker(kind, address, roots);
    let enough = |stream: &web::api::Stream| stream.ledger.answered >= 40;
    let ledger = api.wait_for("street", "forty answered frames", enough).await.expect("frames").ledger;
    assert!(ledger.balances(), "{ledger:?}");
    let workers = api.workers().await.expect("the workers");
    assert!(workers.iter().any(|worker| worker.kind == shown && worker.answered > 0), "{workers:?}");
    assert!(!format!("{workers:?}").contains("guest"), "no password is shown: {workers:?}");

    // It says goodbye, and a frame that then waits finds another worker.
    assert!(worker.end().await.expect("the worker ends").success());
    let next = self::worker(kind, address, roots);
    let more = |stream: &web::api::Stream| stream.ledger.answered >= ledger.answered + 40;
    let ledger = api.wait_for("street", "forty more", more).await.expect("frames").ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!(ledger.missing.failed, 0, "{ledger:?}");
    next.end().await.expect("the worker ends");
    assert!(server.end().await.expect("the server ends").success());
    camera.end().await.expect("the camera ends");
}

/// What a worker says that trusts none of the broker's authorities.
async fn a_stranger_is_refused(kind: Kind, address: &str) {
    let other = Broker::start_with_tls(Kind::Redis).await.expect("a Redis");
    let (_, wrong) = other.tls().expect("TLS");
    let assets = assets();
    let mut worker = Command::new(beside("framelane-worker").expect("built"))
        .args([flag(kind).as_str(), address])
        .args(["--models".as_ref(), assets.models.as_os_str()])
        .args(["--onnxruntime".as_ref(), assets.onnxruntime.as_os_str()])
        .envs([("FRAMELANE_LOG", "warn".as_ref()), (ROOTS, wrong.as_os_str())])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a worker");
    let mut said = BufReader::new(worker.stderr.take().expect("piped")).lines();
    let line = timeout(WITHIN, async {
        while let Some(line) = said.next_line().await.expect("text") {
            if line.contains("cannot reach") {
                return line;
            }
        }
        panic!("it ended without a word");
    });
    let line = line.await.expect("in time");
    assert!(line.contains("UnknownIssuer"), "{line}");
    assert!(!line.contains("guest"), "{line}");
    worker.kill().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let broker = Broker::start_with_tls(Kind::Redis).await.expect("a Redis");
    frames_are_answered(Kind::Redis, &broker.address(), None, WorkerKind::Redis).await;
    let (address, authority) = broker.tls().expect("TLS");
    a_stranger_is_refused(Kind::Redis, &address).await;
    frames_are_answered(Kind::Redis, &address, Some(authority), WorkerKind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq() {
    let mut broker = Broker::start_with_tls(Kind::Amqp).await.expect("a RabbitMQ");
    frames_are_answered(Kind::Amqp, &broker.address(), None, WorkerKind::Amqp).await;
    let (address, authority) = broker.tls().expect("TLS");
    a_stranger_is_refused(Kind::Amqp, &address).await;
    frames_are_answered(Kind::Amqp, &address, Some(authority), WorkerKind::Amqp).await;
    broker.stop().await.expect("it ends");
}
