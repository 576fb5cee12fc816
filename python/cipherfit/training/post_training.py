"""Quantization of a trained float network, from data: what custom torch modules go through.

Weights get the scale, per neuron, whose rounding disturbs its output least, each rounded on its own
or made up for by those that follow (`cipherfit.training.integer_weights`), whichever is closer;
activations the range that they take on the data; and each layer's bias is corrected so that its
outputs keep their means (Nagel et al., 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherfit.exceptions import ProofError, UnsupportedModuleError
from cipherfit.limits import MAX_ACCUM_BITS
from cipherfit.training.convex import covariance_of
from cipherfit.training.integer_weights import integer_weights
from cipherfit.training.linear import QuantLinear
from cipherfit.training.network import QuantNetwork
from cipherfit.training.quantizers import ActivationQuantizer, InputQuantizer
from cipherfit.training.ranges import Relevance, evenly_spaced
from cipherfit.training.tracing import trace
from cipherfit.training.widths import NamedLayer, NamedWidths

Float64 = NDArray[np.float64]

#: Products of rows, columns and columns up to which weights make up for each other's rounding.
_MOST_STEPS = 200_000_000
#: Rows, of all that are given, that layers behind the input quantizer are fitted to.
_MOST_ROWS = 10_000
#: Weight scales that are tried, as fractions of the one that clamps no weight.
_SCALE_FRACTIONS = torch.logspace(-1.5, 0.0, 46, dtype=torch.float64)


@dataclass(frozen=True)
class Misfit:
    """A layer whose sums need more bits than they may have, and what pruning took from it.

    Parameters
    ----------
    layer : str
        Its name in the module.
    bits_needed, bits_allowed : int
        Bits of the widest sum of its rounded weights, and those that it may have.
    n_pruned, n_weights : int
        How many weights are 0 for that, and how many are not without it.
    """

    layer: str
    bits_needed: int
    bits_allowed: int
    n_pruned: int
    n_weights: int


def quantize_module(
    module: nn.Module,
    x: Tensor,
    *,
    n_bits: int | Sequence[int | None],
    n_accum_bits: int | Sequence[int | None],
    n_w_bits: int | Sequence[int | None] | None = None,
    n_in_bits: int | None = None,
    n_lookup_bits: int | Sequence[int | None] | None = None,
    rounding: str | Sequence[str] = "approximate",
    by: Relevance | None = None,
    shape: tuple[int, ...] | None = None,
    prunes: bool = True,
    on_misfit: Callable[[Misfit], None] | None = None,
) -> tuple[QuantNetwork, nn.Sequential]:
    """Quantize a trained float module made of linear layers and elementwise functions.

    Convolutions and average pooling are linear layers, too.

    Parameters
    ----------
    module : nn.Module
        A chain of linear layers with whatever is elementwise between two of them: see `trace`.
    x : torch.Tensor of shape (n_samples, n_features)
        The data it was trained on. Of more than 10,000 rows, weights and activations are fitted to
        as many, evenly spaced.
    n_bits : int or sequence of int
        Bits of activations, in [1, 16], of all hidden layers or of each.
    n_accum_bits : int or sequence of int
        Bits that every accumulator must fit, of all linear layers or of each; the least weights
        are pruned where needed.
    n_w_bits : int or sequence of int, optional
        Bits of weights, in [1, 16], of all linear layers or of each. Default: as activations.
    n_in_bits : int, optional
        Bits of inputs, in [1, 16]. Default: as activations.
    n_lookup_bits : int or sequence of int, optional
        Top bits of an accumulator that its lookup reads, in all hidden layers or in each. Default:
        see `default_lookup_bits`.
    rounding : str or sequence of str, default="approximate"
        As for `QuantNetwork`.
    by : Relevance, optional
        Targets and weights of the rows, which tell what rare values are worth a code.
    shape : tuple of int, optional
        What shape of a row the module gets. Default: (n_features,).
    prunes : bool, default=True
        Whether layers whose sums don't fit `n_accum_bits` are pruned until they do.
    on_misfit : callable, optional
        What is told of each layer that was pruned for that.

    Returns
    -------
    network : QuantNetwork
        The quantized chain, ready to be lowered.
    epilogue : nn.Sequential
        What follows the last linear layer, such as a softmax: it runs on the client, in the clear.

    Raises
    ------
    UnsupportedModuleError
        Naming the layer that can't be lowered.
    ProofError
        Naming the layer whose sums don't fit, and the bits they need, unless it may be pruned.
    """
    traced = trace(module, x.shape[1], shape)
    gain, layers = traced.before, traced.layers
    x = x.detach().cpu().double()
    named = NamedWidths(n_w_bits, n_bits, n_in_bits, n_accum_bits, n_lookup_bits, rounding)
    widths = named.of_layers(len(layers))
    quantizer = InputQuantizer(x.shape[1], widths[0].n_in_bits)
    quantizer.calibrate(x, by=by)
    rows = evenly_spaced(len(x), _MOST_ROWS)
    x, by = x[rows], None if by is None else by.of_rows(rows)
    chain: list[nn.Module] = [quantizer]
    # Real value of one code step, per input of the layer; the zero points go into the biases.
    codes, real = quantizer(x), x * gain.scale + gain.shift
    step = quantizer.scale * gain.scale * _varies(real)
    for layer, bits in zip(layers, widths, strict=True):
        real = nn.functional.linear(real, layer.weight, layer.bias)
        weight = layer.weight * step
        assert bits.n_accum_bits is not None
        whole, n_bits_needed = _without_budget(weight, codes, bits)
        misfits = n_bits_needed > bits.n_accum_bits
        if misfits and not prunes:
            raise ProofError(
                f"sums of layer {layer.name} need {n_bits_needed} bits, and have at most "
                f"{bits.n_accum_bits}",
                bits_needed=n_bits_needed,
                bits_allowed=bits.n_accum_bits,
            )
        quantized = _quantize_linear(weight, codes, real, bits)
        if misfits and on_misfit is not None:
            n_pruned = int(((whole != 0) & (quantized.weight_codes() == 0)).sum())
            sums = (n_bits_needed, bits.n_accum_bits)
            on_misfit(Misfit(layer.name, *sums, n_pruned, int((whole != 0).sum())))
        chain.append(quantized)
        if bits.n_a_bits is not None:
            real = layer.tail(real)
            if not torch.isfinite(real).all():
                raise UnsupportedModuleError(
                    f"what follows layer {layer.name} gives NaN or infinity on the training data"
                )
            activation = _quantize_activation(real, bits.n_a_bits, by)
            step = activation.log_step.detach().exp() * _varies(real)
            codes = activation(layer.tail(quantized(codes)))
            chain += [layer.tail, activation]
    network = QuantNetwork(nn.Sequential(*chain), real.shape[1], rounding).eval()
    return network.requires_grad_(False), traced.epilogue.eval()


def _varies(real: Tensor) -> Tensor:
    """Tell which columns vary: the others are constants, which belong into the bias."""
    return real.amax(dim=0) > real.amin(dim=0)


@torch.no_grad()
def _quantize_linear(
    weight: Tensor,
    codes: Tensor,
    real: Tensor,
    bits: NamedLayer,
) -> QuantLinear:
    """Return the layer, for weights per input code, whose outputs come closest to the real ones.

    A lookup reads the top bits of the *proven* interval, which rare inputs with large weights may
    widen far beyond the values that occur. So narrower budgets are tried too: what they prune is
    what disturbs the outputs least, and the lookup sees the rest the more finely.
    """
    n_out, n_in = weight.shape
    unit = real.var(dim=0, unbiased=False).clamp(min=torch.finfo(torch.float64).tiny)
    best: QuantLinear | None = None
    least = torch.inf
    assert bits.n_accum_bits is not None
    n_lookup_bits, narrowest = bits.lookup_bits(bits.n_accum_bits), bits.n_accum_bits
    if n_lookup_bits is not None:
        narrowest = min(narrowest, max(bits.n_w_bits + bits.n_in_bits, n_lookup_bits))
    covariance = _covariance(codes)
    for budget in range(bits.n_accum_bits, narrowest - 1, -1):
        empty = QuantLinear(
            n_in,
            n_out,
            n_w_bits=bits.n_w_bits,
            n_in_bits=bits.n_in_bits,
            n_accum_bits=budget,
            n_lookup_bits=n_lookup_bits,
        )
        for layer in _rounded(empty.double().eval(), weight, codes, covariance):
            error = real - layer(codes)
            assert layer.bias is not None
            layer.bias.add_(error.mean(dim=0))
            disturbance = float((error.var(dim=0, unbiased=False) / unit).mean())
            if disturbance < least:
                best, least = layer, disturbance
    assert best is not None
    return best


@torch.no_grad()
def _without_budget(weight: Tensor, codes: Tensor, bits: NamedLayer) -> tuple[Tensor, int]:
    """Return the integer weights of a layer that need not fit, and the bits that it would need."""
    n_out, n_in = weight.shape
    free = QuantLinear(
        n_in,
        n_out,
        n_w_bits=bits.n_w_bits,
        n_in_bits=bits.n_in_bits,
        n_accum_bits=MAX_ACCUM_BITS,
        n_lookup_bits=None,
    )
    whole = next(_rounded(free.double().eval(), weight, codes, _covariance(codes))).weight_codes()
    widest = int(whole.abs().sum(dim=1).max()) * free.max_in_code
    assert bits.n_accum_bits is not None
    n_bits, n_lookup_bits = widest.bit_length(), bits.lookup_bits(bits.n_accum_bits)
    if n_lookup_bits is not None:
        n_bits = (widest + ((1 << max(0, n_bits - n_lookup_bits)) >> 1)).bit_length()
    return whole, n_bits


def _covariance(codes: Tensor) -> Callable[[], Float64]:
    """Return what computes the covariance of codes, once, where it is asked for."""
    return cache(lambda: covariance_of(codes.numpy(), np.ones(len(codes))))


def _rounded(
    empty: QuantLinear, weight: Tensor, codes: Tensor, covariance: Callable[[], Float64]
) -> Iterator[QuantLinear]:
    """Yield a layer with its weights rounded each on its own, and one where some make up for it."""
    alone = deepcopy(empty)
    alone.weight.copy_(weight / alone.input_step)
    variance = codes.var(dim=0, unbiased=False)
    alone.log_scale.copy_(closest_scales(alone.weight, variance, alone.max_weight_code).log())
    alone.weight.mul_(alone.mask(codes.std(dim=0, unbiased=False)))
    yield alone
    # Zeros are to stay, those of a convolution above all, and large layers would take long.
    is_dense = bool((weight != 0).all(dim=0).eq((weight != 0).any(dim=0)).all())
    if empty.n_w_bits > 1 and is_dense and weight.numel() * weight.shape[1] <= _MOST_STEPS:
        rounded = integer_weights(
            weight.numpy(),
            covariance(),
            max_code=empty.max_weight_code,
            most_weight=empty.most_weight,
        )
        empty.hold(rounded)
        yield empty


@torch.no_grad()
def closest_scales(weight: Tensor, variance: Tensor, max_code: int) -> Tensor:
    """Return the scale, per neuron, whose rounding and clamping disturbs its output least.

    Inputs taken as uncorrelated, the output's squared error is that of the weights, each weighed
    with its input's variance.

    Parameters
    ----------
    weight : torch.Tensor of shape (n_neurons, n_inputs)
        Real weights.
    variance : torch.Tensor of shape (n_inputs,)
        Of the inputs.
    max_code : int
        Largest magnitude of a weight code.
    """
    largest = weight.abs().amax(dim=1)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    best, least = largest / max_code, torch.full_like(largest, torch.inf)
    for fraction in _SCALE_FRACTIONS:
        scale = (fraction * largest / max_code).unsqueeze(1)
        codes = (weight / scale).round().clamp(-max_code, max_code)
        error = (codes * scale - weight).square() @ variance
        best = torch.where(error <= least, scale.squeeze(1), best)
        least = torch.minimum(error, least)
    return best


def _quantize_activation(real: Tensor, n_bits: int, by: Relevance | None) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(real.shape[1], n_bits, nn.Identity()).double()
    ranges = InputQuantizer(real.shape[1], n_bits)
    ranges.calibrate(real, by=by)
    with torch.no_grad():
        quantizer.log_step.copy_(ranges.scale.log())
        quantizer.offset.copy_(ranges.zero_point)
    return quantizer
