//! Boxes and labels, drawn with OpenCV straight on a frame's YUV planes.

use std::fmt::Write;

use bytes::Bytes;
use opencv::boxed_ref::BoxedRefMut;
use opencv::core::{Mat, Point, Rect, Scalar};
use opencv::imgproc::{self, FILLED, FONT_HERSHEY_SIMPLEX, LINE_8, LINE_AA};
use picture::{Colour, Frame, Matrix, Range, Size, Stamp};

/// The longest label in characters; longer ones are cut.
const LONGEST: usize = 48;

/// A box to draw.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Left, top, right, bottom in pixels of the frame. Anything may stand here: what lies outside the frame
    /// is cut, and a box with a side that is no number is left out.
    pub rect: [f32; 4],
    /// What it is; empty: no text. What OpenCV's font does not have shows as `?`.
    pub label: &'a str,
    /// How sure, 0 to 1; shown in percent where it is a number.
    pub score: f32,
    /// Chooses the colour; the same number is always the same colour.
    pub colour: usize,
}

/// A picture that can be drawn on: the one copy of a frame's pixels between decoder and encoder.
#[derive(Clone, Debug)]
pub struct Canvas {
    stamp: Stamp,
    size: Size,
    colour: Colour,
    data: Vec<u8>,
}

impl Canvas {
    /// Copies a frame, without its padding.
    pub fn new(frame: &Frame) -> Self {
        let size = frame.size();
        let mut data = Vec::with_capacity(size.i420_len());
        let view = frame.view();
        for plane in [view.y(), view.u(), view.v()] {
            (0..plane.size().height() as usize).for_each(|row| data.extend_from_slice(plane.row(row)));
        }
        Self { stamp: frame.stamp, size, colour: frame.colour(), data }
    }

    /// The size in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The luma, blue and red difference planes, without padding: `width x height` bytes, then twice half of
    /// both sides rounded up.
    pub fn planes_mut(&mut self) -> [&mut [u8]; 3] {
        let (y, chroma) = self.data.split_at_mut(self.size.pixels());
        let (u, v) = chroma.split_at_mut(self.size.chroma().pixels());
        [y, u, v]
    }

    /// Draws boxes in the order given.
    ///
    /// # Errors
    /// OpenCV refused; the canvas is as far as it came.
    pub fn boxes(&mut self, boxes: &[Labelled<'_>]) -> Result<(), Error> {
        let style = Style::of(self.size);
        let (size, colour) = (self.size, self.colour);
        let [y, u, v] = self.planes_mut();
        let mut planes = Planes { y: mat(y, size)?, u: mat(u, size.chroma())?, v: mat(v, size.chroma())? };
        for labelled in boxes {
            if let Some(rect) = clip(labelled.rect, size) {
                planes.draw(labelled, rect, size, colour, style)?;
            }
        }
        Ok(())
    }

    /// The picture as a frame, without a copy.
    pub fn into_frame(self) -> Frame {
        let frame = Frame::tight(self.stamp, self.size, self.colour, Bytes::from(self.data));
        frame.expect("a canvas holds all planes")
    }
}

impl From<&Frame> for Canvas {
    fn from(frame: &Frame) -> Self {
        Self::new(frame)
    }
}

/// OpenCV refused to draw.
#[derive(Debug, thiserror::Error)]
#[error("OpenCV cannot draw: {0}")]
pub struct Error(#[from] opencv::Error);

/// Line widths and font size that read well at a picture's size.
#[derive(Clone, Copy)]
struct Style {
    line: i32,
    font: f64,
    text: i32,
    margin: i32,
}

impl Style {
    fn of(size: Size) -> Self {
        let lines = f64::from(size.height());
        let line = (lines / 300.0).round().clamp(1.0, 6.0) as i32;
        let font = (lines / 1200.0).clamp(0.35, 1.2);
        Self { line, font, text: (lines / 700.0).round().clamp(1.0, 3.0) as i32, margin: line + 1 }
    }
}

type Plane<'a> = BoxedRefMut<'a, Mat>;

fn mat(plane: &mut [u8], size: Size) -> opencv::Result<Plane<'_>> {
    // A checked size is far below i32.
    let (rows, cols) = (size.height().cast_signed(), size.width().cast_signed());
    Mat::new_rows_cols_with_data_mut(rows, cols, plane)
}

struct Planes<'a> {
    y: Plane<'a>,
    u: Plane<'a>,
    v: Plane<'a>,
}

