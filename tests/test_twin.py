from __future__ import annotations

import numpy as np

from cipherfit import twin

# One feature pair, 2 a - b + 4 in [1, 10] for 2-bit codes, read in steps of 2, then doubled.
PARTS = {
    "input": {"scale": np.array([1.0, 0.5]), "zero_point": np.array([0, 1]), "n_bits": 2},
    "layers": [
        {"kind": "linear", "weights": np.array([[2, -1]]), "offset": np.array([4])},
        {
            "kind": "lookup",
            "low": np.array([1]),
            "lsbs": 1,
            "exact": True,
            "tables": [np.array([0, 10, 20, 30, 40, 50])],
        },
        {"kind": "linear", "weights": np.array([[2], [-1]]), "offset": np.array([1, 0])},
    ],
    "output": {"scale": np.array([0.5, 1.0]), "offset": np.array([0.0, 3.0])},
}


def test_quantizing_rounds_half_to_even_shifts_and_clamps():
    features = [[0.5, 0.25], [1.5, 0.75], [2.5, -9.0], [9.0, 0.0], [1e308, -1e308]]
    assert twin.quantize(PARTS, features).tolist() == [[0, 1], [2, 3], [2, 0], [3, 1], [3, 0]]


def test_a_lookup_rounds_half_up_and_reads_the_last_entry_at_the_top():
    # Accumulators 1, 2, 10 and 4 are 0, 1, 9 and 3 above the minimum.
    codes = [[0, 3], [0, 2], [3, 0], [0, 0]]
    assert twin.simulate(PARTS, codes).tolist() == [[1, 0], [21, -10], [101, -50], [41, -20]]


def test_dequantizing_scales_then_shifts():
    assert twin.dequantize(PARTS, [[21, -10]]).tolist() == [[10.5, -7.0]]


def test_running_is_all_three():
    assert twin.run(PARTS, [[3.2, -0.6]]).tolist() == [[50.5, -47.0]]


def test_bounds_follow_the_signs_and_then_the_tables():
    (low, high), (last_low, last_high) = twin.prove(PARTS)
    assert (low.tolist(), high.tolist()) == ([1], [10])
    assert (last_low.tolist(), last_high.tolist()) == ([1, -50], [101, 0])


def test_zero_rows_are_zero_rows():
    assert twin.run(PARTS, np.empty((0, 2))).shape == (0, 2)
