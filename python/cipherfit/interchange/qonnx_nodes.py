"""Nodes of a QONNX model that run by themselves, on any number of rows.

Nodes run as in QONNX's own executor: custom ones by the package `qonnx`, standard ones by ONNX
Runtime. So whatever they compute, such as rounding, is not written a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import MissingDependencyError, UnsupportedModuleError

Array = NDArray[Any]

#: What only gives rows another shape.
SHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
#: What is linear where its other inputs are constants.
LINEAR_BRANCHES, ELEMENTWISE_BRANCHES = "linear branches", "elementwise branches"
LINEAR = (
    *SHAPES, LINEAR_BRANCHES, "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "Gemm",
    "GlobalAveragePool", "MatMul", "Pad", "ReduceMean", "ReduceSum", "Slice", "SpaceToDepth",
    "Transpose",
)  # fmt: skip
#: What scales and shifts, each value for itself.
AFFINE = ("Add", "BatchNormalization", "Div", "Dropout", "Identity", "Mul", "Neg", "Sub")
#: What makes few values of many.
QUANTIZERS = ("BipolarQuant", "IntQuant", "MultiThreshold", "Quant", "Trunc")
#: What has each of its outputs of the input at the same place.
ELEMENTWISE = (
    *QUANTIZERS, ELEMENTWISE_BRANCHES, "Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Celu",
    "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu",
    "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh",
    "ThresholdedRelu",
)  # fmt: skip
#: What only rises with its input, or only falls, also as float32 rounds it.
MONOTONE = (
    *QUANTIZERS, *AFFINE, "Cast", "Ceil", "Clip", "Floor", "Max", "Min", "Relu", "Round", "Sign",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A node whose inputs are constants, but for one, or, where branches meet, for some.

    Parameters
    ----------
    proto : onnx.NodeProto
        The node.
    values : tuple of str
        Names of the inputs that are no constants.
    constants : dict
        The others, by name.
    opset : int
        Version of its operator set.
    batch : int
        Rows that the model was made for, which its shapes may name.
    """

    proto: Any
    values: tuple[str, ...]
    constants: dict[str, Array]
    opset: int
    batch: int

    @property
    def kind(self) -> str:
        """Type of the operator."""
        return str(self.proto.op_type)

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.proto.name or self.proto.output[0]} ({self.kind})"

    def constant(self, index: int, default: Any = None) -> Any:
        """Return the constant that is its input of some index."""
        given = self.proto.input[index] if index < len(self.proto.input) else ""
        return self.constants[given] if given else default

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute's value."""
        from onnx import helper

        for each in self.proto.attribute:
            if each.name == name:
                value = helper.get_attribute_value(each)
                return value.decode() if isinstance(value, bytes) else value
        return default

    @property
    def takes_value_first(self) -> bool:
        """Whether the value is its first input, and no other."""
        return [i for i, name in enumerate(self.proto.input) if name in self.values] == [0]

    @property
    def is_affine(self) -> bool:
        """Whether it scales and shifts each value, by constants."""
        once = sum(name in self.values for name in self.proto.input) == 1
        return self.kind in AFFINE and (
            self.takes_value_first or (once and self.kind in ("Add", "Mul", "Sub"))
        )

    def without_bias(self) -> Node:
        """Return the node without what it adds, if it adds something."""
        if self.kind in ("Add", "Sub", "BatchNormalization"):
            added = self.proto.input[2:4] if self.kind == "BatchNormalization" else self.constants
            return self.with_constants(
                {name: np.zeros_like(self.constants[name]) for name in added}
            )
        if self.kind in ("Conv", "ConvTranspose", "Gemm") and len(self.proto.input) > 2:
            proto = type(self.proto)()
            proto.CopyFrom(self.proto)
            del proto.input[2:]
            return replace(self, proto=proto)
        return self

    def with_constants(self, constants: dict[str, Array], kind: str | None = None) -> Node:
        """Return the node with some other constants, and perhaps another type of operator."""
        proto = type(self.proto)()
        proto.CopyFrom(self.proto)
        proto.op_type = kind or self.kind
        return replace(self, proto=proto, constants={**self.constants, **constants})

    def run(self, rows: Array, shape: Sequence[int]) -> Array:
        """Return what it makes of rows (n_samples, ...), whose shape it was made for."""
        if self.kind in SHAPES:
            made = self._executed(np.zeros((self.batch, *shape), dtype=rows.dtype)).shape
            whole = made[:1] == (self.batch,) and prod(made[1:]) == prod(shape)
            return rows.reshape(len(rows), *(made[1:] if whole else (prod(shape),)))
        return self._executed(rows)

    def join(self, given: dict[str, Array]) -> Array:
        """Return what it makes of its inputs that are no constants, by name."""
        if len(self.values) == 1:
            rows = given[self.values[0]]
            return self.run(rows, rows.shape[1:])
        values = {name: given[name] for name in self.values}
        return executed(self.proto, {**self.constants, **values}, self.opset)

    def _executed(self, rows: Array) -> Array:
        return executed(self.proto, {**self.constants, self.values[0]: rows}, self.opset)


