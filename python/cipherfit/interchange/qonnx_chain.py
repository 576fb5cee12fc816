"""A QONNX model as a chain of nodes, each of which takes what the one before it gives."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.interchange.qonnx_nodes import (
    Array,
    Branches,
    Node,
    executed,
    is_custom,
    qonnx_module,
)


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
    zeros = np.zeros((batch, *shape), dtype=np.float32)
    nodes = _chain(_nodes(model, constants, inputs[0].name, zeros), inputs[0].name, model)
    return QonnxChain(nodes, shape, _input_type(model.get_tensor_datatype(inputs[0].name)))


def _nodes(model: Any, constants: dict[str, Array], value: str, rows: Array) -> list[Node]:
    """Return the nodes that the output depends on and that depend on the input, in their order.

    Others are run, and become constants. `rows` are of the input's shape.
    """
    opset = next((e.version for e in model.model.opset_import if e.domain in ("", "ai.onnx")), 11)
    nodes: list[Node] = []
    for proto in model.graph.node:
        version = (
            _opset_of(model, proto.domain) if is_custom(proto.domain, proto.op_type) else opset
        )
        given = [name for name in proto.input if name]
        held = {name: constants[name] for name in given if name in constants}
        changing = tuple(dict.fromkeys(name for name in given if name not in constants))
        node = Node(proto, changing, held, version, len(rows))
        if proto.op_type == "Shape":
            # Of a value only its shape counts, which is the same for all rows.
            value_of_shape = _run_to(changing[0], nodes, value, rows) if changing else None
            if value_of_shape is not None:
                held, changing = {changing[0]: value_of_shape}, ()
        if changing:
            nodes.append(node)
        else:
            constants[proto.output[0]] = executed(proto, held, version)
    needed = {model.graph.output[0].name}
    for node in reversed(nodes):
        if needed & {*node.proto.output}:
            needed.update(node.values)
    return [node for node in nodes if needed & {*node.proto.output}]


def _run_to(name: str, nodes: list[Node], value: str, rows: Array) -> Array:
    """Return a value that nodes give of the input."""
    known = {value: rows}
    for node in nodes:
        if name in known:
            break
        known[node.proto.output[0]] = node.join(known)
    if name not in known:
        raise UnsupportedModuleError(
            f"{name} is no first output of a node before its shape is taken"
        )
    return known[name]


def _chain(nodes: list[Node], value: str, model: Any) -> list[Node]:
    """Return nodes so that each takes what the one before gives: those of branches as one."""
    output = model.graph.output[0].name
    waiting = Counter(name for node in nodes for name in node.values)
    waiting[output] += 1
    chain: list[Node] = []
    open_values, branch = {value}, list[Node]()
    for node in nodes:
        unknown = [name for name in node.values if name not in open_values]
        if unknown:
            raise UnsupportedModuleError(
                f"node {node.name} takes {unknown[0]}, which is no first output of a node before"
            )
        branch.append(node)
        waiting.subtract(node.values)
        open_values -= {name for name in node.values if not waiting[name]}
        open_values.add(node.proto.output[0])
        if len(open_values) == 1:
            chain.append(_as_one(branch, value))
            branch, value = [], node.proto.output[0]
    if branch or value != output:
        raise UnsupportedModuleError(
            f"the output {output} does not depend on all that comes before it"
        )
    return chain


def _as_one(branch: list[Node], value: str) -> Node:
    """Return nodes from one value to another as one node."""
    last = branch[-1]
    if len(branch) == 1:
        return last
    return Branches(last.proto, (value,), {}, last.opset, last.batch, tuple(branch))


def _input_type(kind: Any) -> tuple[float, float, float] | None:
    """Return least and largest value and step of one of QONNX's types, if it has some."""
    if kind is None or not (kind.is_integer() or kind.is_fixed_point()):
        return None
    step = 2.0 if kind.name == "BIPOLAR" else 1.0
    if kind.is_fixed_point():
        step = float(kind.scale_factor())
    return float(kind.min()), float(kind.max()), step


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _opset_of(model: Any, domain: str) -> int:
    return int(next((e.version for e in model.model.opset_import if e.domain == domain), 1))
