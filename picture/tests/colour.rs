//! YUV to model inputs: golden colours, and agreement with the exact arithmetic for any picture.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use framelane_picture::{
    Colour, Frame, Matrix, Pts, Range, Siting, Size, Stamp, bgr,
    yuv::{self, Normalise, Order},
};
use proptest::prelude::*;

fn colour(matrix: Matrix, range: Range) -> Colour {
    Colour { matrix, range, siting: Siting::Centre }
}

fn frame(size: Size, colour: Colour, data: Vec<u8>) -> Frame {
    Frame::tight(Stamp::at(Pts::ZERO), size, colour, Bytes::from(data)).unwrap()
}

/// The corner colours as the standards and common tools write them: red, green, blue, white, black.
#[rustfmt::skip]
const GOLDEN: [(Matrix, Range, [[u8; 3]; 5]); 3] = [
    (Matrix::Bt601, Range::Limited, [[81, 90, 240], [145, 54, 34], [41, 240, 110], [235, 128, 128], [16, 128, 128]]),
    (Matrix::Bt709, Range::Limited, [[63, 102, 240], [173, 42, 26], [32, 240, 118], [235, 128, 128], [16, 128, 128]]),
    (Matrix::Bt601, Range::Full, [[76, 85, 255], [150, 44, 21], [29, 255, 107], [255, 128, 128], [0, 128, 128]]),
];
const RGB: [[u8; 3]; 5] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]];

#[test]
fn corner_colours_come_out_as_they_went_in() {
    let size = Size::new(2, 2).unwrap();
    for (matrix, range, yuvs) in GOLDEN {
        let colour = colour(matrix, range);
        for ([y, u, v], rgb) in yuvs.into_iter().zip(RGB) {
            let mut out = [0; 12];
            yuv::to_interleaved_u8(&frame(size, colour, vec![y, y, y, y, u, v]).view(), Order::Rgb, &mut out)
                .unwrap();
            for (out, rgb) in out.iter().zip(rgb.iter().cycle()) {
                // The rounding of three 8-bit values to others costs this much.
                assert!(out.abs_diff(*rgb) <= 2, "{matrix:?} {range:?} {rgb:?}: {out}");
            }
            let bgr = [rgb[2], rgb[1], rgb[0]].repeat(4);
            let back = bgr::to_i420(&bgr, size, colour).unwrap();
            let expected = [y, y, y, y, u, v];
            assert_eq!(back, expected, "{matrix:?} {range:?} {rgb:?}");
        }
    }
}

#[test]
fn reading_709_as_601_is_seen() {
    let size = Size::new(2, 2).unwrap();
    let green = vec![173, 173, 173, 173, 42, 26];
    let mut out = [[0u8; 12]; 2];
    for (out, matrix) in out.iter_mut().zip([Matrix::Bt709, Matrix::Bt601]) {
        let frame = frame(size, colour(matrix, Range::Limited), green.clone());
        yuv::to_bgr_u8(&frame.view(), out).unwrap();
    }
    assert_ne!(out[0], out[1]);
}

#[test]
fn buffers_of_another_length_are_refused() {
    let frame = Frame::black(Stamp::at(Pts::ZERO), Size::new(3, 3).unwrap(), Colour::BT601_LIMITED);
    let error = yuv::to_bgr_u8(&frame.view(), &mut [0; 26]).unwrap_err();
    assert_eq!((error.expected, error.found), (27, 26));
    assert!(yuv::to_planar_f32(&frame.view(), Order::Rgb, Normalise::NONE, &mut [0.0; 28]).is_err());
    assert!(bgr::to_i420(&[0; 26], frame.size(), frame.colour()).is_err());
    assert!(bgr::letterbox(&[0; 28], frame.size(), frame.size()).is_err());
}

/// The conversion in exact arithmetic: red, green, blue.
fn exact(colour: Colour, [y, u, v]: [u8; 3]) -> [f64; 3] {
    let (kr, kb) = match colour.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let (y, scale) = match colour.range {
        Range::Limited => ((f64::from(y) - 16.0) * 255.0 / 219.0, 255.0 / 224.0),
        Range::Full => (f64::from(y), 1.0),
    };
    let (u, v) = ((f64::from(u) - 128.0) * scale, (f64::from(v) - 128.0) * scale);
    let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
    [r, (y - kr * r - kb * b) / (1.0 - kr - kb), b].map(|value| value.clamp(0.0, 255.0))
}

