"""Build an ONNX graph node by node."""

from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 17  # the first with LayerNormalization; read since ONNX Runtime 1.12 (2022)
IR_VERSION = 8  # of the same year

Shape = list[str | int]  # a word is a dimension that is known only when the graph runs


class Graph:
    """A graph that grows. Values are strings: the names of inputs, constants and results.

    Results have numbers for names, so that equal calls build equal graphs.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []

    def input(self, name: str, kind: int, shape: Shape) -> str:
        """Declare an input; `kind` is a TensorProto.DataType."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, shape: Shape) -> str:
        """Declare a float32 output; pass its name to `add` as `result`."""
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Store a constant once; the second call with its name returns the first one's."""
        if name not in self.constants:
            array = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, operator: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        """Append a node and return the name of its only result."""
        result = result or f"{operator}_{len(self.nodes)}"
        self._append(operator, inputs, [result], attributes)
        return result

    def split(self, value: str, sizes: list[int], axis: int) -> list[str]:
        """Split a value along an axis into parts of these sizes."""
        parts = [f"Split_{len(self.nodes)}_{part}" for part in range(len(sizes))]
        name = self.constant("sizes_" + "_".join(map(str, sizes)), sizes, np.int64)
        self._append("Split", (value, name), parts, {"axis": axis})
        return parts

    def _append(self, operator: str, inputs: tuple[str, ...], results: list[str], attributes: dict[str, Any]) -> None:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, results, name, **attributes))

    def model(self, name: str) -> ModelProto:
        """Return the finished model."""
        graph: GraphProto = helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, list(self.constants.values())
        )
        return helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="tinylm",
        )
