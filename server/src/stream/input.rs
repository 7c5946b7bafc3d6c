//! A stream's frames on their way into the queue.

use std::sync::Arc;

use dispatch::{Admission, Inlet, Refusal};
use media::ingest::{self, Event, Ingest};
use picture::{Frame, Thin};
use queue::SourceCounts;
use tokio_util::sync::CancellationToken;
use web::api::State;

use super::{Letterbox, Stream};
use crate::config::Pace;

/// Brings frames from the source to the queue.
pub struct Input {
    stream: Arc<Stream>,
    inlet: Inlet<Letterbox>,
    /// Frames that the queue did not take. Owned by this task; enters
    /// `decoded = waiting + skipped + refused + admitted`.
    refused: u64,
    /// Which frames the model is asked about; none: every frame.
    thin: Option<Thin>,
}

impl Input {
    pub(super) fn new(stream: Arc<Stream>, inlet: Inlet<Letterbox>) -> Self {
        let thin = stream.config.model_rate.map(|rate| Thin::to(rate.get()));
        Input { stream, inlet, refused: 0, thin }
    }

    /// Runs until the source ends for good or `stop`, then closes the flow.
    pub async fn run(mut self, stop: CancellationToken) {
        let config = &self.stream.config;
        let mut how = ingest::Config::default();
        how.loop_file = config.looped;
        how.pace = match config.pace {
            Pace::Live => ingest::Pace::Live,
            Pace::Fast => ingest::Pace::Fast,
        };
        let mut ingest = ingest::open(self.stream.source.clone(), how);
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = ingest.next() => event,
            };
            match event {
                Event::Frame(frame) => {
                    if !self.admit(frame, &ingest).await {
                        break;
                    }
                }
                Event::Trouble(why) => {
                    tracing::warn!(
                        stream = self.stream.id,
                        why,
                        "the source is in trouble and is tried again"
                    );
                    self.stream.set_state(State::Reconnecting, Some(why));
                }
                Event::Failed(error) => {
                    tracing::error!(stream = self.stream.id, %error, "the source has failed");
                    self.stream.set_state(State::Failed, Some(error.to_string()));
                    break;
                }
                Event::Ended => break,
                event => tracing::debug!(?event, "an event without meaning here"),
            }
        }
        ingest.stop();
        // What waited inside is counted as skipped by now; these are the source's last words.
        let _ = self.inlet.source(self.counts(&ingest)).await;
        self.inlet.close();
        ingest.closed().await;
    }

    /// Offers a frame; false when the flow takes no more.
    async fn admit(&mut self, frame: Frame, ingest: &Ingest) -> bool {
        self.running(ingest);
        let before = self.thin;
        let admission = Admission {
            ask: self.stream.model.is_some() && self.thin.as_mut().is_none_or(|thin| thin.take(frame.pts())),
            captured_at: frame.stamp.captured_at,
            source: self.counts(ingest),
            item: frame,
        };
        // A file that plays as fast as it can waits; a live source cannot.
        let offered = match self.stream.config.pace {
            Pace::Fast => self.inlet.send(admission).await,
            Pace::Live => self.inlet.offer(admission).await,
        };
        let Err(refused) = offered else { return true };
        // The next one that is let in may be asked about in its place.
        self.thin = before;
        self.refused += 1;
        let counts = self.counts(ingest);
        self.inlet.source(counts).await.is_ok() && refused.why == Refusal::Full
    }

    fn running(&self, ingest: &Ingest) {
        let mut status = self.stream.status();
        if status.state != State::Running {
            status.state = State::Running;
            status.reason = None;
            status.rate = ingest.rate();
            if let Some(rate) = self.stream.config.asked_rate(status.rate) {
                self.stream.sending.set_rate(rate);
            }
        }
    }

    fn counts(&self, ingest: &Ingest) -> SourceCounts {
        let counts = ingest.counts();
        SourceCounts {
            decoded: counts.decoded,
            waiting: counts.waiting,
            skipped: counts.skipped,
            refused: self.refused,
        }
    }
}
