"""Quantization-aware training of a module of one's own: its chain, with quantized layers.

Every linear layer and convolution becomes one whose kernels are rounded, and pruned to fit, in each
forward; every activation gets learned steps, one per channel. Training starts from the float
weights, and from the ranges that values take in the float module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cipherfit.exceptions import SerializationError, UnsupportedModuleError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_LOOKUP_BITS
from cipherfit.training.calls import Steps
from cipherfit.training.digest import digest_of
from cipherfit.training.fewer_lookups import FewerLookups
from cipherfit.training.lowering import write_intervals
from cipherfit.training.network import QuantNetwork
from cipherfit.training.post_training import closest_scales
from cipherfit.training.quantizers import (
    GroupedActivationQuantizer,
    InputQuantizer,
    with_single_reciprocal,
)
from cipherfit.training.ranges import Relevance, evenly_spaced
from cipherfit.training.shared_linear import SharedQuantLinear
from cipherfit.training.sharing import Sharing
from cipherfit.training.tracing import Affine, FloatLayer, trace
from cipherfit.training.widths import NamedLayer, NamedWidths

#: Mean weight code, as a part of the largest, that an accumulator has room for where its width is
#: not named.
_MEAN_CODE = 0.45
#: Of many inputs of a layer with a lookup behind it, room is made for as many as this times the
#: square root of their number, as sums of them grow: the lookup reads a few top bits of the room.
_SPREAD_INPUTS = 5.0
#: Lookups of more bits see fine steps of wide sums, too.
_FEW_LOOKUP_BITS = 6
#: Up to so many bits of weights the last layer has room for a mean code of 1 only: training gets by
#: with it, and its width costs in every lookup before it.
_FEW_BITS = 4
#: What an approximately rounded lookup reads where the activations need no more: training rounds as
#: the circuit will, so a bit less does than after training.
_LOOKUP_BITS = 5
#: Steps of training between two looks at intervals and lookups; and of how many bits those may be.
_STEPS_BETWEEN, _MOST_LOOKUP_BITS = 20, 8
#: Deviation of the error of approximate rounding, in steps of the lookup: at `p_error=0.01` it
#: exceeds half a step in one of a hundred lookups. Training with it keeps values off thresholds.
_NOISE = 0.2
#: Most rows that ranges are taken from, but for those of features that share weights with none.
_MOST_ROWS = 4096


class AwareNetwork(QuantNetwork):
    """A float module's chain with quantized layers, which trains as they do.

    Parameters
    ----------
    features : nn.Sequential
        As for `QuantNetwork`.
    n_outputs : int
        Number of outputs of the last linear layer.
    epilogue : nn.Sequential
        What follows it, in `Steps`: it runs on the client, in the clear.
    n_a_bits : int
        Bits of an activation, the most that there are.
    rounding : str or sequence of str, default="approximate"
        As for `QuantNetwork`.
    """

    def __init__(
        self,
        features: nn.Sequential,
        n_outputs: int,
        epilogue: nn.Sequential,
        n_a_bits: int,
        rounding: str | Sequence[str] = "approximate",
    ) -> None:
        super().__init__(features, n_outputs, rounding)
        self.epilogue = epilogue
        self.n_a_bits = n_a_bits
        for layer, each in zip(self.linear_layers[:-1], self.roundings, strict=True):
            assert isinstance(layer, SharedQuantLinear)
            layer.noise = _NOISE if each == "approximate" else 0.0
        self._fewer: FewerLookups | None = None
        self._n_steps = 0

    def keep_lookups(self, n_lookups: int) -> None:
        """Let the least important lookups go in training, until at most so many are left."""
        quantizers = [
            each for each in self.features if isinstance(each, GroupedActivationQuantizer)
        ]
        self._fewer = FewerLookups(quantizers, n_lookups)

    def advance(self, progress: float) -> None:
        """Do what is due every few steps of training, once a part `progress` of it is over.

        Lookups go, and layers learn the intervals of the codes that they get as things are now.
        """
        self._n_steps += 1
        if self._n_steps % _STEPS_BETWEEN and progress < 1:
            return
        if self._fewer is not None:
            self._fewer.until(progress)
            if progress >= 1:
                self._fewer.close()
                self._fewer = None
        write_intervals(self, _MOST_LOOKUP_BITS)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the module's forward returns for rows (n_samples, ...)."""
        outputs = super().forward(x.flatten(1))
        if len(self.epilogue):
            outputs = outputs.double()
        links = [each for each in self.epilogue if isinstance(each, Steps)]
        for link in links:
            as_it_comes = link is links[-1] and len(x) > 1
            outputs = link.unflattened(outputs) if as_it_comes else link(outputs)
        return outputs.to(x.dtype)

    def get_extra_state(self) -> Tensor:
        """Return a digest of what no parameter or buffer holds: widths, and functions between."""
        return digest_of(self)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse the parameters of a network with other widths, or other functions."""
        if not torch.equal(state.cpu(), digest_of(self)):
            raise SerializationError(
                "these are parameters of another network trained quantization-aware: its widths, "
                "or the functions between its layers, are others"
            )


@torch.no_grad()
def aware_network(
    module: nn.Module,
    x: Tensor,
    widths: NamedWidths,
    *,
    n_bits: int = 4,
    by: Relevance | None = None,
    shape: tuple[int, ...] | None = None,
) -> AwareNetwork:
    """Return a network that computes about what a float module does, and trains quantized.

    Parameters
    ----------
    module : nn.Module
        A float module, trained or not; it stays as it is: see `trace`.
    x : torch.Tensor of shape (n_samples, n_features)
        The data it is to be trained on.
    widths : NamedWidths
        What is named of its layers' widths. Accumulators have by default what gives a layer's
        weights room: of many inputs in front of a lookup, as many as their sums are wide.
    n_bits : int, default=4
        Bits of activations, weights and inputs where none are named.
    by : Relevance, optional
        Targets and weights of the rows, which tell what rare values are worth a code.
    shape : tuple of int, optional
        What shape of a row the module gets. Default: (n_features,).

    Raises
    ------
    UnsupportedModuleError
        Naming the layer that can't be lowered.
    InvalidParameterError
        If accumulators can't hold what is asked for.
    """
    chain = trace(module, x.shape[1], shape)
    x = x.detach().cpu().double()
    layers, before = _with_positive_gains(chain.layers, chain.before)
    sharings = [Sharing.of(layer.pattern.numpy()) for layer in layers]
    named = widths.of_layers(len(layers), n_bits)
    quantizer, inputs = _input_quantizer(x, before, sharings[0], named[0].n_in_bits, by)
    real = _some_rows(x) * before.scale + before.shift
    features: list[nn.Module] = [quantizer]
    for layer, sharing, bits, following in zip(
        layers, sharings, named, [*sharings[1:], None], strict=True
    ):
        real = nn.functional.linear(real, layer.weight, layer.bias)
        features.append(_quant_linear(layer, sharing, inputs, real, _widths(sharing, bits)))
        if following is None or bits.n_a_bits is None:
            break
        real = layer.tail(real)
        if not torch.isfinite(real).all():
            raise UnsupportedModuleError(
                f"what follows layer {layer.name} gives NaN or infinity on the training data"
            )
        activation, inputs = _activation_quantizer(real, following, bits.n_a_bits)
        features += [layer.tail, activation]
    n_outputs = len(layers[-1].bias)
    n_a_bits = widths.widest_activations or n_bits
    chained = nn.Sequential(*features)
    return AwareNetwork(chained, n_outputs, chain.epilogue, n_a_bits, widths.rounding)


@dataclass(frozen=True)
class _Inputs:
    """How codes of a layer's inputs stand for real values: ``step * (code - origin)``."""

    step: Tensor
    origin: Tensor
    n_bits: int


