//! How a source lies inside a model's input: scaled to fit, top left, the rest black.

use crate::Size;

/// The mapping between a source and the target that it was fitted into with its proportions kept.
///
/// The scaled source lies in the target's top left corner; what it leaves free, on the right or below, is
/// padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Letterbox {
    source: Size,
    target: Size,
    scaled: Size,
}

impl Letterbox {
    /// Fits `source` into `target` as large as it goes, up or down.
    pub fn fit(source: Size, target: Size) -> Self {
        let by_width = f64::from(target.width()) / f64::from(source.width());
        let by_height = f64::from(target.height()) / f64::from(source.height());
        let scale = by_width.min(by_height);
        // At least one pixel of the thinnest source is left, and rounding never leaves the target, so the
        // scaled size is one that `Size` accepts.
        let side = |source: u32, target: u32| {
            (f64::from(source) * scale).round_ties_even().clamp(1.0, f64::from(target)) as u32
        };
        let scaled = Size::new(side(source.width(), target.width()), side(source.height(), target.height()))
            .unwrap_or(target);
        Self { source, target, scaled }
    }

    /// The size of what is fitted.
    pub fn source(&self) -> Size {
        self.source
    }

    /// The size of what it is fitted into.
    pub fn target(&self) -> Size {
        self.target
    }

    /// The part of the target, from its top left corner, that shows the source.
    pub fn scaled(&self) -> Size {
        self.scaled
    }

    /// Source pixels per target pixel, across and down. They differ by what rounding to whole pixels costs.
    pub fn step(&self) -> (f64, f64) {
        (
            f64::from(self.source.width()) / f64::from(self.scaled.width()),
            f64::from(self.source.height()) / f64::from(self.scaled.height()),
        )
    }

    /// A point of the target, in pixels from its top left edge, as a point of the source.
    pub fn to_source(&self, x: f32, y: f32) -> (f32, f32) {
        let (step_x, step_y) = self.step();
        (x * step_x as f32, y * step_y as f32)
    }

    /// A point of the source as a point of the target.
    pub fn to_target(&self, x: f32, y: f32) -> (f32, f32) {
        let (step_x, step_y) = self.step();
        (x / step_x as f32, y / step_y as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(source: (u32, u32), target: (u32, u32)) -> (u32, u32) {
        let size = |(w, h)| Size::new(w, h).unwrap();
        Letterbox::fit(size(source), size(target)).scaled().into()
    }

    #[test]
    fn the_source_fits_with_its_proportions() {
        assert_eq!(fit((768, 576), (416, 320)), (416, 312));
        assert_eq!(fit((1280, 720), (416, 320)), (416, 234));
        assert_eq!(fit((720, 1280), (416, 320)), (180, 320));
        assert_eq!(fit((416, 320), (416, 320)), (416, 320));
        assert_eq!(fit((100, 77), (416, 320)), (416, 320));
    }

    #[test]
    fn a_thread_of_a_source_keeps_a_pixel() {
        assert_eq!(fit((16_384, 1), (32, 32)), (32, 1));
        assert_eq!(fit((1, 16_384), (32, 32)), (1, 32));
    }
}
