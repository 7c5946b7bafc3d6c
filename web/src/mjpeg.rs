//! Motion JPEG: one answer that never ends, each part a picture that replaces the one before.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;
use warp::Reply;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::Response;

use crate::backend::Pictures;

/// The answer for one viewer. It ends when the pictures end or `stop` says so; what `slot` holds is let
/// go with it. Pictures go out as the bytes they came as, shared between viewers.
pub(crate) fn response(
    pictures: Pictures,
    stop: CancellationToken,
    slot: impl Send + Sync + 'static,
) -> Response {
    let mut response = warp::reply::stream(parts(pictures, stop, slot)).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("multipart/x-mixed-replace; boundary=frame"));
    response
}

fn parts(
    pictures: Pictures,
    stop: CancellationToken,
    slot: impl Send + Sync + 'static,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + Sync {
    // The stream is asked for a picture only when the connection has room for one, and then takes the
    // latest: this is where a slow viewer skips.
    let parts = stream::unfold((pictures, stop, slot), |(mut pictures, stop, slot)| async move {
        let picture = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            picture = pictures.next() => picture,
        }?;
        Some((part(picture), (pictures, stop, slot)))
    });
    let first = Bytes::from_static(b"--frame\r\n");
    stream::iter([first]).chain(parts.flat_map(stream::iter)).map(Ok)
}

/// One picture. The boundary that ends it goes out with it and not before the next one: browsers show a
/// picture only when they have seen its end, and would be one picture late.
fn part(picture: Bytes) -> [Bytes; 3] {
    let head = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.len());
    [Bytes::from(head), picture, Bytes::from_static(b"\r\n--frame\r\n")]
}