def _with_positive_gains(
    layers: list[FloatLayer], before: Affine
) -> tuple[list[FloatLayer], Affine]:
    """Return the same chain, in which nothing before the first layer turns a feature around."""
    first, *rest = layers
    sign = torch.where(before.scale < 0, -1.0, 1.0)
    turned = replace(first, weight=first.weight * sign, pattern=first.pattern * sign)
    return [turned, *rest], Affine(before.scale * sign, before.shift * sign)


def _input_quantizer(
    x: Tensor, before: Affine, sharing: Sharing, n_bits: int, by: Relevance | None
) -> tuple[InputQuantizer, _Inputs]:
    """Return the quantizer of features, in which those that share weights have one step."""
    gain = torch.where(before.scale > 0, before.scale, torch.ones_like(before.scale))
    groups = torch.from_numpy(sharing.inputs)
    step, zero_point = (each[groups] for each in _ranges(x * gain, groups, n_bits, by))
    quantizer = InputQuantizer(x.shape[1], n_bits)
    quantizer.scale.copy_(with_single_reciprocal(step / gain))
    quantizer.zero_point.copy_(zero_point)
    quantizer.calibrated.fill_(True)
    varies = (before.scale > 0).double()
    return quantizer, _Inputs(step * varies, zero_point - before.shift / step, n_bits)


