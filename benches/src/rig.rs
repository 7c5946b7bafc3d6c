//! Framelane's own processes on this machine, wired together: for the demo, the measurements and the
//! tests from end to end.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};
use web::api::{Stream, Worker};

use crate::api;
use crate::child::Child;

/// Everything is slow on a machine that has just compiled for minutes.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where models and ONNX Runtime lie.
#[derive(Debug, Clone, clap::Args)]
pub struct Assets {
    /// The folder with one folder a model.
    #[arg(long, value_name = "DIR", default_value = "assets/models")]
    pub models: PathBuf,
    /// ONNX Runtime's library.
    #[arg(long, value_name = "FILE", default_value = "assets/onnxruntime/libonnxruntime.so")]
    pub onnxruntime: PathBuf,
}

impl Assets {
    /// Fails with what to do when something is not there.
    pub fn check(&self, setup: &str) -> anyhow::Result<()> {
        for path in [&self.models, &self.onnxruntime] {
            anyhow::ensure!(path.exists(), "{} is not there; run `scripts/setup {setup}`", path.display());
        }
        Ok(())
    }
}

/// Starts `framelane-bench camera` on a free port, and gives the URL where it plays.
pub async fn camera<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> anyhow::Result<(Child, String)> {
    let fixed = ["camera", "--addr", "127.0.0.1:0"].map(OsString::from).into_iter();
    let args = fixed.chain(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    let mut child = Child::start("framelane-bench", args, "warn")?;
    let url = child.line(READY_WITHIN, |line| line.strip_prefix("camera ready: ").map(str::to_owned)).await?;
    Ok((child, url))
}

/// A running server, as its clients know it.
#[derive(Debug, Clone)]
pub struct Server {
    /// Page and API.
    pub http: SocketAddr,
    /// RTSP players connect here.
    pub rtsp: SocketAddr,
    /// Workers dial in here.
    pub quic: SocketAddr,
    /// Its state folder.
    pub state: PathBuf,
}

impl Server {
    /// Starts `framelane serve` with the streams of a config, its state in `folder`. `args` come
    /// last and may name addresses; by default it takes free ports of its own.
    pub async fn start<A: AsRef<OsStr>>(
        folder: &Path,
        streams: &str,
        assets: &Assets,
        args: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<(Child, Server)> {
        Self::start_by::<&str, A>(&[], folder, streams, assets, args).await
    }

    /// Starts it by another command, which becomes the program.
    pub async fn start_by<B: AsRef<OsStr>, A: AsRef<OsStr>>(
        by: &[B],
        folder: &Path,
        streams: &str,
        assets: &Assets,
        args: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<(Child, Server)> {
        let config = folder.join("framelane.toml");
        let free = "http = \"127.0.0.1:0\"\nrtsp = \"127.0.0.1:0\"\nquic = \"127.0.0.1:0\"\n";
        std::fs::write(&config, format!("{free}{streams}"))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let state = folder.join("state");
        let fixed = [
            "serve".into(),
            "--config".into(),
            config.into_os_string(),
            "--state".into(),
            state.clone().into_os_string(),
            "--models".into(),
            assets.models.clone().into_os_string(),
            "--onnxruntime".into(),
            assets.onnxruntime.clone().into_os_string(),
        ];
        let args = fixed.into_iter().chain(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        let mut child = Child::start_by(by, "framelane", args, "warn")?;
        let (http, rtsp, quic) = child.line(READY_WITHIN, addresses).await?;
        Ok((child, Server { http, rtsp, quic, state }))
    }

    /// A token that lets `uses` workers in.
    pub async fn token(&self, uses: u32) -> anyhow::Result<String> {
        let uses = uses.to_string();
        let args = ["workers", "token", "--uses", &uses, "--state"].map(OsStr::new);
        let args = args.into_iter().chain([self.state.as_os_str()]);
        let mut printer = Child::start("framelane", args, "warn")?;
        printer.line(READY_WITHIN, |line| line.starts_with("fl1_").then(|| line.to_owned())).await
    }

    /// A stream as the API shows it.
    pub async fn stream(&self, id: &str) -> anyhow::Result<Stream> {
        api::get(self.http, &format!("/api/v1/streams/{id}")).await
    }

    /// The workers as the API shows them.
    pub async fn workers(&self) -> anyhow::Result<Vec<Worker>> {
        api::get(self.http, "/api/v1/workers").await
    }

    /// Asks for a stream until `enough` is satisfied with it.
    pub async fn wait_for(
        &self,
        id: &str,
        what: &str,
        enough: impl Fn(&Stream) -> bool,
    ) -> anyhow::Result<Stream> {
        until(&format!("stream {id}: {what}"), async || self.stream(id).await, enough).await
    }

    /// Asks for the workers until `enough` is satisfied with them.
    pub async fn wait_for_workers(
        &self,
        what: &str,
        enough: impl Fn(&Vec<Worker>) -> bool,
    ) -> anyhow::Result<Vec<Worker>> {
        until(&format!("workers: {what}"), async || self.workers().await, enough).await
    }
}

/// Asks again and again, since the API tells no one when a figure changes; ten times a second is not
/// felt on either side.
async fn until<T: std::fmt::Debug>(
    what: &str,
    ask: impl AsyncFn() -> anyhow::Result<T>,
    enough: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        let asked = ask().await;
        let late = begin.elapsed() > READY_WITHIN;
        match asked {
            Ok(found) if enough(&found) => return Ok(found),
            Ok(found) if late => bail!("{what} not seen within {} s: {found:?}", READY_WITHIN.as_secs()),
            Err(error) if late => return Err(error),
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Reads `Framelane listens: http://A rtsp://B quic C`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("Framelane listens: ")?.split(' ');
    let http = words.next()?.strip_prefix("http://")?.parse().ok()?;
    let rtsp = words.next()?.strip_prefix("rtsp://")?.parse().ok()?;
    let quic = words.nth(1)?.parse().ok()?;
    Some((http, rtsp, quic))
}

/// Starts `framelane-worker` with its identity in `state`.
pub fn worker<A: AsRef<OsStr>>(
    server: SocketAddr,
    token: &str,
    state: &Path,
    assets: &Assets,
    args: impl IntoIterator<Item = A>,
) -> anyhow::Result<Child> {
    let fixed = [
        "--server".into(),
        server.to_string().into(),
        "--token".into(),
        token.into(),
        "--state".into(),
        state.as_os_str().to_owned(),
        "--models".into(),
        assets.models.clone().into_os_string(),
        "--onnxruntime".into(),
        assets.onnxruntime.clone().into_os_string(),
    ];
    let args = fixed.into_iter().chain(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    Child::start("framelane-worker", args, "warn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_line_is_read() {
        let line = "Framelane listens: http://127.0.0.1:1 rtsp://127.0.0.1:2 quic 127.0.0.1:3";
        let (http, rtsp, quic) = addresses(line).expect("three addresses");
        assert_eq!((http.port(), rtsp.port(), quic.port()), (1, 2, 3));
        assert_eq!(addresses("something else"), None);
    }
}
