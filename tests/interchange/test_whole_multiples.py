"""Numbers of float32 are found to be integers times one unit, where they are."""

from __future__ import annotations

import numpy as np
import pytest

from cipherfit.interchange.whole_multiples import NotWholeError, whole_multiples


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
