"""Limits are the core's own: at each a graph is built, and one beyond it is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cipherfit import IntegerGraph, accumulator_mask, limits
from cipherfit.exceptions import CipherfitError


def graph(n_bits=1, index_bits=1):
    """Return 1 -> 1 -> 1 whose lookup's index has so many bits, for codes of so many."""
    weight = (2**index_bits - 1) // (2**n_bits - 1) or 1
    width = weight * (2**n_bits - 1)
    zero = np.zeros(1, dtype=np.int64)
    return IntegerGraph.from_layers(
        {"scale": np.ones(1), "zero_point": zero, "n_bits": n_bits},
        [
            {"kind": "linear", "weights": np.array([[weight]]), "offset": zero},
            {"kind": "lookup", "low": zero, "lsbs": 0, "exact": True,
             "tables": [np.arange(width + 1) % 2]},
            {"kind": "linear", "weights": np.array([[1]]), "offset": zero},
        ],
        {"scale": np.ones(1), "offset": np.zeros(1)},
    )  # fmt: skip


def test_the_widest_code_is_held_and_no_wider_one():
    widest = limits.MAX_CODE_BITS
    assert graph(n_bits=widest, index_bits=widest).n_bits == widest
    with pytest.raises(CipherfitError, match="n_bits"):
        graph(n_bits=widest + 1, index_bits=widest + 1)


def test_the_widest_index_is_read_and_no_wider_one():
    widest = limits.MAX_LOOKUP_BITS
    assert graph(index_bits=widest).prove().layers[0].lookup_bits == widest
    with pytest.raises(CipherfitError, match=f"where {widest} are allowed"):
        graph(index_bits=widest + 1)


def test_the_mask_proves_the_widest_accumulator_that_training_promises():
    widest = limits.MAX_ACCUM_BITS
    kept = accumulator_mask(np.array([[2**widest - 1, 1]]), 0, 1, widest)
    assert kept.tolist() == [[True, False]]
