"""A quantized linear layer whose neurons share weights, as those of a convolution do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cipherfit.exceptions import InvalidParameterError
from cipherfit.training.autograd import QuantizedInRust, QuantizedWeights, in_rust
from cipherfit.training.linear import QuantLinear
from cipherfit.training.sharing import Sharing


class SharedQuantLinear(QuantLinear):
    """Quantized layer with one kernel per channel, in which each neuron finds its weights.

    Its kernels are rounded, and held to a budget, as the neurons of `QuantLinear` are. A neuron's
    inputs count from the code that stands for 0, so that those that a border cuts off count as 0.

    Parameters
    ----------
    sharing : Sharing
        Which entries of the layer's matrix are which weights.
    origin : torch.Tensor of shape (n_inputs,)
        The code of each input that stands for 0.
    base : torch.Tensor of shape (n_neurons,)
        What each neuron's output is where all inputs are 0, less its channel's bias.
    output_unit : float
        In which outputs, weights and biases are about 1, as optimizers need them to be.
    n_w_bits, n_in_bits, n_accum_bits, n_lookup_bits
        As for `QuantLinear`.

    Attributes
    ----------
    noise : float
        Deviation of what training adds to an accumulator before it is rounded, in steps of the
        lookup behind it. 0: nothing.
    """

    places: Tensor
    channels: Tensor
    origin_codes: Tensor
    base: Tensor
    output_unit: Tensor

    def __init__(
        self,
        sharing: Sharing,
        origin: Tensor,
        base: Tensor,
        output_unit: float,
        *,
        n_w_bits: int,
        n_in_bits: int,
        n_accum_bits: int,
        n_lookup_bits: int | None,
    ) -> None:
        super().__init__(
            sharing.fan_in,
            sharing.n_channels,
            n_w_bits=n_w_bits,
            n_in_bits=n_in_bits,
            n_accum_bits=n_accum_bits,
            n_lookup_bits=n_lookup_bits,
        )
        self.most_uses = sharing.most_uses
        self.noise = 0.0
        places = torch.from_numpy(sharing.places)
        self.register_buffer("places", places)
        self.register_buffer("channels", torch.from_numpy(sharing.channels))
        self.register_buffer("origin_codes", origin.clone())
        self.register_buffer("base", base.clone())
        self.register_buffer("output_unit", torch.tensor(output_unit, dtype=base.dtype))
        self.in_low = torch.zeros(places.shape[1])
        self.in_high = torch.full((places.shape[1],), float(self.max_in_code))
        if self.most_weight < 1:
            needed = n_in_bits + (self.most_uses - 1).bit_length() + bool(self.lsbs)
            raise InvalidParameterError(
                f"n_accum_bits={n_accum_bits} can't hold {self.most_uses} codes of {n_in_bits} "
                f"bits, which one weight reads in each neuron; at least {needed} bits are needed"
            )

    @property
    def budget(self) -> tuple[int, int]:
        """Bits of a sum of codes times a kernel, of which a neuron sums up to `most_uses`."""
        uses = self.most_uses
        return max(1, self.n_accum_bits - (uses - 1).bit_length()), -(-self.rounding_half // uses)

    @property
    def most_inputs(self) -> int:
        """Most inputs that one accumulator sums."""
        return self.in_features * self.most_uses

    @property
    def origin(self) -> Tensor:
        """Input codes (n_inputs,) that count as nothing."""
        return self.origin_codes

    @property
    def unit(self) -> Tensor:
        """Real value of one accumulator step (n_neurons,)."""
        return super().unit[self.channels] * self.output_unit

    @property
    def neuron_bias(self) -> Tensor:
        """What each neuron's output is (n_neurons,) where its inputs count as nothing."""
        assert self.bias is not None
        return (self.base + self.bias[self.channels]) * self.output_unit

    @torch.no_grad()
    def weight_codes(self) -> Tensor:
        """Return the integer weights (n_neurons, n_inputs)."""
        return self.spread(super().weight_codes())

    def real_weight(self) -> Tensor:
        """Return the real value of each weight per code of its input, before rounding."""
        return self.spread(super().real_weight()) * self.output_unit

    def spread(self, kernels: Tensor) -> Tensor:
        """Return the matrix (n_neurons, n_inputs) of kernels (n_channels, fan_in)."""
        return torch.cat([kernels.flatten(), kernels.new_zeros(1)])[self.places]

    def gathered(self, matrix: Tensor) -> Tensor:
        """Return what all entries of a matrix that are one weight give in sum, per weight."""
        sums = matrix.new_zeros(self.weight.numel() + 1)
        sums.index_add_(0, self.places.flatten(), matrix.flatten())
        return sums[:-1].reshape(self.weight.shape)

    def lowest(self, codes: Tensor) -> Tensor:
        """Return the least value of every neuron's accumulator for given weight codes.

        In training, too, of the inputs' proven intervals: few bits of an accumulator are read at a
        few thresholds, which must lie where the graph will have them.
        """
        low, high = self.in_low.to(codes.dtype), self.in_high.to(codes.dtype)
        return codes.clamp(min=0) @ low + codes.clamp(max=0) @ high

    def centre(self, codes: Tensor) -> Tensor:
        """Return every neuron's accumulator where each input has the code that counts as 0."""
        return codes @ self.origin_codes

    def rounded(self, accumulators: Tensor, low: Tensor, centre: Tensor) -> Tensor:
        """Round accumulators as the lookup reads them, in training with the noise that it meets."""
        if self.training and self.noise and self.lsbs:
            deviation = self.noise * (1 << self.lsbs)
            accumulators.add_(torch.randn_like(accumulators).mul_(deviation))
        return super().rounded(accumulators, low, centre)

    def dequantize(self, accumulators: Tensor, codes: Tensor) -> Tensor:
        """Return the real values of accumulators (..., n_neurons) for given weight codes."""
        return (accumulators - self.centre(codes)) * self.unit + self.neuron_bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the real-valued outputs (n_samples, n_neurons) of codes (n_samples, n_inputs)."""
        outputs: Tensor = _SharedFunction.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.log_scale, self.bias, self
        )
        return outputs

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        n_neurons, n_inputs = self.places.shape
        return f"{n_inputs}, {n_neurons}, kernels of {super().extra_repr()}"


class _SharedFunction(Function):
    """As `QuantLinearFunction`, with kernels that are spread into the matrix."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, log_scale: Tensor, bias: Tensor, layer: Any
    ) -> Tensor:
        inverse = (-log_scale).exp()
        quantized: QuantizedWeights | QuantizedInRust
        if layer.training and in_rust(x, weight, log_scale):
            quantized = QuantizedInRust.of(layer.quantizer_in_rust(), weight, inverse)
        else:
            quantized = layer.quantize(weight, inverse)
        matrix = layer.spread(quantized.codes)
        unit = (layer.input_step / inverse)[layer.channels] * layer.output_unit
        real = layer.centred(x, matrix, layer.lowest(matrix), layer.centre(matrix)).mul_(unit)
        ctx.layer, ctx.quantized = layer, quantized
        ctx.save_for_backward(x, weight, inverse, unit, real, matrix)
        return real + layer.neuron_bias  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse, unit, real, matrix = ctx.saved_tensors
        layer = ctx.layer
        scaled = gradient * unit
        of_x = scaled @ matrix if ctx.needs_input_grad[0] else None
        of_codes = layer.gathered(scaled.T @ (x - layer.origin_codes))
        of_weight, of_scale = ctx.quantized.backward(of_codes, weight, inverse)
        of_scale = of_scale + _summed(layer, (gradient * real).sum(dim=0))
        of_bias = _summed(layer, gradient.sum(dim=0)) * layer.output_unit
        return of_x, of_weight, of_scale, of_bias, None


def _summed(layer: SharedQuantLinear, of_neurons: Tensor) -> Tensor:
    """Return the sum of each channel's neurons' values."""
    sums = of_neurons.new_zeros(layer.out_features)
    return sums.index_add_(0, layer.channels, of_neurons)
