//! The detector finds what the Python reference finds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "onnx")]

mod common;

use common::{Golden, GoldenBox, Match, asset, compare, golden, model, runtime, worst};
use framelane_models::detect::{DetectJob, Detection, Encoded, Encoding, Quality};
use framelane_models::engine::onnx::{Onnx, Options};
use framelane_models::engine::{Engine, Tensor, TensorData};
use framelane_models::{Detector, Model, adapter};
use picture::{Colour, Frame, Pts, Siting, Stamp, bgr, scale};
use wire::Processor;

/// What a model finds in BGR pixels: the reference's own path, without any YUV.
fn from_bgr(model: &Model, engine: &mut Onnx, golden: &Golden) -> Vec<Detection> {
    let input = &model.manifest.input;
    let (pixels, letterbox) = bgr::letterbox(&golden.bgr, golden.size, input.size).unwrap();
    let mut tensor = Tensor::empty();
    let (width, height) = (input.size.width() as usize, input.size.height() as usize);
    tensor.reshape(input.dtype, input.layout, width, height);
    tensor.data = TensorData::U8(pixels);
    let (mut adapter, mut found) = (adapter::of(&model.manifest), Vec::new());
    engine.run(&tensor, &mut |outputs| adapter.decode(outputs, &letterbox, &mut found).unwrap()).unwrap();
    found
}

/// What a detector finds in the same picture on the path of a video frame.
fn from_yuv(model: &Model, detector: &mut Detector, golden: &Golden) -> Vec<Detection> {
    sent_as(Encoding::I420, Colour::BT601_LIMITED, model, detector, golden)
}

/// The same, in an encoding and from a colour space.
fn sent_as(
    encoding: Encoding,
    colour: Colour,
    model: &Model,
    detector: &mut Detector,
    golden: &Golden,
) -> Vec<Detection> {
    let colour = Colour { siting: Siting::Centre, ..colour };
    let data = bgr::to_i420(&golden.bgr, golden.size, colour).unwrap();
    let frame = Frame::tight(Stamp::at(Pts::ZERO), golden.size, colour, data.into()).unwrap();
    let picture = scale(&frame, model.manifest.input.size);
    let message = wire::encode(DetectJob::from(Encoded::new(picture, encoding))).unwrap();
    detector.process(wire::decode(message).unwrap()).unwrap().boxes
}

fn named(model: &Model, found: Vec<Detection>) -> Vec<GoldenBox> {
    let cls = |class| model.manifest.labels.name(class).to_owned();
    found.iter().map(|one| GoldenBox { cls: cls(one.class), score: one.score, rect: one.rect }).collect()
}

/// Both ways: nothing of 0.45 is missing, and nothing of 0.5 is found that the reference does not have. The gap
/// is for boxes whose score in the reference, a little lower, is too low to hold their place to the tolerance.
fn agreement(expected: &[GoldenBox], found: &[GoldenBox]) -> Vec<Match> {
    let mut matches = compare(expected, 0.45, found);
    matches.extend(compare(found, 0.5, expected));
    matches
}

#[test]
fn the_reference_is_met_from_the_same_pixels() {
    let model = model("nanodet");
    let mut engine = Onnx::open(&model, &runtime(), Options::default()).unwrap();
    let mut all = Vec::new();
    for golden in golden() {
        let found = named(&model, from_bgr(&model, &mut engine, &golden));
        let matches = agreement(&golden.boxes, &found);
        let Match { iou, score } = worst(&matches);
        assert!(iou >= 0.97 && score <= 0.02, "frame {}: {matches:?}\n{found:?}", golden.number);
        all.extend(matches);
    }
    println!("from BGR: {} boxes, worst {:?}", all.len(), worst(&all));
}

#[test]
fn the_reference_is_met_through_yuv() {
    let model = model("nanodet");
    let mut detector = Detector::open(&model, &runtime(), Options::default()).unwrap();
    let mut all = Vec::new();
    for golden in golden() {
        let found = named(&model, from_yuv(&model, &mut detector, &golden));
        let matches = agreement(&golden.boxes, &found);
        let Match { iou, score } = worst(&matches);
        assert!(iou >= 0.9 && score <= 0.05, "frame {}: {matches:?}\n{found:?}", golden.number);
        all.extend(matches);
    }
    println!("through YUV: {} boxes, worst {:?}", all.len(), worst(&all));
}

/// Whatever a picture travels as, and whatever its colours were. The tolerance is that of YUV for what the
/// reference finds clearly; its faint boxes, which a loss of any kind moves, must be there and be the same.
#[test]
fn every_encoding_meets_the_reference() {
    let model = model("nanodet");
    let mut detector = Detector::open(&model, &runtime(), Options::default()).unwrap();
    for encoding in [Encoding::I420, Encoding::Jpeg(Quality::default()), Encoding::Rgb] {
        for colour in [Colour::BT601_LIMITED, Colour::BT709_LIMITED] {
            let (mut clear, mut all) = (Vec::new(), Vec::new());
            for golden in golden() {
                let found = named(&model, sent_as(encoding, colour, &model, &mut detector, &golden));
                clear.extend(compare(&golden.boxes, 0.5, &found));
                clear.extend(compare(&found, 0.55, &golden.boxes));
                all.extend(agreement(&golden.boxes, &found));
            }
            let (clearly, faintly) = (worst(&clear), worst(&all));
            println!("{encoding:?} {:?}: {} boxes, {clearly:?} {faintly:?}", colour.matrix, all.len());
            assert!(clearly.iou >= 0.9 && clearly.score <= 0.05, "{encoding:?} {colour:?}: {clear:?}");
            assert!(faintly.iou >= 0.8 && faintly.score <= 0.08, "{encoding:?} {colour:?}: {all:?}");
        }
    }
}

/// Eight bits move scores by a few hundredths, and boxes near the threshold come and go; what the float model
/// is sure of must be found, where it is.
#[test]
fn eight_bits_find_what_floats_are_sure_of() {
    let model = model("nanodet-int8");
    let mut detector = Detector::open(&model, &runtime(), Options::default()).unwrap();
    let mut all = Vec::new();
    for golden in golden() {
        let found = named(&model, from_yuv(&model, &mut detector, &golden));
        let matches = compare(&golden.boxes, 0.6, &found);
        let Match { iou, score } = worst(&matches);
        assert!(iou >= 0.75 && score <= 0.15, "frame {}: {matches:?}\n{found:?}", golden.number);
        all.extend(matches);
    }
    println!("int8: {} boxes, worst {:?}", all.len(), worst(&all));
}

#[test]
fn two_threads_find_the_same() {
    let model = model("nanodet");
    let mut one = Detector::open(&model, &runtime(), Options::default()).unwrap();
    let mut two = Detector::open(&model, &runtime(), Options { threads: 2 }).unwrap();
    let golden = &golden()[0];
    let (a, b) = (from_yuv(&model, &mut one, golden), from_yuv(&model, &mut two, golden));
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(&b).all(|(a, b)| a.class == b.class && (a.score - b.score).abs() < 1e-3));
    let timings = one.timings();
    assert!(timings.infer_us > 0 && timings.batch == 1, "{timings:?}");
}

#[test]
fn the_committed_manifests_are_those_of_the_assets() {
    for name in ["nanodet", "nanodet-int8"] {
        let committed =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo").join(name).join("model.toml");
        let installed = asset("models").join(name).join("model.toml");
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(installed), read(committed), "run scripts/setup test again");
    }
}
