//! A frame's number, written into its picture so that it survives a codec.
//!
//! The strip lies along the top edge: 64 cells of 8x8 luma samples in rows of as many as the width
//! holds, each cell black or white. In reading order they are four marker cells (white, black, black,
//! white), the number's 32 bits, a 24-bit checksum, and four marker cells again. Eight samples are a
//! transform block of H.264, so a cell is as good as flat to the encoder.
//!
//! What is drawn over the strip: thin lines, such as the side of a box, leave the number readable as long
//! as most samples of each cell stay on their side. Anything more gives no number. The checksum sees
//! every damage to up to 24 neighbouring cells; of worse, one in 16 million passes for another number.

use media::draw::Canvas;
use picture::Size;

/// The side of a cell in luma samples.
const CELL: usize = 8;
/// The outermost samples are not looked at: a codec blurs the edges.
const EDGE: usize = 1;
const MARKER: [bool; 4] = [true, false, false, true];
const NUMBER: usize = 32;
const CHECK: usize = 24;
const CELLS: usize = 2 * MARKER.len() + NUMBER + CHECK;
/// Full black and white of limited range.
const BLACK: u8 = 16;
const WHITE: u8 = 235;
const MIDDLE: u8 = 125;
/// The fewest cells in a row: more rows would cost more of the picture than they are worth.
const FEWEST: usize = 12;

/// Whether a picture of this size has room for the strip; 96x48 is the smallest.
pub fn fits(size: Size) -> bool {
    size.width() as usize >= FEWEST * CELL && size.height() as usize >= height(size.width())
}

/// The samples that the strip takes from the top of a picture of this width.
pub fn height(width: u32) -> usize {
    CELLS.div_ceil(columns(width)) * CELL
}

/// Writes a number into a picture. One [without room](fits) is left alone.
pub fn write(canvas: &mut Canvas, number: u32) {
    let size = canvas.size();
    if !fits(size) {
        return;
    }
    let [luma, blue, red] = canvas.planes_mut();
    let width = size.width() as usize;
    for (cell, white) in cells(number).into_iter().enumerate() {
        let (left, top) = place(cell, size.width());
        for row in luma.chunks_exact_mut(width).skip(top).take(CELL) {
            row[left..left + CELL].fill(if white { WHITE } else { BLACK });
        }
    }
    // Without colour, so that what was underneath does not shine through.
    let chroma = size.chroma().width() as usize;
    let used = columns(size.width()) * CELL / 2;
    for plane in [blue, red] {
        for row in plane.chunks_exact_mut(chroma).take(height(size.width()) / 2) {
            row[..used].fill(128);
        }
    }
}

/// Reads the number out of a luma plane whose rows are `stride` samples apart. None where there is no
/// strip, where it is damaged, and where `luma` is too short.
pub fn read(luma: &[u8], stride: usize, size: Size) -> Option<u32> {
    if !fits(size) || stride < size.width() as usize || luma.len() < stride * height(size.width()) {
        return None;
    }
    let mut bits = [false; CELLS];
    for (cell, bit) in bits.iter_mut().enumerate() {
        let (left, top) = place(cell, size.width());
        *bit = is_white(&luma[top * stride + left..], stride)?;
    }
    let number = value(&bits[MARKER.len()..MARKER.len() + NUMBER]);
    (bits == cells(number)).then_some(number)
}

/// The side on which two thirds of a cell's samples lie, which begins at the first of `luma`.
fn is_white(luma: &[u8], stride: usize) -> Option<bool> {
    let inner = EDGE..CELL - EDGE;
    let samples = inner.len() * inner.len();
    let rows = inner.clone().flat_map(|row| &luma[row * stride..][inner.clone()]);
    let white = rows.filter(|sample| **sample > MIDDLE).count();
    match white {
        _ if 3 * white <= samples => Some(false),
        _ if 3 * white >= 2 * samples => Some(true),
        _ => None,
    }
}

fn columns(width: u32) -> usize {
    (width as usize / CELL).clamp(FEWEST, CELLS)
}

fn place(cell: usize, width: u32) -> (usize, usize) {
    let columns = columns(width);
    (cell % columns * CELL, cell / columns * CELL)
}

fn cells(number: u32) -> [bool; CELLS] {
    let mut cells = [false; CELLS];
    let bits = (0..NUMBER).rev().map(|bit| number >> bit & 1 == 1);
    let check = checksum(number);
    let check = (0..CHECK).rev().map(|bit| check >> bit & 1 == 1);
    let all = MARKER.into_iter().chain(bits).chain(check).chain(MARKER);
    cells.iter_mut().zip(all).for_each(|(cell, bit)| *cell = bit);
    cells
}

fn value(bits: &[bool]) -> u32 {
    bits.iter().fold(0, |value, bit| value << 1 | u32::from(*bit))
}

/// OpenPGP's CRC-24. Its irregular start keeps a strip of all black or all white from being a number.
fn checksum(number: u32) -> u32 {
    number.to_be_bytes().into_iter().fold(0x00b7_04ce, |crc, byte| {
        let shift = |crc: u32, _| if crc & 0x0080_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x0086_4cfb };
        (0..8).fold(crc ^ u32::from(byte) << 16, shift) & 0x00ff_ffff
    })
}

