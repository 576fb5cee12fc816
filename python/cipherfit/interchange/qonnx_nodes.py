"""A QONNX model as a chain of nodes that run by themselves, on any number of rows.

Nodes run as in QONNX's own executor: custom ones by the package `qonnx`, standard ones by ONNX
Runtime. So whatever they compute, such as rounding, is not written a second time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import MissingDependencyError, UnsupportedModuleError

Array = NDArray[Any]

#: What only gives rows another shape.
SHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
#: What is linear where its other inputs are constants.
LINEAR = (*SHAPES, "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "Pad", "Transpose")
#: What makes few values of many.
QUANTIZERS = ("BipolarQuant", "IntQuant", "MultiThreshold", "Quant", "Trunc")
#: What has each of its outputs of the input at the same place.
ELEMENTWISE = (
    *QUANTIZERS, "Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Div",
    "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu",
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

    def without_bias(self) -> Node:
        """Return the node without what it adds, if it adds something."""
        if self.kind not in ("Conv", "Gemm") or len(self.proto.input) < 3:
            return self
        proto = type(self.proto)()
        proto.CopyFrom(self.proto)
        del proto.input[2:]
        return Node(proto, self.value, self.constants, self.opset, self.batch)

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
    input_type : (int, int) or None
        Least and largest value of the input, where the model says that it is integers.
    """

    nodes: list[Node]
    shape: tuple[int, ...]
    input_type: tuple[int, int] | None


def run_all(nodes: Sequence[Node], rows: Array, shape: Sequence[int]) -> Array:
    """Return what nodes make of rows, one after the other."""
    for node in nodes:
        rows = node.run(rows, shape)
        shape = rows.shape[1:]
    return rows


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
    opset = next((e.version for e in model.model.opset_import if e.domain in ("", "ai.onnx")), 11)
    dims = [int(dim.dim_value) for dim in inputs[0].type.tensor_type.shape.dim]
    shape, batch = tuple(dims[1:]), max(1, dims[0] if dims else 1)
    if not shape or 0 in shape:
        raise UnsupportedModuleError(
            f"the input {inputs[0].name} has no fixed shape behind its rows; infer shapes first"
        )
    current = inputs[0].name
    nodes: list[Node] = []
    for proto in graph.node:
        custom = _is_custom(proto.domain, proto.op_type)
        version = _opset_of(model, proto.domain) if custom else opset
        given = [name for name in proto.input if name]
        changing = {name for name in given if name not in constants}
        if not changing:
            constants[proto.output[0]] = executed(proto, {n: constants[n] for n in given}, version)
            continue
        held = {name: constants[name] for name in given if name in constants}
        node = Node(proto, next(iter(changing)), held, version, batch)
        if changing != {current}:
            raise UnsupportedModuleError(
                f"node {node.name} takes {', '.join(sorted(changing))}, where {current} is the "
                "last value: only chains can be imported"
            )
        nodes.append(node)
        current = proto.output[0]
    if current != graph.output[0].name:
        raise UnsupportedModuleError(
            f"the output {graph.output[0].name} is not what the last node gives, {current}"
        )
    kind = model.get_tensor_datatype(inputs[0].name)
    is_integer = kind is not None and kind.is_integer()
    return QonnxChain(nodes, shape, (int(kind.min()), int(kind.max())) if is_integer else None)


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
