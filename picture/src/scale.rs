//! Bilinear scaling in fixed point, with the geometry of OpenCV's `INTER_LINEAR`: pixel centres are half a
//! pixel from the edges, and what lies outside repeats the edge.
//!
//! Each output row is blended from two source rows first, which the compiler turns into vector code, and then
//! sampled across. That order touches `output rows x source width` samples cheaply and only `output rows x
//! output width` with a lookup.

use bytes::Bytes;

use crate::frame::black_i420;
use crate::{Colour, Frame, Letterbox, Picture, PlaneView, Siting, Size};

/// Scales a frame into the top left of a black picture of the size `target`, its proportions kept.
///
/// Chroma is resampled into [`Siting::Centre`], so that showing one chroma sample for each of its four pixels
/// is right on the average. A frame that has the target's size already is copied unchanged.
pub fn scale(frame: &Frame, target: Size) -> Picture {
    let view = frame.view();
    let letterbox = Letterbox::fit(view.size(), target);
    let mut data = black_i420(target, view.colour());
    let (luma, chroma) = data.split_at_mut(target.pixels());
    let (u, v) = chroma.split_at_mut(target.chroma().pixels());
    let (width, chroma_width) = (target.width() as usize, target.chroma().width() as usize);

    if view.size() == target {
        copy(view.y(), luma, width);
        copy(view.u(), u, chroma_width);
        copy(view.v(), v, chroma_width);
        return Picture::from_parts(view.colour(), letterbox, Bytes::from(data));
    }

    let mut blended = Vec::new();
    let (x, y) = Axis::luma(&letterbox);
    resample::<1>(rows(view.y()), &x, &y, luma, width, &mut blended);
    let (x, y) = Axis::chroma(&letterbox, view.colour().siting);
    resample::<1>(rows(view.u()), &x, &y, u, chroma_width, &mut blended);
    resample::<1>(rows(view.v()), &x, &y, v, chroma_width, &mut blended);
    let colour = Colour { siting: Siting::Centre, ..view.colour() };
    Picture::from_parts(colour, letterbox, Bytes::from(data))
}

/// Where the samples of one output axis come from.
pub(crate) struct Axis {
    taps: Vec<Tap>,
}

/// An output sample is `(1 - weight) * source[at] + weight * source[at + 1]`; the source counts as longer by a
/// copy of its last sample.
#[derive(Clone, Copy)]
struct Tap {
    at: u32,
    /// In units of 1 / 2^[`WEIGHT_BITS`].
    weight: u32,
}

/// As in OpenCV. More would overflow 32 bits together with the blended rows' 16.
const WEIGHT_BITS: u32 = 11;
const ONE: u32 = 1 << WEIGHT_BITS;

/// Rows are blended with 8 bits of weight: sample times weight then fills 16 bits, the widest in which the
/// oldest vector instructions multiply.
const ROW_BITS: u32 = 8;

impl Axis {
    /// The axes of a full-size plane: across, down.
    pub(crate) fn luma(letterbox: &Letterbox) -> (Self, Self) {
        let (source, scaled) = (letterbox.source(), letterbox.scaled());
        let (step_x, step_y) = letterbox.step();
        let at = |step: f64| move |i: u32| (f64::from(i) + 0.5) * step - 0.5;
        (
            Self::new(source.width(), scaled.width(), at(step_x)),
            Self::new(source.height(), scaled.height(), at(step_y)),
        )
    }

    /// The axes of a chroma plane whose samples sit as `siting` says, into one that has them centred.
    ///
    /// In units of luma pixels from the edge, output sample `i` sits at `2 i + 1`, and source sample `j` at
    /// `2 j + 1` where it is centred or at `2 j + 0.5` where it shares the place of a luma sample.
    fn chroma(letterbox: &Letterbox, siting: Siting) -> (Self, Self) {
        let (source, scaled) = (letterbox.source().chroma(), letterbox.scaled().chroma());
        let (step_x, step_y) = letterbox.step();
        let at = |step: f64, sits: f64| move |i: u32| ((2.0 * f64::from(i) + 1.0) * step - sits) / 2.0;
        let (sits_x, sits_y) = match siting {
            Siting::Left => (0.5, 1.0),
            Siting::Centre => (1.0, 1.0),
            Siting::TopLeft => (0.5, 0.5),
        };
        (
            Self::new(source.width(), scaled.width(), at(step_x, sits_x)),
            Self::new(source.height(), scaled.height(), at(step_y, sits_y)),
        )
    }

    /// `out` samples; `position` gives the place of each among the `source` samples, which may lie outside.
    fn new(source: u32, out: u32, position: impl Fn(u32) -> f64) -> Self {
        let last = source - 1;
        let tap = |i| {
            let position = position(i).clamp(0.0, f64::from(last));
            let weight = (position.fract() * f64::from(ONE)).round() as u32;
            Tap { at: position as u32, weight }
        };
        Self { taps: (0..out).map(tap).collect() }
    }
}

/// The rows of a plane as a function, for [`resample`].
fn rows<'a>(plane: PlaneView<'a>) -> impl Fn(usize) -> &'a [u8] {
    move |y| plane.row(y)
}

/// Samples an image of `C` interleaved channels into the top left of `out`, whose rows are `stride` bytes
/// apart. `row` gives a source row and repeats the last one below it. `blended` is scratch.
pub(crate) fn resample<'a, const C: usize>(
    row: impl Fn(usize) -> &'a [u8],
    x: &Axis,
    y: &Axis,
    out: &mut [u8],
    stride: usize,
    blended: &mut Vec<u16>,
) {
    for (tap, out) in y.taps.iter().zip(out.chunks_mut(stride)) {
        let upper = row(tap.at as usize);
        let lower = row(tap.at as usize + 1);
        let weight = ((tap.weight + (1 << (WEIGHT_BITS - ROW_BITS - 1))) >> (WEIGHT_BITS - ROW_BITS)) as u16;
        blended.resize(upper.len() + C, 0);
        blend(upper, lower, weight, &mut blended[..upper.len()]);
        // The sample after the last one, which a tap on the right edge reads with weight 0.
        blended.copy_within(upper.len() - C..upper.len(), upper.len());
        across::<C>(blended, &x.taps, out);
    }
}

fn blend(upper: &[u8], lower: &[u8], weight: u16, out: &mut [u16]) {
    let rest = (1 << ROW_BITS) - weight;
    for ((out, &a), &b) in out.iter_mut().zip(upper).zip(lower) {
        *out = u16::from(a) * rest + u16::from(b) * weight;
    }
}

fn across<const C: usize>(row: &[u16], taps: &[Tap], out: &mut [u8]) {
    const SHIFT: u32 = WEIGHT_BITS + ROW_BITS;
    for (tap, out) in taps.iter().zip(out.chunks_exact_mut(C)) {
        let at = tap.at as usize * C;
        let pair = &row[at..at + 2 * C];
        for (channel, out) in out.iter_mut().enumerate() {
            let (a, b) = (u32::from(pair[channel]), u32::from(pair[channel + C]));
            *out = ((a * (ONE - tap.weight) + b * tap.weight + (1 << (SHIFT - 1))) >> SHIFT) as u8;
        }
    }
}

fn copy(plane: PlaneView<'_>, out: &mut [u8], stride: usize) {
    for (y, out) in out.chunks_exact_mut(stride).enumerate() {
        out.copy_from_slice(plane.row(y));
    }
}