impl Planes<'_> {
    fn draw(
        &mut self,
        labelled: &Labelled<'_>,
        rect: Rect,
        size: Size,
        colour: Colour,
        style: Style,
    ) -> opencv::Result<()> {
        let yuv = to_yuv(PALETTE[labelled.colour % PALETTE.len()], colour);
        self.rectangle(rect, yuv, style.line)?;
        let text = text(labelled);
        if text.is_empty() {
            return Ok(());
        }
        let mut base = 0;
        let extent = imgproc::get_text_size(&text, FONT_HERSHEY_SIMPLEX, style.font, style.text, &mut base)?;
        let (width, height) = (extent.width + 2 * style.margin, extent.height + base + style.margin);
        // Above the box; inside it where there is no room above.
        let top = if rect.y >= height { rect.y - height } else { rect.y };
        let left = rect.x.min(size.width().cast_signed() - width).max(0);
        let back = Rect::new(left, top, width, height);
        self.rectangle(back, yuv, FILLED)?;
        // Black on light colours, white on dark ones.
        let (dark, light) = if colour.range == Range::Full { (0, 255) } else { (16, 235) };
        let ink = Scalar::from(f64::from(if yuv[0] > 110 { dark } else { light }));
        let at = Point::new(left + style.margin, top + style.margin / 2 + extent.height);
        let face = FONT_HERSHEY_SIMPLEX;
        imgproc::put_text(&mut self.y, &text, at, face, style.font, ink, style.text, LINE_AA, false)
    }

    /// Outlines or fills a rectangle on all planes. OpenCV cuts what reaches outside.
    fn rectangle(&mut self, rect: Rect, yuv: [u8; 3], line: i32) -> opencv::Result<()> {
        let half = Rect::new(
            rect.x / 2,
            rect.y / 2,
            (rect.x + rect.width - 1) / 2 - rect.x / 2 + 1,
            (rect.y + rect.height - 1) / 2 - rect.y / 2 + 1,
        );
        let half_line = if line < 0 { line } else { (line + 1) / 2 };
        let [y, u, v] = yuv.map(|value| Scalar::from(f64::from(value)));
        imgproc::rectangle(&mut self.y, rect, y, line, LINE_8, 0)?;
        imgproc::rectangle(&mut self.u, half, u, half_line, LINE_8, 0)?;
        imgproc::rectangle(&mut self.v, half, v, half_line, LINE_8, 0)
    }
}

/// The part of a box that lies in the picture, in whole pixels; none for boxes outside or without numbers.
fn clip(rect: [f32; 4], size: Size) -> Option<Rect> {
    if rect.iter().any(|side| side.is_nan()) {
        return None;
    }
    let (width, height) = (size.width() as f32, size.height() as f32);
    let [left, top, right, bottom] = rect;
    if left >= right || top >= bottom || right <= 0.0 || bottom <= 0.0 || left >= width || top >= height {
        return None;
    }
    // Clamped before the cast, so infinite and huge sides end at the picture's edge.
    let x = |side: f32| side.clamp(0.0, width - 1.0).round() as i32;
    let y = |side: f32| side.clamp(0.0, height - 1.0).round() as i32;
    Some(Rect::new(x(left), y(top), x(right) - x(left) + 1, y(bottom) - y(top) + 1))
}

/// The label and the score in percent, in characters that OpenCV's font has.
fn text(labelled: &Labelled<'_>) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let mut text: String = labelled.label.chars().take(LONGEST).map(plain).collect();
    if !text.is_empty() && labelled.score.is_finite() {
        let percent = (labelled.score * 100.0).clamp(0.0, 100.0);
        // Writing to a string cannot fail.
        let _ = write!(text, " {percent:.0}%");
    }
    text
}

/// Twelve colours that are far from each other and from grass, streets and skin.
const PALETTE: [[u8; 3]; 12] = [
    [255, 56, 56],
    [0, 194, 255],
    [255, 178, 29],
    [72, 249, 10],
    [203, 56, 255],
    [255, 112, 31],
    [61, 219, 134],
    [52, 69, 255],
    [255, 149, 200],
    [146, 204, 23],
    [0, 212, 187],
    [255, 255, 80],
];

/// RGB to the YUV of a colour.
fn to_yuv(rgb: [u8; 3], colour: Colour) -> [u8; 3] {
    let (kr, kb) = match colour.matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    let u = (b - y) / (2.0 * (1.0 - kb));
    let v = (r - y) / (2.0 * (1.0 - kr));
    let (low, luma, chroma) = match colour.range {
        Range::Limited => (16.0, 219.0, 224.0),
        Range::Full => (0.0, 255.0, 255.0),
    };
    [low + luma * y, 128.0 + chroma * u, 128.0 + chroma * v].map(|value| value.round() as u8)
}

#[cfg(test)]
mod tests {
    use picture::Pts;

    use super::*;

    fn canvas(width: u32, height: u32) -> Canvas {
        let size = Size::new(width, height).unwrap();
        Canvas::new(&Frame::black(Stamp::at(Pts::ZERO), size, Colour::BT601_LIMITED))
    }

