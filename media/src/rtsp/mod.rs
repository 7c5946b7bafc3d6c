//! An RTSP server that plays [`Ring`]s to any number of players.
//!
//! Each player gets its own pipeline (`appsrc ! h264parse ! rtph264pay`) and its own reader of the ring, so
//! a slow one disturbs nobody. It starts at a key frame, which the encoder is asked for, with times counted
//! from its own start; the answer to `DESCRIBE` is made from that key frame, so it names the codec data.
//!
//! # Every buffer between the encoder and a player
//!
//! A player over TCP that does not read holds back eight packets in its pipeline and what the
//! kernel's socket takes; beyond that its reader stays behind in the ring, and at [`Config::behind`] it skips
//! to a key frame. Over UDP nothing waits. No clock is waited for: packets go out as they come.

mod feed;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::glib;
use gst_rtsp::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp_server as gst_rtsp;
use tokio_util::sync::CancellationToken;

use crate::init::Missing;
use crate::ring::Ring;

/// How often sessions whose players vanished are looked for.
const CLEANUP: Duration = Duration::from_secs(5);

/// How a server treats its players.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The most connections at one time; further ones are closed at once.
    pub clients: usize,
    /// The most that a player may be behind the encoder before it skips to a key frame.
    pub behind: Duration,
}

impl Default for Config {
    /// 32 players, two seconds.
    fn default() -> Self {
        Self { clients: 32, behind: Duration::from_secs(2) }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// GStreamer is not complete.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The port is taken.
    #[error("RTSP cannot listen on {addr}: the port is taken. Stop what uses it, or choose another port")]
    Taken {
        /// The address.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("RTSP cannot listen on {addr}: {why}")]
    Refused {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        why: String,
    },
}

/// Why a ring was not mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// Not a path that a player can ask for.
    #[error("'{0}' is not an RTSP path: it starts with a slash and has letters, digits and -._~/ after it")]
    Path(String),
    /// Another ring is there.
    #[error("the RTSP path '{0}' is in use")]
    InUse(String),
}

/// A running server. Dropping it closes it.
#[derive(Debug)]
pub struct Server {
    inner: Arc<Inner>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    addr: SocketAddr,
}

#[derive(Debug)]
struct Inner {
    server: gst_rtsp::RTSPServer,
    mounts: gst_rtsp::RTSPMountPoints,
    context: glib::MainContext,
    main: glib::MainLoop,
    config: Config,
    /// The mounted paths; a cancelled token ends its players.
    paths: Mutex<BTreeMap<String, CancellationToken>>,
}

impl Server {
    /// Listens with the usual [`Config`]; port 0 takes a free one.
    ///
    /// # Errors
    /// The port is taken, the address is not this machine's, or an element is missing.
    pub fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        Self::bind_with(addr, Config::default())
    }

    /// Listens; port 0 takes a free one.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with(addr: SocketAddr, config: Config) -> Result<Self, BindError> {
        for element in ["appsrc", "h264parse", "rtph264pay"] {
            crate::init::make(element)?;
        }
        let server = gst_rtsp::RTSPServer::new();
        server.set_address(&addr.ip().to_string());
        server.set_service(&addr.port().to_string());
        let mounts = gst_rtsp::RTSPMountPoints::new();
        server.set_mount_points(Some(&mounts));
        let threads = gst_rtsp::RTSPThreadPool::new();
        // One thread for each player: a DESCRIBE that waits for its key frame keeps nobody else waiting.
        threads.set_max_threads(-1);
        server.set_thread_pool(Some(&threads));
        let sessions = gst_rtsp::RTSPSessionPool::new();
        sessions.set_max_sessions(u32::try_from(config.clients).unwrap_or(u32::MAX));
        server.set_session_pool(Some(&sessions));
        let limit = config.clients;
        server.connect_client_connected(move |server, client| {
            if clients(server) > limit {
                tracing::warn!(limit, "too many RTSP players, one is turned away");
                client.close();
            }
        });

        let context = glib::MainContext::new();
        let refused = |error: glib::Error| match error.kind::<gst_rtsp::gio::IOErrorEnum>() {
            Some(gst_rtsp::gio::IOErrorEnum::AddressInUse) => BindError::Taken { addr },
            _ => BindError::Refused { addr, why: error.message().to_owned() },
        };
        let accept = server.create_source(gst_rtsp::gio::Cancellable::NONE).map_err(refused)?;
        accept.attach(Some(&context));
        let port = u16::try_from(server.bound_port()).unwrap_or(addr.port());
        let addr = SocketAddr::new(addr.ip(), port);

