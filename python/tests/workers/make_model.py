"""Writes the model of onnx_task.py, y = relu(2 x + 1), with the onnx package: python make_model.py FILE."""

import sys

from onnx import TensorProto, checker, helper, save

x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
nodes = [
    helper.make_node("Mul", ["x", "two"], ["doubled"]),
    helper.make_node("Add", ["doubled", "one"], ["sum"]),
    helper.make_node("Relu", ["sum"], ["y"]),
]
graph = helper.make_graph(nodes, "line", [x], [y], [two, one])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model)
save(model, sys.argv[1])
