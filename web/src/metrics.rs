//! `/metrics`: every metric name of the server, in one place.
//!
//! Names are `framelane_<noun>_<unit>[_total]`. A scrape is one [`Snapshot`], so the equations of the
//! ledger hold between the numbers of one scrape.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::api::{HandOuts, Ledger, Sent, Snapshot, State};

/// The media type of [`text`].
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One number of a ledger: name, help, where it is.
type LedgerMetric = (&'static str, &'static str, fn(&Ledger) -> u64);
type HandOutsMetric = (&'static str, &'static str, fn(&HandOuts) -> u64);

// `_total` is added by the encoder.
const LEDGER_COUNTERS: &[LedgerMetric] = &[
    ("framelane_decoded_frames", "Frames that the source gave", |ledger| ledger.decoded),
    ("framelane_skipped_frames", "Frames left out by the ingest", |ledger| ledger.skipped),
    ("framelane_refused_frames", "Frames offered to the queue and not let in", |ledger| ledger.refused),
    ("framelane_admitted_frames", "Frames let into the queue", |ledger| ledger.admitted),
    ("framelane_answered_frames", "Frames that left with their answers", |ledger| ledger.answered),
    (
        "framelane_not_asked_frames",
        "Frames that left without, since nothing was asked about them",
        |ledger| ledger.not_asked,
    ),
];
const LEDGER_GAUGES: &[LedgerMetric] = &[
    ("framelane_waiting_frames", "Frames decoded and not yet offered to the queue", |ledger| ledger.waiting),
    ("framelane_held_frames", "Frames inside the queue", |ledger| ledger.held),
];
const MISSING: (&str, &str) =
    ("framelane_missing_frames", "Frames that left without the answer that was asked for, by reason");
/// What has no outcome of its own, so that no equation of the ledger has it.
const HAND_OUTS: &[HandOutsMetric] = &[
    (
        "framelane_hedged_hand_outs",
        "Frames handed to a second worker, since the first was slow",
        |hand_outs| hand_outs.hedged,
    ),
    (
        "framelane_hedges_won_hand_outs",
        "Of the hedged ones, those that answered before the first worker",
        |hand_outs| hand_outs.hedges_won,
    ),
    (
        "framelane_rescued_hand_outs",
        "Frames handed to a second worker, since the first was not heard",
        |hand_outs| hand_outs.rescued,
    ),
    (
        "framelane_unanswered_hand_outs",
        "Frames taken back from a worker that did not answer in time",
        |hand_outs| hand_outs.unanswered,
    ),
];
const UNBALANCED: (&str, &str) =
    ("framelane_unbalanced_streams", "Streams whose ledger does not balance: anything but 0 is a bug");
const STREAM_STATE: (&str, &str) =
    ("framelane_stream_state", "1 for the state that the stream is in, 0 for the others");
const OUTPUT_RATE: (&str, &str) =
    ("framelane_output_frames_per_second", "Annotated frames handed to the encoder, over a recent window");
const LATENCY: (&str, &str) =
    ("framelane_latency_seconds", "Capture to annotated frame handed to the encoder, over a recent window");
const VIEWERS: (&str, &str) = ("framelane_viewer_connections", "Who watches, by how");
const VIEWERS_SKIPPED: (&str, &str) = (
    "framelane_viewer_skipped_frames",
    "Frames that viewers were too slow for, all viewers by how they watch",
);
const SENT: (&str, &str) =
    ("framelane_sent_pictures", "Pictures made for workers that dialled in, by worker and encoding");
const SENT_BYTES: (&str, &str) =
    ("framelane_sent_bytes", "Bytes of pictures made for workers that dialled in, by worker and encoding");
const WORKERS: (&str, &str) =
    ("framelane_worker_connections", "Connected workers, and lanes in the server's process");
const WORKER_CREDIT: (&str, &str) =
    ("framelane_worker_credit_tasks", "How many tasks the worker may hold at a time");
const WORKER_OUTSTANDING: (&str, &str) =
    ("framelane_worker_outstanding_tasks", "How many tasks the worker holds");
const WORKER_SHARED_MEMORY: (&str, &str) =
    ("framelane_worker_shared_memory", "Connections of the worker that get bodies through shared memory");
const WORKER_ANSWERED: (&str, &str) =
    ("framelane_worker_answered_tasks", "Answers of the worker that counted, since it connected");
const WORKER_OVERLONG: (&str, &str) = (
    "framelane_worker_overlong_tasks",
    "Tasks that the worker has had for far longer than is usual, with nothing to take them from it",
);
const REFUSED: (&str, &str) =
    ("framelane_refused_connections", "Connections refused or ended where workers dial in, by reason");

