#!/usr/bin/env python3
"""Makes a model of 8-bit integers from one of floats, calibrated on frames of clips.

    quantize.py FP32.onnx DST.onnx CLIP...

Weights become 8-bit for each channel, activations 8-bit with a range that is measured on the clips' frames.
Needs numpy, onnx, onnxruntime, sympy, ml_dtypes and opencv-python-headless. The measured ranges depend a little
on the processor that measures, so the result is compared by what it finds and not by its bytes.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from letterbox import letterbox

FRAMES_PER_CLIP = 16

# The head stays in floats: its softmax and the sum after it are a small part of the time and would lose most of
# the boxes' precision.
QUANTIZED = ["Conv", "Add", "Concat", "LeakyRelu", "MaxPool"]


def frames(clip):
    """About FRAMES_PER_CLIP frames spread over a clip, letterboxed."""
    capture = cv2.VideoCapture(clip)
    if not capture.isOpened():
        raise SystemExit(f"quantize.py: {clip} cannot be opened as a video")
    count = max(1, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    step = max(1, count // FRAMES_PER_CLIP)
    number = 0
    while True:
        there, frame = capture.read()
        if not there:
            return
        if number % step == step // 2:
            yield letterbox(frame)[0]
        number += 1


class Calibration(CalibrationDataReader):
    """Hands the clips' frames to the quantizer."""

    def __init__(self, name, clips):
        self.inputs = [{name: frame[None]} for clip in clips for frame in frames(clip)]
        if not self.inputs:
            raise SystemExit("quantize.py: the clips hold no frames")
        self.rest = iter(self.inputs)

    def get_next(self):
        return next(self.rest, None)


def prepare(model):
    """Names every node, which the quantizer needs, and turns weights stored as halves into plain floats, for
    it only sees weights that are constants."""
    graph = model.graph
    halves = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    kept = []
    for node in graph.node:
        half = halves.get(node.input[0]) if node.op_type == "Cast" else None
        if half is None:
            kept.append(node)
        else:
            values = numpy_helper.to_array(half).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            graph.initializer.remove(half)
    del graph.node[:]
    graph.node.extend(kept)
    for number, node in enumerate(graph.node):
        node.name = f"n{number}_{node.op_type}"
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, metavar="FP32.onnx")
    parser.add_argument("target", type=Path, metavar="DST.onnx")
    parser.add_argument("clips", nargs="+", metavar="CLIP")
    options = parser.parse_args()
    model = prepare(onnx.load(options.source))
    calibration = Calibration(model.graph.input[0].name, options.clips)
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        onnx.save(model, prepared)
        quantize_static(
            prepared,
            options.target,
            calibration,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=QUANTIZED,
            calibrate_method=CalibrationMethod.MinMax,
        )
    size = options.target.stat().st_size
    print(f"wrote {options.target}: {size} bytes, calibrated on {len(calibration.inputs)} frames")


if __name__ == "__main__":
    main()
