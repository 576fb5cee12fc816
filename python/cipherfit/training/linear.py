"""A linear layer over codes whose accumulators fit a bit budget by construction."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from cipherfit._core import WeightQuantizer, accumulator_mask
from cipherfit.training.autograd import QuantizedWeights, QuantLinearFunction
from cipherfit.training.integer_weights import IntegerWeights

#: Mean weight code up to which a budget is scarce: most weights would round to zero.
AMPLE_WEIGHT = 0.3
#: Halvings (of a logarithm) in the search for the factor at which enough weights survive.
_SEARCH_STEPS = 5


def surviving(magnitudes: Tensor, most: float) -> Tensor:
    """Return which weights of each neuron still round away from zero once they fit together.

    Parameters
    ----------
    magnitudes : torch.Tensor of shape (out_features, in_features)
        Weights in units of their scale, not negative.
    most : float
        L1 norm that those which survive may have together.

    Returns
    -------
    torch.Tensor of shape (out_features, in_features)
        1 where ``factor * magnitude >= 0.5`` for the largest factor in [0, 1] that was found to let
        the survivors fit, else 0.
    """
    high = torch.ones_like(magnitudes[:, :1])
    low = (most / magnitudes.sum(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0)
    for _ in range(_SEARCH_STEPS):
        middle = (low * high).sqrt()
        threshold = 0.5 / middle
        norm = middle * (magnitudes * (magnitudes >= threshold)).sum(dim=1, keepdim=True)
        beyond = norm > most
        high, low = torch.where(beyond, middle, high), torch.where(beyond, low, middle)
    return (magnitudes * low >= 0.5).to(magnitudes.dtype)


class QuantLinear(nn.Module):
    """Linear layer with integer weights, pruned so that no accumulator leaves its bit budget.

    A weight's code is ``clamp(round(fit * clamp(weight / scale)), -max_code, max_code)``:
    symmetric, with one learned scale per neuron (LSQ, arXiv:1902.08153), so that a pruned weight is
    exactly 0. The factor ``fit`` shrinks a neuron's weights until their L1 norm is what its
    accumulator can hold, as the normalization of A2Q does (Colbert et al., 2023, arXiv:2308.13504):
    its gradient makes weights compete for the budget. Then, in every forward, the Rust mask keeps
    the largest weights whose *proven* accumulator width fits ``2**n_accum_bits - 1``, rounding of
    the weights included.

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
    settled : torch.Tensor of shape (), bool
        Whether the weights are stored as they are after fit and mask, so that `fit` is 1.
    """

    in_low: Tensor
    in_high: Tensor
    settled: Tensor

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
        self.register_buffer("settled", torch.tensor(False))
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
    def most_inputs(self) -> int:
        """Most inputs that one accumulator sums."""
        return self.in_features

    @property
    def lsbs(self) -> int:
        """Low bits of the accumulator that the lookup behind this layer rounds away."""
        if self.n_lookup_bits is None:
            return 0
        widest = self.most_inputs * self.max_weight_code * self.max_in_code
        return max(0, min(self.n_accum_bits, widest.bit_length()) - self.n_lookup_bits)

    @property
    def rounding_half(self) -> int:
        """Half of the rounding step: what rounding half up adds to an accumulator."""
        return (1 << self.lsbs) >> 1

    @property
    def budget(self) -> tuple[int, int]:
        """Bits of a sum of codes times the stored weights, and what of them rounding takes."""
        return self.n_accum_bits, self.rounding_half

    @property
    def most_weight(self) -> float:
        """Largest L1 norm of a neuron's weight codes that its accumulator can hold."""
        n_bits, reserve = self.budget
        return float((2**n_bits - 1 - reserve) / self.max_in_code)

    @property
    def is_scarce(self) -> bool:
        """Whether the budget is so small that most weights would round to zero."""
        return self.most_weight < AMPLE_WEIGHT * self.in_features

    @property
    def origin(self) -> Tensor:
        """Input codes (in_features,) that count as nothing."""
        return torch.full_like(self.in_low, self.max_in_code / 2)

    @property
    def neuron_bias(self) -> Tensor | None:
        """What each neuron's output is (n_neurons,) where its inputs count as nothing, if not 0."""
        return self.bias

    @property
    def unit(self) -> Tensor:
        """Real value of one accumulator step (n_neurons,)."""
        return self.input_step / (-self.log_scale).exp()

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
        scaled = self.scaled_weight()
        importance = scaled if input_spread is None else scaled * input_spread
        return self._mask(importance, self._round(scaled))

    @torch.no_grad()
    def settle(self) -> None:
        """Write what fit and mask make of the weights into them, with exact zeros where pruned."""
        quantized = self.quantize(self.weight, (-self.log_scale).exp())
        weight: Tensor = self.weight
        if quantized.fit is not None:
            # Where nothing shrinks, the weights stay to the last bit.
            limit = self.max_weight_code * self.log_scale.exp().unsqueeze(1)
            fitted = weight.clamp(-limit, limit) * quantized.fit
            weight = torch.where(quantized.fit < 1, fitted, weight)
        self.weight.copy_(weight * self.mask())
        self.settled.fill_(True)

    @torch.no_grad()
    def scaled_weight(self) -> Tensor:
        """Return the weights in units of their scale, clamped and fitted, before rounding."""
        quantized = self.quantize(self.weight, (-self.log_scale).exp())
        return quantized.clamped if quantized.fit is None else quantized.clamped * quantized.fit

    @torch.no_grad()
    def weight_codes(self) -> Tensor:
        """Return the pruned integer weights."""
        return self.quantize(self.weight, (-self.log_scale).exp()).codes

    @torch.no_grad()
    def hold(self, weights: IntegerWeights) -> None:
        """Take integer weights, whose scales are real weights per code of an input."""
        self.log_scale.copy_(torch.from_numpy(np.log(weights.scale / self.input_step)))
        # Of the scale as the layer holds it, so that the codes are these to the last one.
        integers = torch.from_numpy(weights.codes).to(self.weight.device)
        self.weight.copy_(integers * self.log_scale.double().exp()[:, None])

    def real_weight(self) -> Tensor:
        """Return the real value of each weight per code of its input, before rounding."""
        return (
            self.scaled_weight()
            * self.mask()
            * (self.log_scale.exp() * self.input_step).unsqueeze(1)
        )

    def quantize(self, weight: Tensor, inverse_scale: Tensor) -> QuantizedWeights:
        """Return the codes of given weights, and what their gradient needs."""
        scaled = weight * inverse_scale.unsqueeze(1)
        clamped = scaled.clamp(-self.max_weight_code, self.max_weight_code)
        fit, counted = self._fit(clamped)
        fitted = clamped if fit is None else clamped * fit
        codes = self._round(fitted)
        mask = None
        if bool((codes.abs().sum(dim=1) > self.most_weight).any()):
            mask = self._mask(fitted, codes)
            codes = codes * mask
        return QuantizedWeights(codes, clamped, fit, counted, mask, scaled == clamped)

    def quantizer_in_rust(self) -> WeightQuantizer:
        """Return what quantizes as `quantize` does, for training in float32 on a CPU."""
        return _quantizer(
            self.n_w_bits,
            self.n_in_bits,
            *self.budget,
            shrinks=not bool(self.settled),
            is_scarce=self.is_scarce,
        )

    def lowest(self, codes: Tensor) -> Tensor:
        """Return the least value of every neuron's accumulator for given weight codes."""
        if self.training:
            return codes.clamp(max=0).sum(dim=1) * self.max_in_code
        return codes.clamp(min=0) @ self.in_low + codes.clamp(max=0) @ self.in_high

    def dequantize(self, accumulators: Tensor, codes: Tensor) -> Tensor:
        """Return the real values of accumulators (..., out_features) for given weight codes."""
        real = (accumulators - self.centre(codes)) * self.unit
        return real if self.bias is None else real + self.bias

    def centre(self, codes: Tensor) -> Tensor:
        """Return every neuron's accumulator where each input has half of its largest code."""
        return codes.sum(dim=1) * (self.max_in_code / 2)

    def centred(self, x: Tensor, codes: Tensor, low: Tensor, centre: Tensor) -> Tensor:
        """Return accumulators as the lookup reads them, less what centred inputs would give."""
        return self.rounded(x @ codes.T, low, centre)

    def rounded(self, accumulators: Tensor, low: Tensor, centre: Tensor) -> Tensor:
        """Round accumulators in place, as the lookup reads them, and take `centre` from them."""
        if not self.lsbs:
            return accumulators.sub_(centre)
        step = float(1 << self.lsbs)
        index = accumulators.add_(self.rounding_half - low).div_(step).floor_()
        return index.mul_(step).add_(low - centre)

    def forward(self, x: Tensor) -> Tensor:
        """Return the real-valued outputs of input codes `x` (n_samples, in_features)."""
        outputs: Tensor = QuantLinearFunction.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.log_scale, self.bias, self
        )
        return outputs

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return (
            f"{self.in_features}, {self.out_features}, n_w_bits={self.n_w_bits}, "
            f"n_in_bits={self.n_in_bits}, n_accum_bits={self.n_accum_bits}, lsbs={self.lsbs}"
        )

    def _fit(self, clamped: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return by what each neuron's weights shrink, and which of them count for it."""
        if self.n_w_bits == 1 or bool(self.settled):
            return None, None
        magnitudes, counted = clamped.abs(), None
        if self.is_scarce:
            counted = surviving(magnitudes, self.most_weight)
            magnitudes = magnitudes * counted
        norm = magnitudes.sum(dim=1, keepdim=True)
        return (self.most_weight / norm.clamp(min=1e-9)).clamp(max=1.0), counted

    def _round(self, scaled: Tensor) -> Tensor:
        return scaled.sign() if self.n_w_bits == 1 else scaled.round()

    def _mask(self, importance: Tensor, codes: Tensor) -> Tensor:
        n_bits, reserve = self.budget
        mask = accumulator_mask(
            codes.to(torch.int64).cpu().numpy(),
            0,
            self.max_in_code,
            n_bits,
            importance=importance.detach().abs().to(torch.float32).cpu().numpy(),
            reserve=reserve,
        )
        return torch.from_numpy(mask).to(codes.device)


#: Making one takes longer than looking it up, and training asks for it in every step.
_quantizer = cache(WeightQuantizer)
