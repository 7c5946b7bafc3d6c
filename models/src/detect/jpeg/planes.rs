//! Planes between 4:2:0 and the full-size chroma that the codec's ends speak.

use jpeg_encoder::{ImageBuffer, JpegColorType};
use picture::{Picture, Size};

/// I420 as the encoder reads it. It averages the four samples that it gets for each chroma sample, and since
/// the four are equal, what it encodes is the plane.
pub(super) struct Planes<'a>(pub(super) &'a Picture);

impl ImageBuffer for Planes<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        // `Size::MAX_SIDE` fits.
        self.0.size().width() as u16
    }

    fn height(&self) -> u16 {
        self.0.size().height() as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let (view, y) = (self.0.view(), usize::from(y));
        let luma = view.y().row(y);
        buffers[0].extend_from_slice(luma);
        for (plane, out) in [view.u(), view.v()].into_iter().zip(&mut buffers[1..]) {
            let end = out.len() + luma.len();
            out.extend(plane.row(y / 2).iter().flat_map(|&sample| [sample, sample]));
            out.truncate(end);
        }
    }
}

/// How a chroma sample follows from the averages of its four pixels, and of its neighbours' on each side.
///
/// The decoder interpolates: a pixel is three parts the nearer sample and one part the next. The average over a
/// sample's pixels is then `(1, 6, 1) / 8` of three samples, in each direction, and these are the inverse's
/// first terms, `√2 (2√2 - 3)^n`, scaled to a sum of 1. Left blurred, boxes of things that stand out by
/// colour move by several pixels.
const UNDO: [f32; 4] = [1.417_15, -0.243_14, 0.041_72, -0.007_16];
const REACH: usize = UNDO.len() - 1;

/// Tight I420 from luma, blue and red difference at full size, pixel after pixel, as the decoder gives them.
pub(super) fn to_i420(pixels: &[u8], size: Size) -> Vec<u8> {
    let mut data = Vec::with_capacity(size.i420_len());
    data.extend(pixels.iter().step_by(3));
    let (width, height) = (size.chroma().width() as usize, size.chroma().height() as usize);
    let (mut plane, mut across) = (Vec::new(), Vec::new());
    for channel in [1, 2] {
        average(pixels, size, channel, &mut plane);
        across.clear();
        let mut line = vec![0.0; width + 2 * REACH];
        for row in plane.chunks_exact(width) {
            for (n, to) in line.iter_mut().enumerate() {
                *to = row[mirror(n as isize - REACH as isize, width)];
            }
            across.extend(line.windows(2 * REACH + 1).map(|seven| {
                let side = |n: usize| UNDO[n] * (seven[REACH - n] + seven[REACH + n]);
                UNDO[0] * seven[REACH] + side(1) + side(2) + side(3)
            }));
        }
        let mut line = vec![0.0; width];
        for y in 0..height {
            let row = |at: isize| across[mirror(at, height) * width..][..width].iter();
            let y = y as isize;
            line.clear();
            line.extend(row(y).map(|sample| UNDO[0] * sample));
            for (n, factor) in (1..).zip(&UNDO[1..]) {
                for ((sum, above), below) in line.iter_mut().zip(row(y - n)).zip(row(y + n)) {
                    *sum += factor * (above + below);
                }
            }
            // The cast saturates.
            data.extend(line.iter().map(|sample| sample.round() as u8));
        }
    }
    data
}

/// The average of each four pixels' `channel`.
fn average(pixels: &[u8], size: Size, channel: usize, out: &mut Vec<f32>) {
    let (stride, last) = (size.width() as usize * 3, size.height() as usize - 1);
    out.clear();
    for y in (0..=last).step_by(2) {
        let upper = pixels[y * stride..][..stride].chunks(6);
        let lower = pixels[(y + 1).min(last) * stride..][..stride].chunks(6);
        out.extend(upper.zip(lower).map(|(upper, lower)| {
            // An odd row's last pixel stands for its missing neighbour too.
            let right = upper.len() - 3 + channel;
            let four = [upper[channel], upper[right], lower[channel], lower[right]];
            f32::from(four.into_iter().map(u16::from).sum::<u16>()) / 4.0
        }));
    }
}

/// The place of a sample in a line of `len` that goes on beyond both ends as its own mirror image.
fn mirror(at: isize, len: usize) -> usize {
    let len = len as isize;
    let folded = at.rem_euclid(2 * len);
    folded.min(2 * len - 1 - folded) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_mirrored_at_both_ends() {
        let line: Vec<_> = (-4..8).map(|at| mirror(at, 3)).collect();
        assert_eq!(line, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(mirror(-3, 1), 0);
    }

    /// The decoder's interpolation and this, one after the other, give back what was there.
    #[test]
    fn chroma_comes_back() {
        let size = Size::new(20, 12).unwrap();
        let (width, height) = (10usize, 6usize);
        let chroma: Vec<u8> = (0..width * height).map(|n| if n * n % 7 < 3 { 70 } else { 180 }).collect();
        let at = |x: isize, y: isize| {
            let (x, y) = (x.clamp(0, width as isize - 1), y.clamp(0, height as isize - 1));
            f32::from(chroma[y as usize * width + x as usize])
        };
        let near = |pixel: u32| {
            (pixel as isize / 2, pixel as isize / 2 + if pixel.is_multiple_of(2) { -1 } else { 1 })
        };
        let mut pixels = Vec::new();
        for y in 0..size.height() {
            for x in 0..size.width() {
                let ((x, other_x), (y, other_y)) = (near(x), near(y));
                let row = |y| 0.75 * at(x, y) + 0.25 * at(other_x, y);
                let sample = (0.75 * row(y) + 0.25 * row(other_y)).round() as u8;
                pixels.extend([9, sample, 255 - sample]);
            }
        }
        let data = to_i420(&pixels, size);
        let (luma, planes) = data.split_at(size.pixels());
        assert!(luma.iter().all(|&luma| luma == 9));
        let inverted = chroma.iter().map(|&sample| 255 - sample);
        for (made, was) in planes.iter().zip(chroma.iter().copied().chain(inverted)) {
            assert!(made.abs_diff(was) <= 2, "{made} was {was}");
        }
    }
}
