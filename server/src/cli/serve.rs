//! `framelane serve`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::app;
use crate::config::Config;

/// Flags win over `FRAMELANE_*` variables, and both over the config file.
#[derive(Args)]
pub struct Serve {
    /// The config file. Without it, and without `framelane.toml` in this folder, there are no streams.
    #[arg(long, env = "FRAMELANE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the page, the API and the metrics are served [default: 127.0.0.1:8080].
    #[arg(long, env = "FRAMELANE_HTTP", value_name = "HOST:PORT", value_parser = address)]
    http: Option<SocketAddr>,
    /// Where RTSP players connect [default: 127.0.0.1:8554].
    #[arg(long, env = "FRAMELANE_RTSP", value_name = "HOST:PORT", value_parser = address)]
    rtsp: Option<SocketAddr>,
    /// Where workers dial in [default: 127.0.0.1:4433].
    #[arg(long, env = "FRAMELANE_QUIC", value_name = "HOST:PORT", value_parser = address)]
    quic: Option<SocketAddr>,
    /// The folder with the authority's key and the tokens [default: framelane-state].
    #[arg(long, env = "FRAMELANE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// The folder with one folder a model [default: assets/models].
    #[arg(long, env = "FRAMELANE_MODELS", value_name = "DIR")]
    models: Option<PathBuf>,
    /// ONNX Runtime's library, for workers in this process.
    #[arg(long, env = "FRAMELANE_ONNXRUNTIME", value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Worker threads in this process [default: 0].
    #[arg(long, env = "FRAMELANE_LOCAL_WORKERS", value_name = "N")]
    local_workers: Option<u32>,
}

impl Serve {
    /// Serves until a signal, or until it is told to stop.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = self.config()?;
        let stop = program::signals::stop().context("signals cannot be caught")?;
        app::serve(config, stop).await
    }

    fn config(self) -> anyhow::Result<Config> {
        let beside = PathBuf::from("framelane.toml");
        let mut config = match self.config {
            Some(path) => Config::read(&path)?,
            None if beside.exists() => Config::read(&beside)?,
            None => Config::default(),
        };
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(from) = from {
                *to = from;
            }
        }
        set(&mut config.http, self.http);
        set(&mut config.rtsp, self.rtsp);
        set(&mut config.quic, self.quic);
        set(&mut config.state, self.state);
        set(&mut config.models, self.models);
        set(&mut config.local_workers, self.local_workers);
        config.onnxruntime = self.onnxruntime.or(config.onnxruntime);
        config.check()?;
        Ok(config)
    }
}

/// Reads `HOST:PORT`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let hint = "write HOST:PORT, as in 127.0.0.1:8080";
    let mut found = text.to_socket_addrs().map_err(|error| format!("{error}; {hint}"))?;
    found.next().ok_or_else(|| format!("no address for this name; {hint}"))
}
