//! `framelane-bench demo`: a camera, the server and one worker on this machine.
//!
//! Nothing outlives it: the folder with the authority and the worker's identity is a temporary one,
//! and every process it started has ended when it returns.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::child::Child;
use crate::rig::{self, Assets, Server};

/// How the demo looks.
#[derive(clap::Args)]
pub struct Args {
    /// The page.
    #[arg(long, env = "FRAMELANE_HTTP", value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    http: String,
    /// Where RTSP players connect.
    #[arg(long, env = "FRAMELANE_RTSP", value_name = "HOST:PORT", default_value = "127.0.0.1:8554")]
    rtsp: String,
    /// Where the worker dials in.
    #[arg(long, env = "FRAMELANE_QUIC", value_name = "HOST:PORT", default_value = "127.0.0.1:4433")]
    quic: String,
    /// What the camera shows.
    #[arg(long, value_name = "FILE", default_value = "assets/clips/vtest.avi")]
    clip: PathBuf,
    /// The folder name of the model.
    #[arg(long, value_name = "NAME", default_value = "nanodet")]
    model: String,
    #[command(flatten)]
    assets: Assets,
}

/// The demo's one stream.
const STREAM: &str = "vtest";

/// Runs until Ctrl-C or SIGTERM, or until a part of it ends.
pub async fn run(args: Args) -> anyhow::Result<()> {
    args.assets.check("demo")?;
    anyhow::ensure!(args.clip.exists(), "{} is not there; run `scripts/setup demo`", args.clip.display());
    let folder = tempfile::tempdir().context("no temporary folder for the demo")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut children = Vec::new();
    let result = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        result = play(&args, folder.path(), &mut children) => result,
    };
    // Last started, first ended: a worker hands back what it holds, then the server ends its
    // streams, then the camera goes.
    for child in children.into_iter().rev() {
        let name = child.name();
        if let Err(error) = child.end().await {
            eprintln!("framelane-bench: {name}: {error:#}");
        }
    }
    result
}

/// Starts the parts, says where to look, and watches until one of them ends.
async fn play(args: &Args, folder: &Path, children: &mut Vec<Child>) -> anyhow::Result<()> {
    let (camera, url) = rig::camera(["--source".as_ref(), args.clip.as_os_str(), "--loop".as_ref()]).await?;
    children.push(camera);
    let stream = format!("[streams.{STREAM}]\nsource = {url:?}\nmodel = {:?}\n", args.model);

    let addresses = ["--http", &args.http, "--rtsp", &args.rtsp, "--quic", &args.quic];
    let (child, server) = Server::start(folder, &stream, &args.assets, addresses).await?;
    children.push(child);
    let token = server.token(1).await?;
    let state = folder.join("worker");
    let worker = rig::worker(reachable(server.quic), &token, &state, &args.assets, ["--name", "demo"])?;
    children.push(worker);
    tokio::select! {
        ready = server.wait_for(STREAM, "an answered frame", |stream| stream.ledger.answered > 0) => drop(ready?),
        ended = first_to_end(children) => {
            let (which, status) = ended?;
            bail!("{which} ended before the first answer ({status}); its last words are above");
        }
    }
    println!("Framelane is ready: http://{}/ rtsp://{}/{STREAM}", reachable(server.http), server.rtsp);
    let (which, status) = first_to_end(children).await?;
    bail!("{which} ended by itself ({status}); its last words are above")
}

/// Where a client on this machine reaches an address that the server bound.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

async fn first_to_end(children: &mut [Child]) -> anyhow::Result<(&'static str, ExitStatus)> {
    let ended = children.iter_mut().map(|child| {
        Box::pin(async move {
            let name = child.name();
            child.ended().await.map(|status| (name, status))
        })
    });
    futures_util::future::select_all(ended).await.0
}
