"""Numbers of float32 are found to be integers times one unit, where they are."""

from __future__ import annotations

import numpy as np
import pytest

from cipherfit.interchange.whole_multiples import ROUNDINGS, NotWholeError, whole_multiples


def test_numbers_of_float32_are_whole_multiples_where_they_were():
    generator = np.random.default_rng(0)
    integers = generator.integers(-127, 128, (50, 30))
    units = generator.uniform(0.001, 10, 50).astype(np.float32)
    found, scale = whole_multiples((integers * units[:, None]).astype(np.float32).astype(float))
    common = np.array([np.gcd.reduce(row) for row in integers])
    assert np.array_equal(found * common[:, None], integers)
    np.testing.assert_allclose(scale, units * common, rtol=1e-6)
    with pytest.raises(NotWholeError) as error:
        whole_multiples(np.stack([np.arange(1.0, 31), generator.normal(size=30)]))
    assert error.value.row == 1


@pytest.mark.parametrize("n_bits", [2, 4, 8, 12])
def test_values_with_any_zero_point_are_steps_of_one_width(n_bits):
    generator = np.random.default_rng(0)
    codes = np.arange(2**n_bits)
    for _ in range(100):
        zero = np.float32(generator.uniform(-500, 500))
        scale = np.float32(generator.uniform(0.01, 2))
        values = (codes.astype(np.float32) - zero) * scale
        wide = values.astype(np.float64)[None]
        error = ROUNDINGS * np.abs(wide).max(axis=1)
        found, unit = whole_multiples(wide - wide.min(), error)
        assert np.array_equal(found[0], codes)
        assert unit[0] == pytest.approx(scale, rel=1e-3)
