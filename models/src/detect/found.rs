//! The answer of the task: boxes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::{Payload, PayloadError};

/// What was found, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    /// The boxes, at most [`Detections::MAX`].
    pub boxes: Vec<Detection>,
}

impl Detections {
    /// No answer holds more boxes; the lowest are left out.
    pub const MAX: usize = 300;
}

/// One thing that was found. On the network it is `[class, score, x1, y1, x2, y2]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u16, f32, f32, f32, f32, f32)", into = "(u16, f32, f32, f32, f32, f32)")]
pub struct Detection {
    /// The number of its class, to be looked up in the model's [`Labels`](crate::Labels).
    pub class: u16,
    /// How sure the model is, from 0 to 1.
    pub score: f32,
    /// Left, top, right and bottom edge in pixels of the original frame. A box around something at the border
    /// may reach outside the frame.
    pub rect: [f32; 4],
}

impl From<(u16, f32, f32, f32, f32, f32)> for Detection {
    fn from((class, score, x1, y1, x2, y2): (u16, f32, f32, f32, f32, f32)) -> Self {
        Self { class, score, rect: [x1, y1, x2, y2] }
    }
}

impl From<Detection> for (u16, f32, f32, f32, f32, f32) {
    fn from(Detection { class, score, rect: [x1, y1, x2, y2] }: Detection) -> Self {
        (class, score, x1, y1, x2, y2)
    }
}

impl Payload for Detections {
    type Head = Self;

    fn split(self) -> (Self, Bytes) {
        (self, Bytes::new())
    }

    /// Refuses what no detector of ours says, so that whoever draws or counts needs no checks.
    fn join(head: Self, body: Bytes) -> Result<Self, PayloadError> {
        let finite = |found: &Detection| found.rect.iter().all(|edge| edge.is_finite());
        let sound = |found: &Detection| (0.0..=1.0).contains(&found.score) && finite(found);
        if !body.is_empty() {
            Err(PayloadError::body(format!("no body expected, {} bytes came", body.len())))
        } else if head.boxes.len() > Self::MAX {
            Err(PayloadError::body(format!("{} boxes, more than {}", head.boxes.len(), Self::MAX)))
        } else if !head.boxes.iter().all(sound) {
            Err(PayloadError::body("a box with a score outside 0 to 1 or an edge that is no number"))
        } else {
            Ok(head)
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{decode, encode};

    use super::*;

    #[test]
    fn answers_are_compact_and_checked() {
        let found = Detection { class: 7, score: 0.75, rect: [-1.5, 2.0, 100.25, 200.5] };
        let answer = Detections { boxes: vec![found; 5] };
        let message = encode(answer.clone()).unwrap();
        assert!(message.head.len() < 5 * 32, "{} bytes", message.head.len());
        assert_eq!(decode::<Detections>(message).unwrap(), answer);

        for bad in [
            Detection { score: f32::NAN, ..found },
            Detection { score: 1.5, ..found },
            Detection { rect: [0.0, f32::INFINITY, 1.0, 1.0], ..found },
        ] {
            let message = encode(Detections { boxes: vec![bad] }).unwrap();
            assert!(decode::<Detections>(message).is_err(), "{bad:?}");
        }
        let message = encode(Detections { boxes: vec![found; Detections::MAX + 1] }).unwrap();
        assert!(decode::<Detections>(message).is_err());
    }
}