def _activation_quantizer(
    real: Tensor, following: Sharing, n_bits: int
) -> tuple[GroupedActivationQuantizer, _Inputs]:
    """Return the quantizer of what a layer reads, in which what shares weights has one step."""
    groups = torch.from_numpy(following.inputs)
    step, zero_point = _ranges(real, groups, n_bits, None)
    quantizer = GroupedActivationQuantizer(groups, n_bits)
    quantizer.log_step.copy_(step.log())
    quantizer.offset.copy_(zero_point)
    return quantizer, _Inputs(step[groups], zero_point[groups].double(), n_bits)


def _ranges(
    real: Tensor, groups: Tensor, n_bits: int, by: Relevance | None
) -> tuple[Tensor, Tensor]:
    """Return step and code of 0 of each group of columns (n_groups,), from all of their values."""
    sizes = torch.bincount(groups)
    step = torch.ones(len(sizes), dtype=torch.float64)
    zero_point = torch.zeros(len(sizes), dtype=torch.int64)

    def calibrate(values: Tensor, of: Tensor, by: Relevance | None) -> None:
        ranges = InputQuantizer(values.shape[1], n_bits)
        ranges.calibrate(values, by=by)
        step[of], zero_point[of] = ranges.scale, ranges.zero_point

    alone = (sizes[groups] == 1).nonzero()[:, 0]
    if len(alone):
        calibrate(real[:, alone], groups[alone], by)
    for group in (sizes > 1).nonzero()[:, 0]:
        calibrate(_some_rows(real)[:, groups == group].reshape(-1, 1), group.reshape(1), None)
    return step, zero_point


def _some_rows(x: Tensor) -> Tensor:
    """Return evenly spaced rows, where there are more than ranges have to be taken from."""
    return x[evenly_spaced(len(x), _MOST_ROWS)]


def _widths(sharing: Sharing, bits: NamedLayer) -> dict[str, int | None]:
    """Return the widths of a layer, of what is named of them."""
    n_w_bits, n_in_bits, n_accum_bits = bits.n_w_bits, bits.n_in_bits, bits.n_accum_bits
    if n_accum_bits is None:
        is_last = bits.n_a_bits is None
        mean_code = max(1.0, _MEAN_CODE * (2 ** (n_w_bits - 1) - 1))
        if is_last and n_w_bits <= _FEW_BITS:
            mean_code = 1.0
        n_inputs = float(sharing.fan_in * sharing.most_uses)
        n_read = bits.lookup_bits(MAX_LOOKUP_BITS, _LOOKUP_BITS)
        if n_read is not None and n_read <= _FEW_LOOKUP_BITS:
            n_inputs = min(n_inputs, _SPREAD_INPUTS * n_inputs**0.5)
        largest = mean_code * n_inputs * (2**n_in_bits - 1)
        widest = MAX_ACCUM_BITS if is_last else max(MAX_LOOKUP_BITS, n_w_bits + n_in_bits + 8)
        n_accum_bits = min(widest, max(n_w_bits + n_in_bits, int(largest).bit_length()))
    return {
        "n_w_bits": n_w_bits,
        "n_in_bits": n_in_bits,
        "n_accum_bits": n_accum_bits,
        "n_lookup_bits": bits.lookup_bits(n_accum_bits, _LOOKUP_BITS),
    }


def _quant_linear(
    layer: FloatLayer, sharing: Sharing, inputs: _Inputs, real: Tensor, widths: dict[str, Any]
) -> SharedQuantLinear:
    """Return the quantized layer that starts with a float one's weights and outputs."""
    unit = float(real.std(unbiased=False)) or 1.0
    per_code = (layer.weight * inputs.step / unit).numpy()
    kernels = sharing.kernels(per_code)
    channels = torch.from_numpy(sharing.channels)
    sums = torch.zeros(sharing.n_channels, dtype=torch.float64)
    biases = sums.index_add(0, channels, layer.bias / unit) / torch.bincount(channels)
    base = layer.bias / unit - biases[channels]
    with torch.random.fork_rng(devices=[]):
        quantized = SharedQuantLinear(sharing, inputs.origin.float(), base.float(), unit, **widths)
    assert quantized.bias is not None
    quantized.bias.copy_(biases)
    weight = torch.from_numpy(kernels) / quantized.input_step
    quantized.weight.copy_(weight)
    even = torch.ones(weight.shape[1], dtype=torch.float64)
    quantized.log_scale.copy_(closest_scales(weight, even, quantized.max_weight_code).log())
    return quantized