    fn plain(rect: [f32; 4]) -> Labelled<'static> {
        Labelled { rect, label: "", score: 0.5, colour: 0 }
    }

    #[test]
    fn an_outline_is_where_it_should_be_on_all_planes() {
        let mut canvas = canvas(64, 48);
        canvas.boxes(&[plain([10.0, 8.0, 30.0, 20.0])]).unwrap();
        let red = to_yuv(PALETTE[0], Colour::BT601_LIMITED);
        let frame = canvas.into_frame();
        let view = frame.view();
        for x in 10..=30 {
            assert_eq!((view.y().row(8)[x], view.y().row(20)[x]), (red[0], red[0]));
            assert_eq!((view.u().row(4)[x / 2], view.v().row(10)[x / 2]), (red[1], red[2]));
        }
        assert_eq!((view.y().row(14)[10], view.y().row(14)[30]), (red[0], red[0]));
        assert_eq!((view.y().row(14)[20], view.u().row(7)[10]), (16, 128));
        assert_eq!((view.y().row(4)[20], view.y().row(24)[20]), (16, 16));
    }

    #[test]
    fn labels_are_legible_and_stay_in_the_picture() {
        for rect in [[600.0, 300.0, 639.0, 400.0], [0.0, 0.0, 50.0, 60.0], [-40.0, 470.0, 9e9, 479.0]] {
            let mut canvas = canvas(640, 480);
            canvas.boxes(&[Labelled { rect, label: "person", score: 0.87, colour: 3 }]).unwrap();
            let frame = canvas.into_frame();
            let green = to_yuv(PALETTE[3], Colour::BT601_LIMITED);
            let y = frame.plane(0).0;
            let back = y.iter().filter(|&&value| value == green[0]).count();
            let ink = y.iter().filter(|&&value| value > 16 && value < green[0]).count();
            assert!(back > 800 && ink > 50, "background {back}, blended ink {ink}");
        }
    }

    #[test]
    fn the_same_class_has_the_same_colour_and_others_have_another() {
        let draw = |colour| {
            let mut canvas = canvas(32, 32);
            canvas.boxes(&[Labelled { colour, ..plain([4.0, 4.0, 20.0, 20.0]) }]).unwrap();
            canvas.into_frame().data().clone()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
        assert_eq!(draw(usize::MAX), draw(usize::MAX % PALETTE.len()));
    }

    #[test]
    fn hostile_boxes_and_labels_do_no_harm() {
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -1.0, 0.0, 7.5, 1e9];
        let long = "x".repeat(10_000);
        for size in [(1, 1), (2, 2), (5, 3), (64, 48)] {
            let mut canvas = canvas(size.0, size.1);
            for (n, label) in ["", "a\0b", "Straße 车", &long].into_iter().enumerate() {
                for rect in (0..values.len().pow(4)).step_by(7) {
                    let side = |k: u32| values[rect / values.len().pow(k) % values.len()];
                    let rect = [side(0), side(1), side(2), side(3)];
                    let score = values[n];
                    canvas.boxes(&[Labelled { rect, label, score, colour: n }]).unwrap();
                }
            }
        }
    }

    #[test]
    fn boxes_are_cut_at_the_edges() {
        let size = Size::new(100, 50).unwrap();
        assert_eq!(clip([-5.0, -5.0, 1e9, f32::INFINITY], size), Some(Rect::new(0, 0, 100, 50)));
        assert_eq!(clip([10.2, 10.6, 20.0, 20.0], size), Some(Rect::new(10, 11, 11, 10)));
        assert_eq!(clip([100.0, 0.0, 120.0, 20.0], size), None);
        assert_eq!(clip([20.0, 0.0, 10.0, 20.0], size), None);
        assert_eq!(clip([0.0, f32::NAN, 10.0, 20.0], size), None);
    }

    #[test]
    fn colours_agree_with_the_standard() {
        assert_eq!(to_yuv([255, 255, 255], Colour::BT601_LIMITED), [235, 128, 128]);
        assert_eq!(to_yuv([255, 0, 0], Colour::BT601_LIMITED), [81, 90, 240]);
        assert_eq!(to_yuv([0, 0, 255], Colour::BT709_LIMITED), [32, 240, 118]);
    }

    #[test]
    fn a_padded_frame_is_copied_without_its_padding() {
        let plane = |offset, stride| picture::Plane { offset, stride };
        let planes = [plane(0, 16), plane(64, 8), plane(80, 8)];
        let data: Bytes = (0..96).collect();
        let size = Size::new(6, 4).unwrap();
        let stamp = Stamp::at(Pts::ZERO);
        let frame = Frame::new(stamp, size, Colour::BT709_LIMITED, planes, data).unwrap();
        let copy = Canvas::new(&frame).into_frame();
        assert!(copy.is_tight());
        assert_eq!((copy.stamp, copy.colour()), (frame.stamp, frame.colour()));
        assert_eq!(copy.view().y().row(2), frame.view().y().row(2));
        assert_eq!(copy.view().v().row(1), frame.view().v().row(1));
    }
}