#[cfg(test)]
mod tests {
    use picture::{Colour, Frame, Pts, Stamp};

    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size::new(width, height).unwrap()
    }

    fn grey(size: Size) -> Canvas {
        let data = vec![77; size.i420_len()];
        let frame = Frame::tight(Stamp::at(Pts::ZERO), size, Colour::BT601_LIMITED, data.into());
        Canvas::new(&frame.unwrap())
    }

    fn written(size: Size, number: u32) -> Vec<u8> {
        let mut canvas = grey(size);
        write(&mut canvas, number);
        canvas.into_frame().data().to_vec()
    }

    /// Noise that is the same in each run.
    fn noise(seed: u32, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 24) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// Sets the samples of a cell.
    fn paint(luma: &mut [u8], width: usize, cell: usize, paint: impl Fn(u8) -> u8) {
        let (left, top) = place(cell, width as u32);
        for row in top..top + CELL {
            luma[row * width + left..][..CELL].iter_mut().for_each(|sample| *sample = paint(*sample));
        }
    }

    #[test]
    fn a_number_comes_back_at_any_size() {
        for (width, height) in
            [(96, 48), (104, 80), (176, 144), (177, 145), (320, 240), (512, 8), (640, 360), (1920, 1080)]
        {
            let size = size(width, height);
            for number in [0, 1, 42, 0xdead_beef, 0x5555_5555, u32::MAX] {
                let data = written(size, number);
                assert_eq!(read(&data, width as usize, size), Some(number), "{size}");
            }
        }
    }

    #[test]
    fn rows_may_be_padded() {
        let size = size(176, 144);
        let padded: Vec<u8> = written(size, 99)[..size.pixels()]
            .chunks(176)
            .flat_map(|row| row.iter().copied().chain([200; 16]))
            .collect();
        assert_eq!(read(&padded, 192, size), Some(99));
    }

    #[test]
    fn pictures_without_a_strip_give_nothing() {
        let size = size(640, 360);
        for flat in [0, 16, 125, 126, 235, 255] {
            assert_eq!(read(&vec![flat; size.pixels()], 640, size), None);
        }
        for seed in 0..2000 {
            // Noise sample by sample has no black or white cells; noise cell by cell has nothing else.
            let mut luma = noise(seed, 640 * CELL);
            assert_eq!(read(&luma, 640, size), None);
            let bits = noise(!seed, CELLS);
            bits.iter().enumerate().for_each(|(cell, bit)| paint(&mut luma, 640, cell, |_| *bit));
            assert_eq!(read(&luma, 640, size), None);
        }
    }

    #[test]
    fn a_cut_or_short_plane_gives_nothing() {
        let size = size(640, 360);
        let data = written(size, 5);
        assert_eq!(read(&[], 640, size), None);
        assert_eq!(read(&data[..640 * CELL - 1], 640, size), None);
        assert_eq!(read(&data, 639, size), None);
        assert_eq!(read(&data[1..], 640, Size::new(8, 8).unwrap()), None);
    }

    #[test]
    fn wrong_cells_never_give_another_number() {
        let size = size(640, 360);
        for number in [0, 1, 1234, 99_999, 0x8000_0001, u32::MAX] {
            let data = written(size, number);
            for (from, to) in (0..CELLS).flat_map(|from| (from + 1..=CELLS).map(move |to| (from, to))) {
                for label in [BLACK, WHITE] {
                    let mut luma = data[..640 * CELL].to_vec();
                    (from..to).for_each(|cell| paint(&mut luma, 640, cell, |_| label));
                    let seen = read(&luma, 640, size);
                    assert!(seen.is_none_or(|seen| seen == number), "a label from {from} to {to}: {seen:?}");
                }
            }
            for cell in 0..CELLS {
                let mut luma = data[..640 * CELL].to_vec();
                paint(&mut luma, 640, cell, |sample| BLACK + WHITE - sample);
                assert_eq!(read(&luma, 640, size), None, "cell {cell} is wrong");
            }
        }
    }

    #[test]
    fn the_side_of_a_box_leaves_it_readable() {
        let size = size(768, 576);
        for shade in [0, 29, 150, 255] {
            // Two samples wide, as boxes are drawn at this size; one side upright, one level.
            for (columns, rows) in [(99..101, 0..CELL), (99..300, 3..5)] {
                let mut luma = written(size, 77_777);
                rows.for_each(|row| luma[row * 768..][columns.clone()].fill(shade));
                assert_eq!(read(&luma, 768, size), Some(77_777), "{columns:?} in {shade}");
            }
        }
    }

    #[test]
    fn a_picture_without_room_is_left_alone() {
        for (width, height) in [(64, 64), (95, 80), (96, 47), (640, 7)] {
            let size = size(width, height);
            assert!(!fits(size));
            assert_eq!(written(size, 7), vec![77; size.i420_len()]);
            assert_eq!(read(&vec![0; size.pixels()], width as usize, size), None);
        }
    }
}