#[test]
fn every_value_is_within_one_of_the_exact_one() {
    let size = Size::new(256, 2).unwrap();
    for matrix in [Matrix::Bt601, Matrix::Bt709] {
        for range in [Range::Limited, Range::Full] {
            let colour = colour(matrix, range);
            for u in (0..=255u8).step_by(5) {
                for v in (0..=255u8).step_by(5) {
                    let mut data: Vec<u8> = (0..=255).chain(0..=255).collect();
                    data.resize(512 + 128, u);
                    data.resize(512 + 256, v);
                    let mut out = vec![0; size.bgr_len()];
                    let frame = frame(size, colour, data);
                    yuv::to_interleaved_u8(&frame.view(), Order::Rgb, &mut out).unwrap();
                    for (y, out) in (0..=255u8).zip(out.chunks_exact(3)) {
                        let exact = exact(colour, [y, u, v]);
                        for (out, exact) in out.iter().zip(exact) {
                            assert!(
                                (f64::from(*out) - exact).abs() <= 1.0,
                                "{colour:?} {y} {u} {v}: {out} {exact}"
                            );
                        }
                    }
                }
            }
        }
    }
}

fn colours() -> impl Strategy<Value = Colour> {
    let matrix = prop_oneof![Just(Matrix::Bt601), Just(Matrix::Bt709)];
    let range = prop_oneof![Just(Range::Limited), Just(Range::Full)];
    (matrix, range).prop_map(|(matrix, range)| colour(matrix, range))
}

/// A picture of any small size, odd ones too.
fn pictures() -> impl Strategy<Value = Frame> {
    (1u32..40, 1u32..20, colours()).prop_flat_map(|(width, height, colour)| {
        let size = Size::new(width, height).unwrap();
        prop::collection::vec(any::<u8>(), size.i420_len()).prop_map(move |data| frame(size, colour, data))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_forms_agree_pixel_by_pixel(frame in pictures(), mean in -100f32..100.0, std in 0.5f32..100.0) {
        let (view, size) = (frame.view(), frame.size());
        let (mut bgr, mut rgb) = (vec![0u8; size.bgr_len()], vec![0u8; size.bgr_len()]);
        yuv::to_bgr_u8(&view, &mut bgr).unwrap();
        yuv::to_interleaved_u8(&view, Order::Rgb, &mut rgb).unwrap();
        let mut planes = vec![0f32; size.bgr_len()];
        let normalise = Normalise { mean: [mean; 3], std: [std; 3] };
        yuv::to_planar_f32(&view, Order::Bgr, normalise, &mut planes).unwrap();

        for y in 0..size.height() as usize {
            for x in 0..size.width() as usize {
                let at = y * size.width() as usize + x;
                let yuv = [view.y().row(y)[x], view.u().row(y / 2)[x / 2], view.v().row(y / 2)[x / 2]];
                let exact = exact(frame.colour(), yuv);
                for channel in 0..3 {
                    let value = rgb[3 * at + channel];
                    prop_assert!((f64::from(value) - exact[channel]).abs() <= 1.0);
                    prop_assert_eq!(value, bgr[3 * at + 2 - channel]);
                    let plane = planes[(2 - channel) * size.pixels() + at];
                    prop_assert!((plane - (f32::from(value) - mean) / std).abs() < 1e-3 * (1.0 + plane.abs()));
                }
            }
        }
    }

    #[test]
    fn grey_survives_the_way_to_i420_and_back(grey in any::<u8>(), width in 1u32..9, height in 1u32..9, colour in colours()) {
        let size = Size::new(width, height).unwrap();
        let pixels = vec![grey; size.bgr_len()];
        let frame = frame(size, colour, bgr::to_i420(&pixels, size, colour).unwrap());
        let mut back = vec![0; size.bgr_len()];
        yuv::to_bgr_u8(&frame.view(), &mut back).unwrap();
        prop_assert!(back.iter().all(|value| value.abs_diff(grey) <= 1));
    }
}