/// The scrape of one snapshot.
pub(crate) fn text(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(snapshot)));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape(Snapshot);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Snapshot { streams, workers, refusals } = &self.0;
        for &(name, help, value) in LEDGER_COUNTERS {
            let numbers =
                streams.iter().map(|stream| ([("stream", stream.id.as_str())], value(&stream.ledger)));
            counters(&mut encoder, (name, help), numbers)?;
        }
        for &(name, help, value) in LEDGER_GAUGES {
            let numbers =
                streams.iter().map(|stream| ([("stream", stream.id.as_str())], value(&stream.ledger)));
            gauges(&mut encoder, (name, help), numbers)?;
        }
        for &(name, help, value) in HAND_OUTS {
            let numbers =
                streams.iter().map(|stream| ([("stream", stream.id.as_str())], value(&stream.hand_outs)));
            counters(&mut encoder, (name, help), numbers)?;
        }
        let missing = streams.iter().flat_map(|stream| {
            let reasons = stream.ledger.missing.by_reason();
            reasons.map(|(reason, n)| ([("stream", stream.id.as_str()), ("reason", reason)], n))
        });
        counters(&mut encoder, MISSING, missing)?;
        let unbalanced = streams.iter().filter(|stream| !stream.ledger.balances());
        let unbalanced = ConstGauge::new(unbalanced.count());
        let (name, help) = UNBALANCED;
        unbalanced.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;

        let states = streams.iter().flat_map(|stream| {
            State::ALL.map(|state| {
                let labels = [("stream", stream.id.as_str()), ("state", state.name())];
                (labels, u64::from(stream.state == state))
            })
        });
        gauges(&mut encoder, STREAM_STATE, states)?;
        let rates = streams.iter().map(|stream| ([("stream", stream.id.as_str())], stream.fps));
        gauges(&mut encoder, OUTPUT_RATE, rates)?;
        let latencies = streams.iter().flat_map(|stream| {
            stream.latency_ms.into_iter().flat_map(|latency| {
                [("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99), ("1", latency.max)].map(
                    |(quantile, ms)| {
                        let labels = [("stream", stream.id.as_str()), ("quantile", quantile)];
                        (labels, ms / 1000.0)
                    },
                )
            })
        });
        gauges(&mut encoder, LATENCY, latencies)?;
        let viewers = streams.iter().flat_map(|stream| {
            [("rtsp", stream.viewers.rtsp), ("mjpeg", stream.viewers.mjpeg)]
                .map(|(kind, n)| ([("stream", stream.id.as_str()), ("kind", kind)], n))
        });
        gauges(&mut encoder, VIEWERS, viewers)?;
        let skipped = streams.iter().flat_map(|stream| {
            let viewers = &stream.viewers;
            [("rtsp", viewers.skipped_packets), ("mjpeg", viewers.skipped_pictures)]
                .map(|(kind, n)| ([("stream", stream.id.as_str()), ("kind", kind)], n))
        });
        counters(&mut encoder, VIEWERS_SKIPPED, skipped)?;

        let sent = |number: fn(&Sent) -> u64| {
            streams.iter().flat_map(move |stream| {
                stream.sent.iter().map(move |sent| {
                    let labels = [
                        ("stream", stream.id.as_str()),
                        ("worker", sent.worker.as_str()),
                        ("encoding", sent.encoding.as_str()),
                    ];
                    (labels, number(sent))
                })
            })
        };
        counters(&mut encoder, SENT, sent(|sent| sent.pictures))?;
        counters(&mut encoder, SENT_BYTES, sent(|sent| sent.bytes))?;

        // A worker that connects again before its old connection is given up is there twice, and the
        // same labels may not be.
        let mut sums: BTreeMap<_, [u64; 6]> = BTreeMap::new();
        for worker in workers {
            let labels = [
                ("worker", worker.id.as_str()),
                ("name", worker.name.as_str()),
                ("kind", worker.kind.name()),
            ];
            let sum = sums.entry(labels).or_default();
            sum[0] += 1;
            sum[1] += u64::from(worker.credit);
            sum[2] += u64::from(worker.outstanding);
            sum[3] += worker.answered;
            sum[4] += u64::from(worker.shared_memory);
            sum[5] += worker.overlong;
        }
        let of = |i: usize| sums.iter().map(move |(labels, sum)| (*labels, sum[i]));
        gauges(&mut encoder, WORKERS, of(0))?;
        gauges(&mut encoder, WORKER_CREDIT, of(1))?;
        gauges(&mut encoder, WORKER_OUTSTANDING, of(2))?;
        counters(&mut encoder, WORKER_ANSWERED, of(3))?;
        gauges(&mut encoder, WORKER_SHARED_MEMORY, of(4))?;
        counters(&mut encoder, WORKER_OVERLONG, of(5))?;
        let refused = refusals.iter().map(|refusal| ([("reason", &*refusal.reason)], refusal.connections));
        counters(&mut encoder, REFUSED, refused)
    }
}

