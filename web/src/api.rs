//! The API's types: what `/api/v1/…` answers as JSON, and what the page and the metrics are made of.
//!
//! Field names are the wire format. A field may be added; one that exists keeps its name and meaning.

use serde::{Deserialize, Serialize};

/// One consistent view of the whole server, taken in one step by the task that keeps the books.
///
/// Every number that one answer (or one scrape of `/metrics`) shows comes from one snapshot, so that the
/// equations of [`Ledger`] hold in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The streams, in the order in which they are configured.
    pub streams: Vec<Stream>,
    /// The workers that are connected, one entry for each connection, and the lanes in this process.
    pub workers: Vec<Worker>,
    /// Who was refused where workers dial in, by reason; every reason is there, also those that never occurred.
    /// Counted beside the books, so no equation ties these to the rest.
    pub refusals: Vec<Refusal>,
}

/// One stream: where its frames come from, how it fares, and its books.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// The name in the config file and in every path, such as `/streams/{id}/mjpeg`.
    pub id: String,
    /// The source as a person wrote it, passwords redacted.
    pub source: String,
    /// The model that the frames are sent to; none for a stream that is only passed on.
    pub model: Option<String>,
    /// The size of the output picture; none until it is known.
    pub size: Option<Size>,
    /// Where RTSP players find the annotated stream.
    pub rtsp_url: Option<String>,
    /// What the stream is doing.
    pub state: State,
    /// Why it is in this state, where there is something to say (trouble of the source, for one).
    pub reason: Option<String>,
    /// Who watches.
    pub viewers: Viewers,
    /// Annotated frames handed to the encoder per second, over a recent window of some seconds.
    pub fps: f64,
    /// Capture to annotated frame handed to the encoder, in milliseconds, over a recent window; none
    /// until a frame has come through.
    pub latency_ms: Option<LatencyMs>,
    /// What was sent to workers that dialled in, by worker and encoding.
    #[serde(default)]
    pub sent: Vec<Sent>,
    /// The books, frame by frame.
    pub ledger: Ledger,
    /// How often frames were handed to more than one worker, or taken back.
    #[serde(default)]
    pub hand_outs: HandOuts,
}

/// Hand-outs of a stream's frames beyond the first of each, since the stream started. The task that keeps the
/// books counts them in the same step, so they belong to the same moment as the [`Ledger`]. They enter neither of
/// its equations: a frame leaves once, however many workers had it. At any moment `hedges_won <= hedged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOuts {
    /// To a second worker, since the first was slow: see `hedge_percent` of a stream.
    pub hedged: u64,
    /// Of these, the ones that answered first. Of the others the first worker did, or neither.
    pub hedges_won: u64,
    /// To a second worker, since the first was not heard.
    pub rescued: u64,
    /// Taken back, since the worker did not answer in the time that the stream allows it.
    pub unanswered: u64,
}

/// Pictures of a stream that were made for one worker in one encoding. A frame that is handed out again
/// is there again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The worker's id.
    pub worker: String,
    /// `i420`, `jpeg` or `rgb`.
    pub encoding: String,
    /// Whether this is what the worker was sent last.
    pub now: bool,
    /// How many.
    pub pictures: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A picture's size in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// What a stream is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It was told to start and no frame has come yet.
    #[default]
    Starting,
    /// Frames come.
    Running,
    /// The source is lost and is tried again.
    Reconnecting,
    /// It will not come back by itself; the reason says why.
    Failed,
    /// The source came to its end, and every frame of it has been dealt with.
    Ended,
}

impl State {
    /// Every state, in the order in which a stream usually goes through them.
    pub const ALL: [State; 5] =
        [State::Starting, State::Running, State::Reconnecting, State::Failed, State::Ended];

    /// The name that the JSON and the metrics use.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Reconnecting => "reconnecting",
            State::Failed => "failed",
            State::Ended => "ended",
        }
    }
}

/// How many watch a stream, by how they do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewers {
    /// RTSP clients.
    pub rtsp: u64,
    /// Browsers that show the motion JPEG picture.
    pub mjpeg: u64,
    /// Packets (one is one frame) that RTSP clients were too slow for, all clients since the stream started.
    /// After the books: these frames were answered and encoded.
    #[serde(default)]
    pub skipped_packets: u64,
    /// Pictures that browsers were too slow for, or the making of pictures was.
    #[serde(default)]
    pub skipped_pictures: u64,
}

/// Quantiles of a duration over a recent window, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// The median.
    pub p50: f64,
    /// 95 of 100 are at most this.
    pub p95: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// The longest in the window.
    pub max: f64,
}

/// The books of a stream, in frames since it started. At any moment, whatever workers and cameras do:
///
/// - `decoded = waiting + skipped + refused + admitted`
/// - `admitted = answered + not_asked + missing (the sum) + held`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Frames that the source gave.
    pub decoded: u64,
    /// Decoded, and not yet offered to the queue.
    pub waiting: u64,
    /// Left out by the ingest, since they came faster than they could be taken.
    pub skipped: u64,
    /// Offered, and not let in.
    pub refused: u64,
    /// Let in: each leaves exactly once, in order.
    pub admitted: u64,
    /// Left with their answers.
    pub answered: u64,
    /// Left without, because nothing was asked about them.
    pub not_asked: u64,
    /// Left without, although something was asked, and why.
    pub missing: Missing,
    /// Still inside.
    pub held: u64,
}

