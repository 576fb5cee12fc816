"""Export of an integer graph to ONNX: standard operators only, and the same integers.

Every value has a type that holds it exactly, so that no runtime wraps or rounds. Accumulators and
indexes are ``int64``. A linear layer sums in ``double`` where all its partial sums stay below 2^53
(exact then, in any order, and 20 times as fast in ONNX Runtime), else in ``int64``.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError, MissingDependencyError, ProofError
from cipherfit.stages import Lookup, Stage, stages_of
from cipherfit.twin import code_intervals

if TYPE_CHECKING:
    import onnx

__all__ = ["to_onnx"]

#: The oldest operator set with all the operators and types that the export uses.
MINIMUM_OPSET = 13
#: What sums may reach in each type, the fastest first. The margin is for floats in the check.
_LARGEST_SUMS: dict[type, float] = {np.float64: 0.99 * 2.0**53, np.int64: 0.99 * 2.0**63}


def to_onnx(graph: IntegerGraph, *, opset: int = 17) -> onnx.ModelProto:
    """Write an integer graph as an ONNX model of standard operators.

    ONNX Runtime computes the integers of ``graph.simulate(graph.quantize(X))`` with it, on every
    row, and the real values of ``graph.run(X)``.

    Parameters
    ----------
    graph : IntegerGraph
        The network.
    opset : int, default=17
        Version of ONNX's operator set, from 13 to the newest of the installed ``onnx``.

    Returns
    -------
    onnx.ModelProto
        Its input is ``X``, float32 of shape (n_samples, n_features). Its outputs are ``outputs``,
        the real values as float64, and ``accumulators``, int64, both of shape (n_samples,
        n_outputs); of a graph that ends in codes, these are the codes. The metadata property
        ``cipherfit_digest`` is the graph's digest.

    Raises
    ------
    MissingDependencyError
        If ``onnx`` is not installed.
    InvalidParameterError
        If `opset` is out of range.
    ProofError
        If partial sums of a linear layer, the offset left out, could leave ``int64``.

    Notes
    -----
    No ONNX operator refuses values: NaN and infinite features, which ``graph.quantize`` names in an
    error, give meaningless results. Lookups are exact, also where the circuit rounds approximately.
    Weights take 8 bytes each, pruned ones included, and table entries 2; a file holds 2 GB at most.
    """
    builder = _Builder(opset)
    parts = graph.to_dict()
    codes = _add_quantizer(builder, parts)
    largest = code_intervals(parts)[1].astype(np.float64)
    accumulators = ""
    for number, stage in enumerate(stages_of(graph)):
        position = 2 * number  # of the linear layer, among all layers
        prefix = "" if stage.lookup is None else f"layer{position}_"
        dtype = _sum_type(position, stage.weights, largest)
        accumulators = _add_linear(builder, prefix, stage, codes, dtype)
        if stage.lookup is not None:
            codes = _add_lookup(builder, f"layer{position + 1}_", stage.lookup, accumulators)
            largest = np.array([table.max() for table in stage.lookup.tables], dtype=np.float64)
    if graph.ends_in_codes:
        accumulators = builder.cast(codes, np.int64, "accumulators")
    _add_dequantizer(builder, parts["output"], accumulators)
    return builder.model(graph)


def _sum_type(position: int, weights: NDArray[np.int64], largest: NDArray[np.float64]) -> type:
    """Return the fastest type in which every partial sum of codes in [0, largest] is exact."""
    sums = np.abs(weights.astype(np.float64)) @ largest
    for dtype, limit in _LARGEST_SUMS.items():
        if sums.max() < limit:
            return dtype
    neuron = int(sums.argmax())
    message = (
        f"layer {position}, neuron {neuron}: partial sums of weights @ codes can reach "
        f"{sums[neuron]:.3g}, beyond the 64 bits of ONNX's widest integers; use smaller weights"
    )
    raise ProofError(message, position, neuron)


def _add_quantizer(builder: _Builder, parts: dict[str, Any]) -> str:
    quantizer = parts["input"]
    scale = builder.constant("input_scale", quantizer["scale"])
    zero_point = builder.constant("input_zero_point", quantizer["zero_point"].astype(np.float64))
    low, high = code_intervals(parts)
    least = builder.constant("smallest_code", low.astype(np.float64))
    most = builder.constant("largest_code", high.astype(np.float64))
    features = builder.cast("X", np.float64, "features")
    steps = builder.node("Div", [features, scale], "steps")
    rounded = builder.node("Round", [steps], "rounded_steps", doc_string="half to even")
    shifted = builder.node("Add", [rounded, zero_point], "shifted_steps")
    at_least = builder.node("Max", [shifted, least], "codes_at_least")
    return builder.node("Min", [at_least, most], "codes")


def _add_linear(builder: _Builder, prefix: str, stage: Stage, codes: str, dtype: type) -> str:
    offset = builder.constant(f"{prefix}offset", stage.offset)
    weights = builder.constant(f"{prefix}weights", stage.weights.T.astype(dtype))
    inputs = builder.cast(codes, dtype, f"{prefix}inputs")
    sums = builder.node("MatMul", [inputs, weights], f"{prefix}sums")
    integers = builder.cast(sums, np.int64, f"{prefix}integer_sums")
    return builder.node("Add", [integers, offset], f"{prefix}accumulators")


def _add_lookup(builder: _Builder, prefix: str, lookup: Lookup, accumulators: str) -> str:
    """Add ``table[(acc - low + half) >> lsbs]``, with the neurons' tables end to end in one."""
    step = 1 << lookup.lsbs
    lowest = builder.constant(f"{prefix}lowest", lookup.low - step // 2)
    index = builder.node("Sub", [accumulators, lowest], f"{prefix}from_lowest")
    if step > 1:  # never negative, so a division shifts
        divisor = builder.constant(f"{prefix}step", np.array(step, dtype=np.int64))
        index = builder.node("Div", [index, divisor], f"{prefix}index")
    ends = np.cumsum([0, *map(len, lookup.tables)], dtype=np.int64)
    starts = builder.constant(f"{prefix}starts", ends[:-1])
    entries = np.concatenate(lookup.tables, dtype=np.uint16, casting="unsafe")
    tables = builder.constant(f"{prefix}tables", entries)
    places = builder.node("Add", [index, starts], f"{prefix}places")
    return builder.node("Gather", [tables, places], f"{prefix}codes", axis=0)


def _add_dequantizer(builder: _Builder, output: dict[str, Any], accumulators: str) -> None:
    scale = builder.constant("output_scale", output["scale"])
    reals = builder.cast(accumulators, np.float64, "real_accumulators")
    scaled = builder.node("Mul", [reals, scale], "scaled_accumulators")
    builder.node("Add", [scaled, builder.constant("output_offset", output["offset"])], "outputs")


class _Builder:
    """The constants and nodes of a model, each named after its value."""

    def __init__(self, opset: int) -> None:
        self._onnx = _import_onnx()
        newest = self._onnx.defs.onnx_opset_version()
        if opset not in range(MINIMUM_OPSET, newest + 1):
            raise InvalidParameterError(
                f"opset={opset!r} must be an integer in [{MINIMUM_OPSET}, {newest}]; "
                f"{newest} is the newest that onnx {self._onnx.__version__} knows"
            )
        self._opset = self._onnx.helper.make_opsetid("", int(opset))
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **options: Any) -> str:
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], name, **options))
        return name

    def cast(self, value: str, dtype: type, name: str) -> str:
        return self.node("Cast", [value], name, to=self._element_type(dtype))

    def model(self, graph: IntegerGraph) -> onnx.ModelProto:
        helper = self._onnx.helper
        X = self._matrix("X", np.float32, graph.n_features, "features")
        reals = self._matrix("outputs", np.float64, graph.n_outputs, "real values")
        sums = self._matrix("accumulators", np.int64, graph.n_outputs, "the same as integers")
        body = helper.make_graph(self._nodes, "IntegerGraph", [X], [reals, sums], self._constants)
        model: onnx.ModelProto = helper.make_model(
            body,
            opset_imports=[self._opset],
            ir_version=helper.find_min_ir_version_for([self._opset]),  # old runtimes read it too
            producer_name="cipherfit",
            producer_version=version("cipherfit"),
            doc_string="Quantizer, linear layers and lookups over integer codes, dequantizer.",
        )
        helper.set_model_props(model, {"cipherfit_digest": graph.digest})
        return model

    def _matrix(self, name: str, dtype: type, columns: int, doc: str) -> Any:
        make_info = self._onnx.helper.make_tensor_value_info
        return make_info(name, self._element_type(dtype), ["n_samples", columns], doc)

    def _element_type(self, dtype: type) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        message = "the export to ONNX needs the package onnx: pip install 'cipherfit[onnx]'"
        raise MissingDependencyError(message) from error
    return onnx
