//! What is wrong is said, with what to do; the rest goes on.

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use framelane_bench::child::beside;
use framelane_bench::rig::Server;
use support::{assets, assets_folder};
use web::api::State;

/// Runs a server that must not start.
fn refused(config: &str, args: &[&str]) -> String {
    refused_with(&assets_folder().join("models"), config, args)
}

fn refused_with(models: &Path, config: &str, args: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("framelane.toml");
    let free = "http = \"127.0.0.1:0\"\nrtsp = \"127.0.0.1:0\"\nquic = \"127.0.0.1:0\"\n";
    fs::write(&path, format!("{free}{config}")).expect("written");
    let Output { status, stderr, .. } = Command::new(beside("framelane").expect("built"))
        .arg("serve")
        .args([Path::new("--config"), &path, Path::new("--state"), &folder.path().join("state")])
        .args([Path::new("--models"), models])
        .args(args)
        .env("FRAMELANE_LOG", "error")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_source_is_named_and_the_other_streams_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("notes.mp4");
    fs::write(&text, "this is no video\n".repeat(500)).expect("written");
    // Bound and closed again: nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let streams = format!(
        "[streams.good]\nsource = \"test:320x240@25\"\n\
         [streams.missing]\nsource = \"no/such.mp4\"\n\
         [streams.text]\nsource = {text:?}\n\
         [streams.refused]\nsource = \"rtsp://user:secret@{closed}/camera\"\n"
    );
    let (server, api) = Server::start(folder.path(), &streams, &assets(), [""; 0]).await.expect("a server");
    let said = async |id: &str, state: State| {
        let stream =
            api.wait_for(id, "its trouble", |stream| stream.state == state).await.expect("its trouble");
        stream.reason.unwrap_or_default()
    };
    let missing = said("missing", State::Failed).await;
    assert!(missing.contains("no/such.mp4"), "{missing}");
    let text = said("text", State::Failed).await;
    assert!(text.contains("notes.mp4"), "{text}");
    let refused = said("refused", State::Reconnecting).await;
    assert!(refused.contains(&closed.to_string()) && !refused.contains("secret"), "{refused}");
    let shown = api.stream("refused").await.expect("the stream").source;
    assert!(!shown.contains("secret"), "{shown}");
    let before = api.stream("good").await.expect("the stream").ledger.admitted;
    let good = |stream: &web::api::Stream| stream.state == State::Running && stream.ledger.admitted > before;
    api.wait_for("good", "more frames", good).await.expect("the good stream goes on");
    server.end().await.expect("the server ends");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    let text = refused("[streams.door]\nsource = \"test:\"\nmodle = \"nanodet\"\n", &[]);
    assert!(text.contains("framelane.toml:6: unknown key `modle`; did you mean `model`?"), "{text}");
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (tcp, udp) = (tcp.local_addr().map(|at| (tcp, at)), udp.local_addr().map(|at| (udp, at)));
    let ((_tcp, tcp), (_udp, udp)) = (tcp.expect("its address"), udp.expect("its address"));
    for (flag, address) in [("--http", tcp), ("--rtsp", tcp), ("--quic", udp)] {
        let text = refused("", &[flag, &address.to_string()]);
        assert!(text.contains(flag) && text.contains(&address.to_string()), "{flag}: {text}");
    }
}

#[test]
fn a_wide_address_is_refused_with_the_reason() {
    for flag in ["--http", "--rtsp"] {
        let text = refused("", &[flag, "0.0.0.0:0"]);
        assert!(text.contains("may only bind to loopback") && text.contains("credential"), "{text}");
    }
}

#[test]
fn a_model_that_is_not_there_is_named_with_those_that_are() {
    let text = refused("[streams.door]\nsource = \"test:\"\nmodel = \"nanodett\"\n", &[]);
    assert!(
        text.contains("stream `door`") && text.contains("`nanodett`") && text.contains("nanodet-int8"),
        "{text}"
    );
}

#[test]
fn a_model_file_that_is_not_onnx_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("nanodet-int8");
    fs::create_dir_all(&model).expect("made");
    fs::copy(assets_folder().join("models/nanodet-int8/model.toml"), model.join("model.toml"))
        .expect("copied");
    fs::write(model.join("model.onnx"), "no model").expect("written");
    let library = assets().onnxruntime;
    let library = ["--onnxruntime", library.to_str().expect("ordinary letters")];
    let config = "local_workers = 1\n[streams.door]\nsource = \"test:\"\nmodel = \"nanodet-int8\"\n";
    let text = refused_with(folder.path(), config, &library);
    assert!(text.contains("model.onnx is not an ONNX model"), "{text}");
}
