//! From YUV 4:2:0 to what models take in: 8-bit interleaved or normalised planar channels.
//!
//! Each chroma sample counts for all of its four pixels. The arithmetic is 16-bit fixed point with five
//! fractional bits, within 1 of the exact value, and free of branches, so that it becomes vector code.

use crate::{BufferSize, Colour, Matrix, Range, View};

/// The order of a model's colour channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Blue, green, red.
    Bgr,
    /// Red, green, blue.
    Rgb,
}

/// How a float input is made from 0..=255: `(value - mean) / std`, channels in the input's [`Order`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalise {
    /// Subtracted first.
    pub mean: [f32; 3],
    /// Divided by then.
    pub std: [f32; 3],
}

impl Normalise {
    /// Values as they are: 0..=255.
    pub const NONE: Self = Self { mean: [0.0; 3], std: [1.0; 3] };

    /// The factor and the offset of a channel: `value * factor + offset`.
    pub(crate) fn line(&self, channel: usize) -> (f32, f32) {
        let factor = 1.0 / self.std[channel];
        (factor, -self.mean[channel] * factor)
    }
}

/// Writes 8-bit blue, green, red pixel after pixel: `[height, width, 3]`, [`Size::bgr_len`] bytes.
///
/// # Errors
/// `out` has another length.
///
/// [`Size::bgr_len`]: crate::Size::bgr_len
pub fn to_bgr_u8(view: &View<'_>, out: &mut [u8]) -> Result<(), BufferSize> {
    to_interleaved_u8(view, Order::Bgr, out)
}

/// Writes 8-bit pixels, channels in `order`: `[height, width, 3]`, [`Size::bgr_len`] bytes.
///
/// # Errors
/// `out` has another length.
///
/// [`Size::bgr_len`]: crate::Size::bgr_len
pub fn to_interleaved_u8(view: &View<'_>, order: Order, out: &mut [u8]) -> Result<(), BufferSize> {
    BufferSize::check(view.size().bgr_len(), out.len())?;
    let stride = view.size().width() as usize * 3;
    each_row(view, order, |y, channels| {
        let [first, second, third] = channels;
        let row = &mut out[y * stride..(y + 1) * stride];
        for (((out, &a), &b), &c) in row.chunks_exact_mut(3).zip(first).zip(second).zip(third) {
            out[0] = a;
            out[1] = b;
            out[2] = c;
        }
    });
    Ok(())
}

/// Writes one plane of floats after the other, channels in `order`: `[3, height, width]`.
///
/// # Errors
/// `out` does not hold three times the picture's pixels.
pub fn to_planar_f32(
    view: &View<'_>,
    order: Order,
    normalise: Normalise,
    out: &mut [f32],
) -> Result<(), BufferSize> {
    let pixels = view.size().pixels();
    BufferSize::check(3 * pixels, out.len())?;
    let width = view.size().width() as usize;
    each_row(view, order, |y, channels| {
        for (channel, (values, plane)) in channels.iter().zip(out.chunks_exact_mut(pixels)).enumerate() {
            let (factor, offset) = normalise.line(channel);
            for (out, &value) in plane[y * width..(y + 1) * width].iter_mut().zip(*values) {
                *out = f32::from(value) * factor + offset;
            }
        }
    });
    Ok(())
}

/// Hands every row to `write` as three 8-bit channels in `order`.
fn each_row(view: &View<'_>, order: Order, mut write: impl FnMut(usize, [&[u8]; 3])) {
    let matrix = Coefficients::of(view.colour());
    let width = view.size().width() as usize;
    let mut shifts = Shifts::new(width);
    let mut channels = vec![0u8; 3 * width];
    let (blue, rest) = channels.split_at_mut(width);
    let (green, red) = rest.split_at_mut(width);

    for y in 0..view.size().height() as usize {
        if y.is_multiple_of(2) {
            shifts.fill(&matrix, view.u().row(y / 2), view.v().row(y / 2));
        }
        let luma = view.y().row(y);
        matrix.add(luma, &shifts.blue, blue);
        matrix.add(luma, &shifts.green, green);
        matrix.add(luma, &shifts.red, red);
        match order {
            Order::Bgr => write(y, [blue, green, red]),
            Order::Rgb => write(y, [red, green, blue]),
        }
    }
}

/// What chroma adds to each channel, at full width in an even number of columns. Two rows of pixels share it.
struct Shifts {
    blue: Vec<i16>,
    green: Vec<i16>,
    red: Vec<i16>,
}

impl Shifts {
    fn new(width: usize) -> Self {
        let row = vec![0; width.next_multiple_of(2)];
        Self { blue: row.clone(), green: row.clone(), red: row }
    }

    fn fill(&mut self, matrix: &Coefficients, u: &[u8], v: &[u8]) {
        let pairs = self.blue.chunks_exact_mut(2).zip(self.green.chunks_exact_mut(2));
        let pairs = pairs.zip(self.red.chunks_exact_mut(2));
        for (((blue, green), red), (&u, &v)) in pairs.zip(u.iter().zip(v)) {
            let (u, v) = ((i16::from(u) - 128) << 8, (i16::from(v) - 128) << 8);
            blue.fill(high(u, matrix.blue_from_u));
            green.fill(-high(u, matrix.green_from_u) - high(v, matrix.green_from_v));
            red.fill(high(v, matrix.red_from_v));
        }
    }
}

/// The matrix in fixed point: luma's factor with 14 fractional bits, the others with 13. None reaches 2^15.
struct Coefficients {
    black: i16,
    luma: i16,
    blue_from_u: i16,
    green_from_u: i16,
    green_from_v: i16,
    red_from_v: i16,
}

/// The fractional bits of a sum: luma has 7 and chroma 8 before its factor, and a product loses its lower 16.
const SUM_BITS: u32 = 5;

impl Coefficients {
    fn of(colour: Colour) -> Self {
        let (red, blue) = weights(colour.matrix);
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = match colour.range {
            Range::Limited => (16, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0, 1.0, 1.0),
        };
        let fixed = |value: f64, bits: u32| (value * f64::from(1u32 << bits)).round() as i16;
        Self {
            black,
            luma: fixed(luma, 14),
            blue_from_u: fixed(2.0 * (1.0 - blue) * chroma, 13),
            green_from_u: fixed(2.0 * blue * (1.0 - blue) / green * chroma, 13),
            green_from_v: fixed(2.0 * red * (1.0 - red) / green * chroma, 13),
            red_from_v: fixed(2.0 * (1.0 - red) * chroma, 13),
        }
    }

    /// A channel of a row: luma, and what chroma adds.
    fn add(&self, luma: &[u8], shifts: &[i16], out: &mut [u8]) {
        for ((out, &luma), &shift) in out.iter_mut().zip(luma).zip(shifts) {
            let luma = high((i16::from(luma) - self.black) << 7, self.luma);
            *out = ((luma + shift + (1 << (SUM_BITS - 1))) >> SUM_BITS).clamp(0, 255) as u8;
        }
    }
}

/// The upper half of a product: one vector instruction on every processor.
fn high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

/// What red and blue weigh in luma; green has the rest.
pub(crate) fn weights(matrix: Matrix) -> (f64, f64) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    }
}
