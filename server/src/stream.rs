//! One stream: a source, its flow through the queue, and the annotated video that comes out.
//!
//! [`open`] makes the shared [`Stream`], which the API reads, and the two halves that the app runs:
//! [`Input`] brings frames to the queue, [`Output`] takes them in order, draws, and encodes.

mod choice;
mod input;
mod letterbox;
mod meter;
mod output;
mod pictures;
mod sending;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use dispatch::Coordinator;
use models::detect::Detect;
use models::{Model, Zoo};
use picture::{Rate, Size};
use queue::{Books, FlowId, Key, ModelHash, TaskName};
use web::api;
use wire::Task;

use crate::config;
use input::Input;
use letterbox::Letterbox;
use meter::Meter;
use output::Output;
use pictures::Pictures;
use sending::Sending;

/// A stream as the API sees it. Input and output write it, each its own fields.
pub struct Stream {
    id: String,
    config: config::Stream,
    source: media::Source,
    model: Option<Model>,
    flow: FlowId,
    rtsp_url: String,
    meter: Meter,
    sending: Arc<Sending>,
    pictures: Arc<Pictures>,
    // Held to read or to replace a field, never over an await.
    status: Mutex<Status>,
}

#[derive(Default)]
struct Status {
    state: api::State,
    reason: Option<String>,
    size: Option<Size>,
    /// What the source says of itself; the output plans with it.
    rate: Option<Rate>,
    ring: Option<Arc<media::Ring>>,
    /// What players skipped in rings before this one: the output adds a ring's count when it replaces it.
    skipped_before: u64,
    closing_books: Option<Books>,
}

/// Opens a stream's flow and makes its two halves.
pub async fn open(
    id: &str,
    config: &config::Stream,
    zoo: Option<&Zoo>,
    coordinator: &Coordinator,
    rtsp: &Arc<media::rtsp::Server>,
) -> anyhow::Result<(Arc<Stream>, Input, Output)> {
    let source = media::Source::parse(&config.source)?;
    let model = match &config.model {
        Some(name) => Some(find(zoo.context("there are no models")?, name)?),
        None => None,
    };
    let task = TaskName::new(Detect::NAME).expect("the task's own name is well formed");
    let (key, input) = match &model {
        Some(model) => (Key::model(task, ModelHash(model.hash)), model.manifest.input.size),
        // Never asked for: without a model every frame passes as not asked.
        None => (Key::task(task), Size::new(16, 16).expect("16x16 is a size")),
    };
    let sending = Arc::new(Sending::new(config));
    let prepare = Letterbox { input, sending: Arc::clone(&sending) };
    let (inlet, outlet) = coordinator.open(config.policy(), key, prepare).await?;
    let stream = Arc::new(Stream {
        id: id.to_owned(),
        config: config.clone(),
        source,
        model,
        flow: outlet.flow(),
        rtsp_url: rtsp.url(&format!("/{id}")),
        meter: Meter::default(),
        sending,
        pictures: Arc::new(Pictures::default()),
        status: Mutex::default(),
    });
    let input = Input::new(Arc::clone(&stream), inlet);
    let output = Output::new(Arc::clone(&stream), outlet, Arc::clone(rtsp));
    Ok((stream, input, output))
}

fn find(zoo: &Zoo, name: &str) -> anyhow::Result<Model> {
    zoo.get(name).cloned().with_context(|| {
        let bad = zoo.bad().iter().map(|error| format!("\n  {error}")).collect::<String>();
        let good: Vec<&str> = zoo.models().iter().map(|model| model.manifest.name.as_str()).collect();
        let good = if good.is_empty() { "none".to_owned() } else { good.join(", ") };
        format!("there is no model `{name}` in {}; there is {good}{bad}", zoo.dir().display())
    })
}

impl Stream {
    /// The id of the config file and of every path.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The flow, for its books.
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// The model, for a stream that has one.
    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// The encoded output, once there was a frame.
    pub fn ring(&self) -> Option<Arc<media::Ring>> {
        self.status().ring.clone()
    }

    /// The last books, once the stream is over.
    pub fn closing_books(&self) -> Option<Books> {
        self.status().closing_books
    }

    /// Starts to watch the annotated pictures.
    pub fn watch(&self) -> web::Pictures {
        self.pictures.watch()
    }

    /// The stream for the API. `books` are those of its flow, none if the flow is over.
    pub fn view(&self, books: Option<&Books>) -> api::Stream {
        let reading = self.meter.read(Instant::now());
        let status = self.status();
        let books = status.closing_books.as_ref().or(books);
        api::Stream {
            id: self.id.clone(),
            source: self.source.to_string(),
            model: self.config.model.clone(),
            size: status.size.map(|size| api::Size { width: size.width(), height: size.height() }),
            rtsp_url: Some(self.rtsp_url.clone()),
            state: status.state,
            reason: status.reason.clone(),
            viewers: api::Viewers {
                rtsp: status.ring.as_ref().map_or(0, |ring| ring.readers() as u64),
                mjpeg: self.pictures.viewers(),
                skipped_packets: status.skipped_before
                    + status.ring.as_ref().map_or(0, |ring| ring.skipped()),
                skipped_pictures: self.pictures.skipped(),
            },
            fps: reading.fps,
            latency_ms: reading.latency_ms.map(|[p50, p95, p99, max]| api::LatencyMs { p50, p95, p99, max }),
            sent: self.sending.view(),
            ledger: books.map(ledger).unwrap_or_default(),
            hand_outs: books.map(hand_outs).unwrap_or_default(),
        }
    }

    fn status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, state: api::State, reason: Option<String>) {
        let mut status = self.status();
        status.state = state;
        status.reason = reason;
    }
}

fn hand_outs(books: &Books) -> api::HandOuts {
    let parts = &books.parts;
    api::HandOuts {
        hedged: parts.hedged,
        hedges_won: parts.hedges_won,
        rescued: parts.rescued,
        unanswered: parts.unanswered,
    }
}

fn ledger(books: &Books) -> api::Ledger {
    let missing = &books.missing;
    api::Ledger {
        decoded: books.source.decoded,
        waiting: books.source.waiting,
        skipped: books.source.skipped,
        refused: books.source.refused,
        admitted: books.admitted,
        answered: books.answered,
        not_asked: books.not_asked,
        missing: api::Missing {
            evicted: missing.evicted,
            late: missing.late,
            failed: missing.failed,
            no_lane: missing.no_lane,
            cancelled: missing.cancelled,
        },
        held: books.held,
    }
}
