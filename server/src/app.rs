//! The one place that assembles the program: from a checked config to running parts, and back.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use dispatch::Coordinator;
use media::rtsp;
use models::Zoo;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wire::identity::Hold;

use crate::backend::Backend;
use crate::config::Config;
use crate::control::Control;
use crate::pool::Pool;
use crate::stream::{self, Stream};

/// A running server.
pub struct App {
    config: Config,
    coordinator: Coordinator,
    streams: Vec<Arc<Stream>>,
    /// Ends sources, which closes flows.
    sources: CancellationToken,
    /// The halves of the streams; a stream's output ends with its last frame.
    running: JoinSet<()>,
    rtsp: Arc<rtsp::Server>,
    pool: Pool,
    web: Web,
    http: std::net::SocketAddr,
    /// Cancelled by whoever may end it over HTTP.
    asked: CancellationToken,
    /// Given back before whoever waits for the end hears of it, and may start the next one.
    _hold: Hold,
    /// Removed last, since its end tells that all has ended.
    _control: Control,
}

struct Web {
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), web::ServeError>>,
}

/// Serves a config until `stop`, then ends everything in order.
pub async fn serve(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut app = App::start(config).await?;
    println!("Framelane listens: {}", app.addresses());
    let asked = app.asked.clone();
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = asked.cancelled() => Ok(()),
        failed = app.failed() => Err(failed),
    };
    app.stop().await;
    result
}

impl App {
    /// Binds, loads, and starts; what was started ends again if a later step fails.
    pub async fn start(config: Config) -> anyhow::Result<App> {
        config.check()?;
        media::check()?;
        let hold = Hold::take(&config.state).context("--state")?;
        // Ports first: a taken one is the likeliest trouble, and costs nothing to find.
        let http = listen(&config)?;
        let rtsp = rtsp::Server::bind(config.rtsp).context("rtsp (--rtsp, FRAMELANE_RTSP)")?;
        let rtsp = Arc::new(rtsp);
        let zoo = zoo(&config)?;

        let (coordinator, driver) = dispatch::new(queue::Config::default());
        // It ends by itself when the last handle is gone.
        tokio::spawn(driver);

        let mut opened = Vec::new();
        for (id, stream) in &config.streams {
            let halves = stream::open(id, stream, zoo.as_ref(), &coordinator, &rtsp).await;
            opened.push(halves.with_context(|| format!("stream `{id}`"))?);
        }
        let models = opened.iter().filter_map(|(stream, ..)| stream.model().cloned()).collect();
        let pool = Pool::start(&config, models, &coordinator).await?;

        let sources = CancellationToken::new();
        let mut running = JoinSet::new();
        let mut streams = Vec::new();
        for (stream, input, output) in opened {
            running.spawn(input.run(sources.clone()));
            running.spawn(output.run());
            streams.push(stream);
        }
        let backend = Backend::new(coordinator.clone(), streams.clone(), zoo, pool.listener());
        let address = http.local_addr().context("http")?;
        let control = Control::open(&config.state, address)?;
        let (stop, asked) = (CancellationToken::new(), CancellationToken::new());
        let shutdown = Some(control.shutdown(asked.clone()));
        let web = web::Config { shutdown, ..web::Config::default() };
        let serving = tokio::spawn(web::serve(http, Arc::new(backend), web, stop.clone()));
        let web = Web { stop, serving };
        Ok(App {
            config,
            coordinator,
            streams,
            sources,
            running,
            rtsp,
            pool,
            web,
            http: address,
            asked,
            _hold: hold,
            _control: control,
        })
    }

    /// The streams, in the config's order.
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// The queue.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Where the page is served, with the real port.
    pub fn http(&self) -> std::net::SocketAddr {
        self.http
    }

    /// Where RTSP players connect, with the real port.
    pub fn rtsp(&self) -> std::net::SocketAddr {
        self.rtsp.local_addr()
    }

    /// Where workers dial in, with the real port.
    pub fn quic(&self) -> std::net::SocketAddr {
        self.pool.quic()
    }

    fn addresses(&self) -> String {
        format!("http://{} rtsp://{} quic {}", self.http, self.rtsp(), self.quic())
    }

    /// Resolves when a part that nothing else can replace has ended.
    async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.web.serving).await {
            Ok(Ok(())) => anyhow::anyhow!("the web server ended by itself"),
            Ok(Err(error)) => anyhow::Error::new(error).context("the web server ended"),
            Err(error) => anyhow::Error::new(error).context("the web server ended"),
        }
    }

    /// Ends sources, waits for frames in flight, then ends encoders, viewers and workers, in this
    /// order.
    pub async fn stop(mut self) {
        self.sources.cancel();
        let grace = Duration::from_millis(self.config.grace_ms);
        if timeout(grace, all_ended(&mut self.running)).await.is_err() {
            for stream in &self.streams {
                let _ = self.coordinator.abort(stream.flow()).await;
            }
            // Nothing is left to wait for but the encoders' last packets.
            if timeout(grace, all_ended(&mut self.running)).await.is_err() {
                tracing::error!("a stream's encoder or source does not end; it is left behind");
                self.running.abort_all();
            }
        }
        for stream in &self.streams {
            let left = stream.closing_books().map_or(0, |books| books.missing.cancelled);
            if left > 0 {
                tracing::warn!(
                    stream = stream.id(),
                    frames = left,
                    "frames were still in flight and are lost"
                );
            }
        }
        self.web.stop.cancel();
        if !self.web.serving.is_finished() {
            let _ = (&mut self.web.serving).await;
        }
        // The streams' halves held the other references and are gone; if one was left behind, the
        // process ends with the server anyway.
        if let Some(rtsp) = Arc::into_inner(self.rtsp) {
            rtsp.close().await;
        }
        self.pool.stop().await;
    }
}

async fn all_ended(running: &mut JoinSet<()>) {
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of a stream panicked");
        }
    }
}

fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    TcpListener::bind(config.http).map_err(|error| {
        let taken = error.kind() == std::io::ErrorKind::AddrInUse;
        let hint = if taken {
            "stop what uses it, or choose another with --http"
        } else {
            "choose another with --http"
        };
        anyhow::anyhow!("http (--http, FRAMELANE_HTTP) cannot listen on {}: {error}; {hint}", config.http)
    })
}

/// Opens the models' folder; without it, only streams that name a model are in trouble.
fn zoo(config: &Config) -> anyhow::Result<Option<Zoo>> {
    let wanted = config.streams.values().any(|stream| stream.model.is_some());
    match Zoo::open(&config.models) {
        Ok(zoo) => Ok(Some(zoo)),
        Err(_) if !wanted => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context("--models")),
    }
}
