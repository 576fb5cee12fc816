"""Random integer graphs as the dicts that ``IntegerGraph.from_layers`` takes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cipherfit import twin

Parts = dict[str, Any]


def random_parts(
    seed: int,
    sizes: tuple[int, ...] = (6, 4, 3),
    n_bits: int = 3,
    weight: int = 3,
    lsbs: int = 1,
    n_client_layers: int = 0,
) -> Parts:
    """Layers of the given sizes, with tables of random codes in [0, 15]."""
    rng = np.random.default_rng(seed)
    parts: Parts = {
        "input": {
            "scale": rng.uniform(0.1, 2.0, sizes[0]),
            "zero_point": rng.integers(-3, 2**n_bits + 3, sizes[0]),
            "n_bits": n_bits,
        },
        "layers": [],
        "output": {
            "scale": rng.uniform(0.1, 2.0, sizes[-1]),
            "offset": rng.normal(size=sizes[-1]),
        },
        "n_client_layers": n_client_layers,
    }
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        kept = rng.random((n_out, n_in)) < 0.6
        linear = {
            "kind": "linear",
            "weights": kept * rng.integers(-weight, weight + 1, (n_out, n_in)),
            "offset": rng.integers(-9, 10, n_out),
        }
        parts["layers"].append(linear)
        if index + 2 < len(sizes):
            low, high = twin.prove(parts)[-1]
            lengths = ((high - low + 2**lsbs // 2) >> lsbs) + 1
            lookup = {
                "kind": "lookup",
                "low": low,
                "lsbs": lsbs,
                "exact": bool(rng.integers(2)),
                "tables": [rng.integers(0, 16, length) for length in lengths],
            }
            lookup["exact"] |= lsbs == 0
            parts["layers"].append(lookup)
    return parts


@st.composite
def graph_parts(draw: st.DrawFn) -> Parts:
    sizes = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=4)))
    return random_parts(
        seed=draw(st.integers(0, 2**32)),
        sizes=sizes,
        n_client_layers=draw(st.integers(0, len(sizes) - 2)),
        n_bits=draw(st.sampled_from([1, 2, 3, 8])),
        weight=draw(st.sampled_from([1, 3, 7, 40])),
        lsbs=draw(st.sampled_from([0, 0, 1, 3, 9])),
    )


def random_features(parts: Parts, rows: int, seed: int = 0) -> np.ndarray:
    """Features below, within and above what the codes can express."""
    rng = np.random.default_rng(seed)
    quantizer = parts["input"]
    steps = rng.uniform(-3, 2 ** quantizer["n_bits"] + 3, (rows, len(quantizer["scale"])))
    return (steps - quantizer["zero_point"]) * quantizer["scale"]
