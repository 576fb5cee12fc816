"""The integer graph's arithmetic in plain NumPy: small, slow, and easy to read.

Every function takes what :meth:`cipherfit.IntegerGraph.to_dict` returns. Tests hold the fast Rust
core against these functions, and readers can take them as the definition of what a graph computes.
Nothing is checked here, and sums must fit ``int64``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["dequantize", "prove", "quantize", "run", "simulate"]

Parts = dict[str, Any]
Integers = npt.NDArray[np.int64]


def quantize(parts: Parts, X: npt.ArrayLike) -> Integers:
    """Turn features (n, n_features) into codes: scale, round half to even, shift, clamp."""
    quantizer = parts["input"]
    with np.errstate(over="ignore"):
        steps = np.rint(np.asarray(X, dtype=np.float64) / quantizer["scale"])
    codes = np.clip(steps + quantizer["zero_point"], 0, 2 ** quantizer["n_bits"] - 1)
    return np.asarray(codes, dtype=np.int64)


def simulate(parts: Parts, codes: npt.ArrayLike) -> Integers:
    """Compute output accumulators (n, n_outputs) of codes (n, n_features)."""
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
    n_features = len(parts["input"]["scale"])
    least = np.zeros(n_features, dtype=np.int64)
    most = np.full(n_features, 2 ** parts["input"]["n_bits"] - 1)
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
