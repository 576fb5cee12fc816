"""The integer graph's arithmetic in plain NumPy: small, slow, and easy to read.

Every function takes what :meth:`cipherfit.IntegerGraph.to_dict` returns. Tests hold the fast Rust
core against these functions, and readers can take them as the definition of what a graph computes.
Nothing is checked here, and sums must fit ``int64``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["code_intervals", "dequantize", "prove", "quantize", "run", "simulate"]

Parts = dict[str, Any]
Integers = npt.NDArray[np.int64]


def quantize(parts: Parts, X: npt.ArrayLike) -> Integers:
    """Turn features (n, n_features) into codes: scale, round half to even, shift, clamp."""
    quantizer = parts["input"]
    with np.errstate(over="ignore"):
        steps = np.rint(np.asarray(X, dtype=np.float64) / quantizer["scale"])
    codes = np.clip(steps + quantizer["zero_point"], *code_intervals(parts))
    return np.asarray(codes, dtype=np.int64)


def code_intervals(parts: Parts) -> tuple[Integers, Integers]:
    """Return the least and the largest code (n_features,) that each feature can have."""
    quantizer = parts["input"]
    n_features = len(quantizer["scale"])
    all_low, all_high = np.zeros(n_features), np.full(n_features, 2 ** quantizer["n_bits"] - 1)
    low, high = quantizer.get("low", all_low), quantizer.get("high", all_high)
    return np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)


def simulate(parts: Parts, codes: npt.ArrayLike) -> Integers:
    """Compute outputs (n, n_outputs), accumulators or codes, of codes (n, n_features)."""
    values = np.asarray(codes, dtype=np.int64)
    for layer in parts["layers"]:
        if layer["kind"] == "linear":
            values = values @ layer["weights"].T + layer["offset"]
        else:
            half = 2 ** layer["lsbs"] // 2
            indexes = (values - layer["low"] + half) >> layer["lsbs"]
            tables = zip(layer["tables"], indexes.T, strict=True)
            values = np.stack([table[index] for table, index in tables], axis=1)
    return values


def dequantize(parts: Parts, accumulators: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Turn output accumulators into real values of the same shape."""
    values = np.asarray(accumulators, dtype=np.float64) * parts["output"]["scale"]
    return np.asarray(values + parts["output"]["offset"])


def run(parts: Parts, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Quantize, simulate and dequantize features (n, n_features)."""
    return dequantize(parts, simulate(parts, quantize(parts, X)))


def prove(parts: Parts) -> list[tuple[Integers, Integers]]:
    """Bound every accumulator over all inputs: one (low, high) of shape (n_neurons,) per Linear."""
    least, most = code_intervals(parts)
    bounds = []
    for layer in parts["layers"]:
        if layer["kind"] == "linear":
            up, down = np.maximum(layer["weights"], 0), np.minimum(layer["weights"], 0)
            low = up @ least + down @ most + layer["offset"]
            high = up @ most + down @ least + layer["offset"]
            bounds.append((low, high))
        else:
            # A table has one entry for each index that its accumulator's interval can give.
            least = np.array([table.min() for table in layer["tables"]])
            most = np.array([table.max() for table in layer["tables"]])
    return bounds
