//! NanoDet with its head in the graph.
//!
//! The picture is cut into cells of 8, of 16 and of 32 pixels, row after row, one level after the other; each
//! cell is an anchor. The model says for each anchor a score for each class (`scores`, `[1, anchors,
//! classes]`, already between 0 and 1) and how far the edges lie from the cell's centre (`boxes`, `[1,
//! anchors, 4]`: left, top, right, bottom, in pixels of the picture). Any size works whose sides are multiples
//! of 32.

use picture::{Letterbox, Pixels, Size};

use super::{Adapter, DecodeError, Unfit};
use crate::detect::Detection;
use crate::engine::{Tensor, TensorData, TensorView};
use crate::{DType, Input, Layout, Manifest, nms};

/// The sides of the levels' cells in pixels, in the order of the outputs.
const LEVELS: [u32; 3] = [8, 16, 32];

/// Sides must be multiples of the largest cell: the network halves the picture five times and joins the levels
/// again, which only fits together without rounding.
const STEP: u32 = 32;

/// Larger pictures are refused: someone else's job must not make a worker allocate gigabytes.
const MAX_SIDE: u32 = 2048;

const SIZES: &str = "sides must be multiples of 32, up to 2048";

/// Prepares for and reads a NanoDet model.
#[derive(Debug)]
pub struct Nanodet {
    model: String,
    input: Input,
    outputs: [String; 2],
    classes: usize,
    threshold: f32,
    nms_iou: f32,
    candidates: Vec<Detection>,
}

impl Nanodet {
    /// The adapter for a model with this manifest.
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            model: manifest.name.clone(),
            input: manifest.input.clone(),
            outputs: [manifest.output.scores.clone(), manifest.output.boxes.clone()],
            classes: manifest.labels.len(),
            threshold: manifest.threshold.get(),
            nms_iou: manifest.nms_iou.get(),
            candidates: Vec::new(),
        }
    }

    /// Collects what scores at least the threshold, in pixels of the source.
    fn collect(&mut self, scores: &[f32], boxes: &[f32], letterbox: &Letterbox) {
        self.candidates.clear();
        let anchors = centres(letterbox.target());
        let rows = scores.chunks_exact(self.classes).zip(boxes.chunks_exact(4));
        for ((x, y), (scores, edges)) in anchors.zip(rows) {
            // Most anchors show nothing; this test of a whole row becomes vector code. It is false for NaN.
            if !scores.iter().fold(false, |hot, &score| hot | (score >= self.threshold)) {
                continue;
            }
            let (left, top) = letterbox.to_source(x - edges[0], y - edges[1]);
            let (right, bottom) = letterbox.to_source(x + edges[2], y + edges[3]);
            let rect = [left, top, right, bottom];
            if !rect.iter().all(|edge| edge.is_finite()) || left >= right || top >= bottom {
                continue;
            }
            for (class, &score) in scores.iter().enumerate() {
                if score >= self.threshold {
                    // There are at most `Labels::MAX` classes, so the number fits.
                    self.candidates.push(Detection { class: class as u16, score: score.min(1.0), rect });
                }
            }
        }
    }
}

impl Adapter for Nanodet {
    fn prepare(&mut self, picture: &Pixels, input: &mut Tensor) -> Result<(), Unfit> {
        let size = picture.size();
        let (width, height) = (size.width(), size.height());
        if !fits(size) {
            return Err(Unfit::Size { model: self.model.clone(), size, why: SIZES });
        }
        let order = self.input.order;
        input.reshape(self.input.dtype, self.input.layout, width as usize, height as usize);
        match &mut input.data {
            TensorData::U8(data) => picture.to_interleaved_u8(order, data)?,
            TensorData::F32(data) => picture.to_planar_f32(order, self.input.normalise(), data)?,
        }
        Ok(())
    }

    fn outputs(&self) -> Vec<String> {
        self.outputs.to_vec()
    }

    fn decode(
        &mut self,
        outputs: &[TensorView<'_>],
        letterbox: &Letterbox,
        found: &mut Vec<Detection>,
    ) -> Result<(), DecodeError> {
        let anchors: usize = LEVELS.iter().map(|&level| grid(letterbox.target(), level).0).sum();
        let mut data: [&[f32]; 2] = [&[]; 2];
        for (number, (name, last)) in self.outputs.iter().zip([self.classes, 4]).enumerate() {
            let view = outputs.get(number);
            let expected = [1, anchors, last];
            match view {
                Some(view) if view.shape() == expected => data[number] = view.data(),
                _ => {
                    let found = view.map_or_else(Vec::new, |view| view.shape().to_vec());
                    return Err(DecodeError {
                        output: name.clone(),
                        found,
                        expected: format!("{expected:?}"),
                    });
                }
            }
        }
        self.collect(data[0], data[1], letterbox);
        nms::keep_best(&mut self.candidates, self.nms_iou, found);
        Ok(())
    }
}

/// What NanoDet demands of its manifest.
pub(super) fn check(manifest: &Manifest) -> Result<(), String> {
    let input = &manifest.input;
    if !fits(input.size) {
        return Err(format!("the input is {}, but NanoDet takes no such pictures: {SIZES}", input.size));
    }
    match (input.dtype, input.layout) {
        (DType::U8, Layout::Nhwc) | (DType::F32, Layout::Nchw) => Ok(()),
        (DType::U8, Layout::Nchw) => Err("dtype \"u8\" goes with layout \"nhwc\"".to_owned()),
        (DType::F32, Layout::Nhwc) => Err("dtype \"f32\" goes with layout \"nchw\"".to_owned()),
    }
}

fn fits(size: Size) -> bool {
    let fits = |side: u32| side.is_multiple_of(STEP) && side <= MAX_SIDE;
    fits(size.width()) && fits(size.height())
}

/// How many cells of a level a picture has, and how many of them lie in a row.
fn grid(size: Size, level: u32) -> (usize, usize) {
    let across = (size.width() / level) as usize;
    (across * (size.height() / level) as usize, across)
}

/// The centres of all cells, in the order of the outputs.
pub(crate) fn centres(size: Size) -> impl Iterator<Item = (f32, f32)> {
    LEVELS.into_iter().flat_map(move |level| {
        let (cells, across) = grid(size, level);
        let centre = move |cell: usize| (cell as f32 + 0.5) * level as f32;
        (0..cells).map(move |cell| (centre(cell % across), centre(cell / across)))
    })
}