@dataclass(frozen=True)
class Branches(Node):
    """Nodes that branch from one value and meet in another, as one node.

    Parameters
    ----------
    proto, values, constants, opset, batch
        The last node, where they meet, with the value that they branch from; no constants.
    inner : tuple of Node
        All of them, in the order in which they run.
    """

    inner: tuple[Node, ...]

    @property
    def kind(self) -> str:
        """What all of them are: linear, elementwise, or neither."""
        kinds = {node.kind for node in self.inner}
        if kinds <= {*LINEAR, "Add", "Concat", "Identity", "Neg", "Sub"}:
            return LINEAR_BRANCHES
        return ELEMENTWISE_BRANCHES if kinds <= {*ELEMENTWISE} else "branches"

    @property
    def name(self) -> str:
        """What its last node is called."""
        return f"{self.proto.name or self.proto.output[0]} ({self.proto.op_type})"

    @property
    def takes_value_first(self) -> bool:
        """Whether the value takes the place of weights nowhere."""
        return all(node.takes_value_first for node in self.inner if node.kind in LINEAR)

    def without_bias(self) -> Node:
        """Return them without what they add."""
        return self.with_inner([node.without_bias() for node in self.inner])

    def with_inner(self, nodes: Sequence[Node]) -> Branches:
        """Return other nodes in the same order."""
        return replace(self, inner=tuple(nodes))

    def run(self, rows: Array, shape: Sequence[int]) -> Array:
        """Return what they make of rows."""
        known = {self.values[0]: rows}
        for node in self.inner:
            known[node.proto.output[0]] = node.join(known)
        return known[self.proto.output[0]]


def run_all(nodes: Sequence[Node], rows: Array, shape: Sequence[int]) -> Array:
    """Return what nodes make of rows, one after the other."""
    for node in nodes:
        rows = node.run(rows, shape)
        shape = rows.shape[1:]
    return rows


def taken(nodes: Sequence[Node], kinds: Sequence[str]) -> tuple[list[Node], list[Node]]:
    """Return the nodes at the start that are of some kinds, and the rest."""
    n = next((i for i, node in enumerate(nodes) if node.kind not in kinds), len(nodes))
    return list(nodes[:n]), list(nodes[n:])


def up_to_last(
    nodes: Sequence[Node], is_one: Callable[[Node], bool]
) -> tuple[list[Node], list[Node]]:
    """Return the nodes up to the last of some, with it, and those behind."""
    n = max((i + 1 for i, node in enumerate(nodes) if is_one(node)), default=0)
    return list(nodes[:n]), list(nodes[n:])


def executed(proto: Any, values: dict[str, Array], opset: int) -> Array:
    """Return a node's first output for all of its inputs."""
    if is_custom(proto.domain, proto.op_type):
        context = dict(values)
        try:
            qonnx_module("core.execute_custom_node").execute_custom_node(
                proto, context, None, onnx_opset_version=opset
            )
        except Exception as error:
            raise UnsupportedModuleError(
                f"node {proto.name or proto.output[0]} ({proto.op_type}) can't be run: {error}"
            ) from error
        return np.asarray(context[proto.output[0]])
    return _by_onnx_runtime(proto, values, opset)


def _by_onnx_runtime(proto: Any, values: dict[str, Array], opset: int) -> Array:
    import onnxruntime
    from onnx import helper

    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in values.items()
    ]
    output = helper.make_empty_tensor_value_info(proto.output[0])
    body = helper.make_graph([proto], "node", inputs, [output])
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        body, opset_imports=versions, ir_version=helper.find_min_ir_version_for(versions)
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return np.asarray(session.run([proto.output[0]], values)[0])
    except Exception as error:
        raise UnsupportedModuleError(
            f"node {proto.name or proto.output[0]} ({proto.op_type}) can't be run: {error}"
        ) from error


def is_custom(domain: str, op_type: str) -> bool:
    """Tell whether a type of operator is QONNX's own, or known to it."""
    return bool(qonnx_module("custom_op.registry").is_custom_op(domain, op_type))


def qonnx_module(name: str) -> Any:
    """Return a module of the package qonnx."""
    from importlib import import_module

    try:
        return import_module(f"qonnx.{name}")
    except ImportError as error:
        message = "QONNX models need the package qonnx: pip install 'cipherfit[qonnx]'"
        raise MissingDependencyError(message) from error
