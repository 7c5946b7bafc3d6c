//! The config file and the flags that override it, checked in full before anything binds.

mod broker;
mod check;
mod parse;
mod rate;
mod stream;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use broker::Broker;
pub use check::Invalid;
pub use parse::ReadError;
pub use rate::ModelRate;
pub use stream::{NoWorker, Output, Pace, SendAs, Stream, WhenFull};

/// Everything that `framelane serve` can be told. `framelane.example.toml` shows all of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The page, the API and the metrics. Loopback only. Default `127.0.0.1:8080`.
    pub http: SocketAddr,
    /// Annotated streams for RTSP players. Loopback only. Default `127.0.0.1:8554`.
    pub rtsp: SocketAddr,
    /// Where workers dial in. TLS and a certificate of this server's own authority are always
    /// asked for, so it may be any address. Default `127.0.0.1:4433`.
    pub quic: SocketAddr,
    /// The folder that keeps the authority's key and the tokens. Default `framelane-state`.
    pub state: PathBuf,
    /// The folder with one folder a model. Default `assets/models`.
    pub models: PathBuf,
    /// ONNX Runtime's library, for workers in this process. By default it is looked for in the usual places.
    pub onnxruntime: Option<PathBuf>,
    /// Worker threads in this process, beside those that dial in. Default 0.
    pub local_workers: u32,
    /// How long a stop waits for frames in flight, in milliseconds. Default 5000.
    pub grace_ms: u64,
    /// Brokers with workers behind them, beside the workers that dial in.
    pub broker: Vec<Broker>,
    /// The streams, by id: letters, digits, `-` and `_`.
    pub streams: BTreeMap<String, Stream>,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Config {
            http: loopback(8080),
            rtsp: loopback(8554),
            quic: loopback(4433),
            state: PathBuf::from("framelane-state"),
            models: PathBuf::from("assets/models"),
            onnxruntime: None,
            local_workers: 0,
            grace_ms: 5000,
            broker: Vec::new(),
            streams: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads a config file. It is not checked yet: flags may still change it.
    pub fn read(path: &Path) -> Result<Config, ReadError> {
        parse::read(path)
    }

    /// Checks what no single field can know: addresses, ids, limits.
    pub fn check(&self) -> Result<(), Invalid> {
        check::check(self)
    }
}
