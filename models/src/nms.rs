//! Non-maximum suppression.

use crate::detect::{Detection, Detections};

/// Candidates beyond this are dropped, lowest first, before boxes are compared in pairs: a model gone wild
/// offers hundreds of thousands and would hold its thread for minutes. A real scene has a few hundred.
const MAX_CANDIDATES: usize = 2000;

/// Keeps the best boxes: of two of one class that overlap by more than `iou`, the one with the higher score.
/// The result is ordered by falling score; equal scores are ordered by place, so that it never depends on the
/// order of the candidates.
pub(crate) fn keep_best(candidates: &mut Vec<Detection>, iou: f32, keep: &mut Vec<Detection>) {
    let best_first = |a: &Detection, b: &Detection| {
        let place = |d: &Detection| (d.class, d.rect.map(f32::to_bits));
        b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b)))
    };
    if candidates.len() > MAX_CANDIDATES {
        candidates.select_nth_unstable_by(MAX_CANDIDATES, best_first);
        candidates.truncate(MAX_CANDIDATES);
    }
    candidates.sort_unstable_by(best_first);
    keep.clear();
    for candidate in candidates.iter() {
        if keep.len() == Detections::MAX {
            break;
        }
        let covered =
            |kept: &Detection| kept.class == candidate.class && overlap(&kept.rect, &candidate.rect) > iou;
        if !keep.iter().any(covered) {
            keep.push(*candidate);
        }
    }
}

/// The intersection of two rectangles over their union, from 0 to 1; 0 for empty ones.
pub(crate) fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |r: &[f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let common = area(&[a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(class: u16, score: f32, x: f32) -> Detection {
        Detection { class, score, rect: [x, 0.0, x + 10.0, 10.0] }
    }

    fn kept(mut candidates: Vec<Detection>) -> Vec<Detection> {
        let mut keep = Vec::new();
        keep_best(&mut candidates, 0.6, &mut keep);
        keep
    }

    #[test]
    fn the_best_of_a_class_survives() {
        let best = found(0, 0.9, 0.0);
        let other_class = found(1, 0.7, 0.0);
        let apart = found(0, 0.6, 5.0);
        assert_eq!(kept(vec![found(0, 0.8, 1.0), apart, best, other_class]), [best, other_class, apart]);
    }

    #[test]
    fn equal_scores_do_not_depend_on_the_order() {
        let (a, b) = (found(0, 0.5, 0.0), found(0, 0.5, 1.0));
        assert_eq!(kept(vec![a, b]), kept(vec![b, a]));
    }

    #[test]
    fn a_flood_is_bounded_and_empty_boxes_are_harmless() {
        let flood = (0..300_000).map(|i| found(0, 0.5, i as f32)).collect();
        assert_eq!(kept(flood).len(), Detections::MAX);
        let point = Detection { class: 0, score: 0.5, rect: [1.0; 4] };
        assert_eq!(kept(vec![point, point]).len(), 2);
    }
}
