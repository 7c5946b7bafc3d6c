//! The same picture in other numbers: from one matrix and range to another, without leaving YUV 4:2:0.

use bytes::Bytes;

use crate::yuv::weights;
use crate::{Colour, Picture, PlaneView, Range};

/// Fractional bits of a factor. The largest sum, three times 255 at a factor below 2, stays within 31 bits.
const BITS: u32 = 16;

impl Picture {
    /// The picture with its values rewritten for another matrix and range, within 1 of the exact values; what
    /// the new range cannot hold becomes the nearest level of 0..=255. Chroma samples stay where they sit,
    /// whatever `to.siting` says. A picture that is right already is given back as it is.
    #[must_use]
    pub fn recoloured(self, to: Colour) -> Self {
        let from = self.colour();
        let to = Colour { siting: from.siting, ..to };
        if from == to {
            return self;
        }
        let turn = Turn::new(from, to);
        let (view, size, letterbox) = (self.view(), self.size(), self.letterbox());
        let mut data = Vec::with_capacity(size.i420_len());
        for y in 0..size.height() as usize {
            let chroma = view.u().row(y / 2).iter().zip(view.v().row(y / 2));
            // Two pixels of a row share a chroma sample; the last of an odd row has one for itself.
            for (pair, (&u, &v)) in view.y().row(y).chunks(2).zip(chroma) {
                let shift = turn.luma_shift(u, v);
                data.extend(pair.iter().map(|&luma| level(i32::from(luma) * turn.luma + shift)));
            }
        }
        turn.chroma(view.u(), view.v(), turn.u, &mut data);
        turn.chroma(view.v(), view.u(), turn.v, &mut data);
        Self::from_parts(to, letterbox, Bytes::from(data))
    }
}

/// A change of matrix and range in fixed point. Grey stays grey, so luma never enters chroma.
struct Turn {
    luma: i32,
    /// What becomes of luma 0 without chroma.
    luma_zero: i32,
    /// What blue and red difference add to luma.
    luma_from: [i32; 2],
    /// What a blue difference keeps of itself, and takes of the red one.
    u: [i32; 2],
    /// The same for a red one.
    v: [i32; 2],
}

impl Turn {
    fn new(from: Colour, to: Colour) -> Self {
        // Luma and differences of the new matrix for one unit of a difference of the old one, all of full range:
        // red and blue follow from a difference at luma 0, green from both.
        let (old_red, old_blue) = weights(from.matrix);
        let (red, blue) = weights(to.matrix);
        let of = |r: f64, b: f64| {
            let g = -(old_red * r + old_blue * b) / (1.0 - old_red - old_blue);
            let luma = red * r + (1.0 - red - blue) * g + blue * b;
            [luma, (b - luma) / (2.0 * (1.0 - blue)), (r - luma) / (2.0 * (1.0 - red))]
        };
        let [luma_u, u_u, v_u] = of(0.0, 2.0 * (1.0 - old_blue));
        let [luma_v, u_v, v_v] = of(2.0 * (1.0 - old_red), 0.0);

        let spans = |colour: Colour| match colour.range {
            Range::Limited => (219.0, 224.0),
            Range::Full => (255.0, 255.0),
        };
        let ((luma_in, chroma_in), (luma_out, chroma_out)) = (spans(from), spans(to));
        let fixed = |value: f64| (value * f64::from(1u32 << BITS)).round() as i32;
        let (luma, chroma, across) =
            (fixed(luma_out / luma_in), chroma_out / chroma_in, luma_out / chroma_in);
        let zero = |colour: Colour| i32::from(colour.black().0);
        Self {
            luma,
            luma_zero: (zero(to) << BITS) - zero(from) * luma,
            luma_from: [fixed(luma_u * across), fixed(luma_v * across)],
            u: [fixed(u_u * chroma), fixed(u_v * chroma)],
            v: [fixed(v_v * chroma), fixed(v_u * chroma)],
        }
    }

    fn luma_shift(&self, u: u8, v: u8) -> i32 {
        self.luma_zero + centred(u) * self.luma_from[0] + centred(v) * self.luma_from[1]
    }

    fn chroma(&self, own: PlaneView<'_>, other: PlaneView<'_>, [keeps, takes]: [i32; 2], out: &mut Vec<u8>) {
        for y in 0..own.size().height() as usize {
            let pairs = own.row(y).iter().zip(other.row(y));
            out.extend(
                pairs.map(|(&own, &other)| {
                    level(centred(own) * keeps + centred(other) * takes + (128 << BITS))
                }),
            );
        }
    }
}

fn centred(difference: u8) -> i32 {
    i32::from(difference) - 128
}

fn level(fixed: i32) -> u8 {
    ((fixed + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}