        let main = glib::MainLoop::new(Some(&context), false);
        let inner = Arc::new(Inner { server, mounts, context, main, config, paths: Mutex::default() });
        let thread = std::thread::Builder::new().name("rtsp".to_owned());
        let thread = thread.spawn({
            let inner = inner.clone();
            move || inner.run(&accept, &sessions)
        });
        let thread = thread.map_err(|error| BindError::Refused { addr, why: error.to_string() })?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)), addr })
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address that a player of `path` is given.
    pub fn url(&self, path: &str) -> String {
        format!("rtsp://{}{path}", self.addr)
    }

    /// Serves a ring under a path such as `/camera`.
    ///
    /// # Errors
    /// Not a path, or it is in use.
    pub fn mount(&self, path: &str, ring: Arc<Ring>) -> Result<(), MountError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.starts_with('/') || path.len() < 2 || !path.chars().all(plain) {
            return Err(MountError::Path(path.to_owned()));
        }
        let mut paths = self.inner.paths();
        if paths.contains_key(path) {
            return Err(MountError::InUse(path.to_owned()));
        }
        let stop = CancellationToken::new();
        let (context, behind) = (self.inner.context.clone(), self.inner.config.behind);
        self.inner.mounts.add_factory(path, feed::factory(ring, context, behind, stop.clone()));
        paths.insert(path.to_owned(), stop);
        Ok(())
    }

    /// Takes a path away and ends its players. False: nothing was there.
    pub fn unmount(&self, path: &str) -> bool {
        let Some(stop) = self.inner.paths().remove(path) else { return false };
        self.inner.mounts.remove_factory(path);
        stop.cancel();
        true
    }

    /// How many players are connected.
    pub fn clients(&self) -> usize {
        clients(&self.inner.server)
    }

    /// Ends all players, stops listening, and returns when the port is free again.
    pub async fn close(self) {
        self.inner.quit();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Joining takes milliseconds; a panic in there was reported where it happened.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.inner.quit();
    }
}

impl Inner {
    fn paths(&self) -> MutexGuard<'_, BTreeMap<String, CancellationToken>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's thread: accepts players and feeds them until it is told to quit.
    fn run(&self, accept: &glib::Source, sessions: &gst_rtsp::RTSPSessionPool) {
        let cleanup = glib::timeout_source_new(CLEANUP, None, glib::Priority::LOW, {
            let sessions = sessions.clone();
            move || {
                sessions.cleanup();
                glib::ControlFlow::Continue
            }
        });
        cleanup.attach(Some(&self.context));
        let owned = self.context.with_thread_default(|| self.main.run());
        if owned.is_err() {
            tracing::error!("the RTSP server's context belongs to another thread");
        }
        accept.destroy();
        cleanup.destroy();
        self.server.client_filter(Some(&mut |_, client| {
            client.close();
            gst_rtsp::RTSPFilterResult::Remove
        }));
        sessions.filter(Some(&mut |_, _| gst_rtsp::RTSPFilterResult::Remove));
        // Feeders that were woken by the closing run to their ends.
        while self.context.iteration(false) {}
    }

    fn quit(&self) {
        let paths = std::mem::take(&mut *self.paths());
        for (path, stop) in paths {
            self.mounts.remove_factory(&path);
            stop.cancel();
        }
        // A source on the context runs in the loop's thread alone. Called from here, `quit` would be
        // forgotten where the loop does not run yet.
        let main = self.main.clone();
        let quit = glib::idle_source_new(None, glib::Priority::HIGH, move || {
            main.quit();
            glib::ControlFlow::Break
        });
        quit.attach(Some(&self.context));
    }
}

fn clients(server: &gst_rtsp::RTSPServer) -> usize {
    let mut count = 0;
    server.client_filter(Some(&mut |_, _| {
        count += 1;
        gst_rtsp::RTSPFilterResult::Keep
    }));
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closing_at_once_closes() {
        for _ in 0..50 {
            let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let closed = tokio::time::timeout(Duration::from_secs(60), server.close()).await;
            closed.expect("the server's thread ends");
        }
    }
}
