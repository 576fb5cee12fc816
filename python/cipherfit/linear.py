"""A linear layer over codes whose accumulators fit a bit budget by construction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from cipherfit._core import accumulator_mask
from cipherfit.quantizers import straight_through


class QuantLinear(nn.Module):
    """Linear layer with integer weights, pruned so that no accumulator leaves its bit budget.

    A weight's code is ``clamp(round(weight / scale), -max_code, max_code)``: symmetric, with one
    learned scale per neuron, so that a pruned weight is exactly 0. In every forward the Rust mask
    keeps, per neuron, the largest weights whose *proven* accumulator width fits
    ``2**n_accum_bits - 1``. A masked weight has no gradient; it returns when those that are kept
    shrink below it.

    Where the lookup that follows reads fewer bits than the accumulator has, the forward rounds the
    accumulator as the circuit will.

    Parameters
    ----------
    in_features, out_features : int
        Fan-in and number of neurons.
    n_w_bits : int
        Bits of a weight code; 1 stands for signs.
    n_in_bits : int
        Bits of an input code.
    n_accum_bits : int
        Bits that every accumulator must fit.
    n_lookup_bits : int or None
        Bits of the accumulator that the lookup behind this layer reads; None: no lookup follows.
    bias : bool, default=True
        Whether to add a real-valued bias to the dequantized output. It costs nothing in FHE.

    Attributes
    ----------
    in_low, in_high : torch.Tensor of shape (in_features,)
        Proven interval of every input code, which lowering sets: in evaluation it places the
        rounding grid where the integer graph has it. Training assumes all codes.
    """

    in_low: Tensor
    in_high: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        n_w_bits: int,
        n_in_bits: int,
        n_accum_bits: int,
        n_lookup_bits: int | None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.n_w_bits = n_w_bits
        self.n_in_bits = n_in_bits
        self.n_accum_bits = n_accum_bits
        self.n_lookup_bits = n_lookup_bits
        self.register_buffer("in_low", torch.zeros(in_features))
        self.register_buffer("in_high", torch.full((in_features,), float(self.max_in_code)))
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.log_scale = nn.Parameter(torch.empty(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.reset_parameters()

    @property
    def max_weight_code(self) -> int:
        """Largest magnitude of a weight code."""
        return int(max(1, 2 ** (self.n_w_bits - 1) - 1))

    @property
    def max_in_code(self) -> int:
        """Largest input code."""
        return int(2**self.n_in_bits - 1)

    @property
    def lsbs(self) -> int:
        """Low bits of the accumulator that the lookup behind this layer rounds away."""
        if self.n_lookup_bits is None:
            return 0
        widest = self.in_features * self.max_weight_code * self.max_in_code
        return max(0, min(self.n_accum_bits, widest.bit_length()) - self.n_lookup_bits)

    @property
    def rounding_half(self) -> int:
        """Half of the rounding step: what rounding half up adds to an accumulator."""
        return (1 << self.lsbs) >> 1

    @property
    def input_step(self) -> float:
        """Real value of one input code; codes are centred and span [-1, 1]."""
        return 2.0 / self.max_in_code

    def reset_parameters(self) -> None:
        """Draw the weights (Glorot uniform) and set the scales as LSQ does."""
        bound = math.sqrt(3.0 / self.in_features)
        nn.init.uniform_(self.weight, -bound, bound)
        with torch.no_grad():
            mean = self.weight.abs().mean(dim=1)
            self.log_scale.copy_((2 * mean / math.sqrt(self.max_weight_code)).log())
            if self.bias is not None:
                self.bias.zero_()

    @torch.no_grad()
    def mask(self, input_spread: Tensor | None = None) -> Tensor:
        """Return which weights the budget lets stay, bool (out_features, in_features).

        The largest stay; given the spread of every input (in_features,), those of the largest
        contribution, weight times spread.
        """
        scaled = self._scaled_weight()
        importance = scaled if input_spread is None else scaled * input_spread
        return self._mask(importance, self._round(scaled))

    def weight_codes(self) -> Tensor:
        """Return the pruned integer weights, with straight-through gradients."""
        scaled = self._scaled_weight()
        codes = self._round(scaled)
        mask = self._mask(scaled, codes)
        return straight_through(codes * mask, scaled * mask)

    def real_weight(self) -> Tensor:
        """Return the real value of each weight per code of its input, before rounding."""
        scaled = self._scaled_weight()
        kept = scaled * self._mask(scaled, self._round(scaled))
        return kept * (self.log_scale.exp() * self.input_step).unsqueeze(1)

    def lowest(self, codes: Tensor) -> Tensor:
        """Return the least value of every neuron's accumulator for given weight codes."""
        codes = codes.detach()
        if self.training:
            return codes.clamp(max=0).sum(dim=1) * self.max_in_code
        return codes.clamp(min=0) @ self.in_low + codes.clamp(max=0) @ self.in_high

    def dequantize(self, accumulators: Tensor, codes: Tensor) -> Tensor:
        """Return the real values of accumulators (..., out_features) for given weight codes."""
        centre = codes.sum(dim=1) * (self.max_in_code / 2)
        real = (accumulators - centre) * (self.log_scale.exp() * self.input_step)
        return real if self.bias is None else real + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the real-valued outputs of input codes `x` (n_samples, in_features)."""
        codes = self.weight_codes()
        accumulators = F.linear(x, codes)
        if self.lsbs:
            low = self.lowest(codes)
            step = float(1 << self.lsbs)
            index = ((accumulators - low + self.rounding_half) / step).floor()
            accumulators = straight_through(low + index * step, accumulators)
        return self.dequantize(accumulators, codes)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return (
            f"{self.in_features}, {self.out_features}, n_w_bits={self.n_w_bits}, "
            f"n_in_bits={self.n_in_bits}, n_accum_bits={self.n_accum_bits}, lsbs={self.lsbs}"
        )

    def _scaled_weight(self) -> Tensor:
        scaled = self.weight * (-self.log_scale).exp().unsqueeze(1)
        return scaled.clamp(-self.max_weight_code, self.max_weight_code)

    def _round(self, scaled: Tensor) -> Tensor:
        return (scaled.sign() if self.n_w_bits == 1 else scaled.round()).detach()

    def _mask(self, importance: Tensor, codes: Tensor) -> Tensor:
        mask = accumulator_mask(
            codes.to(torch.int64).cpu().numpy(),
            0,
            self.max_in_code,
            self.n_accum_bits,
            importance=importance.detach().abs().to(torch.float32).cpu().numpy(),
            reserve=self.rounding_half,
        )
        return torch.from_numpy(mask).to(codes.device)
