//! What a stream's pictures travel as, chosen for each worker, and how much was sent so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dispatch::Link;
use models::detect::{Encoded, Encoding, Quality, READS_JPEG, READS_RGB, WANTS_RGB};
use picture::{Picture, Rate};
use queue::WorkerId;
use web::api;

use super::choice::Choice;
use crate::config::{self, SendAs};

/// The share of the time between two pictures that one may take on its way as I420: four streams like this
/// one fit the link then.
const OF_INTERVAL: u32 = 4;
/// The share of the budget: the rest is for waiting and for the model.
const OF_BUDGET: u32 = 10;
/// What counts as the time between two pictures until the source has named its rate.
const INTERVAL: Duration = Duration::from_millis(40);
/// More workers than any stream has; the one that was longest without a picture is forgotten.
const WORKERS: usize = 256;

/// Read by whoever prepares a picture, on any thread.
pub(super) struct Sending {
    send_as: SendAs,
    quality: Quality,
    budget: Option<Duration>,
    /// Nanoseconds between two pictures.
    interval: AtomicU64,
    // Held for a look-up, never over an await.
    workers: Mutex<BTreeMap<WorkerId, Worker>>,
}

struct Worker {
    choice: Choice,
    now: Encoding,
    seen: Instant,
    /// By the encoding's name: pictures and their bytes.
    sent: BTreeMap<&'static str, (u64, u64)>,
}

impl Sending {
    pub(super) fn new(config: &config::Stream) -> Self {
        Sending {
            send_as: config.send_as,
            quality: config.jpeg_quality,
            budget: config.budget(),
            interval: AtomicU64::new(INTERVAL.as_nanos() as u64),
            workers: Mutex::default(),
        }
    }

    /// The source's rate, or the model's where that is less.
    pub(super) fn set_rate(&self, rate: Rate) {
        let nanos = u64::try_from(rate.frame_time().as_nanos()).unwrap_or(u64::MAX);
        self.interval.store(nanos, Ordering::Relaxed);
    }

    /// Writes a picture for a link.
    pub(super) fn encode(&self, picture: Picture, link: &Link, now: Instant) -> Encoded {
        let Link::Remote { worker, abilities, bytes_per_s, .. } = link else {
            return Encoded::I420(picture);
        };
        let encoding = {
            let mut workers = self.workers();
            let to = entry(&mut workers, *worker, now);
            to.now = self.choose(&mut to.choice, abilities, *bytes_per_s, picture.data().len(), now);
            to.seen = now;
            to.now
        };
        let encoded = match encoding {
            // A millisecond or two, on a thread that others share.
            Encoding::Jpeg(_) => tokio::task::block_in_place(|| Encoded::new(picture, encoding)),
            _ => Encoded::new(picture, encoding),
        };
        let mut workers = self.workers();
        let sent = entry(&mut workers, *worker, now).sent.entry(encoded.name()).or_default();
        sent.0 += 1;
        sent.1 += encoded.len() as u64;
        encoded
    }

    fn choose(
        &self,
        choice: &mut Choice,
        abilities: &[String],
        bytes_per_s: Option<f64>,
        i420: usize,
        now: Instant,
    ) -> Encoding {
        let can = |ability: &str| abilities.iter().any(|able| able == ability);
        let (jpeg, rgb) = (can(READS_JPEG), can(READS_RGB) || can(WANTS_RGB));
        match self.send_as {
            SendAs::Jpeg if jpeg => Encoding::Jpeg(self.quality),
            SendAs::Rgb if rgb => Encoding::Rgb,
            SendAs::Auto => {
                let wide = if can(WANTS_RGB) { Encoding::Rgb } else { Encoding::I420 };
                let bytes = if wide == Encoding::Rgb { 2 * i420 } else { i420 };
                let takes =
                    bytes_per_s.and_then(|rate| Duration::try_from_secs_f64(bytes as f64 / rate).ok());
                match jpeg && choice.jpeg(takes, self.allowed(), now) {
                    true => Encoding::Jpeg(self.quality),
                    false => wide,
                }
            }
            // What every worker reads.
            SendAs::I420 | SendAs::Jpeg | SendAs::Rgb => Encoding::I420,
        }
    }

    /// How long a picture may take on its way before it is worth a JPEG.
    fn allowed(&self) -> Duration {
        let interval = Duration::from_nanos(self.interval.load(Ordering::Relaxed)) / OF_INTERVAL;
        self.budget.map_or(interval, |budget| interval.min(budget / OF_BUDGET))
    }

