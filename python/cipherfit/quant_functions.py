"""The quantized layers' arithmetic as autograd functions: few operations, gradients by hand.

On networks this small a training step is bookkeeping rather than arithmetic, and a chain of
elementwise operations costs several times what these do. Gradients are straight-through: rounding
counts as the identity. The tests hold them against chains that autograd differentiates itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class QuantizedWeights:
    """Weights of a layer on their way to codes, all of shape (out_features, in_features).

    ``codes = round(clamped * fit) * mask``, where ``clamped = clamp(weight / scale)``. `counted`
    tells which weights the L1 norm behind `fit` counts; None: all. `mask` None: nothing is pruned.
    `fit` (out_features, 1) None: nothing shrinks.
    """

    codes: Tensor
    clamped: Tensor
    fit: Tensor | None
    counted: Tensor | None
    mask: Tensor | None
    inside: Tensor

    def backward(self, gradient: Tensor) -> Tensor:
        """Return the gradient of weight over scale, for that of the codes."""
        if self.mask is not None:
            gradient = gradient * self.mask
        if self.fit is not None:
            signs = self.clamped.sign()
            if self.counted is not None:
                signs = signs * self.counted
            norm = (self.clamped * signs).sum(dim=1, keepdim=True).clamp(min=1e-9)
            shared = (gradient * self.clamped).sum(dim=1, keepdim=True) / norm
            shared = shared * (self.fit < 1)
            gradient = (gradient - shared * signs) * self.fit
        of_scaled: Tensor = gradient * self.inside
        return of_scaled


class QuantLinearFunction(Function):
    """Outputs ``(accumulators - centre) * unit + bias`` of a quantized linear layer."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        log_scale: Tensor,
        bias: Tensor | None,
        layer: Any,
    ) -> Tensor:
        """Return outputs (n_samples, out_features) of codes `x` (n_samples, in_features)."""
        inverse = (-log_scale).exp()
        quantized: QuantizedWeights = layer.quantize(weight, inverse)
        unit = layer.input_step / inverse
        real = layer.centred(x, quantized.codes).mul_(unit)
        ctx.quantized = quantized
        ctx.half_code = layer.max_in_code / 2
        ctx.save_for_backward(x, weight, inverse, unit, real)
        outputs: Tensor = real.clone() if bias is None else real + bias
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of codes, weights, scales and bias."""
        x, weight, inverse, unit, real = ctx.saved_tensors
        scaled = gradient * unit
        of_x = scaled @ ctx.quantized.codes if ctx.needs_input_grad[0] else None
        # The centre takes half the largest code from every input.
        of_codes = scaled.T @ (x - ctx.half_code)
        of_weight = ctx.quantized.backward(of_codes).mul_(inverse.unsqueeze(1))
        of_scale = (gradient * real).sum(dim=0).sub_((of_weight * weight).sum(dim=1))
        of_bias = gradient.sum(dim=0) if ctx.needs_input_grad[3] else None
        return of_x, of_weight, of_scale, of_bias, None


class ActivationCodesFunction(Function):
    """Codes ``clamp(round(y / step + offset), 0, max_code)`` of activations `y`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, log_step: Tensor, offset: Tensor, max_code: int) -> Tensor:
        """Return the codes of `y` (..., n_neurons), integers in its floating-point type."""
        inverse = (-log_step).exp()
        scaled = y * inverse
        position = scaled + offset
        inside = (position >= 0) & (position <= max_code)
        ctx.save_for_backward(scaled, inverse, inside)
        return position.clamp_(0, max_code).round_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of activations, steps and offsets."""
        scaled, inverse, inside = ctx.saved_tensors
        gradient = gradient * inside
        rows = tuple(range(gradient.ndim - 1))
        of_step = -(gradient * scaled).sum(dim=rows) if rows else -(gradient * scaled)
        of_offset = gradient.sum(dim=rows) if rows else gradient
        return gradient * inverse, of_step, of_offset, None


class OutputUnitsFunction(Function):
    """Outputs in the targets' unit, with the gradient of outputs in units of their own."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, scale: Tensor, mean: Tensor) -> Tensor:
        """Return ``outputs * scale + mean``."""
        ctx.save_for_backward(scale)
        return outputs * scale + mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the outputs."""
        (scale,) = ctx.saved_tensors
        return gradient / scale, None, None
