"""Export of an integer graph to QONNX: matrix products of integers, and thresholds for lookups.

A table that only rises, or only falls, is one `MultiThreshold` node; any other is the difference of
two, one that counts its steps up and one those down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import ProofError
from cipherfit.interchange.qonnx_nodes import qonnx_module
from cipherfit.stages import Lookup, Stage, stages_of
from cipherfit.twin import code_intervals

if TYPE_CHECKING:
    import onnx

Int64 = NDArray[np.int64]

_DOMAIN = "qonnx.custom_op.general"
_OPSET = 13
#: From where on float32, QONNX's type, holds not every integer.
_MOST = 1 << 24


def to_qonnx(graph: IntegerGraph) -> onnx.ModelProto:
    """Write an integer graph as a QONNX model.

    QONNX's executor computes the integers of ``graph.simulate(codes)`` with it, on every row.
    Lookups are exact, also where the circuit rounds approximately.

    Parameters
    ----------
    graph : IntegerGraph
        The network.

    Returns
    -------
    onnx.ModelProto
        Its input is ``codes``, as of ``graph.quantize(X)``, of shape (1, n_features): whole numbers
        in float32, with their type as QONNX annotates it. Its output is ``accumulators``, of shape
        (1, n_outputs), which ``graph.dequantize`` gives their real values; of a graph that ends in
        codes, these are the codes.

    Raises
    ------
    MissingDependencyError
        If the package qonnx is not installed.
    ProofError
        If sums of a layer can leave the integers that float32 holds, those below 2**24.
    """
    builder = _Builder()
    value, stages = "codes", stages_of(graph)
    largest = code_intervals(graph.to_dict())[1].astype(np.float64)
    for number, stage in enumerate(stages):
        _check_sums(2 * number, stage, largest)
        last = number == len(stages) - 1
        prefix = f"layer{number}_"
        value = builder.node("MatMul", [value, (f"{prefix}weights", stage.weights.T)])
        end = "accumulators" if last and stage.lookup is None else ""
        value = builder.node("Add", [value, (f"{prefix}offset", stage.offset)], end)
        if stage.lookup is not None:
            value = _add_lookup(builder, prefix, stage.lookup, value, "accumulators" * last)
            largest = np.array([table.max() for table in stage.lookup.tables], dtype=np.float64)
    return builder.model(graph)


def _check_sums(position: int, stage: Stage, largest: NDArray[np.float64]) -> None:
    sums = np.abs(stage.weights.astype(np.float64)) @ largest + np.abs(stage.offset)
    neuron = int(sums.argmax())
    if sums[neuron] >= _MOST:
        bits = int(sums[neuron]).bit_length()
        raise ProofError(
            f"layer {position}, neuron {neuron}: sums can have {bits} bits, and float32, QONNX's "
            "type, holds whole numbers of 24",
            position,
            neuron,
            bits_needed=bits,
            bits_allowed=24,
        )


def _add_lookup(builder: _Builder, prefix: str, lookup: Lookup, value: str, end: str) -> str:
    """Add ``table[(acc - low + half) >> lsbs]``, as the number of thresholds it has reached."""
    first = np.array([table[0] for table in lookup.tables])
    ups, downs = (_thresholds(lookup, sign) for sign in (1, -1))
    counts = [
        (name, builder.thresholds(f"{prefix}{name}", each, value))
        for name, each in (("up", ups), ("down", downs))
        if each.shape[1]
    ]
    if len(counts) == 2:
        steps = builder.node("Sub", [counts[0][1], counts[1][1]])
    elif counts and counts[0][0] == "down":
        steps = builder.node("Neg", [counts[0][1]])
    elif counts:
        steps = counts[0][1]
    else:
        steps = builder.node("Mul", [value, (f"{prefix}nothing", np.zeros(1))])
    return builder.node("Add", [steps, (f"{prefix}first_codes", first)], end)


def _thresholds(lookup: Lookup, sign: int) -> NDArray[np.float64]:
    """Return the accumulators (n_neurons, n) at which tables step up, or down, once per step."""
    half = (1 << lookup.lsbs) >> 1
    found = []
    for low, table in zip(lookup.low.tolist(), lookup.tables, strict=True):
        steps = np.maximum(sign * np.diff(table), 0)
        index = np.repeat(np.arange(1, len(table)), steps)
        found.append(low + (index << lookup.lsbs) - half)
    thresholds = np.full((len(found), max(map(len, found))), float(_MOST))
    for row, each in zip(thresholds, found, strict=True):
        row[: len(each)] = each
    return thresholds


class _Builder:
    """Nodes and constants of a model."""

    def __init__(self) -> None:
        self._wrapper = qonnx_module("core.modelwrapper").ModelWrapper
        self._types = qonnx_module("core.datatype").DataType
        from onnx import TensorProto, helper, numpy_helper

        self._helper, self._numpy, self._float = helper, numpy_helper, TensorProto.FLOAT
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, kind: str, inputs: list[Any], name: str = "", **options: Any) -> str:
        """Add a node whose inputs are names, or constants with theirs."""
        names = []
        for each in inputs:
            if isinstance(each, tuple):
                each, values = each
                tensor = np.ascontiguousarray(values, dtype=np.float32)
                self._constants.append(self._numpy.from_array(tensor, each))
            names.append(each)
        name = name or f"value{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(kind, names, [name], f"node_{name}", **options))
        return name

    def thresholds(self, name: str, values: NDArray[np.float64], of: str) -> str:
        """Add the count of thresholds (n_neurons, n) that a value has reached."""
        bits = int(values.shape[1]).bit_length()
        options = {"out_dtype": f"UINT{bits}", "domain": _DOMAIN}
        return self.node("MultiThreshold", [of, (name, values)], **options)

    def model(self, graph: IntegerGraph) -> onnx.ModelProto:
        make = self._helper.make_tensor_value_info
        body = self._helper.make_graph(
            self._nodes,
            "IntegerGraph",
            [make("codes", self._float, [1, graph.n_features])],
            [make("accumulators", self._float, [1, graph.n_outputs])],
            self._constants,
        )
        opsets = [self._helper.make_opsetid("", _OPSET), self._helper.make_opsetid(_DOMAIN, 1)]
        proto = self._helper.make_model(
            body,
            opset_imports=opsets,
            ir_version=self._helper.find_min_ir_version_for(opsets[:1]),
            producer_name="cipherfit",
        )
        self._helper.set_model_props(proto, {"cipherfit_digest": graph.digest})
        infer_shapes = qonnx_module("transformation.infer_shapes").InferShapes
        wrapped = self._wrapper(proto).transform(infer_shapes())
        wrapped.set_tensor_datatype("codes", self._types[f"UINT{graph.n_bits}"])
        wrapped.set_tensor_datatype("accumulators", self._types["INT32"])
        model: onnx.ModelProto = wrapped.model
        return model
