//! How answers look: JSON, the one form of errors, and the headers that every answer carries.

use serde::Serialize;
use warp::Reply;
use warp::http::StatusCode;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use warp::reply::Response;

use crate::api::Problem;
use crate::guard::Refusal;

/// Everything comes from this server and nothing is inline, so a text that slipped into the page
/// unescaped could still not run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds what every answer carries.
pub(crate) fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Everything here is live, and the page's files change with the program.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A JSON answer.
pub(crate) fn json<T: Serialize>(value: &T) -> Response {
    warp::reply::json(value).into_response()
}

/// An answer of a fixed kind.
pub(crate) fn typed(kind: &'static str, body: impl Into<bytes::Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer that says what went wrong (`error`, for programs) and what to do (`message`, for people).
pub(crate) fn problem(status: StatusCode, error: &str, message: impl Into<String>) -> Response {
    let problem = Problem { status: status.as_u16(), error: error.to_owned(), message: message.into() };
    warp::reply::with_status(warp::reply::json(&problem), status).into_response()
}

/// The answer to a request that the guard refused.
pub(crate) fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::BadHost => {
            problem(StatusCode::BAD_REQUEST, "bad_host", "the request needs exactly one valid Host header")
        }
        Refusal::ForeignHost(host) => problem(
            StatusCode::FORBIDDEN,
            "foreign_host",
            format!(
                "this server is not known as {host:?}: use its address, or add the name to its configured hosts"
            ),
        ),
        Refusal::ForeignOrigin(origin) => problem(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            format!("web pages of other sites ({origin:?}) may not use this server"),
        ),
        Refusal::BodyTooLarge => {
            problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "send no body: nothing here takes one")
        }
    }
}
