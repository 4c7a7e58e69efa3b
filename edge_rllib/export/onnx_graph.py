"""From ``program`` to an ONNX model: each step becomes one or two nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_rllib.export.errors import PolicyError
from edge_rllib.export.program import (
    AMOUNTS,
    LOG_PROBS,
    MASK,
    MEMORY,
    NEXT_MEMORY,
    OBSERVATION,
    SCORES,
    TARGET,
    Program,
    Step,
)

OPSET, IR_VERSION = 21, 10  # of onnx 1.16, 2024: what onnxruntime 1.18 and all later ones read
_PLAIN = {
    "add": "Add",
    "divide": "Div",
    "elu": "Elu",
    "matmul": "MatMul",
    "multiply": "Mul",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "subtract": "Sub",
    "tanh": "Tanh",
    "where": "Where",
}


def model_of(program: Program, name: str, sizes: dict[str, int]) -> bytes:
    """Return the model of a network as bytes; ``sizes`` are F, K, A and H by letter."""
    onnx = _onnx()
    graph = _Graph(onnx)
    for step in program.steps:
        graph.add(step)
    tensors = [onnx.numpy_helper.from_array(values, key) for key, values in program.constants.items()]
    made = onnx.helper.make_graph(
        graph.nodes,
        name,
        [_value(onnx, key, sizes) for key in program.inputs],
        [_value(onnx, key, sizes) for key in program.outputs],
        tensors + graph.tensors,
    )
    model = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="edge-rllib"
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise PolicyError('ONNX graphs need onnx: pip install "edge-rllib[onnx]", or take --format numpy') from error
    return onnx


def _value(onnx: Any, name: str, sizes: dict[str, int]) -> Any:
    kinds = onnx.TensorProto
    kind, axes = {
        OBSERVATION: (kinds.FLOAT, "F"),
        MASK: (kinds.BOOL, "K"),
        MEMORY: (kinds.FLOAT, "H"),
        TARGET: (kinds.INT64, ""),
        AMOUNTS: (kinds.FLOAT, "A"),
        LOG_PROBS: (kinds.FLOAT, "K"),
        SCORES: (kinds.FLOAT, "K"),
        NEXT_MEMORY: (kinds.FLOAT, "H"),
    }[name]
    return onnx.helper.make_tensor_value_info(name, kind, ["n", *(sizes[axis] for axis in axes)])


class _Graph:
    """Nodes and the constants that they need beside those of the program."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, step: Step) -> None:
        """Add the nodes of a step."""
        if step.operation in _PLAIN:
            self._node(_PLAIN[step.operation], step.arguments, step.output)
        else:
            NODES[step.operation](self, step)

    def _node(self, kind: str, inputs: tuple[str, ...], output: str, **attributes: Any) -> None:
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))

    def _constant(self, step: Step, label: str, values: Any, dtype: type) -> str:
        name = f"{step.output}.{label}"
        self.tensors.append(self._onnx.numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def argmax(self, step: Step) -> None:
        self._node("ArgMax", step.arguments, step.output, axis=-1, keepdims=0)

    def clip(self, step: Step) -> None:
        bounds = [self._constant(step, label, step.values[label], np.float32) for label in ("low", "high")]
        self._node("Clip", (*step.arguments, *bounds), step.output)

    def log_softmax(self, step: Step) -> None:
        self._node("LogSoftmax", step.arguments, step.output, axis=-1)

    def mean_of_rows(self, step: Step) -> None:
        axes = self._constant(step, "axes", [-2], np.int64)
        self._node("ReduceMean", (*step.arguments, axes), step.output, keepdims=0)

    def of_target(self, step: Step) -> None:
        values, target = step.arguments
        column = f"{step.output}.column"
        self._node("Unsqueeze", (target, self._constant(step, "axes", [1], np.int64)), column)
        self._node("GatherND", (values, column), step.output, batch_dims=1)

    def reshape(self, step: Step) -> None:
        shape = self._constant(step, "shape", [-1, *step.values["shape"]], np.int64)
        self._node("Reshape", (*step.arguments, shape), step.output)

    def slice(self, step: Step) -> None:
        ends = [self._constant(step, label, [step.values[label]], np.int64) for label in ("begin", "end")]
        axes = self._constant(step, "axes", [-1], np.int64)
        self._node("Slice", (*step.arguments, *ends, axes), step.output)


NODES: dict[str, Callable[[_Graph, Step], None]] = {
    "argmax": _Graph.argmax,
    "clip": _Graph.clip,
    "log_softmax": _Graph.log_softmax,
    "mean_of_rows": _Graph.mean_of_rows,
    "of_target": _Graph.of_target,
    "reshape": _Graph.reshape,
    "slice": _Graph.slice,
}
OPERATIONS = frozenset({*_PLAIN, *NODES})  # as in ``program``
