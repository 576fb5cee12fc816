"""How real values and codes relate, for whoever works with codes by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class UniformQuantizer:
    """Uniform quantization, column by column: ``real = scale * (code - zero_point)``.

    Parameters
    ----------
    scale : ndarray of shape (n_columns,), float64
        Real value of one step.
    zero_point : ndarray of shape (n_columns,)
        Code of 0.
    n_bits : int
        Bits of a code.
    """

    scale: NDArray[np.float64]
    zero_point: NDArray[Any]
    n_bits: int

    def quant(self, values: Any) -> NDArray[np.int64]:
        """Return the codes of real values (n_samples, n_columns), clamped to `n_bits`."""
        codes = np.rint(np.asarray(values, dtype=np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(np.rint(codes), 0, 2**self.n_bits - 1), dtype=np.int64)

    def dequant(self, codes: Any) -> NDArray[np.float64]:
        """Return the real values of codes (n_samples, n_columns)."""
        return np.asarray((np.asarray(codes, dtype=np.float64) - self.zero_point) * self.scale)
