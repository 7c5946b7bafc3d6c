//! Where the tests' assets lie, and the golden reference.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framelane_models::engine::onnx::Runtime;
use framelane_models::{Fraction, Model};
use picture::Size;
use serde::Deserialize;

/// A file or folder of the assets. A test that needs one fails without it and is never passed over.
pub(crate) fn asset(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = std::env::var_os("FRAMELANE_ASSETS").map_or_else(|| here.join("../assets"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: run scripts/setup test", path.display());
    path
}

/// ONNX Runtime from the assets.
pub(crate) fn runtime() -> Runtime {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    Runtime::load(Some(&asset("onnxruntime").join(name))).unwrap()
}

/// A model from the assets, with the threshold of the golden reference.
pub(crate) fn model(name: &str) -> Model {
    let mut model = Model::load(&asset("models").join(name)).unwrap();
    Arc::make_mut(&mut model.manifest).threshold = Fraction::new(0.4).unwrap();
    model
}

/// A frame of the golden reference and what the reference finds in it.
pub(crate) struct Golden {
    pub(crate) number: u32,
    pub(crate) bgr: Vec<u8>,
    pub(crate) size: Size,
    pub(crate) boxes: Vec<GoldenBox>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GoldenBox {
    pub(crate) cls: String,
    pub(crate) score: f32,
    #[serde(rename = "box")]
    pub(crate) rect: [f32; 4],
}

#[derive(Deserialize)]
struct File {
    frames: BTreeMap<u32, Vec<GoldenBox>>,
}

pub(crate) fn golden() -> Vec<Golden> {
    let text = std::fs::read_to_string(asset("golden/nanodet_vtest.json")).unwrap();
    let file: File = serde_json::from_str(&text).unwrap();
    assert_eq!(file.frames.len(), 6, "the golden reference has six frames");
    let read = |(number, boxes)| {
        let (bgr, size) = read_png(&asset(&format!("golden/vtest_{number:04}.png")));
        Golden { number, bgr, size, boxes }
    };
    file.frames.into_iter().map(read).collect()
}

/// An RGB file as BGR pixels.
fn read_png(path: &Path) -> (Vec<u8>, Size) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    pixels.truncate(info.buffer_size());
    pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
    (pixels, Size::new(info.width, info.height).unwrap())
}

/// Intersection over union.
pub(crate) fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |r: [f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common)
}

/// How far what was found is from what was expected: for every expected box that scores at least `counts`, the
/// found box of its class that overlaps most.
pub(crate) fn compare(expected: &[GoldenBox], counts: f32, found: &[GoldenBox]) -> Vec<Match> {
    let counts = expected.iter().filter(|one| one.score >= counts);
    let best = |one: &GoldenBox| {
        let same = found.iter().filter(|found| found.cls == one.cls);
        same.map(|found| Match { iou: overlap(one.rect, found.rect), score: (one.score - found.score).abs() })
            .max_by(|a, b| a.iou.total_cmp(&b.iou))
            .unwrap_or(Match { iou: 0.0, score: 1.0 })
    };
    counts.map(best).collect()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    pub(crate) iou: f32,
    /// The difference of the scores.
    pub(crate) score: f32,
}

/// The worst of both over many boxes.
pub(crate) fn worst(matches: &[Match]) -> Match {
    matches.iter().fold(Match { iou: 1.0, score: 0.0 }, |worst, one| Match {
        iou: worst.iou.min(one.iou),
        score: worst.score.max(one.score),
    })
}
