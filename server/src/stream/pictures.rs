//! JPEG pictures of a stream, made only while somebody watches, and only as fast as they are made:
//! a newer frame replaces one that still waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use media::jpeg;
use picture::Frame;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// Good enough that text stays legible, a third of the size of 95.
const QUALITY: u8 = 80;

/// The newest frame, its JPEG, and how many watch. A frame is numbered when it is shown to those who watch, and
/// its picture has its number, so what lies between two pictures of a viewer is what it skipped.
pub(super) struct Pictures {
    frame: watch::Sender<Option<(u64, Frame)>>,
    jpeg: watch::Sender<Option<web::Picture>>,
    viewers: AtomicU64,
    /// Frames shown. Written by the output task alone.
    shown: AtomicU64,
    /// Added to by each viewer's own task.
    skipped: Arc<AtomicU64>,
}

impl Default for Pictures {
    fn default() -> Self {
        Pictures {
            frame: watch::Sender::new(None),
            jpeg: watch::Sender::new(None),
            viewers: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            skipped: Arc::default(),
        }
    }
}

/// One viewer; dropping it is how it leaves.
struct Viewer(Arc<Pictures>);

impl Drop for Viewer {
    fn drop(&mut self) {
        if self.0.viewers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.forget();
        }
    }
}

impl Pictures {
    pub(super) fn watch(self: &Arc<Self>) -> web::Pictures {
        self.viewers.fetch_add(1, Ordering::AcqRel);
        web::Pictures::new(self.jpeg.subscribe(), Arc::clone(&self.skipped), Viewer(Arc::clone(self)))
    }

    pub(super) fn viewers(&self) -> u64 {
        self.viewers.load(Ordering::Acquire)
    }

    /// How many pictures viewers were too slow for.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Shows a frame to those who watch.
    pub(super) fn show(&self, frame: &Frame) {
        if self.viewers() > 0 {
            let number = self.shown.fetch_add(1, Ordering::Relaxed);
            self.frame.send_replace(Some((number, frame.clone())));
        }
    }

    /// A picture from before must not greet the next viewer.
    fn forget(&self) {
        self.frame.send_replace(None);
        self.jpeg.send_replace(None);
    }

    /// Makes pictures until dropped.
    pub(super) async fn run(&self, stream: &str) {
        let mut frames = self.frame.subscribe();
        let mut encoder = None;
        // The sender lives in self, so `changed` cannot fail.
        while frames.changed().await.is_ok() {
            let Some((number, frame)) = frames.borrow_and_update().clone() else {
                encoder = None;
                continue;
            };
            let made = spawn_blocking(move || {
                let mut encoder = match encoder {
                    Some(encoder) => encoder,
                    None => jpeg::Encoder::new(QUALITY)?,
                };
                let jpeg = encoder.encode(&frame)?;
                Ok::<_, jpeg::Error>((encoder, jpeg))
            });
            encoder = match made.await {
                Ok(Ok((encoder, jpeg))) => {
                    self.jpeg.send_replace(Some(web::Picture { number, data: jpeg }));
                    if self.viewers() == 0 {
                        self.forget();
                    }
                    Some(encoder)
                }
                Ok(Err(error)) => {
                    tracing::warn!(stream, %error, "no picture for the page");
                    None
                }
                Err(error) => {
                    tracing::error!(stream, %error, "making a picture panicked");
                    None
                }
            };
        }
    }
}
