"""How a QONNX model quantizes its input, as the client does it: to codes, for every float32.

What only rises or falls, in steps, is known by where it steps. These places are found by bisection
over all numbers of float32, so they are the executor's own, whatever it computes in front of its
quantizer, however it rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.interchange.qonnx_chain import QonnxChain
from cipherfit.interchange.qonnx_nodes import (
    ELEMENTWISE,
    MONOTONE,
    QUANTIZERS,
    SHAPES,
    Node,
    run_all,
    taken,
    up_to_last,
)
from cipherfit.interchange.qonnx_rounding import Codes
from cipherfit.interchange.whole_multiples import ROUNDINGS, NotWholeError, whole_multiples
from cipherfit.limits import MAX_CODE_BITS
from cipherfit.predictor.preparation import Preparation, Transform

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_MOST_CODES = 1 << MAX_CODE_BITS
_MOST_FEATURES = 1 << 16
_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class QuantizedInput:
    """What the client makes codes with, and what they stand for.

    Parameters
    ----------
    quantizer : dict
        The graph's.
    preparation : Preparation or None
        What gives codes of features, where no scale and zero point do.
    codes : Codes
        What the nodes behind take.
    nodes : list of Node
        These nodes.
    """

    quantizer: dict[str, Any]
    preparation: Preparation | None
    codes: Codes
    nodes: list[Node]


def quantized_input(chain: QonnxChain) -> QuantizedInput:
    """Return how a model's input becomes codes.

    Raises
    ------
    UnsupportedModuleError
        If it is not quantized, or in a way that no client can follow.
    """
    if (size := prod(chain.shape)) > _MOST_FEATURES:
        raise UnsupportedModuleError(
            f"the input has {size} values, and at most {_MOST_FEATURES} can be imported"
        )
    head, rest = taken(chain.nodes, (*ELEMENTWISE, *SHAPES))
    head, shaping = up_to_last(head, lambda node: node.kind not in SHAPES)
    rest = [*shaping, *rest]
    if chain.input_type is not None:
        steps = _steps_of_type(head, chain)
    else:
        steps = _steps_of_floats(head, rest, chain.shape)
    last = head[-1].name if head else "the input"
    try:
        levels, _ = whole_multiples(
            (steps.values - steps.values.min(axis=0)).T,
            ROUNDINGS * np.abs(steps.values).max(axis=0),
        )
    except NotWholeError as error:
        raise UnsupportedModuleError(
            f"values behind node {last}, feature {error.row}, are no steps of one width, so they "
            "are no codes: quantize the input by Quant"
        ) from error
    return _client(steps, levels.T, chain, rest, last)


@dataclass(frozen=True)
class _Steps:
    """Values (n, n_features) that features are given, and from which feature each is (n - 1, ...).

    Where features have fewer values than others, their last one is repeated, from infinity on.
    `scale` is that of a quantizer which may give them all, and `zero` its zero point.
    """

    values: Float64
    starts: Float32
    shape: tuple[int, ...]
    scale: Float64 | None
    zero: int


def _steps_of_type(head: Sequence[Node], chain: QonnxChain) -> _Steps:
    """Return the values behind elementwise nodes of an input that has few values itself."""
    assert chain.input_type is not None
    least, most, step = chain.input_type
    n = round((most - least) / step) + 1
    if n > _MOST_CODES:
        raise UnsupportedModuleError(
            f"the input's type has {n} values, and codes are of {MAX_CODE_BITS} bits at most"
        )
    size = prod(chain.shape)
    numbers = np.repeat((least + step * np.arange(n)).astype(np.float32)[:, None], size, axis=1)
    values = run_all(head, numbers.reshape(n, *chain.shape), chain.shape)
    _check_finite(values, numbers, head)
    # A number between two values of the type is rounded to the nearer one.
    starts = numbers[:-1] + np.diff(numbers, axis=0) / 2
    # Of a quantizer without offset, numbers must be multiples of its scale.
    scale = np.full(size, step) if least % step == 0 else None
    zero = -round(least / step)
    return _Steps(values.reshape(n, -1).astype(np.float64), starts, values.shape[1:], scale, zero)


def _steps_of_floats(head: Sequence[Node], rest: Sequence[Node], shape: tuple[int, ...]) -> _Steps:
    """Return where what elementwise nodes make of float32 steps, and the values in between."""
    quantizing, behind = up_to_last(head, lambda node: node.kind in QUANTIZERS)
    if not quantizing:
        found = (*head, *rest)[0].name if (*head, *rest) else "nothing"
        raise UnsupportedModuleError(
            f"the input goes to {found} without a quantizer; it must be quantized first, by Quant, "
            "or be of an integer type that the model names "
            "(`ModelWrapper.set_tensor_datatype` names one)"
        )
    for node in quantizing:
        if node.kind not in (*MONOTONE, *SHAPES) or not node.takes_value_first:
            raise UnsupportedModuleError(
                f"node {node.name} is in front of the input's quantizer, where only what rises or "
                f"falls throughout can be: {', '.join(MONOTONE)}"
            )
    size = prod(shape)
    order, values = _bisected(quantizing, shape)
    made = run_all(quantizing, np.zeros((1, *shape), dtype=np.float32), shape)
    levels = values.reshape(len(values), *made.shape[1:])
    levels = run_all(behind, levels, levels.shape[1:])
    _check_finite(levels, levels.reshape(len(levels), -1), head)
    scale, zero = None, 0
    if [node.kind for node in quantizing if node.kind not in SHAPES] in (["Quant"], ["IntQuant"]):
        quant = quantizing[-1]
        given = np.asarray(quant.constant(1), dtype=np.float64)
        n_bits = int(np.ravel(quant.constant(3))[0])
        least = 0
        if quant.attribute("signed", 1):
            least = -(2 ** (n_bits - 1)) + bool(quant.attribute("narrow", 1))
        scale = np.broadcast_to(given, made.shape).ravel()
        zero = int(np.rint(np.ravel(quant.constant(2))[0])) - least
    flat = levels.reshape(len(levels), size).astype(np.float64)
    return _Steps(flat, _floats(order), levels.shape[1:], scale, zero)


def _bisected(nodes: Sequence[Node], shape: tuple[int, ...]) -> tuple[Int64, Float32]:
    """Return the places (n - 1, n_features) at which nodes step, in order, and n values each."""
    size = prod(shape)

    def of(places: Int64) -> Float32:
        rows = _floats(places).reshape(len(places), *shape)
        with np.errstate(all="ignore"):
            made = run_all(nodes, rows, shape)
        _check_finite(made, rows, nodes)
        return made.reshape(len(places), size).astype(np.float32)

    ends = np.repeat(_places(np.array([-_LARGEST, _LARGEST]))[:, None], size, axis=1)
    low, high = ends[:1], ends[1:]
    at_low, at_high = of(low), of(high)
    first = at_low
    while (high - low > 1).any():
        middle = (low + high) // 2
        at_middle = of(middle)
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        at_low = np.concatenate([at_low, at_middle])
        at_high = np.concatenate([at_middle, at_high])
        # Intervals without a step go behind those with one, and are dropped where all are.
        low = np.where(at_low != at_high, low, ends[1])
        high = np.where(at_low != at_high, high, ends[1])
        rank = np.argsort(low, axis=0, kind="stable")
        n = max(1, int((low < ends[1]).sum(axis=0).max()))
        if n >= _MOST_CODES:
            raise UnsupportedModuleError(
                f"behind node {nodes[-1].name} the input has more than {_MOST_CODES} values"
            )
        low, high, at_low, at_high = (
            np.take_along_axis(each, rank, axis=0)[:n] for each in (low, high, at_low, at_high)
        )
    none = low >= ends[1]
    values = np.concatenate([first, np.where(none, of(ends[1:]), at_high)])
    return np.where(none, ends[1] + 1, high), values


def _check_finite(values: NDArray[Any], rows: NDArray[Any], nodes: Sequence[Node]) -> None:
    if not np.isfinite(values).all() or values.size != rows.size:
        raise UnsupportedModuleError(
            f"what node {nodes[-1].name} gives of the input is not finite, or of another size"
        )


def _places(values: NDArray[Any]) -> Int64:
    """Return the place that numbers have among all of float32, with 0 at zero."""
    bits = np.asarray(values, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _floats(places: Int64) -> Float32:
    """Return the numbers at places."""
    bits = np.where(places < 0, -places | 0x80000000, places)
    return bits.astype(np.uint32).view(np.float32)


def _client(
    steps: _Steps, levels: Int64, chain: QonnxChain, rest: list[Node], last: str
) -> QuantizedInput:
    """Return what makes codes of features: the graph's quantizer, or a preparation before it."""
    rises = np.diff(levels, axis=0)
    falling = (rises <= 0).all(axis=0) & (rises < 0).any(axis=0)
    counts = np.where(falling, levels.max(axis=0) - levels, levels)
    if (np.diff(counts, axis=0) < 0).any() or counts.max(initial=0) >= _MOST_CODES:
        raise UnsupportedModuleError(
            f"values behind node {last} neither rise nor fall throughout with the input, so no "
            "client quantizes to them"
        )
    value_of_step = _step_values(steps.values, counts)
    codes = Codes.of(steps.values, counts, value_of_step, steps.shape)
    most, size = codes.largest, len(codes.largest)
    if steps.scale is not None:
        quantizer = _quantizer(steps.scale, steps.zero, most)
        if chain.input_type is not None:
            is_plain = bool((counts == np.arange(len(counts))[:, None]).all())
        else:
            is_plain = _gives(quantizer, steps, counts)
        if is_plain:
            return QuantizedInput(quantizer, None, codes, rest)
    edges = [_edges(steps.starts[:, j], np.diff(counts[:, j])) for j in range(size)]
    bins = Transform("bins", {"edges": edges, "one_hot": False})
    preparation = Preparation(size, None, bins)
    return QuantizedInput(_quantizer(np.ones(size), 0, most), preparation, codes, rest)