    /// For the API: one entry for each worker and encoding.
    pub(super) fn view(&self) -> Vec<api::Sent> {
        let workers = self.workers();
        let view = workers.iter().flat_map(|(id, worker)| {
            worker.sent.iter().map(|(&encoding, &(pictures, bytes))| api::Sent {
                worker: id.to_string(),
                encoding: encoding.to_owned(),
                now: encoding == worker.now.name(),
                pictures,
                bytes,
            })
        });
        view.collect()
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(workers: &mut BTreeMap<WorkerId, Worker>, worker: WorkerId, now: Instant) -> &mut Worker {
    if workers.len() >= WORKERS && !workers.contains_key(&worker) {
        let longest = workers.iter().min_by_key(|(_, worker)| worker.seen).map(|(id, _)| *id);
        longest.and_then(|id| workers.remove(&id));
    }
    workers.entry(worker).or_insert_with(|| Worker {
        choice: Choice::default(),
        now: Encoding::I420,
        seen: now,
        sent: BTreeMap::new(),
    })
}

#[cfg(test)]
mod throttled;

#[cfg(test)]
mod tests {
    use picture::{Colour, Frame, Pts, Size, Stamp, scale};
    use queue::LaneId;

    use super::*;

    fn sending(keys: &str) -> Sending {
        Sending::new(&toml::from_str(&format!("source = \"test:\"\n{keys}")).expect("a stream"))
    }

    fn picture() -> Picture {
        let frame =
            Frame::black(Stamp::at(Pts::ZERO), Size::new(640, 480).expect("a size"), Colour::BT601_LIMITED);
        scale(&frame, Size::new(416, 320).expect("a size"))
    }

    fn link(worker: u64, abilities: &[&str], bytes_per_s: Option<f64>) -> Link {
        let abilities = abilities.iter().map(|&able| able.to_owned()).collect();
        let rtt = Duration::from_millis(1);
        Link::remote(WorkerId(worker), LaneId(worker), abilities, bytes_per_s, rtt)
    }

    fn name(sending: &Sending, link: &Link, now: Instant) -> &'static str {
        sending.encode(picture(), link, now).name()
    }

    const ALL: &[&str] = &[READS_JPEG, READS_RGB];

    #[test]
    fn the_link_decides_by_worker() {
        let (sending, now) = (sending(""), Instant::now());
        assert_eq!(name(&sending, &Link::Local, now), "i420");
        assert_eq!(name(&sending, &link(1, ALL, None), now), "i420");
        // 200 kB in 10 ms, a quarter of 40.
        assert_eq!(name(&sending, &link(1, ALL, Some(21e6)), now), "i420");
        assert_eq!(name(&sending, &link(2, ALL, Some(19e6)), now), "jpeg");
        assert_eq!(name(&sending, &link(1, ALL, Some(21e6)), now), "i420");
        let later = now + Duration::from_secs(6);
        assert_eq!(name(&sending, &link(2, ALL, Some(100e6)), later), "i420");
        let view = sending.view();
        let of = |worker: &str, encoding: &str| {
            view.iter()
                .find(|sent| sent.worker == worker && sent.encoding == encoding)
                .map(|sent| (sent.now, sent.pictures))
        };
        assert_eq!(of("w1", "i420"), Some((true, 3)));
        assert_eq!((of("w2", "jpeg"), of("w2", "i420")), (Some((false, 1)), Some((true, 1))));
        assert!(view.iter().all(|sent| sent.bytes > 0));
    }

    #[test]
    fn who_reads_no_jpeg_is_never_sent_one() {
        for keys in ["", "send_as = \"jpeg\"", "send_as = \"rgb\""] {
            assert_eq!(name(&sending(keys), &link(1, &[], Some(1e3)), Instant::now()), "i420", "{keys}");
        }
        assert_eq!(name(&sending("send_as = \"jpeg\""), &link(1, ALL, None), Instant::now()), "jpeg");
        assert_eq!(name(&sending("send_as = \"rgb\""), &link(1, ALL, None), Instant::now()), "rgb");
        assert_eq!(name(&sending("send_as = \"i420\""), &link(1, ALL, Some(1e3)), Instant::now()), "i420");
    }

    #[test]
    fn who_wants_rgb_gets_it_where_the_link_carries_it() {
        let sending = sending("");
        let wants = &[READS_JPEG, WANTS_RGB];
        assert_eq!(name(&sending, &link(1, wants, Some(100e6)), Instant::now()), "rgb");
        assert_eq!(name(&sending, &link(1, wants, Some(30e6)), Instant::now()), "jpeg");
    }

    #[test]
    fn a_slower_rate_and_a_longer_budget_allow_more() {
        let slow = sending("budget_ms = 0");
        slow.set_rate(Rate::new(1, 1).expect("a rate"));
        assert_eq!(name(&slow, &link(1, ALL, Some(1e6)), Instant::now()), "i420", "a quarter of a second");
        let hasty = sending("budget_ms = 200");
        hasty.set_rate(Rate::new(1, 1).expect("a rate"));
        assert_eq!(name(&hasty, &link(1, ALL, Some(9e6)), Instant::now()), "jpeg", "20 ms");
    }

    #[test]
    fn workers_that_went_are_forgotten() {
        let (sending, now) = (sending(""), Instant::now());
        for n in 0..2 * WORKERS as u64 {
            sending.encode(picture(), &link(n, &[], None), now + Duration::from_millis(n));
        }
        let view = sending.view();
        assert_eq!(view.len(), WORKERS);
        assert!(view.iter().all(|sent| sent.worker != "w0"));
    }
}
