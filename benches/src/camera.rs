//! `framelane-bench camera`: a test camera, which is a real RTSP server that plays a clip or a
//! synthetic scene. Each frame carries its [number](stamp), so that whoever watches the other end of
//! a system can tell order, repeats and losses.

mod pace;
mod play;
pub mod stamp;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use media::rtsp::{self, Server};
use picture::{Rate, Size};
use tokio::signal::unix::{SignalKind, signal};

/// What the camera shows, and where.
#[derive(clap::Args)]
pub struct Args {
    /// A clip, or `test:WIDTHxHEIGHT@FPS` for a synthetic scene.
    #[arg(long, value_name = "FILE|test:", default_value = "test:")]
    source: String,
    /// Where RTSP clients connect. Port 0 takes a free one. Loopback only: a camera without a password.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// The path of the stream.
    #[arg(long, value_name = "PATH", default_value = "/camera")]
    path: String,
    /// Scales the picture into this size of even sides; what its proportions leave is black.
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<Size>,
    /// Plays at this rate, in frames a second, instead of the source's own.
    #[arg(long, value_name = "N|N/D", value_parser = rate)]
    rate: Option<Rate>,
    /// Starts again at the end of the source. Numbers go on rising.
    #[arg(long = "loop")]
    looped: bool,
    /// Ends after so many frames.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    frames: Option<u32>,
    /// Leaves the frames as they are, without their number.
    #[arg(long)]
    no_stamp: bool,
}

/// How far a client may be behind: as far as the ring reaches at ten frames a second.
const BEHIND: Duration = Duration::from_secs(20);

/// Plays until the source ends, or until Ctrl-C or SIGTERM.
///
/// # Errors
/// An address that others could reach, a port that is taken, a source that cannot be played, a picture
/// without room for its number.
pub async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.addr.ip().is_loopback(), "--addr {}: only loopback, since anybody could watch", args.addr);
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    media::check()?;
    // A camera that skips for a busy client would make its losses look like the client's.
    let mut serving = rtsp::Config::default();
    serving.behind = BEHIND;
    let server = Server::bind_with(args.addr, serving).context("--addr")?;
    let played = tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        played = play::play(&args, &server, announce) => played,
    };
    server.close().await;
    played
}

/// Says where to look. Nobody has to listen.
fn announce(url: &str) {
    if let Err(error) = writeln!(std::io::stdout(), "camera ready: {url}") {
        tracing::warn!(%error, url, "cannot say where the camera is");
    }
}

/// Reads `N` or `N/D`, within what RTP's clock tells apart and anybody would wait for.
fn rate(text: &str) -> Result<Rate, String> {
    let rate: Rate = text.parse().map_err(|error: picture::RateError| error.to_string())?;
    if (0.1..=1000.0).contains(&rate.as_f64()) { Ok(rate) } else { Err("from 1/10 to 1000".to_owned()) }
}

/// Reads `WIDTHxHEIGHT` of even sides.
fn size(text: &str) -> Result<Size, String> {
    let size: Size = text.parse().map_err(|error: picture::SizeError| error.to_string())?;
    let even = size.width().is_multiple_of(2) && size.height().is_multiple_of(2);
    if even { Ok(size) } else { Err("both sides must be even, since H.264 has no odd ones".to_owned()) }
}
