//! An engine without a network, for tests that want boxes and no ONNX Runtime.

use std::path::Path;

use picture::Size;

use super::{Engine, EngineError, Tensor, TensorData, TensorView};
use crate::adapter::nanodet::centres;
use crate::{Digest, Labels, Manifest, Model};

/// A box that the fake finds in every picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box {
    /// The number of its COCO class.
    pub class: u16,
    /// Its score.
    pub score: f32,
    /// Left, top, right and bottom edge in pixels of the picture (not of the frame).
    pub rect: [f32; 4],
}

/// What a fake gives for an input: the shape and the values of each output.
type Answer = Vec<(Vec<usize>, Vec<f32>)>;
type Script = dyn FnMut(&Tensor) -> Result<Answer, EngineError> + Send;

/// An engine that answers from a script.
pub struct Fake(std::boxed::Box<Script>);

impl Fake {
    /// Asks `script` at every run: for outputs of any shape, for failures, for waiting.
    pub fn new(script: impl FnMut(&Tensor) -> Result<Answer, EngineError> + Send + 'static) -> Self {
        Self(std::boxed::Box::new(script))
    }

    /// Finds the same boxes in every picture, as NanoDet would say them. Classes that COCO does not have are
    /// left out, and so are boxes beyond the number of the picture's cells.
    pub fn finds(boxes: impl IntoIterator<Item = Box>) -> Self {
        let boxes: Vec<Box> = boxes.into_iter().collect();
        Self::new(move |input| {
            let [_, height, width, _] = match input.data {
                TensorData::U8(_) => input.shape(),
                TensorData::F32(_) => [1, input.shape()[2], input.shape()[3], 3],
            };
            let size =
                Size::new(width as u32, height as u32).map_err(|error| EngineError(error.to_string()))?;
            Ok(nanodet(size, &boxes))
        })
    }
}

impl Engine for Fake {
    fn run(&mut self, input: &Tensor, read: &mut dyn FnMut(&[TensorView<'_>])) -> Result<(), EngineError> {
        let outputs = (self.0)(input)?;
        let views: Option<Vec<_>> =
            outputs.iter().map(|(shape, data)| TensorView::new(shape, data)).collect();
        read(
            &views
                .ok_or_else(|| EngineError("the script's shapes and values do not go together".to_owned()))?,
        );
        Ok(())
    }
}

/// A model for a [`Fake`]: NanoDet's manifest with COCO's labels, and no file behind it.
pub fn model(name: &str, input: Size) -> Model {
    let text = format!(
        "name = {name:?}\ntask = \"detect\"\nadapter = \"nanodet\"\nfile = \"none.onnx\"\nlabels = \"coco\"\n\
         [input]\nname = \"images\"\nwidth = {}\nheight = {}\nlayout = \"nhwc\"\norder = \"bgr\"\ndtype = \"u8\"\n",
        input.width(),
        input.height()
    );
    let dir = Path::new("fake");
    match Manifest::parse(&text, &dir.join(Manifest::FILE)) {
        Ok(manifest) => Model::new(manifest, Digest([0; 32]), dir),
        // A test asked for a name or a size that no model has, and has to hear of it.
        Err(error) => panic!("no fake model can be made: {error}"),
    }
}

fn nanodet(size: Size, boxes: &[Box]) -> Answer {
    let classes = Labels::coco().len();
    let centres: Vec<_> = centres(size).collect();
    let mut scores = vec![0.0; centres.len() * classes];
    let mut edges = vec![0.0; centres.len() * 4];
    // Each box has a cell of its own; the distances are from the cell's centre, wherever that is.
    let known = boxes.iter().filter(|b| usize::from(b.class) < classes);
    for ((cell, &(x, y)), found) in centres.iter().enumerate().zip(known) {
        scores[cell * classes + usize::from(found.class)] = found.score;
        let [left, top, right, bottom] = found.rect;
        edges[cell * 4..][..4].copy_from_slice(&[x - left, y - top, right - x, bottom - y]);
    }
    let anchors = centres.len();
    vec![(vec![1, anchors, classes], scores), (vec![1, anchors, 4], edges)]
}
