//! The one request that changes something: the end of the program.

use std::fmt;

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use warp::http::header::{ALLOW, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Reply, reply as warp_reply};

use crate::api::Health;
use crate::reply;

/// Who may end the program, and how it is told. Whoever shows the secret as `Authorization: Bearer SECRET` may.
#[derive(Clone)]
pub struct Shutdown {
    secret: String,
    asked: CancellationToken,
}

impl Shutdown {
    /// `asked` is cancelled by the first request that shows this secret. An empty secret lets nobody in.
    pub fn new(secret: impl Into<String>, asked: CancellationToken) -> Self {
        Shutdown { secret: secret.into(), asked }
    }

    /// Takes as long for a secret that is wrong at its end as for one that is wrong at its start.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return false };
        let Some((scheme, shown)) = shown.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return false;
        };
        let right: bool = shown.as_bytes().ct_eq(self.secret.as_bytes()).into();
        scheme.eq_ignore_ascii_case("bearer") && right && !self.secret.is_empty()
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("asked", &self.asked.is_cancelled()).finish_non_exhaustive()
    }
}

/// Answers a request to stop. One that is let in is answered before the program ends.
pub(crate) fn answer(method: &Method, headers: &HeaderMap, shutdown: Option<&Shutdown>) -> Response {
    if method != Method::POST {
        let mut response = reply::problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "only POST is answered here",
        );
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    match shutdown.filter(|shutdown| shutdown.admits(headers)) {
        Some(shutdown) => {
            tracing::info!("told over HTTP to stop");
            shutdown.asked.cancel();
            let health = Health { status: "stopping".to_owned() };
            warp_reply::with_status(reply::json(&health), StatusCode::ACCEPTED).into_response()
        }
        None => {
            let why = "show the secret of this server's state folder, as `framelane stop` does";
            let mut response = reply::problem(StatusCode::UNAUTHORIZED, "unauthorized", why);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}
