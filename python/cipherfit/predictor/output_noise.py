"""The noise in the low bits of encrypted outputs, simulated at its largest.

Parameters are chosen by which an output is off by half a step or more of the bits that are right
with a probability of at most `p_error`. The noise of TFHE is normal, so that this bounds its
standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.integers import IntegerType
from cipherfit.stages import encrypted_part

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class OutputNoise:
    """Noise of encrypted outputs.

    Parameters
    ----------
    std : float
        Its standard deviation, in integers.
    """

    std: float

    @classmethod
    def of(cls, graph: IntegerGraph, p_error: float, n_output_bits: int | None) -> OutputNoise:
        """Return the noise that a circuit's outputs have at most.

        Parameters
        ----------
        graph : IntegerGraph
            What is compiled.
        p_error : float in [0, 1)
            Probability that one lookup errs.
        n_output_bits : int or None
            As of `Predictor.compile`.
        """
        if n_output_bits is None or not graph.n_lookups or not p_error:
            return cls(0.0)
        outputs = encrypted_part(graph).prove().layers[-1]
        n_bits = IntegerType.of(int(min(outputs.low)), int(max(outputs.high))).bits
        if n_output_bits >= n_bits:
            return cls(0.0)
        half_step = 2.0 ** (n_bits - n_output_bits - 1)
        return cls(half_step / NormalDist().inv_cdf(1 - p_error / 2))

    def of_sums(self, shape: tuple[int, ...], seed: int | None = None) -> Int64:
        """Draw noise of accumulators of a shape."""
        if not self.std:
            return np.zeros(shape, dtype=np.int64)
        drawn: Float64 = np.random.default_rng(seed).normal(scale=self.std, size=shape)
        noise: Int64 = np.rint(drawn).astype(np.int64)
        return noise

    def on_sums(self, sums: Int64, seed: int) -> Int64:
        """Return accumulators (n, n_outputs) with noise: the same array where there is none."""
        return sums + self.of_sums(sums.shape, seed) if self.std else sums

    def on_outputs(self, outputs: Float64, graph: IntegerGraph) -> Float64:
        """Return real-valued outputs (n, n_outputs) with noise: the same array without any."""
        if not self.std:
            return outputs
        noise = self.of_sums(outputs.shape)
        return outputs + graph.dequantize(noise) - graph.dequantize(np.zeros_like(noise))
