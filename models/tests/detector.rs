//! The detector with an engine that only pretends: mapping, hostile outputs, failures.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use framelane_models::detect::{DetectJob, Detections};
use framelane_models::engine::EngineError;
use framelane_models::engine::fake::{self, Fake};
use framelane_models::{Detector, Model};
use picture::{Colour, Frame, Pts, Size, Stamp, scale};
use proptest::prelude::*;
use wire::{Processor, Unprocessed};

fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).unwrap()
}

fn model() -> Model {
    fake::model("pretend", size(64, 64))
}

fn job(source: Size, input: Size) -> DetectJob {
    scale(&Frame::black(Stamp::at(Pts::ZERO), source, Colour::BT601_LIMITED), input).into()
}

/// 64x64 has 64 + 16 + 4 cells.
const ANCHORS: usize = 84;

fn answers(shape: [usize; 3], scores: Vec<f32>, boxes: Vec<f32>) -> Detector {
    let mut first = true;
    let engine = Fake::new(move |_| {
        // The trial run is to succeed.
        if std::mem::take(&mut first) {
            return Ok(vec![
                (vec![1, ANCHORS, 80], vec![0.0; ANCHORS * 80]),
                (vec![1, ANCHORS, 4], vec![0.0; ANCHORS * 4]),
            ]);
        }
        Ok(vec![(shape.to_vec(), scores.clone()), (vec![1, ANCHORS, 4], boxes.clone())])
    });
    Detector::new(&model(), engine).unwrap()
}

#[test]
fn boxes_come_out_in_pixels_of_the_frame_best_first() {
    let rect = [8.0, 4.0, 24.0, 32.0];
    let boxes = [(2, 0.6), (0, 0.9), (0, 0.3)].map(|(class, score)| fake::Box { class, score, rect });
    let mut detector = Detector::new(&model(), Fake::finds(boxes)).unwrap();
    // 128x32 becomes 64x16: a pixel of the picture is two of the frame.
    let found = detector.process(job(size(128, 32), size(64, 64))).unwrap().boxes;
    let found: Vec<_> = found.iter().map(|one| (one.class, one.score, one.rect)).collect();
    let rect = rect.map(|edge| edge * 2.0);
    assert_eq!(found, [(0, 0.9, rect), (2, 0.6, rect)], "0.3 is below the threshold");
}

#[test]
fn other_sizes_than_the_manifests_work_if_they_fit() {
    let found = fake::Box { class: 0, score: 0.9, rect: [0.0, 0.0, 10.0, 10.0] };
    let mut detector = Detector::new(&model(), Fake::finds([found])).unwrap();
    assert_eq!(detector.process(job(size(320, 64), size(96, 32))).unwrap().boxes.len(), 1);
    let odd = detector.process(job(size(64, 64), size(65, 64)));
    assert!(matches!(odd, Err(Unprocessed::Bad(why)) if why.contains("multiples of 32")));
    assert_eq!(detector.timings(), wire::Timings::default(), "no timings of the job before");
}

#[test]
fn outputs_of_another_shape_are_a_failure() {
    let mut wrong = answers([1, ANCHORS, 79], vec![0.0; ANCHORS * 79], vec![0.0; ANCHORS * 4]);
    let error = wrong.process(job(size(64, 64), size(64, 64))).unwrap_err();
    assert!(matches!(&error, Unprocessed::Failed(why) if why.contains("[1, 84, 79]")), "{error}");
    let mut wrong = answers([1, ANCHORS, 80], vec![], vec![0.0; ANCHORS * 4]);
    assert!(matches!(wrong.process(job(size(64, 64), size(64, 64))), Err(Unprocessed::Failed(_))));
}

#[test]
fn a_model_that_fails_its_trial_is_no_detector() {
    let error =
        Detector::new(&model(), Fake::new(|_| Err(EngineError("out of memory".into())))).err().unwrap();
    assert!(
        error.to_string().contains("'pretend'") && error.to_string().contains("out of memory"),
        "{error}"
    );
}

#[test]
fn a_model_gone_wild_is_bounded() {
    let mut wild = answers([1, ANCHORS, 80], vec![1.0; ANCHORS * 80], vec![1.0; ANCHORS * 4]);
    let found = wild.process(job(size(64, 64), size(64, 64))).unwrap();
    assert_eq!(found.boxes.len(), Detections::MAX);
}

/// Numbers that outputs should not hold, among some that they do.
fn hostile() -> impl Strategy<Value = f32> {
    prop_oneof![
        Just(f32::NAN),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(f32::MAX),
        Just(f32::MIN_POSITIVE),
        Just(-0.0),
        -1.0f32..2.0,
        any::<f32>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_output_leads_to_a_panic_or_to_numbers_that_are_none(
        scores in prop::collection::vec(hostile(), ANCHORS * 80),
        boxes in prop::collection::vec(hostile(), ANCHORS * 4),
    ) {
        let mut detector = answers([1, ANCHORS, 80], scores, boxes);
        let found = detector.process(job(size(16_384, 1), size(64, 64))).unwrap();
        prop_assert!(found.boxes.len() <= Detections::MAX);
        for one in &found.boxes {
            prop_assert!((0.5..=1.0).contains(&one.score));
            prop_assert!(one.rect.iter().all(|edge| edge.is_finite()));
        }
        // What is found can be sent and is taken at the other end.
        let message = wire::encode(found.clone()).unwrap();
        prop_assert_eq!(wire::decode::<Detections>(message).unwrap(), found);
    }
}
