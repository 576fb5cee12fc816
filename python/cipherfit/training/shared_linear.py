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
from cipherfit.training.windows import Windows


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
        self.windows = Windows.of(sharing.places, self.out_features, self.in_features)
        self.in_low = torch.zeros(places.shape[1])
        self.in_high = torch.full((places.shape[1],), float(self.max_in_code))
        if self.most_weight < 1:
            needed = n_in_bits + (self.most_uses - 1).bit_length() + bool(self.lsbs)
            uses = self.most_uses
            codes = "the code" if uses == 1 else f"{uses} codes"
            raise InvalidParameterError(
                f"n_accum_bits={n_accum_bits} can't hold {codes} of {n_in_bits} bits, which one "
                f"weight reads in each neuron; at least {needed} bits are needed"
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
        in_windows = self.training and self.windows is not None
        function = _WindowsFunction if in_windows else _SharedFunction
        outputs: Tensor = function.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.log_scale, self.bias, self
        )
        return outputs

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # Other places than its own have other windows.
        windows = Windows.of(self.places.cpu().numpy(), self.out_features, self.in_features)
        self.windows = None if windows is None else windows.to(self.places.device)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        n_neurons, n_inputs = self.places.shape
        return f"{n_inputs}, {n_neurons}, kernels of {super().extra_repr()}"


def _quantized(
    layer: SharedQuantLinear, x: Tensor, weight: Tensor, log_scale: Tensor
) -> tuple[QuantizedWeights | QuantizedInRust, Tensor]:
    """Return the kernels on their way to codes, and the inverse of their scales."""
    inverse = (-log_scale).exp()
    if layer.training and in_rust(x, weight, log_scale):
        return QuantizedInRust.of(layer.quantizer_in_rust(), weight, inverse), inverse
    return layer.quantize(weight, inverse), inverse


class _SharedFunction(Function):
    """As `QuantLinearFunction`, with kernels that are spread into the matrix."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, log_scale: Tensor, bias: Tensor, layer: Any
    ) -> Tensor:
        quantized, inverse = _quantized(layer, x, weight, log_scale)
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


class _WindowsFunction(Function):
    """The same in training, on what each position reads, with rows last: without the matrix."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, log_scale: Tensor, bias: Tensor, layer: Any
    ) -> Tensor:
        windows: Windows = layer.windows
        quantized, inverse = _quantized(layer, x, weight, log_scale)
        kernels = windows.kernels(quantized.codes)
        read = windows.windows(x.T)
        origins = windows.windows(layer.origin_codes.unsqueeze(1))
        least, most = (
            windows.windows(each.to(x.dtype).unsqueeze(1)) for each in (layer.in_low, layer.in_high)
        )
        low = windows.of_neurons(kernels.clamp(min=0) @ least + kernels.clamp(max=0) @ most)
        centre = windows.of_neurons(kernels @ origins)
        real = layer.rounded(windows.of_neurons(kernels @ read), low, centre)
        unit = layer.input_step / inverse * layer.output_unit
        real = real.mul_(unit[layer.channels].unsqueeze(1))
        ctx.layer, ctx.quantized, ctx.shape = layer, quantized, x.shape
        ctx.save_for_backward(weight, inverse, unit, real, kernels, read, origins)
        outputs: Tensor = real + layer.neuron_bias.unsqueeze(1)
        return outputs.T.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, inverse, unit, real, kernels, read, origins = ctx.saved_tensors
        layer, windows = ctx.layer, ctx.layer.windows
        by_group = windows.by_group(gradient.T.contiguous())
        of_sums = windows.of_kernels(by_group.sum(dim=2))
        of_scale = windows.of_kernels((by_group * windows.by_group(real)).sum(dim=2))
        scaled = by_group * unit[windows.channels].unsqueeze(2)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = windows.read_gradient(kernels.transpose(1, 2) @ scaled).T
        n_positions = origins.shape[2]
        at_positions = scaled.unflatten(2, (n_positions, -1)).sum(dim=3)
        of_codes = scaled @ read.transpose(1, 2) - at_positions @ origins.transpose(1, 2)
        of_codes = windows.of_kernels(of_codes).contiguous()
        of_weight, of_scales = ctx.quantized.backward(of_codes, weight, inverse)
        return of_x, of_weight, of_scale + of_scales, of_sums * layer.output_unit, None
