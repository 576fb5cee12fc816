"""The quantized layers' arithmetic as autograd functions: few operations, gradients by hand.

On networks this small a training step is bookkeeping rather than arithmetic, and a chain of
elementwise operations costs several times what these do. On float32 in a CPU's memory, where small
networks train, Rust takes one pass; elsewhere, and in double precision, torch computes the same.
Gradients are straight-through: rounding counts as the identity. The tests hold torch's against
chains that autograd differentiates itself, and Rust's against torch's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cipherfit._core import WeightQuantizer, activation_codes, activation_gradients


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

    def backward(self, gradient: Tensor, weight: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of weights and log scales, for that of the codes."""
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
        of_weight = (gradient * self.inside).mul_(inverse.unsqueeze(1))
        return of_weight, -(of_weight * weight).sum(dim=1)


@dataclass(frozen=True)
class QuantizedInRust:
    """The same of float32 weights in a CPU's memory; arrays as of `WeightQuantizer`."""

    quantizer: WeightQuantizer
    codes: Tensor
    mask: Any
    neurons: Any

    @classmethod
    def of(cls, quantizer: WeightQuantizer, weight: Tensor, inverse: Tensor) -> QuantizedInRust:
        """Quantize weights (out_features, in_features)."""
        codes, mask, neurons = quantizer.quantize(_array(weight), _array(inverse))
        return cls(quantizer, torch.from_numpy(codes), mask, neurons)

    @property
    def low(self) -> Tensor:
        """Least value of every accumulator (out_features,), over all input codes."""
        return torch.from_numpy(self.neurons[2])

    @property
    def centre(self) -> Tensor:
        """Value of every accumulator (out_features,) in the middle of all inputs' codes."""
        return torch.from_numpy(self.neurons[3])

    def backward(self, gradient: Tensor, weight: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of weights and log scales, for that of the codes."""
        of_weight, of_scale = self.quantizer.gradient(
            _array(weight), _array(inverse), self.neurons, self.mask, _array(gradient)
        )
        return torch.from_numpy(of_weight), torch.from_numpy(of_scale)


def in_rust(*tensors: Tensor) -> bool:
    """Tell whether Rust can read all of these tensors where they are."""
    return all(each.dtype == torch.float32 and each.device.type == "cpu" for each in tensors)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    # Detaching takes as long as all the rest.
    return (tensor.detach() if tensor.requires_grad else tensor).numpy()


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
        quantized: QuantizedWeights | QuantizedInRust
        if layer.training and in_rust(x, weight, log_scale):
            quantized = QuantizedInRust.of(layer.quantizer_in_rust(), weight, inverse)
            low, centre = quantized.low, quantized.centre
        else:
            quantized = layer.quantize(weight, inverse)
            low, centre = layer.lowest(quantized.codes), layer.centre(quantized.codes)
        unit = layer.input_step / inverse
        real = layer.centred(x, quantized.codes, low, centre).mul_(unit)
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
        of_weight, of_scale = ctx.quantized.backward(of_codes, weight, inverse)
        of_scale = (gradient * real).sum(dim=0).add_(of_scale)
        of_bias = gradient.sum(dim=0) if ctx.needs_input_grad[3] else None
        return of_x, of_weight, of_scale, of_bias, None


class ActivationCodesFunction(Function):
    """Codes ``clamp(round(y / step + offset), 0, max_code)`` of activations `y`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, log_step: Tensor, offset: Tensor, max_code: int) -> Tensor:
        """Return the codes of `y` (..., n_neurons), integers in its floating-point type."""
        inverse = (-log_step).exp()
        ctx.max_code = max_code
        ctx.save_for_backward(y, inverse, offset)
        if y.ndim == 2 and in_rust(y, inverse, offset):
            codes = activation_codes(_array(y), _array(inverse), _array(offset), max_code)
            return torch.from_numpy(codes)
        return (y * inverse).add_(offset).clamp_(0, max_code).round_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of activations, steps and offsets."""
        y, inverse, offset = ctx.saved_tensors
        if y.ndim == 2 and in_rust(y, inverse, offset):
            gradients = activation_gradients(
                _array(y), _array(inverse), _array(offset), ctx.max_code, _array(gradient)
            )
            return *map(torch.from_numpy, gradients), None
        scaled = y * inverse
        position = scaled + offset
        gradient = gradient * ((position >= 0) & (position <= ctx.max_code))
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
