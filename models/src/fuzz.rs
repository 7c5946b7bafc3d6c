//! Every decoder of this crate that reads what came from outside or from a disk, as functions of bytes: what
//! `fuzz/` runs, and what the tests below replay. `wire::fuzz` is its older sister.
#![allow(clippy::unwrap_used, reason = "it is run by tests and by a developer's command")]

use std::path::Path;

use bytes::Bytes;
use picture::{Colour, Letterbox, Picture, Size};
use wire::{Message, decode, encode};

use crate::Manifest;
use crate::detect::{DetectJob, Detection, Detections, Encoded, Encoding, Jpeg, Quality};

/// A decoder under test; it must neither panic, nor hang, nor take memory without bounds.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("detect_job", |bytes| {
        let Ok(job) = decode::<DetectJob>(message(bytes)) else { return };
        let (size, len) = (job.picture.letterbox().target(), job.picture.len());
        let encoding = job.picture.name();
        // What a large picture takes is in proportion, and would only make the fuzzer slow.
        if size.pixels() <= LARGEST
            && let Ok(pixels) = job.picture.decode()
        {
            assert_eq!(pixels.size(), size);
            assert!(encoding == "jpeg" || len == size.i420_len() || len == size.bgr_len());
        }
    }),
    ("detections", |bytes| {
        if let Ok(answer) = decode::<Detections>(message(bytes)) {
            let again = encode(answer.clone()).expect("what was read can be written");
            assert_eq!(decode::<Detections>(again).expect("and read"), answer);
        }
    }),
    ("jpeg", |bytes| {
        let Some((&[width, height], data)) = bytes.split_first_chunk() else { return };
        let size = size(width, height);
        let jpeg = Jpeg::new(Letterbox::fit(size, size), Bytes::copy_from_slice(data));
        if let Ok(picture) = jpeg.and_then(|jpeg| jpeg.decode()) {
            assert_eq!((picture.size(), picture.data().len()), (size, size.i420_len()));
        }
    }),
    ("manifest", |bytes| {
        // A place where there are no files of labels.
        let _ = Manifest::parse(&String::from_utf8_lossy(bytes), Path::new("/nowhere/model.toml"));
    }),
];

const LARGEST: usize = 1 << 18;

/// A size that takes a byte for each side: 1 to 256.
fn size(width: u8, height: u8) -> Size {
    Size::new(u32::from(width) + 1, u32::from(height) + 1).expect("a byte and one is a side")
}

/// Two bytes that say how long the head is, the head, and the body.
fn message(bytes: &[u8]) -> Message {
    let (len, rest) = bytes.split_first_chunk().unwrap_or((&[0; 2], bytes));
    let (head, body) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
    Message { head: Bytes::copy_from_slice(head), body: Bytes::copy_from_slice(body) }
}

/// The other way.
fn split(Message { head, body }: Message) -> Vec<u8> {
    [&u16::try_from(head.len()).unwrap().to_be_bytes(), &head[..], &body[..]].concat()
}

/// A value to begin with: the target, the name of its file, and its bytes.
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// What the corpus begins with, written by the code of today.
pub fn seeds() -> Vec<Seed> {
    let size = size(32, 15);
    let data: Vec<u8> = (0..size.i420_len()).map(|n| (n * n / 7) as u8).collect();
    let picture = Picture::new(Colour::BT601_LIMITED, Letterbox::fit(size, size), data.into()).unwrap();
    let job = |encoding| split(encode(DetectJob::from(Encoded::new(picture.clone(), encoding))).unwrap());
    let jpeg = Jpeg::encode(picture.clone(), Quality::default()).into_data();
    let found = Detection { class: 7, score: 0.75, rect: [-1.5, 2.0, 100.25, 200.5] };
    let manifest = include_bytes!("../zoo/nanodet/model.toml");
    vec![
        ("detect_job", "i420", job(Encoding::I420)),
        ("detect_job", "rgb", job(Encoding::Rgb)),
        ("detect_job", "jpeg", job(Encoding::Jpeg(Quality::default()))),
        ("detections", "two", split(encode(Detections { boxes: vec![found; 2] }).unwrap())),
        ("jpeg", "whole", [&[32, 15][..], &jpeg].concat()),
        ("manifest", "whole", manifest.to_vec()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_survived() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (name, target) in TARGETS {
            let folder = std::fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut files = 0;
            for file in folder {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                files += 1;
            }
            assert!(files > 0, "{name} has no corpus");
        }
    }

    /// Good values stay good: what the code writes today, not what the corpus has of it.
    #[test]
    fn what_is_written_is_survived() {
        for (name, file, bytes) in seeds() {
            let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect(file);
            target(&bytes);
        }
    }
}
