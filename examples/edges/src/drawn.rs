//! Pictures for who has none: a ball rolls over stripes.

use crate::task::{Picture, Size};

/// Of every drawn picture.
pub const SIZE: Size = Size { width: 640, height: 480 };
const RADIUS: i64 = 60;

/// The frame of this number.
pub fn picture(number: u32) -> Picture {
    let (width, height) = (i64::from(SIZE.width), i64::from(SIZE.height));
    let (x0, y0) = (i64::from(number) * 7 % width, height / 2);
    let pixel = |x: i64, y: i64| {
        let ball = (x - x0).pow(2) + (y - y0).pow(2) < RADIUS.pow(2);
        if ball { 230 } else { 40 + (y / 80 % 2 * 60) as u8 }
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y)));
    Picture { size: SIZE, pixels: pixels.collect() }
}
