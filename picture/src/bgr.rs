//! 8-bit BGR images, as files hold them: what tests, references and synthetic scenes start from. The video
//! path never leaves YUV.

use crate::scale::{Axis, resample};
use crate::yuv::weights;
use crate::{BufferSize, Colour, Letterbox, Range, Size};

/// Scales interleaved 8-bit BGR pixels of the size `source` into the top left of a black image of the size
/// `target`, as OpenCV's `resize` with `INTER_LINEAR` does within 1.
///
/// # Errors
/// `pixels` is not [`Size::bgr_len`] bytes long.
pub fn letterbox(pixels: &[u8], source: Size, target: Size) -> Result<(Vec<u8>, Letterbox), BufferSize> {
    BufferSize::check(source.bgr_len(), pixels.len())?;
    let letterbox = Letterbox::fit(source, target);
    let (x, y) = Axis::luma(&letterbox);
    let (width, last) = (source.width() as usize * 3, source.height() as usize - 1);
    let row = |y: usize| &pixels[y.min(last) * width..][..width];
    let mut out = vec![0; target.bgr_len()];
    resample::<3>(row, &x, &y, &mut out, target.width() as usize * 3, &mut Vec::new());
    Ok((out, letterbox))
}

/// Converts interleaved 8-bit BGR pixels to tight I420. Chroma is the average of its four pixels, whatever
/// `colour.siting` says, so hand in [`Siting::Centre`](crate::Siting::Centre) where that matters.
///
/// # Errors
/// `pixels` is not [`Size::bgr_len`] bytes long.
pub fn to_i420(pixels: &[u8], size: Size, colour: Colour) -> Result<Vec<u8>, BufferSize> {
    BufferSize::check(size.bgr_len(), pixels.len())?;
    let (width, height) = (size.width() as usize, size.height() as usize);
    let (red_weight, blue_weight) = weights(colour.matrix);
    let (black, luma_span, chroma_span) = match colour.range {
        Range::Limited => (16.0, 219.0 / 255.0, 224.0 / 255.0),
        Range::Full => (0.0, 1.0, 1.0),
    };
    let pixel = |x: usize, y: usize| {
        let at = (y.min(height - 1) * width + x.min(width - 1)) * 3;
        [0, 1, 2].map(|channel| f64::from(pixels[at + channel]))
    };
    let luma = |[b, g, r]: [f64; 3]| red_weight * r + (1.0 - red_weight - blue_weight) * g + blue_weight * b;

    let mut out = Vec::with_capacity(size.i420_len());
    for y in 0..height {
        for x in 0..width {
            out.push((black + luma(pixel(x, y)) * luma_span).round() as u8);
        }
    }
    for (channel, weight) in [(0, blue_weight), (2, red_weight)] {
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let four = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)];
                let difference: f64 = four
                    .iter()
                    .map(|&(x, y)| pixel(x, y))
                    .map(|pixel| (pixel[channel] - luma(pixel)) / (2.0 * (1.0 - weight)))
                    .sum();
                out.push((128.0 + difference / 4.0 * chroma_span).round() as u8);
            }
        }
    }
    Ok(out)
}
