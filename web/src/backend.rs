//! What the routes ask of the program behind them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::watch;

use crate::api::Snapshot;

/// The program behind the routes. The server implements it; the routes own no state of their own.
pub trait Backend: Send + Sync + 'static {
    /// One consistent view of streams and workers. Asked for by every API call and every scrape, so it
    /// must be quick: a message to the task that keeps the books, not a walk over the disk.
    fn snapshot(&self) -> impl Future<Output = Snapshot> + Send;

    /// All that the queue holds, for people and their tools: an object whose lists are `flows` and `lanes`.
    fn queues(&self) -> impl Future<Output = serde_json::Value> + Send;

    /// Starts to watch a stream's annotated pictures; none if there is no such stream. Pictures are made
    /// only while somebody watches: what this returns is one viewer, and dropping it ends that viewer.
    fn watch(&self, id: &str) -> Option<Pictures>;

    /// Whether the program can do its work now; otherwise one line that says what is missing. A missing
    /// worker is no reason: video flows without one.
    fn ready(&self) -> Result<(), String>;
}

/// A picture of a stream.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its number, rising by one from picture to picture that a viewer could have had.
    pub number: u64,
    /// A whole JPEG file.
    pub data: Bytes,
}

/// One viewer's source of pictures, each a whole JPEG file. It holds only the latest: a viewer that is
/// slow misses pictures, and never makes anything pile up.
///
/// The value is `None` until there is a picture. A backend that stops making pictures when the last
/// viewer leaves sets it back to `None`, so that the next viewer does not begin with an old one. Dropping
/// the sender ends the viewer's stream.
pub struct Pictures {
    latest: watch::Receiver<Option<Picture>>,
    /// The number of the last one that this viewer had.
    last: Option<u64>,
    skipped: Arc<AtomicU64>,
    // Told by its drop that this viewer is gone; never read.
    _viewer: Box<dyn Send + Sync>,
}

impl Pictures {
    /// A viewer of what `latest` carries. `viewer` is dropped when the viewer goes, however it goes: a
    /// guard there counts viewers. (`watch::Sender::closed` tells when the last one went, too.) To `skipped` is
    /// added what this viewer was too slow for, between pictures that it had.
    pub fn new(
        mut latest: watch::Receiver<Option<Picture>>,
        skipped: Arc<AtomicU64>,
        viewer: impl Send + Sync + 'static,
    ) -> Pictures {
        // A fresh receiver counts the value that is there as seen, yet a newcomer should have it.
        latest.mark_changed();
        Pictures { latest, last: None, skipped, _viewer: Box::new(viewer) }
    }

    /// The next picture: at once the one that is there, if this viewer has not had it yet, otherwise as
    /// soon as there is one. None once no more will come.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.latest.changed().await.ok()?;
            let picture = self.latest.borrow_and_update().clone();
            let Some(Picture { number, data }) = picture else {
                // Those who watch begin anew, and what was in between was for nobody.
                self.last = None;
                continue;
            };
            let between = self.last.map_or(0, |last| number.saturating_sub(last + 1));
            self.skipped.fetch_add(between, Ordering::Relaxed);
            self.last = Some(number);
            return Some(data);
        }
    }
}
