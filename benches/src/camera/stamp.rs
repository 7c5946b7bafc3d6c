//! A frame's number, written into its picture so that it survives a codec.
//!
//! The strip lies along the top edge: 48 cells of 8x8 luma samples in rows of as many as the width
//! holds, each cell black or white. In reading order they are four marker cells (white, black, black,
//! white), the number's 32 bits, an 8-bit checksum, and four marker cells again. Eight samples are a
//! transform block of H.264, so a cell is as good as flat to the encoder; the checksum turns a misread
//! into no reading. A box that is drawn over the strip costs that frame its number, never gives it
//! another.

use picture::Size;

/// The side of a cell in luma samples.
const CELL: usize = 8;
const MARKER: [bool; 4] = [true, false, false, true];
const CELLS: usize = 2 * MARKER.len() + 32 + 8;
/// Full black and white of limited range.
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// The smallest width that holds the strip; more rows would cost more picture than they are worth.
pub const NARROWEST: u32 = 96;

/// The samples that the strip takes from the top of a picture of this width.
pub fn height(width: u32) -> usize {
    CELLS.div_ceil(columns(width)) * CELL
}

fn columns(width: u32) -> usize {
    (width as usize / CELL).clamp(1, CELLS)
}

/// Writes a number into tight I420 planes. Pictures that are too small are left alone.
pub fn write(planes: [&mut [u8]; 3], size: Size, number: u32) {
    if !fits(size) {
        return;
    }
    let [luma, blue, red] = planes;
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

/// Reads the number out of a luma plane. None where there is no strip, or where it is damaged.
pub fn read(luma: &[u8], stride: usize, size: Size) -> Option<u32> {
    if !fits(size) || stride < size.width() as usize || luma.len() < stride * height(size.width()) {
        return None;
    }
    let mut bits = [false; CELLS];
    for (cell, bit) in bits.iter_mut().enumerate() {
        let (left, top) = place(cell, size.width());
        // The inner samples: a codec blurs the edges.
        let inner = (top + 2..top + CELL - 2)
            .flat_map(|row| &luma[row * stride + left + 2..row * stride + left + CELL - 2]);
        let sum: u32 = inner.map(|sample| u32::from(*sample)).sum();
        let mean = sum / ((CELL - 4) * (CELL - 4)) as u32;
        *bit = match mean {
            0..=90 => false,
            160.. => true,
            _ => return None,
        };
    }
    let number = value(&bits[4..36]);
    (bits == cells(number)).then_some(number)
}

fn fits(size: Size) -> bool {
    size.width() >= NARROWEST && size.height() as usize >= height(size.width())
}

fn place(cell: usize, width: u32) -> (usize, usize) {
    let columns = columns(width);
    (cell % columns * CELL, cell / columns * CELL)
}

fn cells(number: u32) -> [bool; CELLS] {
    let mut cells = [false; CELLS];
    let bits = (0..32).rev().map(|bit| number >> bit & 1 == 1);
    let check = checksum(number);
    let check = (0..8).rev().map(move |bit| check >> bit & 1 == 1);
    let all = MARKER.into_iter().chain(bits).chain(check).chain(MARKER);
    cells.iter_mut().zip(all).for_each(|(cell, bit)| *cell = bit);
    cells
}

fn value(bits: &[bool]) -> u32 {
    bits.iter().fold(0, |value, bit| value << 1 | u32::from(*bit))
}

/// CRC-8 (polynomial 0x07) of the number, so that any two wrong cells next to each other show.
fn checksum(number: u32) -> u8 {
    number.to_be_bytes().into_iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(size: Size, number: u32) -> Vec<u8> {
        let mut data = vec![77; size.i420_len()];
        let (luma, chroma) = data.split_at_mut(size.pixels());
        let (blue, red) = chroma.split_at_mut(size.chroma().pixels());
        write([luma, blue, red], size, number);
        data
    }

    #[test]
    fn a_number_comes_back_at_any_width() {
        for (width, height) in [(96, 80), (176, 144), (177, 145), (640, 360), (1920, 1080)] {
            let size = Size::new(width, height).unwrap();
            for number in [0, 1, 42, 0xdead_beef, u32::MAX] {
                let data = written(size, number);
                assert_eq!(read(&data, width as usize, size), Some(number), "{size}");
            }
        }
    }

    #[test]
    fn no_strip_and_a_damaged_strip_give_nothing() {
        let size = Size::new(640, 360).unwrap();
        assert_eq!(read(&vec![128; size.pixels()], 640, size), None);
        assert_eq!(read(&vec![16; size.pixels()], 640, size), None);
        assert_eq!(read(&[], 640, size), None);
        for cell in 0..CELLS {
            let mut data = written(size, 1234);
            let (left, top) = place(cell, 640);
            for row in top..top + CELL {
                for sample in &mut data[row * 640 + left..row * 640 + left + CELL] {
                    *sample = 251 - *sample;
                }
            }
            assert_eq!(read(&data, 640, size), None, "cell {cell} is wrong");
        }
    }

    #[test]
    fn a_picture_without_room_is_left_alone() {
        let size = Size::new(64, 64).unwrap();
        assert_eq!(written(size, 7), vec![77; size.i420_len()]);
        assert_eq!(read(&vec![0; size.pixels()], 64, size), None);
    }
}
