"""A model in onnxruntime: python onnx_task.py MODEL."""

import sys

import numpy
import onnxruntime

import framelane

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])


@framelane.task("infer")
def infer(x: numpy.ndarray) -> numpy.ndarray:
    return session.run(None, {"x": x})[0]


framelane.serve()
