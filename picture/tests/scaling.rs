//! Scaling: OpenCV's numbers, the exact arithmetic for any size and stride, chroma in its place, black padding.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use framelane_picture::{Colour, Frame, Picture, Plane, Pts, Siting, Size, Stamp, bgr, scale};
use proptest::prelude::*;

fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).unwrap()
}

fn frame(size: Size, colour: Colour, data: Vec<u8>) -> Frame {
    Frame::tight(Stamp::at(Pts::ZERO), size, colour, Bytes::from(data)).unwrap()
}

const SOURCE: [[u8; 7]; 5] = [
    [0, 37, 74, 111, 148, 185, 222],
    [91, 141, 191, 241, 35, 85, 135],
    [182, 245, 52, 115, 178, 241, 48],
    [17, 93, 169, 245, 65, 141, 217],
    [108, 197, 30, 119, 208, 41, 130],
];

/// `cv2.resize(SOURCE, (4, 3), interpolation=cv2.INTER_LINEAR)`
const DOWN: [[u8; 4]; 3] = [[46, 118, 116, 177], [206, 60, 170, 120], [109, 87, 160, 127]];

/// `cv2.resize(SOURCE, (11, 8), interpolation=cv2.INTER_LINEAR)`
const UP: [[u8; 11]; 8] = [
    [0, 17, 40, 64, 87, 111, 134, 158, 182, 205, 222],
    [40, 59, 86, 113, 141, 168, 124, 110, 137, 164, 184],
    [97, 120, 150, 173, 201, 233, 113, 58, 90, 113, 130],
    [153, 180, 202, 127, 117, 154, 141, 149, 187, 128, 75],
    [130, 161, 187, 118, 113, 156, 147, 161, 204, 150, 101],
    [27, 61, 108, 145, 189, 237, 132, 92, 140, 179, 206],
    [68, 106, 146, 107, 121, 174, 156, 129, 90, 130, 168],
    [108, 148, 182, 75, 62, 119, 175, 162, 56, 90, 130],
];

#[test]
fn opencv_gives_the_same_luma() {
    let luma: Vec<u8> = SOURCE.concat();
    let mut data = luma.clone();
    data.resize(size(7, 5).i420_len(), 128);
    let frame = frame(size(7, 5), Colour::BT601_LIMITED, data);
    for (target, expected) in [(size(4, 3), DOWN.concat()), (size(11, 8), UP.concat())] {
        let picture = scale(&frame, target);
        assert_eq!(picture.letterbox().scaled(), target);
        let near = |a: &u8, b: &u8| a.abs_diff(*b) <= 1;
        assert!(picture.data().iter().zip(&expected).all(|(a, b)| near(a, b)), "{:?}", picture.data());

        // The BGR path is the same arithmetic in three channels.
        let pixels: Vec<u8> = luma.iter().flat_map(|&value| [value, value, 255 - value]).collect();
        let (bgr, _) = bgr::letterbox(&pixels, size(7, 5), target).unwrap();
        for (pixel, expected) in bgr.chunks_exact(3).zip(&expected) {
            assert!(
                near(&pixel[0], expected) && near(&pixel[1], expected) && near(&pixel[2], &(255 - expected))
            );
        }
    }
}

#[test]
fn a_frame_of_the_right_size_is_copied() {
    let data: Vec<u8> = (0..size(6, 4).i420_len() as u8).collect();
    let picture = scale(&frame(size(6, 4), Colour::BT709_LIMITED, data.clone()), size(6, 4));
    assert_eq!(picture.data()[..], data[..]);
    assert_eq!(picture.colour(), Colour::BT709_LIMITED, "the siting too");
}

#[test]
fn a_picture_needs_its_bytes() {
    let picture = scale(&Frame::black(Stamp::at(Pts::ZERO), size(8, 8), Colour::BT601_LIMITED), size(5, 5));
    let (colour, letterbox) = (picture.colour(), picture.letterbox());
    assert!(Picture::new(colour, letterbox, picture.data().clone()).is_ok());
    assert!(Picture::new(colour, letterbox, picture.data().slice(1..)).is_err());
}

/// Chroma that grows evenly from left to right and from top to bottom, as seen by a camera that sites its samples
/// in that way.
fn ramp(size: Size, siting: Siting) -> Frame {
    let (across, down) = match siting {
        Siting::Left => (0.5, 1.0),
        Siting::Centre => (1.0, 1.0),
        Siting::TopLeft => (0.5, 0.5),
    };
    let (width, height) = (size.chroma().width(), size.chroma().height());
    let mut data = vec![128; size.pixels()];
    let value = |position: f64| (20.0 + position).round() as u8;
    for _ in 0..height {
        data.extend((0..width).map(|x| value(2.0 * f64::from(x) + across)));
    }
    for y in 0..height {
        data.extend((0..width).map(|_| value(2.0 * f64::from(y) + down)));
    }
    frame(size, Colour { siting, ..Colour::BT601_LIMITED }, data)
}

