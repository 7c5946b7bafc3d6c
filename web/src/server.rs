//! The HTTP server: connections in, bounded in number, size and time; a bounded stop.
//!
//! warp makes the routes; the connections are served here by hyper itself, since warp's own server bounds
//! neither their number nor how long one may take to send its headers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warp::http::{Method, Request};
use warp::reply::Response;

use crate::backend::Backend;
use crate::io::Impatient;
use crate::routes::{self, Shared};
use crate::shutdown::Shutdown;
use crate::{guard, reply};

/// How much of an answer waits in this process and in the kernel for one connection, in bytes each. More
/// than a few pictures here, and a slow viewer would see the past instead of skipping.
const WRITE_BUFFER: usize = 64 * 1024;
const SEND_BUFFER: usize = 256 * 1024;

/// How [`serve`] behaves. The defaults suit a server for a few dozen viewers.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host names that this server is known under, besides `localhost` and its own addresses. A request
    /// for any other name is refused.
    pub hosts: Vec<String>,
    /// How many connections may be open at a time (default 512). More wait to be accepted.
    pub max_connections: usize,
    /// How many may watch pictures at a time, over all streams (default 64). More are refused with 503.
    pub max_viewers: usize,
    /// How long a connection may take to send a request's headers, and how long it may stay idle between
    /// requests (default 15 s).
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer before it is given up (default 20 s).
    pub stall_timeout: Duration,
    /// How long a snapshot waits for the next picture (default 5 s).
    pub snapshot_timeout: Duration,
    /// How long answers under way may take to finish after the stop (default 2 s).
    pub grace: Duration,
    /// Who may end the program by `POST /api/v1/shutdown` (default nobody).
    pub shutdown: Option<Shutdown>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            hosts: Vec::new(),
            max_connections: 512,
            max_viewers: 64,
            header_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(20),
            snapshot_timeout: Duration::from_secs(5),
            grace: Duration::from_secs(2),
            shutdown: None,
        }
    }
}

/// Why [`serve`] could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The listener cannot be used.
    #[error("the HTTP listener cannot be used")]
    Listener(#[source] io::Error),
}

/// Serves HTTP on a bound listener until `stop`, then returns within [`Config::grace`] plus a moment,
/// viewers or not. All its tasks are its own: dropping the future ends them.
///
/// # Errors
/// Only if the listener cannot be used at all. What goes wrong with a connection ends that connection.
pub async fn serve<B: Backend>(
    listener: std::net::TcpListener,
    backend: Arc<B>,
    config: Config,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    let listener = TcpListener::from_std(listener).map_err(ServeError::Listener)?;
    let connections = Arc::new(Semaphore::new(config.max_connections));
    let shared = Arc::new(Shared {
        backend,
        viewers: Arc::new(Semaphore::new(config.max_viewers)),
        snapshot_timeout: config.snapshot_timeout,
        stop: stop.clone(),
        shutdown: config.shutdown.clone(),
    });
    let routes = TowerToHyperService::new(warp::service(routes::routes(shared)));
    let config = Arc::new(config);

    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => report(ended),
            accepted = accept(&listener, &connections) => match accepted {
                Ok((stream, remote, permit)) => {
                    let connection = connection(stream, routes.clone(), config.clone(), stop.clone());
                    tasks.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%remote, %error, "connection ended");
                        }
                        drop(permit);
                    });
                }
                Err(error) => out_of_files(&error).await,
            },
        }
    }
    drop(listener);
    let finish = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(config.grace, finish).await.is_err() {
        tracing::debug!(connections = tasks.len(), "connections cut at the stop");
    }
    tasks.shutdown().await;
    Ok(())
}

/// Takes a connection once there is room for one. The rest wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, permit))
}

/// A client that is gone before it was accepted is no news; anything else is most likely the limit of
/// open files, which passes when connections end. Going on at once would only spin.
async fn out_of_files(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "no connection can be accepted now");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// Serves one connection until it ends, or until `stop` and the answer under way.
async fn connection<R>(
    stream: TcpStream,
    routes: R,
    config: Arc<Config>,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    R: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    // Pictures should leave when they are there.
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
    let local = stream.local_addr()?;
    let io = Impatient::new(TokioIo::new(stream), config.stall_timeout);
    let hosts = &config.hosts;
    let service = service_fn(|mut request: Request<Incoming>| {
        let refused = guard::check(request.uri(), request.headers(), local, hosts).err();
        if request.method() == Method::HEAD {
            // The same answer; hyper leaves out its body.
            *request.method_mut() = Method::GET;
        }
        let routes = routes.clone();
        async move {
            let response = match refused {
                Some(refusal) => {
                    tracing::debug!(?refusal, "request refused");
                    reply::refused(&refusal)
                }
                None => routes.call(request).await?,
            };
            Ok::<_, Infallible>(reply::with_headers(response))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(WRITE_BUFFER)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        ended = connection.as_mut() => return Ok(ended?),
    }
    Ok(connection.await?)
}
