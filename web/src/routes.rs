//! Which path is answered by what.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use warp::http::StatusCode;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::reject::{MethodNotAllowed, Rejection};
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::api::{Health, Snapshot};
use crate::backend::Backend;
use crate::shutdown::{self, Shutdown};
use crate::{metrics, mjpeg, page, reply};

/// What the routes share.
pub(crate) struct Shared<B> {
    pub(crate) backend: Arc<B>,
    /// One permit for each picture stream that may run at a time.
    pub(crate) viewers: Arc<Semaphore>,
    /// How long a snapshot waits for its picture.
    pub(crate) snapshot_timeout: Duration,
    /// Ends the answers that do not end by themselves.
    pub(crate) stop: CancellationToken,
    /// Who may end the program.
    pub(crate) shutdown: Option<Shutdown>,
}

/// Every route. It answers whatever comes: a path or a method that is not there is answered in JSON too.
pub(crate) fn routes<B: Backend>(
    shared: Arc<Shared<B>>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let shared = warp::any().map(move || Arc::clone(&shared));
    let get = warp::get;

    let index = warp::path::end().and(get()).map(page::index);
    let asset = warp::path!("assets" / String)
        .and(get())
        .map(|name: String| page::asset(&name).unwrap_or_else(no_such_path));

    let streams = warp::path!("api" / "v1" / "streams")
        .and(get())
        .and(shared.clone())
        .then(|shared: Arc<Shared<B>>| async move { reply::json(&shared.backend.snapshot().await.streams) });
    let stream = warp::path!("api" / "v1" / "streams" / String).and(get()).and(shared.clone()).then(
        |id: String, shared: Arc<Shared<B>>| async move {
            let snapshot = shared.backend.snapshot().await;
            match snapshot.stream(&id) {
                Some(stream) => reply::json(stream),
                None => no_such_stream(&id, &snapshot),
            }
        },
    );
    let workers = warp::path!("api" / "v1" / "workers")
        .and(get())
        .and(shared.clone())
        .then(|shared: Arc<Shared<B>>| async move { reply::json(&shared.backend.snapshot().await.workers) });

    let refusals = warp::path!("api" / "v1" / "refusals")
        .and(get())
        .and(shared.clone())
        .then(|shared: Arc<Shared<B>>| async move { reply::json(&shared.backend.snapshot().await.refusals) });

    let queues = warp::path!("api" / "v1" / "queues")
        .and(get())
        .and(shared.clone())
        .then(|shared: Arc<Shared<B>>| async move { reply::json(&shared.backend.queues().await) });

    let shutdown = warp::path!("api" / "v1" / "shutdown")
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(shared.clone())
        .map(|method, headers, shared: Arc<Shared<B>>| {
            shutdown::answer(&method, &headers, shared.shutdown.as_ref())
        });

    let mjpeg = warp::path!("streams" / String / "mjpeg").and(get()).and(shared.clone()).then(watch);
    let snapshot =
        warp::path!("streams" / String / "snapshot.jpg").and(get()).and(shared.clone()).then(snapshot);

    let metrics = warp::path!("metrics").and(get()).and(shared.clone()).then(scrape);
    let healthz = warp::path!("healthz").and(get()).map(|| health(&Ok(())));
    let readyz = warp::path!("readyz")
        .and(get())
        .and(shared)
        .map(|shared: Arc<Shared<B>>| health(&shared.backend.ready()));

    let api = streams.or(stream).unify().or(workers).unify().or(refusals).unify();
    let api = api.or(queues).unify().or(shutdown).unify();
    let pictures = mjpeg.or(snapshot).unify();
    let operation = metrics.or(healthz).unify().or(readyz).unify();
    let files = index.or(asset).unify();
    api.or(pictures).unify().or(operation).unify().or(files).unify().boxed().recover(rejected).unify()
}

async fn watch<B: Backend>(id: String, shared: Arc<Shared<B>>) -> Response {
    let Some(slot) = shared.slot() else {
        return busy("too_many_viewers", "too many watch already: try again later");
    };
    match shared.backend.watch(&id) {
        Some(pictures) => mjpeg::response(pictures, shared.stop.clone(), slot),
        None => no_such_stream(&id, &shared.backend.snapshot().await),
    }
}

async fn snapshot<B: Backend>(id: String, shared: Arc<Shared<B>>) -> Response {
    let Some(_slot) = shared.slot() else {
        return busy("too_many_viewers", "too many watch already: try again later");
    };
    let Some(mut pictures) = shared.backend.watch(&id) else {
        return no_such_stream(&id, &shared.backend.snapshot().await);
    };
    let picture = tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        picture = tokio::time::timeout(shared.snapshot_timeout, pictures.next()) => picture.ok().flatten(),
    };
    match picture {
        Some(picture) => reply::typed("image/jpeg", picture),
        None => busy("no_picture", "the stream gives no picture now: its state says why"),
    }
}

async fn scrape<B: Backend>(shared: Arc<Shared<B>>) -> Response {
    match metrics::text(shared.backend.snapshot().await) {
        Ok(text) => {
            let mut response = text.into_response();
            let kind = HeaderValue::from_static(metrics::MEDIA_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            internal()
        }
    }
}

fn health(state: &Result<(), String>) -> Response {
    let (code, status) = match state {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why.as_str()),
    };
    let health = Health { status: status.to_owned() };
    warp::reply::with_status(reply::json(&health), code).into_response()
}

impl<B> Shared<B> {
    fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.viewers).try_acquire_owned().ok()
    }
}

fn no_such_stream(id: &str, snapshot: &Snapshot) -> Response {
    let known: Vec<&str> = snapshot.streams.iter().map(|stream| stream.id.as_str()).collect();
    let known = match known.as_slice() {
        [] => "there are none".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    };
    reply::problem(StatusCode::NOT_FOUND, "no_such_stream", format!("no stream is called {id:?}; {known}"))
}

fn no_such_path() -> Response {
    reply::problem(
        StatusCode::NOT_FOUND,
        "no_such_path",
        "nothing is here; the page is at / and the API below /api/v1/",
    )
}

fn busy(error: &str, message: &str) -> Response {
    let mut response = reply::problem(StatusCode::SERVICE_UNAVAILABLE, error, message);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

fn internal() -> Response {
    reply::problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the server could not answer; its log says why",
    )
}

async fn rejected(rejection: Rejection) -> Result<Response, Infallible> {
    if rejection.find::<MethodNotAllowed>().is_some() {
        let mut response = reply::problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "only GET and HEAD are answered here",
        );
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    if rejection.is_not_found() {
        return Ok(no_such_path());
    }
    tracing::error!(?rejection, "no route answered");
    Ok(internal())
}
