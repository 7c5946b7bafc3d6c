//! Piece three, the worker's side: OpenCV.

use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Size};
use opencv::imgproc;
use wire::{Processor, Unprocessed};

use crate::task::{FindEdges, Picture};

/// Canny's detector. It keeps its buffers from one picture to the next.
#[derive(Default)]
pub struct Detector {
    smooth: Mat,
    edges: Mat,
}

impl Processor for Detector {
    type Task = FindEdges;

    fn process(&mut self, picture: Picture) -> Result<Picture, Unprocessed> {
        self.detect(&picture).map_err(|error| Unprocessed::Bad(format!("OpenCV: {error}")))
    }
}

impl Detector {
    fn detect(&mut self, picture: &Picture) -> opencv::Result<Picture> {
        let (rows, columns) = (picture.size.height.into(), picture.size.width.into());
        // OpenCV reads the bytes where they are.
        let grey = Mat::new_rows_cols_with_data(rows, columns, &picture.pixels[..])?;
        imgproc::gaussian_blur_def(&grey, &mut self.smooth, Size::new(5, 5), 1.4)?;
        imgproc::canny_def(&self.smooth, &mut self.edges, 50.0, 150.0)?;
        debug_assert!(self.edges.is_continuous());
        Ok(Picture { size: picture.size, pixels: self.edges.data_bytes()?.to_vec().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task;

    #[test]
    fn a_square_has_its_border_and_nothing_else() {
        let size = task::Size { width: 64, height: 48 };
        let inside = |x: u16, y: u16| (16..48).contains(&x) && (12..36).contains(&y);
        let pixels = (0..48).flat_map(|y| (0..64).map(move |x| if inside(x, y) { 200 } else { 20 }));
        let picture = Picture { size, pixels: pixels.collect() };
        let edges = Detector::default().process(picture).expect("a picture").pixels;
        let at = |x: usize, y: usize| edges[y * 64 + x] > 0;
        assert!((14..18).any(|x| at(x, 24)), "the left side");
        assert!((34..38).any(|y| at(32, y)), "the lower side");
        assert!(!at(32, 24) && !at(4, 4), "nothing where nothing changes");
    }
}
