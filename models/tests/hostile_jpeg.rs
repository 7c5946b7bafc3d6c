//! Pictures from strangers: whatever the bytes, a decoder gives a picture of the announced size or says why not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use bytes::Bytes;
use framelane_models::Detector;
use framelane_models::detect::{DetectJob, Detections, Encoded, Jpeg, JpegError, Quality};
use framelane_models::engine::fake::{self, Fake};
use picture::{Colour, Letterbox, Picture, Size};
use proptest::prelude::*;
use wire::{Message, Payload, Unprocessed};

const SIZE: (u32, u32) = (64, 32);

fn letterbox() -> Letterbox {
    let size = Size::new(SIZE.0, SIZE.1).unwrap();
    Letterbox::fit(size, size)
}

/// A JPEG of ours with something in it.
fn good() -> Vec<u8> {
    let size = letterbox().target();
    let data: Vec<u8> = (0..size.i420_len()).map(|n| (n * n / 7) as u8).collect();
    let picture = Picture::new(Colour::BT601_LIMITED, letterbox(), Bytes::from(data)).unwrap();
    Jpeg::encode(picture, Quality::default()).data().to_vec()
}

fn decode(data: &[u8]) -> Result<Picture, JpegError> {
    Jpeg::new(letterbox(), Bytes::copy_from_slice(data))?.decode()
}

/// Where a marker's segment begins, past the marker.
fn after(data: &[u8], marker: u8) -> usize {
    data.windows(2).position(|two| two == [0xff, marker]).unwrap() + 2
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut data = good();
    data[at..at + bytes.len()].copy_from_slice(bytes);
    data
}

#[test]
fn what_is_wrong_is_said() {
    let good = good();
    assert_eq!(decode(&good).unwrap().size(), letterbox().target());
    let frame = after(&good, 0xc0);
    let scan = after(&good, 0xda);
    let mut twice = good.clone();
    let segment = good[frame - 2..frame + 17].to_vec();
    twice.splice(frame - 2..frame - 2, segment);
    for (data, expected) in [
        (Vec::new(), "does not begin as one"),
        (b"GIF89a".to_vec(), "does not begin as one"),
        (good[..2].to_vec(), "ends before its pixels"),
        (good[..scan].to_vec(), "ends before its pixels"),
        (good[..good.len() / 2].to_vec(), "not a JPEG that can be read"),
        // A bomb: a gigabyte of pixels in a kilobyte.
        (with(frame + 3, &[0xff, 0xff, 0xff, 0xff]), "shows 65535x65535, its head says 64x32"),
        (with(frame + 3, &[0, 32, 0, 63]), "shows 63x32, its head says 64x32"),
        (with(frame - 1, &[0xc2]), "progressive"),
        (with(frame - 1, &[0xc9]), "arithmetic"),
        (with(frame + 9, &[0x44]), "not 4:2:0"),
        (with(frame + 2, &[12]), "not of 8 bits"),
        (with(frame, &[0xff, 0xff]), "longer than the rest"),
        (with(frame, &[0, 0]), "longer than the rest"),
        (with(scan + 2, &[1]), "has not all colours"),
        (twice, "two frames"),
    ] {
        let error = decode(&data).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n  not: {expected}");
    }
}

