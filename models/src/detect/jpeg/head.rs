//! A look at a JPEG's markers, before a decoder is let at it: what it would set memory aside for, and of
//! which kind it is. Only one kind is let through, so only the most travelled part of the decoder meets bytes
//! of strangers.

use picture::Size;

use super::JpegError;

/// Markers without a length behind them: fill bytes, TEM, restarts, the start.
const BARE: [std::ops::RangeInclusive<u8>; 3] = [0x01..=0x01, 0xd0..=0xd8, 0xff..=0xff];

/// Checks that `data` begins as a baseline JPEG of this size, YCbCr 4:2:0, with all in one scan.
pub(super) fn check(data: &[u8], size: Size) -> Result<(), JpegError> {
    let broken = |what: &str| JpegError::Broken(what.to_owned());
    let mut rest = data.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| broken("it does not begin as one"))?;
    let mut framed = false;
    loop {
        let (marker, after) = match rest {
            [0xff, marker, after @ ..] => (*marker, after),
            [] | [_] => return Err(broken("it ends before its pixels")),
            _ => return Err(broken("there is something between its markers")),
        };
        if BARE.iter().any(|bare| bare.contains(&marker)) {
            // A fill byte is followed by the marker that it fills up to.
            rest = if marker == 0xff { &rest[1..] } else { after };
            continue;
        }
        let len = match after {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(broken("it ends before its pixels")),
        };
        let segment = after.get(2..len).ok_or_else(|| broken("a segment is longer than the rest"))?;
        rest = &after[len..];
        match marker {
            0xc0 if framed => return Err(broken("it has two frames")),
            0xc0 => {
                frame(segment, size)?;
                framed = true;
            }
            // The other numbers around are tables (c4), an extension (c8) and arithmetic conditions (cc).
            0xc1..=0xcf if marker != 0xc4 && marker != 0xc8 => {
                return Err(JpegError::Kind("it is progressive, lossless, extended or arithmetic"));
            }
            0xda if !framed => return Err(broken("its pixels come before its frame")),
            0xda if segment.first() != Some(&3) => {
                return Err(JpegError::Kind("its scan has not all colours"));
            }
            0xda => return Ok(()),
            0xd9 => return Err(broken("it ends before its pixels")),
            _ => {}
        }
    }
}

/// Looks at the frame's segment (SOF0).
fn frame(segment: &[u8], expected: Size) -> Result<(), JpegError> {
    let [precision, h1, h0, w1, w0, components, rest @ ..] = segment else {
        return Err(JpegError::Broken("its frame breaks off".to_owned()));
    };
    let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
    if (u32::from(width), u32::from(height)) != (expected.width(), expected.height()) {
        return Err(JpegError::Size { width, height, expected });
    }
    // Of each component: its id, its factors across and down, its table.
    match rest {
        [_, 0x22, _, _, 0x11, _, _, 0x11, _] if (*precision, *components) == (8, 3) => Ok(()),
        _ => Err(JpegError::Kind("it is not of 8 bits, not of three colours, or not 4:2:0")),
    }
}