/// Frames that left without an answer, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Given up to make room for newer ones.
    pub evicted: u64,
    /// The answer was not there in time.
    pub late: u64,
    /// Every attempt failed.
    pub failed: u64,
    /// No worker serves what was asked.
    pub no_lane: u64,
    /// The stream was stopped.
    pub cancelled: u64,
}

impl Missing {
    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, frames)| frames).sum()
    }

    /// Each reason's name, as the JSON spells it, and its frames.
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("evicted", self.evicted),
            ("late", self.late),
            ("failed", self.failed),
            ("no_lane", self.no_lane),
            ("cancelled", self.cancelled),
        ]
    }
}

impl Ledger {
    /// Whether both equations hold.
    pub fn balances(&self) -> bool {
        let source = self.waiting + self.skipped + self.refused + self.admitted;
        let queue = self.answered + self.not_asked + self.missing.total() + self.held;
        self.decoded == source && self.admitted == queue
    }
}

/// One lane: a connected worker, or the threads in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// The worker's identity, the same over reconnects. A string, since it may be larger than what a
    /// JavaScript number holds exactly.
    pub id: String,
    /// What the worker calls itself.
    pub name: String,
    /// How it is reached.
    pub kind: WorkerKind,
    /// Its address; none in this process.
    pub remote: Option<String>,
    /// Whether it is on the server's host and gets pictures through shared memory instead of QUIC.
    #[serde(default)]
    pub shared_memory: bool,
    /// What it can do.
    pub keys: Vec<WorkerKey>,
    /// How many tasks it may hold at a time.
    pub credit: u32,
    /// How many it holds now.
    pub outstanding: u32,
    /// How many of its answers counted.
    pub answered: u64,
    /// How many tasks it has had for far longer than is usual, or still has, with nothing to take them from it.
    /// Each was told in the log; `answer_within_ms` of a stream gives them to another worker. In no equation.
    #[serde(default)]
    pub overlong: u64,
    /// Whether it takes new tasks.
    pub state: WorkerState,
}

/// Connections of workers and of those who would be, refused or ended for one reason since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, such as `no_certificate`, `expired_token` or `revoked`.
    pub reason: String,
    /// How many.
    pub connections: u64,
}

/// How a worker is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerKind {
    /// Over QUIC.
    Quic,
    /// In the server's own process.
    Local,
    /// All those behind a Redis.
    Redis,
    /// All those behind a RabbitMQ.
    Amqp,
}

impl WorkerKind {
    /// The name that the JSON and the metrics use.
    pub fn name(self) -> &'static str {
        match self {
            WorkerKind::Quic => "quic",
            WorkerKind::Local => "local",
            WorkerKind::Redis => "redis",
            WorkerKind::Amqp => "amqp",
        }
    }
}

/// Something that a worker can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerKey {
    /// The task, such as `detect`.
    pub task: String,
    /// The model: its name where the server knows it, otherwise its hash in hex; none for a task that
    /// needs no model.
    pub model: Option<String>,
    /// Loaded and warmed up, so that the first task does not pay for it.
    pub warm: bool,
}

/// Whether a worker takes new tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It does.
    Ready,
    /// It is not heard: others get what it holds, and it gets nothing more until it is heard again.
    Suspected,
    /// It finishes what it holds and leaves.
    Draining,
}

impl Snapshot {
    /// The stream of this name.
    pub fn stream(&self, id: &str) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.id == id)
    }
}

/// What every request that fails is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status, once more.
    pub status: u16,
    /// For programs: what went wrong, one of a fixed set of words such as `no_such_stream`.
    pub error: String,
    /// For people: what went wrong, and what to do.
    pub message: String,
}

/// What `/healthz` and `/readyz` answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or what is not.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_the_documented_fields() {
        let stream = Stream { latency_ms: Some(LatencyMs::default()), ..Stream::default() };
        let json = serde_json::to_value(&stream).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(
            keys(&json),
            [
                "fps",
                "hand_outs",
                "id",
                "latency_ms",
                "ledger",
                "model",
                "reason",
                "rtsp_url",
                "sent",
                "size",
                "source",
                "state",
                "viewers"
            ]
        );
        assert_eq!(keys(&json["latency_ms"]), ["max", "p50", "p95", "p99"]);
        assert_eq!(
            keys(&json["ledger"]),
            [
                "admitted",
                "answered",
                "decoded",
                "held",
                "missing",
                "not_asked",
                "refused",
                "skipped",
                "waiting"
            ]
        );
        assert_eq!(keys(&json["ledger"]["missing"]), ["cancelled", "evicted", "failed", "late", "no_lane"]);
        assert_eq!(keys(&json["hand_outs"]), ["hedged", "hedges_won", "rescued", "unanswered"]);
        assert_eq!(json["state"], "starting");
    }

    #[test]
    fn names_of_states_are_the_json_ones() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    #[test]
    fn a_ledger_balances_only_when_both_equations_hold() {
        let mut ledger = Ledger {
            decoded: 10,
            waiting: 1,
            skipped: 2,
            refused: 3,
            admitted: 4,
            answered: 1,
            not_asked: 1,
            missing: Missing { late: 1, ..Missing::default() },
            held: 1,
        };
        assert!(ledger.balances());
        ledger.held = 2;
        assert!(!ledger.balances());
        ledger.held = 1;
        ledger.decoded = 11;
        assert!(!ledger.balances());
    }
}