/// The whole way, as a worker goes it.
#[test]
fn a_bad_picture_is_a_bad_job_and_the_next_one_works() {
    let size = letterbox().target();
    let person = fake::Box { class: 0, score: 0.9, rect: [1.0, 1.0, 20.0, 20.0] };
    let detector = Detector::new(&fake::model("pretend", size), Fake::finds([person])).unwrap();
    let mut process = wire::erase(detector);
    let message = |data: &[u8]| {
        let jpeg = Jpeg::new(letterbox(), Bytes::copy_from_slice(data)).unwrap();
        wire::encode(DetectJob::from(Encoded::Jpeg(jpeg))).unwrap()
    };
    let mut twice = || {
        let Err(Unprocessed::Bad(why)) = process.process(message(b"no JPEG")) else { panic!("bad") };
        assert!(why.contains("the picture of 64x32 cannot be read"), "{why}");
        let answer = process.process(message(&good())).unwrap();
        assert_eq!(wire::decode::<Detections>(answer).unwrap().boxes.len(), 1);
    };
    twice();
    twice();
    // Longer than any JPEG of this size, and an encoding that nobody knows: refused before the detector.
    let mut long = message(b"");
    long.body = Bytes::from(vec![0; 100_000]);
    assert!(matches!(process.process(long), Err(Unprocessed::Bad(_))));
    let head = message(b"").head;
    let head: Vec<u8> = String::from_utf8_lossy(&head).contains("jpeg").then(|| head.to_vec()).unwrap();
    let at = head.windows(4).position(|four| four == b"jpeg").unwrap();
    let mut head = head;
    head[at..at + 4].copy_from_slice(b"jxl9");
    let unknown = Message { head: Bytes::from(head), body: Bytes::new() };
    assert!(matches!(process.process(unknown), Err(Unprocessed::Bad(_))));
}

/// Crashes found once, and seeds of other kinds of JPEG. None panics, none gives another size.
#[test]
fn the_corpus_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/jpeg");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        match decode(&data) {
            Ok(picture) => assert_eq!(picture.size(), letterbox().target()),
            Err(error) => println!("{}: {error}", path.display()),
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} files");
}

/// Changes to a good file: cut, overwritten, a piece put elsewhere.
#[derive(Debug, Clone)]
enum Harm {
    Cut(usize),
    Put(usize, Vec<u8>),
    Move(usize, usize, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<usize>().prop_map(Harm::Cut),
        (any::<usize>(), proptest::collection::vec(any::<u8>(), 1..5))
            .prop_map(|(at, with)| Harm::Put(at, with)),
        (any::<usize>(), any::<usize>(), 1usize..40).prop_map(|(from, to, len)| Harm::Move(from, to, len)),
    ]
}

fn harmed(harms: &[Harm]) -> Vec<u8> {
    let mut data = good();
    for harm in harms {
        let len = data.len().max(1);
        match harm {
            Harm::Cut(at) => data.truncate(at % len),
            Harm::Put(at, with) => {
                let at = at % len;
                let end = (at + with.len()).min(data.len());
                data.splice(at.min(end)..end, with.iter().copied());
            }
            Harm::Move(from, to, n) => {
                let from = from % len;
                let piece: Vec<u8> = data.iter().skip(from).take(*n).copied().collect();
                let to = to % len;
                data.splice(to.min(data.len())..to.min(data.len()), piece);
            }
        }
    }
    data
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn harmed_files_give_a_picture_or_an_error(harms in proptest::collection::vec(harm(), 1..6)) {
        if let Ok(picture) = decode(&harmed(&harms)) {
            prop_assert_eq!(picture.size(), letterbox().target());
        }
    }

    #[test]
    fn any_bytes_give_a_picture_or_an_error(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let data = good();
        let scan = after(&data, 0xda) + 12;
        for data in [tail.clone(), [&[0xff, 0xd8][..], &tail].concat(), [&data[..scan], &tail].concat()] {
            if let Ok(picture) = decode(&data) {
                prop_assert_eq!(picture.size(), letterbox().target());
            }
        }
    }

    /// Any head that says it is one of a picture, with any body.
    #[test]
    fn any_body_is_checked_against_its_head(
        width in 0u32..70_000, height in 0u32..70_000,
        body in proptest::collection::vec(any::<u8>(), 0..64),
        name in prop_oneof![Just("i420"), Just("jpeg"), Just("rgb")],
    ) {
        let head = serde_json::json!({ "encoding": name, "size": [width, height], "source": [8, 8] });
        if let Ok(head) = serde_json::from_value::<<DetectJob as Payload>::Head>(head) {
            let job = DetectJob::join(head, Bytes::from(body));
            let decoded = job.map(|job| job.picture.decode().is_ok()).unwrap_or(false);
            prop_assert!(!decoded || width * height * 3 <= 64);
        }
    }
}
