#!/usr/bin/env python3
"""Writes what the reference finds in six frames of vtest, for the tests to agree with.

    golden.py MODEL.onnx CLIP OUT_DIR

Writes OUT_DIR/vtest_NNNN.png, the frames as OpenCV decodes them (numbers count from 1), and
OUT_DIR/nanodet_vtest.json, the boxes that a plain numpy implementation finds in them with ONNX Runtime. They are
no truth about the scene: they say that two implementations of one model agree. Needs numpy, onnxruntime and
opencv-python-headless.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from letterbox import HEIGHT, WIDTH, letterbox

FRAMES = [1, 61, 121, 181, 400, 700]
SCORE = 0.4
IOU = 0.6
CELLS = [8, 16, 32]

# Names of the classes that turn up, by their number in COCO; any other is written as its number.
NAMES = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 6: "train", 7: "truck", 32: "sports ball"}


def centres():
    """The centre of each anchor's cell, [A, 2]."""
    levels = []
    for cell in CELLS:
        rows, columns = np.mgrid[: HEIGHT // cell, : WIDTH // cell]
        levels.append(np.stack([columns.ravel(), rows.ravel()], axis=1) * cell + cell / 2)
    return np.concatenate(levels)


def overlaps(box, boxes):
    """Intersection over union of one box with many."""
    top_left = np.maximum(box[:2], boxes[:, :2])
    bottom_right = np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(bottom_right - top_left, 0, None), axis=1)
    area = np.prod(box[2:] - box[:2])
    return common / (area + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common)


def best(boxes, scores):
    """Indices of the boxes of one class that no better one covers, best first."""
    rest, kept = np.argsort(-scores, kind="stable"), []
    while len(rest):
        kept.append(rest[0])
        rest = rest[1:][overlaps(boxes[rest[0]], boxes[rest[1:]]) <= IOU]
    return kept


def detect(session, frame):
    """The boxes in a frame, best first."""
    picture, scale = letterbox(frame)
    scores, ltrb = session.run(["scores", "ltrb"], {"images": picture[None]})
    scores, ltrb, cells = scores[0], ltrb[0], centres()
    boxes = np.concatenate([cells - ltrb[:, :2], cells + ltrb[:, 2:]], axis=1) / scale
    found = []
    for number in range(scores.shape[1]):
        hot = np.flatnonzero(scores[:, number] >= SCORE)
        for index in hot[best(boxes[hot], scores[hot, number])]:
            found.append((number, scores[index, number], boxes[index]))
    found.sort(key=lambda one: -one[1])
    return [
        {
            "cls": NAMES.get(number, str(number)),
            "score": round(float(score), 4),
            "box": [round(float(edge), 2) for edge in box],
        }
        for number, score, box in found
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    parser.add_argument("clip", metavar="CLIP")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    session = onnxruntime.InferenceSession(str(options.model), providers=["CPUExecutionProvider"])
    capture = cv2.VideoCapture(options.clip)
    found = {}
    for number in range(1, max(FRAMES) + 1):
        there, frame = capture.read()
        if not there:
            raise SystemExit(f"golden.py: {options.clip} has no frame {number}")
        if number in FRAMES:
            cv2.imwrite(str(options.out / f"vtest_{number:04}.png"), frame)
            found[str(number)] = detect(session, frame)
    golden = {
        "model": options.model.name,
        "input": f"{WIDTH}x{HEIGHT} letterbox top-left, pad 0, cv2 INTER_LINEAR, BGR",
        "score_thr": SCORE,
        "nms_iou": IOU,
        "per_class_nms": True,
        "note": "frames count from 1; boxes are x1, y1, x2, y2 in the frame's pixels",
        "frames": found,
    }
    (options.out / "nanodet_vtest.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"wrote {len(FRAMES)} frames and {sum(map(len, found.values()))} boxes to {options.out}")


if __name__ == "__main__":
    main()
