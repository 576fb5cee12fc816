"""A QONNX model as a chain of nodes that run by themselves, on any number of rows.

Nodes run as in QONNX's own executor: custom ones by the package `qonnx`, standard ones by ONNX
Runtime. So whatever they compute, such as rounding, is not written a second time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
LINEAR = (
    *SHAPES, "AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "Gemm", "GlobalAveragePool",
    "MatMul", "Pad", "ReduceMean", "ReduceSum", "Slice", "SpaceToDepth", "Transpose",
)  # fmt: skip
#: What scales and shifts, each value for itself.
AFFINE = ("Add", "BatchNormalization", "Div", "Dropout", "Identity", "Mul", "Neg", "Sub")
#: What makes few values of many.
QUANTIZERS = ("BipolarQuant", "IntQuant", "MultiThreshold", "Quant", "Trunc")
#: What has each of its outputs of the input at the same place.
ELEMENTWISE = (
    *QUANTIZERS, "Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Div",
    "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu",
)  # fmt: skip
#: What only rises with its input, or only falls, also as float32 rounds it.
MONOTONE = (
    *QUANTIZERS, *AFFINE, "Cast", "Ceil", "Clip", "Floor", "Max", "Min", "Relu", "Round", "Sign",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A node whose inputs are constants, but for one.

    Parameters
    ----------
    proto : onnx.NodeProto
        The node.
    value : str
        Name of the input that is no constant.
    constants : dict
        The others, by name.
    opset : int
        Version of its operator set.
    batch : int
        Rows that the model was made for, which its shapes may name.
    """

    proto: Any
    value: str
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
        return [i for i, name in enumerate(self.proto.input) if name == self.value] == [0]

    def without_bias(self) -> Node:
        """Return the node without what it adds, if it adds something."""
        if self.kind in ("Add", "Sub", "BatchNormalization"):
            added = self.proto.input[2:4] if self.kind == "BatchNormalization" else self.constants
            return self.with_constants({name: 0 * self.constants[name] for name in added})
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

    def _executed(self, rows: Array) -> Array:
        return executed(self.proto, {**self.constants, self.value: rows}, self.opset)


@dataclass(frozen=True)
class QonnxChain:
    """A model's nodes from its input to its output.

    Parameters
    ----------
    nodes : list of Node
        Each takes what the one before it gives.
    shape : tuple of int
        Shape of a row of the input.
    input_type : (float, float, float) or None
        Least and largest value of the input and their step, where the model says that it is
        integers, or of a fixed point.
    """

    nodes: list[Node]
    shape: tuple[int, ...]
    input_type: tuple[float, float, float] | None


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


def read(path_or_model: Any) -> QonnxChain:
    """Return the chain of a model.

    Parameters
    ----------
    path_or_model : str, path, onnx.ModelProto or qonnx's ModelWrapper
        The model.

    Raises
    ------
    MissingDependencyError
        If the package qonnx is not installed.
    UnsupportedModuleError
        Naming the node that makes it no chain.
    """
    wrapper = qonnx_module("core.modelwrapper").ModelWrapper
    model = path_or_model
    if not isinstance(model, wrapper):
        model = wrapper(os.fspath(model) if isinstance(model, (str, os.PathLike)) else model)
    graph = model.graph
    constants = {each.name: _array(each) for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedModuleError(
            f"the model has {len(inputs)} inputs and {len(graph.output)} outputs; it must have one "
            "of each"
        )
    dims = [int(dim.dim_value) for dim in inputs[0].type.tensor_type.shape.dim]
    shape, batch = tuple(dims[1:]), max(1, dims[0] if dims else 1)
    if not shape or 0 in shape:
        raise UnsupportedModuleError(
            f"the input {inputs[0].name} has no fixed shape behind its rows; infer shapes first"
        )
    nodes = _chain(model, constants, inputs[0].name, shape, batch)
    return QonnxChain(nodes, shape, _input_type(model.get_tensor_datatype(inputs[0].name)))


def _chain(
    model: Any, constants: dict[str, Array], value: str, shape: tuple[int, ...], batch: int
) -> list[Node]:
    """Return the nodes that make the output of the input, one after the other."""
    opset = next((e.version for e in model.model.opset_import if e.domain in ("", "ai.onnx")), 11)
    nodes: list[Node] = []
    before = {value: 0}
    for proto in model.graph.node:
        custom = _is_custom(proto.domain, proto.op_type)
        version = _opset_of(model, proto.domain) if custom else opset
        given = [name for name in proto.input if name]
        changing = sorted({name for name in given if name not in constants})
        held = {name: constants[name] for name in given if name in constants}
        if proto.op_type == "Shape" and len(changing) == 1 and changing[0] in before:
            rows = np.zeros((1, *shape), dtype=np.float32)
            made = run_all(nodes[: before[changing[0]]], rows, shape)
            held = {changing[0]: np.zeros((batch, *made.shape[1:]), dtype=np.float32)}
            changing = []
        if not changing:
            constants[proto.output[0]] = executed(proto, held, version)
            continue
        node = Node(proto, changing[0], held, version, batch)
        if changing != [value]:
            raise UnsupportedModuleError(_no_chain(node, changing, value))
        nodes.append(node)
        value = proto.output[0]
        before[value] = len(nodes)
    if value != model.graph.output[0].name:
        raise UnsupportedModuleError(
            f"the output {model.graph.output[0].name} is not what the last node gives, {value}: "
            "only chains can be imported"
        )
    return nodes


def _no_chain(node: Node, given: list[str], last: str) -> str:
    """Say why a node can't be the next one of a chain."""
    what = f"node {node.name} "
    if len(given) > 1:
        what += f"joins the branches {' and '.join(given)}"
    else:
        what += f"takes {given[0]}, and so does a node before it, whose branch ends in {last}"
    return (
        f"{what}; an integer graph is a chain of layers, so only chains can be imported: train "
        "the network without skip connections and parallel branches, such as with wider layers "
        "instead"
    )


def _input_type(kind: Any) -> tuple[float, float, float] | None:
    """Return least and largest value and step of one of QONNX's types, if it has some."""
    if kind is None or not (kind.is_integer() or kind.is_fixed_point()):
        return None
    step = 2.0 if kind.name == "BIPOLAR" else 1.0
    if kind.is_fixed_point():
        step = float(kind.scale_factor())
    return float(kind.min()), float(kind.max()), step


def executed(proto: Any, values: dict[str, Array], opset: int) -> Array:
    """Return a node's first output for all of its inputs."""
    if _is_custom(proto.domain, proto.op_type):
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


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _is_custom(domain: str, op_type: str) -> bool:
    return bool(qonnx_module("custom_op.registry").is_custom_op(domain, op_type))


def _opset_of(model: Any, domain: str) -> int:
    return int(next((e.version for e in model.model.opset_import if e.domain == domain), 1))


def qonnx_module(name: str) -> Any:
    """Return a module of the package qonnx."""
    from importlib import import_module

    try:
        return import_module(f"qonnx.{name}")
    except ImportError as error:
        message = "QONNX models need the package qonnx: pip install 'cipherfit[qonnx]'"
        raise MissingDependencyError(message) from error
