//! One picture in other forms: another matrix or range, and RGB.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use framelane_picture::yuv::{self, Normalise, Order};
use framelane_picture::{Colour, Letterbox, Matrix, Picture, Pixels, Range, Rgb, Siting, Size, bgr};
use proptest::prelude::*;

fn colour(matrix: Matrix, range: Range) -> Colour {
    Colour { matrix, range, siting: Siting::Centre }
}

fn all_colours() -> impl Iterator<Item = Colour> {
    let ranges = |matrix| [Range::Limited, Range::Full].map(|range| colour(matrix, range));
    [Matrix::Bt601, Matrix::Bt709].into_iter().flat_map(ranges)
}

fn letterbox(size: Size) -> Letterbox {
    Letterbox::fit(size, size)
}

fn picture(size: Size, colour: Colour, data: Vec<u8>) -> Picture {
    Picture::new(colour, letterbox(size), Bytes::from(data)).unwrap()
}

fn rgb(picture: &Picture) -> Vec<u8> {
    let mut out = vec![0; picture.size().bgr_len()];
    yuv::to_interleaved_u8(&picture.view(), Order::Rgb, &mut out).unwrap();
    out
}

#[test]
fn a_picture_that_is_right_already_is_not_copied() {
    let size = Size::new(6, 4).unwrap();
    let before = picture(size, Colour::BT709_LIMITED, vec![90; size.i420_len()]);
    let to = Colour { siting: Siting::Centre, ..Colour::BT709_LIMITED };
    let after = before.clone().recoloured(to);
    assert_eq!(after.data().as_ptr(), before.data().as_ptr());
    assert_eq!(after.colour().siting, Siting::Left, "chroma does not move");
}

#[test]
fn black_white_and_grey_meet_their_levels() {
    let size = Size::new(4, 2).unwrap();
    let before = picture(
        size,
        colour(Matrix::Bt709, Range::Limited),
        [[16, 235, 126, 16].as_slice(), &[16, 235, 126, 235], &[128; 4]].concat(),
    );
    let after = before.recoloured(colour(Matrix::Bt601, Range::Full));
    assert_eq!(after.data()[..], [0, 255, 128, 0, 0, 255, 128, 255, 128, 128, 128, 128]);
}

#[test]
fn rgb_of_another_length_is_refused() {
    let size = Size::new(3, 3).unwrap();
    let rgb = Rgb::new(letterbox(size), Bytes::from(vec![0; 27])).unwrap();
    assert!(Rgb::new(letterbox(size), Bytes::from(vec![0; 26])).is_err());
    assert!(Pixels::Rgb(rgb.clone()).to_interleaved_u8(Order::Rgb, &mut [0; 28]).is_err());
    assert!(Pixels::Rgb(rgb).to_planar_f32(Order::Rgb, Normalise::NONE, &mut [0.0; 26]).is_err());
}

proptest! {
    /// Any picture that came of real colours looks the same in every matrix and range.
    #[test]
    fn another_colour_space_shows_the_same(
        (width, height) in (1u32..9, 1u32..9),
        seed in proptest::collection::vec(any::<u8>(), 8 * 8 * 3),
    ) {
        let size = Size::new(width, height).unwrap();
        // One colour for each four pixels, so that 4:2:0 can hold it.
        let mut pixels = vec![0; size.bgr_len()];
        for (n, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (n % width as usize / 2, n / width as usize / 2);
            pixel.copy_from_slice(&seed[(y * 4 + x) * 3..][..3]);
        }
        for from in all_colours() {
            let before = picture(size, from, bgr::to_i420(&pixels, size, from).unwrap());
            for to in all_colours() {
                let after = before.clone().recoloured(to);
                prop_assert_eq!(after.colour(), to);
                for (before, after) in rgb(&before).iter().zip(rgb(&after)) {
                    // Both roundings, of luma and of a difference that counts nearly twice.
                    prop_assert!(before.abs_diff(after) <= 4, "{from:?} to {to:?}: {before} {after}");
                }
            }
        }
    }

    /// RGB makes the same tensors as the planes that it was made of.
    #[test]
    fn rgb_and_yuv_make_the_same_input(
        (width, height) in (1u32..9, 1u32..9),
        data in proptest::collection::vec(any::<u8>(), 8 * 8 + 2 * 4 * 4),
    ) {
        let size = Size::new(width, height).unwrap();
        let picture = picture(size, Colour::BT709_LIMITED, data[..size.i420_len()].to_vec());
        let rgb = Pixels::Rgb(Rgb::from(&picture));
        let yuv = Pixels::from(picture);
        prop_assert_eq!((rgb.size(), rgb.letterbox()), (yuv.size(), yuv.letterbox()));
        let normalise = Normalise { mean: [1.0, 20.0, 3.0], std: [2.0, 3.0, 50.0] };
        for order in [Order::Rgb, Order::Bgr] {
            let bytes = [&rgb, &yuv].map(|pixels| {
                let mut out = vec![0; size.bgr_len()];
                pixels.to_interleaved_u8(order, &mut out).unwrap();
                out
            });
            prop_assert_eq!(&bytes[0], &bytes[1]);
            let floats = [&rgb, &yuv].map(|pixels| {
                let mut out = vec![0.0; size.bgr_len()];
                pixels.to_planar_f32(order, normalise, &mut out).unwrap();
                out
            });
            prop_assert_eq!(&floats[0], &floats[1]);
        }
    }
}