def _step_values(values: Float64, counts: Int64) -> Float64:
    """Return the value of a step of counts, per feature; that of features without one is 1."""
    reach = counts[-1] - counts[0]
    return np.where(reach > 0, (values[-1] - values[0]) / np.maximum(reach, 1), 1.0)


def _gives(quantizer: dict[str, Any], steps: _Steps, counts: Int64) -> bool:
    """Tell whether the graph's quantizer gives counts on either side of each step: everywhere."""
    scale, zero, low, high = (quantizer[name] for name in ("scale", "zero_point", "low", "high"))
    if (scale <= 0).any():
        return False
    held = np.isfinite(steps.starts)
    with np.errstate(over="ignore", invalid="ignore"):
        for numbers, expected in (
            (np.nextafter(steps.starts, np.float32(-np.inf)), counts[:-1]),
            (steps.starts, counts[1:]),
        ):
            codes = np.clip(np.rint(numbers.astype(np.float64) / scale) + zero, low, high)
            if not np.array_equal(codes[held], expected[held]):
                return False
    return True


def _edges(starts: Float32, rises: Int64) -> Float64:
    """Return the least float64 that float32 rounds to each start, between two ends.

    The ends, within which the model tells numbers apart, are for forms.
    """
    found = starts[rises > 0]
    below = np.nextafter(found, np.float32(-np.inf))
    middle = (found.astype(np.float64) + below.astype(np.float64)) / 2
    # Halfway between two numbers of float32 it is the even one that a number is rounded to.
    is_even = found.view(np.int32) % 2 == 0
    inner = np.where(is_even, middle, np.nextafter(middle, np.inf))
    if not len(inner):
        return np.array([0.0, 1.0])
    step = (inner[-1] - inner[0]) / (len(inner) - 1) if len(inner) > 1 else 0.0
    width = step or max(abs(inner[0]), 1.0)
    inner = np.repeat(inner, rises[rises > 0])
    return np.concatenate([[inner[0] - width], inner, [inner[-1] + width]])


def _quantizer(scale: Float64, zero_point: int, most: Int64) -> dict[str, Any]:
    ones = np.ones(len(scale), dtype=np.int64)
    return {
        "scale": np.array(scale),
        "zero_point": zero_point * ones,
        "n_bits": max(1, int(most.max()).bit_length()),
        "low": 0 * ones,
        "high": most,
    }
