"""Uniform quantizers whose forward gives codes: integers held in floating-point tensors.

Rounding uses the straight-through estimator (Bengio et al., 2013, arXiv:1308.3432), and the step of
an activation is learned as in LSQ (Esser et al., 2020, arXiv:1902.08153) and LSQ+ (Bhalgat et al.,
2020, arXiv:2004.09576), in the logarithm, so that an optimizer step changes it by a ratio.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cipherfit.exceptions import InvalidInputError
from cipherfit.training.autograd import ActivationCodesFunction
from cipherfit.training.ranges import Relevance, value_ranges

#: Steps are so much wider than the data ask for: else ties between two codes would often be round
#: numbers, held by many rows, whose code would hang on the last bit of a division.
OFF_TIES = 1 + 2**-12


def with_single_reciprocal(step: Tensor) -> Tensor:
    """Return the nearest steps, in double precision, whose reciprocal is of single precision.

    A value is then quantized by one multiplication in single precision, with the result that
    division in double precision has. Steps out of the range of single precision stay as they are.
    """
    reciprocal = (1 / step).to(torch.float32)
    in_range = torch.isfinite(reciprocal) & (reciprocal >= torch.finfo(torch.float32).tiny)
    return torch.where(in_range, 1 / reciprocal.to(torch.float64), step)


def input_tail(n_bits: int) -> float:
    """Return the fraction of values that a range may clamp at each end, for codes of some bits.

    With few codes, resolution is worth more than rare values; from 8 bits on none is clamped.
    """
    return 0.01 if n_bits < 8 else 0.0


class InputQuantizer(nn.Module):
    """Quantize every feature with a scale and a zero point of its own.

    ``code = clamp(round_half_even(x / scale) + zero_point, 0, 2**n_bits - 1)``, in double
    precision, as the integer graph does. In FHE this runs on the client, in the clear: it is free.

    Parameters
    ----------
    n_features : int
        Number of input features.
    n_bits : int
        Bits of a code, in [1, 16].
    """

    scale: Tensor
    zero_point: Tensor
    calibrated: Tensor

    def __init__(self, n_features: int, n_bits: int) -> None:
        super().__init__()
        self.n_bits = n_bits
        self.register_buffer("scale", torch.ones(n_features, dtype=torch.float64))
        self.register_buffer("zero_point", torch.zeros(n_features, dtype=torch.int64))
        self.register_buffer("calibrated", torch.tensor(False))

    @property
    def max_code(self) -> int:
        """Largest code, ``2**n_bits - 1``."""
        return int(2**self.n_bits - 1)

    @torch.no_grad()
    def calibrate(
        self, x: Tensor, tail: float | None = None, *, by: Relevance | None = None
    ) -> None:
        """Choose scales and zero points from data.

        Each feature's codes span its values between the quantiles ``tail`` and ``1 - tail``
        (whatever lies beyond is clamped); where those coincide, its minimum and maximum. With
        targets, it reaches as far as rare values tell them apart; see `value_ranges`. The interval
        is widened to the quantizer's grid, which contains 0, and a little more
        (`OFF_TIES`); see `with_single_reciprocal` too.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Representative inputs, finite.
        tail : float in [0, 0.5), optional
            Fraction of the values at each end that may be clamped. Default: see `input_tail`.
        by : Relevance, optional
            Targets and weights of the rows.
        """
        tail = input_tail(self.n_bits) if tail is None else tail
        x = x.detach().to(torch.float64)
        if not torch.isfinite(x).all():
            raise InvalidInputError("calibration data hold NaN or infinity; impute them first")
        low, high = value_ranges(x, self.max_code, tail, by or Relevance())
        span = high - low
        constant = span <= torch.finfo(torch.float32).eps * torch.maximum(low.abs(), high.abs())
        # A feature that never varies says nothing: its code is 0 and stays near 0.
        scale = torch.where(constant, low.abs().clamp(min=1.0), span / self.max_code * OFF_TIES)
        scale = with_single_reciprocal(scale)
        self.scale.copy_(scale)
        self.zero_point.copy_((-low / scale).round().to(torch.int64))
        self.calibrated.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes of `x`, in its floating-point type."""
        if self.training and not bool(self.calibrated):
            self.calibrate(x)
        # In double precision, as scales are.
        codes = (x / self.scale).round_().add_(self.zero_point)
        return codes.clamp_(0, self.max_code).to(x.dtype)


