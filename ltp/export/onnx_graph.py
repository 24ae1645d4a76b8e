"""Building ONNX graphs: nodes and constants by name.

Only operators of the ONNX standard are written; the runtime fuses what it can. Needs the ``onnx`` package.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
OPSET = 20  # the first with Gelu
IR_VERSION = 9
# The largest 8-bit weight, of 127 possible. x86 processors without VNNI add products of neighbours in 16 bits, and
# 255 · (64 + 64) is the most that fits: with larger weights the answers would depend on the processor. ONNX Runtime's
# own quantiser calls this `reduce_range`.
MAX_INT8_WEIGHT = 64


class Constants:
    """The model's initializers. Unnamed ones that are equal are stored once."""

    def __init__(self) -> None:
        self.tensors: list[TensorProto] = []
        self._names: dict[tuple, str] = {}

    def add(self, value: np.ndarray, name: str | None = None) -> str:
        """Store an array and return its name; a named one is stored the first time only."""
        value = np.asarray(value, order="C")
        key = (name,) if name else (value.dtype.str, value.shape, value.tobytes())
        if key not in self._names:
            self._names[key] = name or f"constant_{len(self.tensors)}"
            self.tensors.append(numpy_helper.from_array(value, self._names[key]))
        return self._names[key]


class Graph:
    """The nodes of a graph; a value is the name of the node's output."""

    def __init__(self, name: str, constants: Constants) -> None:
        self.name, self.constants = name, constants
        self.nodes: list[NodeProto] = []

    def __call__(
        self, operator: str, *inputs: str | np.ndarray, outputs: int = 1, output_name: str = "", **attributes: Any
    ) -> Any:
        """Add a node; returns the name of its output (``output_name``, if given), or a list of them.

        Arrays among the inputs become constants.
        """
        names = [value if isinstance(value, str) else self.constants.add(value) for value in inputs]
        stem = f"{self.name}_{operator}_{len(self.nodes)}"
        output_names = [output_name] if output_name else [f"{stem}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, names, output_names, name=output_names[0], **attributes))
        return output_names[0] if outputs == 1 else output_names

    def finish(self, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> GraphProto:
        """The graph as ONNX holds it, without its constants."""
        return helper.make_graph(self.nodes, self.name, list(inputs), list(outputs))


def int64_array(*values: int) -> np.ndarray:
    """(n,) int64, as shapes, axes and indices are given."""
    return np.array(values, dtype=np.int64)


def linear(graph: Graph, values: str, name: str, weight: np.ndarray, bias: np.ndarray | None, int8: bool) -> str:
    """``values`` (T, in) · ``weight`` (out, in)ᵀ + ``bias`` (out,), where there is one.

    With ``int8`` both factors are quantised to 8-bit integers: the weight here, symmetrically, with one scale per row
    and 7 bits of range (MAX_INT8_WEIGHT); the values while the model runs, with one scale for the whole tensor (dynamic
    quantisation). ONNX Runtime fuses the operators below into one.
    """
    constants = graph.constants

    def with_bias(product: str) -> str:
        return product if bias is None else graph("Add", product, constants.add(bias, f"{name}.bias"))

    if not int8:
        return with_bias(graph("MatMul", values, constants.add(weight.T, f"{name}.weight")))
    scale = np.maximum(np.abs(weight).max(1), np.finfo(np.float32).tiny) / np.float32(MAX_INT8_WEIGHT)  # (out,)
    quantised = np.rint(weight / scale[:, None]).astype(np.int8)
    quantised_values, value_scale, value_zero = graph("DynamicQuantizeLinear", values, outputs=3)
    total = graph(
        "MatMulInteger", quantised_values, constants.add(quantised.T, f"{name}.weight_int8"), value_zero,
        constants.add(np.zeros((), np.int8)),
    )  # fmt: skip
    scales = graph("Mul", value_scale, constants.add(scale, f"{name}.weight_scale"))
    return with_bias(graph("Mul", graph("Cast", total, to=FLOAT), scales))


def layer_norm(graph: Graph, terms: Sequence[str], name: str, weight: np.ndarray, bias: np.ndarray, eps: float) -> str:
    """LayerNorm of the sum of ``terms`` (T, H).

    The sum is a Sum, not an Add: ONNX Runtime would fuse Add and LayerNormalization into an operator that is four
    times slower on CPU than the two.
    """
    constants = graph.constants
    values = graph("Sum", *terms) if len(terms) > 1 else terms[0]
    scale, shift = constants.add(weight, f"{name}.weight"), constants.add(bias, f"{name}.bias")
    return graph("LayerNormalization", values, scale, shift, axis=-1, epsilon=eps)


def make_model(
    graph: Graph, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto], notes: dict[str, str]
) -> ModelProto:
    """The whole model, checked by ONNX; ``notes`` go into its metadata."""
    proto = graph.finish(inputs, outputs)
    proto.initializer.extend(graph.constants.tensors)
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="ltp"
    )
    helper.set_model_props(model, notes)
    checker.check_model(model)
    return model