#[test]
fn chroma_stays_in_its_place_whatever_its_siting() {
    for siting in [Siting::Left, Siting::Centre, Siting::TopLeft] {
        let picture = scale(&ramp(size(200, 150), siting), size(108, 81));
        assert_eq!(picture.colour().siting, Siting::Centre);
        let (step_x, step_y) = picture.letterbox().step();
        let view = picture.view();
        // Away from the edges, where the ramp ends and the last sample repeats.
        for y in 2..38 {
            for x in 2..52 {
                let expected = |step: f64, at: usize| 20.0 + (2.0 * at as f64 + 1.0) * step;
                let (u, v) = (f64::from(view.u().row(y)[x]), f64::from(view.v().row(y)[x]));
                assert!((u - expected(step_x, x)).abs() <= 1.0, "{siting:?} {x} {u}");
                assert!((v - expected(step_y, y)).abs() <= 1.0, "{siting:?} {y} {v}");
            }
        }
    }
}

/// Bilinear sampling in exact arithmetic.
fn exact(row: impl Fn(usize) -> Vec<u8>, (width, height): (usize, usize), x: f64, y: f64) -> f64 {
    let (x, y) = (x.clamp(0.0, (width - 1) as f64), y.clamp(0.0, (height - 1) as f64));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let across = |row: Vec<u8>| f64::from(row[left]) * (1.0 - x.fract()) + f64::from(row[right]) * x.fract();
    across(row(top)) * (1.0 - y.fract()) + across(row(bottom)) * y.fract()
}

/// A frame whose rows and planes have padding of any length between them, and the same frame without.
fn frames() -> impl Strategy<Value = (Frame, Frame)> {
    (1u32..50, 1u32..50, 0usize..20, 0usize..9, 0usize..7).prop_flat_map(
        |(width, height, pad, gap, chroma_pad)| {
            let size = size(width, height);
            let (chroma_width, chroma_height) =
                (size.chroma().width() as usize, size.chroma().height() as usize);
            let stride = width as usize + pad;
            let chroma_stride = chroma_width + chroma_pad;
            let u = gap + stride * height as usize;
            let v = u + gap + chroma_stride * chroma_height;
            let planes = [
                Plane { offset: gap, stride },
                Plane { offset: u, stride: chroma_stride },
                Plane { offset: v, stride: chroma_stride },
            ];
            prop::collection::vec(any::<u8>(), v + chroma_stride * chroma_height).prop_map(move |data| {
                let (stamp, colour) = (Stamp::at(Pts::ZERO), Colour::BT601_LIMITED);
                let padded = Frame::new(stamp, size, colour, planes, data.into()).unwrap();
                let view = padded.view();
                let mut tight = Vec::new();
                for plane in [view.y(), view.u(), view.v()] {
                    (0..plane.size().height() as usize).for_each(|y| tight.extend_from_slice(plane.row(y)));
                }
                let tight = Frame::tight(stamp, size, colour, tight.into()).unwrap();
                (padded, tight)
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_size_and_stride_scales_as_the_exact_arithmetic(
        (padded, tight) in frames(),
        target in (1u32..60, 1u32..60).prop_map(|(width, height)| size(width, height)),
    ) {
        let picture = scale(&padded, target);
        let same = scale(&tight, target);
        prop_assert_eq!(picture.data(), same.data());
        let (view, source) = (picture.view(), padded.view());
        let scaled = picture.letterbox().scaled();
        let (step_x, step_y) = picture.letterbox().step();
        let bounds = (padded.size().width() as usize, padded.size().height() as usize);
        let row = |y: usize| source.y().row(y).to_vec();
        for y in 0..target.height() {
            for x in 0..target.width() {
                let value = f64::from(view.y().row(y as usize)[x as usize]);
                if x < scaled.width() && y < scaled.height() {
                    let at = |step: f64, i: u32| (f64::from(i) + 0.5) * step - 0.5;
                    let expected = exact(row, bounds, at(step_x, x), at(step_y, y));
                    prop_assert!((value - expected).abs() <= 1.25, "{} {}: {} {}", x, y, value, expected);
                } else {
                    prop_assert_eq!(value, 16.0);
                }
            }
        }
        for y in 0..target.chroma().height() {
            for x in 0..target.chroma().width() {
                if x >= scaled.chroma().width() || y >= scaled.chroma().height() {
                    prop_assert_eq!(view.u().row(y as usize)[x as usize], 128);
                    prop_assert_eq!(view.v().row(y as usize)[x as usize], 128);
                }
            }
        }
    }

    #[test]
    fn points_go_to_the_source_and_back(
        source in (1u32..4000, 1u32..4000).prop_map(|(width, height)| size(width, height)),
        (x, y) in (0f32..416.0, 0f32..320.0),
    ) {
        let letterbox = framelane_picture::Letterbox::fit(source, size(416, 320));
        let (a, b) = letterbox.to_source(x, y);
        let (back_x, back_y) = letterbox.to_target(a, b);
        prop_assert!((back_x - x).abs() < 0.01 && (back_y - y).abs() < 0.01);
        let scaled = letterbox.scaled();
        prop_assert!(scaled.width() <= 416 && scaled.height() <= 320);
        prop_assert!(scaled.width() == 416 || scaled.height() == 320);
    }
}