class ActivationQuantizer(nn.Module):
    """Quantize activations to codes with one learned step and offset per neuron.

    ``code = clamp(round_half_even(y / step + offset), 0, 2**n_bits - 1)``. In FHE this is part of
    the neuron's lookup table, so asymmetric and per-neuron ranges are free.

    Parameters
    ----------
    n_neurons : int
        Number of neurons.
    n_bits : int
        Bits of a code, in [1, 16].
    activation : callable
        Elementwise function that comes before; its image of a standard normal variable gives the
        first step and offset.
    """

    def __init__(self, n_neurons: int, n_bits: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.n_bits = n_bits
        with torch.no_grad():
            # The more codes, the more of the normal distribution they span: 2.3 to 6.9 deviations.
            span = 2.33 + 0.35 * max(0, n_bits - 3)
            values = activation(torch.linspace(-span, span, 199).unsqueeze(1))
        low, high = float(values.min()), float(values.max())
        if low > 0 or high - low < 1e-6:
            low, high = min(low, 0.0), max(high, low + 1e-3)
        step = (high - low) / self.max_code
        self.log_step = nn.Parameter(torch.full((n_neurons,), step).log())
        self.offset = nn.Parameter(torch.full((n_neurons,), -low / step))

    @property
    def max_code(self) -> int:
        """Largest code, ``2**n_bits - 1``."""
        return int(2**self.n_bits - 1)

    def per_neuron(self) -> tuple[Tensor, Tensor]:
        """Return the logarithm of each neuron's step, and its offset, both (n_neurons,)."""
        return self.log_step, self.offset

    def forward(self, y: Tensor) -> Tensor:
        """Return the codes of activations `y`, integers in its floating-point type."""
        codes: Tensor = ActivationCodesFunction.apply(  # type: ignore[no-untyped-call]
            y, *self.per_neuron(), self.max_code
        )
        return codes


class GroupedActivationQuantizer(ActivationQuantizer):
    """Quantize activations with one learned step and offset per group of neurons.

    Neurons may be held at one code, so that they need no lookup.

    Parameters
    ----------
    groups : torch.Tensor of shape (n_neurons,), int64
        Each neuron's group, such as its channel.
    n_bits : int
        Bits of a code, in [1, 16].

    Attributes
    ----------
    is_held : torch.Tensor of shape (n_neurons,), bool
        Which neurons give one code, whatever comes in.
    held_code : torch.Tensor of shape (n_neurons,)
        The code that they give.
    """

    groups: Tensor
    is_held: Tensor
    held_code: Tensor

    def __init__(self, groups: Tensor, n_bits: int) -> None:
        super().__init__(int(groups.max()) + 1, n_bits, nn.Identity())
        self.register_buffer("groups", groups)
        self.register_buffer("is_held", torch.zeros(len(groups), dtype=torch.bool))
        self.register_buffer("held_code", torch.zeros(len(groups)))

    def per_neuron(self) -> tuple[Tensor, Tensor]:
        """Return the logarithm of each neuron's step, and its offset, both (n_neurons,)."""
        return self.log_step[self.groups], self.offset[self.groups]

    @torch.no_grad()
    def hold(self, neurons: Tensor, codes: Tensor) -> None:
        """Hold more neurons, bool (n_neurons,), each at its code (n_neurons,)."""
        self.held_code.copy_(torch.where(neurons & ~self.is_held, codes, self.held_code))
        self.is_held |= neurons

    def forward(self, y: Tensor) -> Tensor:
        """Return the codes of activations `y`, integers in its floating-point type."""
        codes = super().forward(y)
        if not bool(self.is_held.any()):
            return codes
        return torch.where(self.is_held, self.held_code.to(codes.dtype), codes)
