//! A stream's frames on their way out: in order, with their boxes, encoded once for all viewers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dispatch::{Done, Outlet};
use media::draw::{Canvas, Labelled};
use media::encode::{self, Encoder, Quality};
use media::rtsp;
use models::detect::Detections;
use picture::{Frame, Rate, Size};
use queue::Verdict;
use web::api::State;

use super::{Letterbox, Stream};

/// How long a stream goes without an encoder after one failed: long enough that one which fails at
/// once does not fill the log.
const ENCODER_RETRY: Duration = Duration::from_secs(1);

/// Takes frames from the queue, draws and encodes them.
pub struct Output {
    stream: Arc<Stream>,
    outlet: Outlet<Letterbox>,
    rtsp: Arc<rtsp::Server>,
    encoder: Option<Encoder>,
    /// No new encoder before this moment.
    retry_at: Option<Instant>,
    /// The last answer, for a stream that holds its boxes over frames that were not asked about.
    held: Option<Detections>,
}

impl Output {
    pub(super) fn new(stream: Arc<Stream>, outlet: Outlet<Letterbox>, rtsp: Arc<rtsp::Server>) -> Self {
        Output { stream, outlet, rtsp, encoder: None, retry_at: None, held: None }
    }

    /// Runs until the flow is over and its last frame encoded.
    pub async fn run(mut self) {
        let stream = Arc::clone(&self.stream);
        tokio::select! {
            () = stream.pictures.run(&stream.id) => {}
            () = self.take_all() => {}
        }
        if let Some(encoder) = self.encoder.take()
            && let Err(error) = encoder.finish().await
        {
            tracing::warn!(stream = self.stream.id, %error, "the encoder did not end well");
        }
        let mut status = self.stream.status();
        status.closing_books = self.outlet.closing_books().cloned();
        if status.state != State::Failed {
            status.state = State::Ended;
        }
    }

    async fn take_all(&mut self) {
        while let Some(done) = self.outlet.next().await {
            let captured_at = done.captured_at;
            let frame = self.annotated(done);
            self.encode(&frame).await;
            self.stream.meter.note(captured_at, Instant::now());
            self.stream.pictures.show(&frame);
        }
    }

    /// The frame with its boxes; as it came when it has none. Those of another frame are drawn on one that was
    /// not asked about, and only where the config says so; one whose answer is missing shows that.
    fn annotated(&mut self, done: Done<Letterbox>) -> Frame {
        let frame = done.item.unwrap_or_clone();
        let hold = self.stream.config.hold_boxes;
        let boxes = match (done.verdict, done.answer) {
            (Verdict::Answered, answer) => answer,
            (Verdict::NotAsked, _) if hold => self.held.take(),
            _ => None,
        };
        let drawn = match &boxes {
            Some(detections) if !detections.boxes.is_empty() => self.drawn(frame, detections),
            _ => frame,
        };
        self.held = boxes.filter(|_| hold);
        drawn
    }

    fn drawn(&self, frame: Frame, detections: &Detections) -> Frame {
        let Some(model) = &self.stream.model else { return frame };
        let threshold = self.stream.config.threshold.unwrap_or(0.0);
        let boxes: Vec<Labelled<'_>> = detections
            .boxes
            .iter()
            .filter(|found| found.score >= threshold)
            .map(|found| Labelled {
                rect: found.rect,
                label: model.manifest.labels.name(found.class),
                score: found.score,
                colour: found.class.into(),
            })
            .collect();
        let mut canvas = Canvas::new(&frame);
        if let Err(error) = canvas.boxes(&boxes) {
            tracing::warn!(stream = self.stream.id, %error, "a frame leaves without its boxes");
        }
        canvas.into_frame()
    }

    async fn encode(&mut self, frame: &Frame) {
        if self.encoder.is_none() && self.retry_at.is_none_or(|at| at <= Instant::now()) {
            self.start(frame.size());
        }
        let Some(encoder) = &self.encoder else { return };
        if let Err(error) = encoder.push(frame.clone()).await {
            tracing::error!(stream = self.stream.id, %error, "the encoder failed; another will be started");
            self.encoder = None;
            self.retry_at = Some(Instant::now() + ENCODER_RETRY);
        }
    }

    fn start(&mut self, source: Size) {
        let stream = &self.stream;
        match started(stream, source, &self.rtsp) {
            Ok((encoder, size)) => {
                let mut status = stream.status();
                status.size = Some(size);
                let before = status.ring.replace(Arc::clone(encoder.ring()));
                status.skipped_before += before.map_or(0, |ring| ring.skipped());
                drop(status);
                self.encoder = Some(encoder);
            }
            Err(error) => {
                tracing::error!(stream = stream.id, error = format!("{error:#}"), "no encoder");
                self.retry_at = Some(Instant::now() + ENCODER_RETRY);
            }
        }
    }
}

/// Starts an encoder and serves it under the stream's path, in place of any before it.
fn started(stream: &Stream, source: Size, rtsp: &rtsp::Server) -> anyhow::Result<(Encoder, Size)> {
    let output = &stream.config.output;
    let size = match (output.width, output.height) {
        (Some(width), Some(height)) => Size::new(width, height)?,
        // H.264 in 4:2:0 has no odd sides.
        _ => Size::new((source.width() & !1).max(2), (source.height() & !1).max(2))?,
    };
    // Only plans the rate control: frames keep their own times.
    let named = stream.status().rate;
    let rate = named.unwrap_or_else(|| Rate::new(30, 1).expect("30/1 is a rate"));
    let mut config = encode::Config::new(size, rate);
    config.key_interval = Some(output.key_frame_every.get());
    if let Some(kbps) = output.bitrate_kbps {
        config.quality = Quality::Bitrate(kbps.get());
    }
    let (encoder, ring) = Encoder::start(config)?;
    let path = format!("/{}", stream.id);
    rtsp.unmount(&path);
    rtsp.mount(&path, ring)?;
    Ok((encoder, size))
}