fn counters<'a, V: EncodeCounterValue, const N: usize>(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    numbers: impl IntoIterator<Item = ([(&'a str, &'a str); N], V)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in numbers {
        ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<'a, V: EncodeGaugeValue, const N: usize>(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    numbers: impl IntoIterator<Item = ([(&'a str, &'a str); N], V)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in numbers {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LatencyMs, Missing, Refusal, Stream, Worker, WorkerKind, WorkerState};

    fn worker(id: &str) -> Worker {
        Worker {
            id: id.to_owned(),
            name: "gpu \"one\"\n".to_owned(),
            kind: WorkerKind::Quic,
            remote: None,
            shared_memory: true,
            keys: Vec::new(),
            credit: 3,
            outstanding: 2,
            answered: 40,
            overlong: 6,
            state: WorkerState::Ready,
        }
    }

    #[test]
    fn a_scrape_has_every_number_of_the_snapshot() {
        let stream = Stream {
            id: "door".to_owned(),
            state: State::Running,
            fps: 9.5,
            viewers: crate::api::Viewers { skipped_packets: 11, ..Default::default() },
            sent: vec![Sent {
                worker: "w7".to_owned(),
                encoding: "jpeg".to_owned(),
                now: true,
                pictures: 3,
                bytes: 99,
            }],
            latency_ms: Some(LatencyMs { p50: 80.0, ..LatencyMs::default() }),
            ledger: Ledger {
                decoded: 7,
                admitted: 7,
                answered: 3,
                missing: Missing { no_lane: 4, ..Missing::default() },
                ..Ledger::default()
            },
            hand_outs: HandOuts { hedged: 9, hedges_won: 5, rescued: 2, unanswered: 1 },
            ..Stream::default()
        };
        let refused = |reason: &str, connections| Refusal { reason: reason.to_owned(), connections };
        let scrape = text(Snapshot {
            streams: vec![stream],
            workers: vec![worker("1"), worker("1"), worker("2")],
            refusals: vec![refused("no_certificate", 5), refused("revoked", 0)],
        })
        .unwrap();
        let name = r#"name="gpu \"one\"\n""#;
        for line in [
            "# TYPE framelane_decoded_frames counter",
            "framelane_decoded_frames_total{stream=\"door\"} 7",
            "framelane_missing_frames_total{stream=\"door\",reason=\"no_lane\"} 4",
            "framelane_hedged_hand_outs_total{stream=\"door\"} 9",
            "framelane_hedges_won_hand_outs_total{stream=\"door\"} 5",
            "framelane_rescued_hand_outs_total{stream=\"door\"} 2",
            "framelane_unanswered_hand_outs_total{stream=\"door\"} 1",
            "framelane_held_frames{stream=\"door\"} 0",
            "framelane_unbalanced_streams 0",
            "framelane_stream_state{stream=\"door\",state=\"running\"} 1",
            "framelane_stream_state{stream=\"door\",state=\"failed\"} 0",
            "framelane_output_frames_per_second{stream=\"door\"} 9.5",
            "framelane_latency_seconds{stream=\"door\",quantile=\"0.5\"} 0.08",
            "framelane_viewer_skipped_frames_total{stream=\"door\",kind=\"rtsp\"} 11",
            "framelane_sent_pictures_total{stream=\"door\",worker=\"w7\",encoding=\"jpeg\"} 3",
            "framelane_sent_bytes_total{stream=\"door\",worker=\"w7\",encoding=\"jpeg\"} 99",
            &format!("framelane_worker_connections{{worker=\"1\",{name},kind=\"quic\"}} 2"),
            &format!("framelane_worker_answered_tasks_total{{worker=\"2\",{name},kind=\"quic\"}} 40"),
            &format!("framelane_worker_shared_memory{{worker=\"2\",{name},kind=\"quic\"}} 1"),
            &format!("framelane_worker_overlong_tasks_total{{worker=\"2\",{name},kind=\"quic\"}} 6"),
            "# TYPE framelane_refused_connections counter",
            "framelane_refused_connections_total{reason=\"no_certificate\"} 5",
            "framelane_refused_connections_total{reason=\"revoked\"} 0",
            "# EOF",
        ] {
            assert!(scrape.lines().any(|l| l == line), "{line} not in\n{scrape}");
        }
    }

    #[test]
    fn an_empty_server_scrapes_too() {
        let scrape = text(Snapshot::default()).unwrap();
        assert!(scrape.ends_with("# EOF\n"));
        assert!(scrape.contains("framelane_unbalanced_streams 0\n"));
    }
}
