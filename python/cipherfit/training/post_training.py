"""Quantization of a trained float network, from data: what custom torch modules go through.

Weights get the scale, per neuron, whose rounding disturbs its output least; activations the range
that they take on the data; and each layer's bias is corrected so that its outputs keep their
means (Nagel et al., 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.limits import MAX_LOOKUP_BITS
from cipherfit.training.activations import is_elementwise
from cipherfit.training.linear import QuantLinear
from cipherfit.training.network import QuantNetwork
from cipherfit.training.quantizers import ActivationQuantizer, InputQuantizer
from cipherfit.training.ranges import Relevance
from cipherfit.training.widths import default_lookup_bits

_SKIPPED = (nn.Dropout, nn.AlphaDropout, nn.Flatten, nn.Identity)
_FLATTENERS: tuple[Any, ...] = (torch.flatten, "flatten")
#: Weight scales that are tried, as fractions of the one that clamps no weight.
_SCALE_FRACTIONS = torch.logspace(-1.5, 0.0, 46, dtype=torch.float64)


@dataclass
class _Layer:
    """A linear layer and the elementwise modules behind it."""

    name: str
    linear: nn.Linear
    tail: list[nn.Module] = field(default_factory=list)


def quantize_module(
    module: nn.Module,
    x: Tensor,
    *,
    n_bits: int,
    n_accum_bits: int,
    by: Relevance | None = None,
) -> tuple[QuantNetwork, nn.Sequential]:
    """Quantize a trained float module made of linear layers and elementwise functions.

    Parameters
    ----------
    module : nn.Module
        A chain of Linear, BatchNorm1d, Dropout, Flatten and elementwise activations.
    x : torch.Tensor of shape (n_samples, n_features)
        The data it was trained on.
    n_bits : int
        Bits of inputs, weights and activations, in [1, 16].
    n_accum_bits : int
        Bits that every accumulator must fit; the least weights are pruned where needed.
    by : Relevance, optional
        Targets and weights of the rows, which tell what rare values are worth a code.

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
    """
    gain, layers = _layers(copy.deepcopy(module).cpu().double().eval(), x.shape[1])
    x = x.detach().cpu().double()
    quantizer = InputQuantizer(x.shape[1], n_bits)
    quantizer.calibrate(x, by=by)
    chain: list[nn.Module] = [quantizer]
    # Real value of one code step, per input of the layer; the zero points go into the biases.
    codes, real = quantizer(x), x * gain.scale + gain.shift
    step = quantizer.scale * gain.scale * _varies(real)
    for layer in layers:
        real = layer.linear(real)
        lookup_bits = None
        if layer is not layers[-1]:
            lookup_bits = min(MAX_LOOKUP_BITS, default_lookup_bits(n_accum_bits, n_bits))
        quantized = _quantize_linear(
            layer.linear.weight * step, codes, real, n_bits, n_accum_bits, lookup_bits
        )
        chain.append(quantized)
        if layer is not layers[-1]:
            tail = nn.Sequential(*layer.tail)
            real = tail(real)
            activation = _quantize_activation(real, n_bits, by)
            step = activation.log_step.detach().exp() * _varies(real)
            codes = activation(tail(quantized(codes)))
            chain += [*layer.tail, activation]
    network = QuantNetwork(nn.Sequential(*chain), real.shape[1], "approximate").eval()
    return network.requires_grad_(False), nn.Sequential(*layers[-1].tail).eval()


@dataclass
class _Affine:
    """An affine function of the features, which batch normalization of inputs amounts to."""

    scale: Tensor
    shift: Tensor


class _Function(nn.Module):
    """An elementwise function that the module calls, such as `torch.relu`, as a module."""

    def __init__(self, node: fx.Node) -> None:
        super().__init__()
        self.node = node

    @property
    def called(self) -> Any:
        """The function or method, where its one argument is the value; else None."""
        return self.node.target if len(self.node.args) == 1 and not self.node.kwargs else None

    def forward(self, x: Tensor) -> Tensor:
        rest = self.node.args[1:]
        target: Any = self.node.target
        if isinstance(target, str):
            target = getattr(torch.Tensor, target)
        outputs: Tensor = target(x, *rest, **self.node.kwargs)
        return outputs


def _layers(module: nn.Module, n_features: int) -> tuple[_Affine, list[_Layer]]:
    """Cut a module into linear layers with their tails, and the affine function before them."""
    ones = torch.ones(n_features, dtype=torch.float64)
    before = _Affine(ones, torch.zeros_like(ones))
    layers: list[_Layer] = []
    foreign: str | None = None
    for name, step in _chain(module):
        if isinstance(step, _SKIPPED):
            continue
        if isinstance(step, nn.Linear):
            if foreign is not None:
                raise UnsupportedModuleError(
                    f"layer {foreign} is not elementwise, and linear layers follow it: only after "
                    "the last linear layer can it run on the client"
                )
            layers.append(_Layer(name, step))
        elif not layers:
            if not isinstance(step, nn.BatchNorm1d):
                raise UnsupportedModuleError(
                    f"layer {name} comes before the first linear layer; only BatchNorm1d, Dropout "
                    "and Flatten can, so put it into a preprocessing step"
                )
            before = _after(before, step)
        else:
            if not isinstance(step, nn.BatchNorm1d) and not _is_double_elementwise(step):
                foreign = name
            layers[-1].tail.append(step)
    if not layers:
        raise UnsupportedModuleError("the module has no linear layer, so nothing to run in FHE")
    return before, layers


def _chain(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return a module's elementary steps in order, or say which one leaves the chain."""
    try:
        traced = fx.symbolic_trace(module)
    except Exception as error:
        raise UnsupportedModuleError(
            f"{type(module).__name__}.forward can't be traced ({error}); it must be a fixed chain "
            "of layers, without control flow that depends on the data"
        ) from error
    steps: list[tuple[str, nn.Module]] = []
    previous: fx.Node | None = None
    for node in traced.graph.nodes:
        if node.op == "output":
            continue
        if node.op != "placeholder" and (
            node.all_input_nodes != [previous] or node.op == "get_attr"
        ):
            raise UnsupportedModuleError(
                f"layer {node.name} doesn't follow from the one before it alone: only chains of "
                "layers can be lowered"
            )
        if len(node.users) > 1 or (node.op == "placeholder" and previous is not None):
            raise UnsupportedModuleError(
                f"the output of {node.name} is used by several layers: only chains can be lowered"
            )
        previous = node
        if node.op == "call_module":
            steps.append((str(node.target), traced.get_submodule(str(node.target))))
        elif node.op in ("call_function", "call_method") and node.target not in _FLATTENERS:
            steps.append((node.name, _Function(node)))
    return steps


def _varies(real: Tensor) -> Tensor:
    """Tell which columns vary: the others are constants, which belong into the bias."""
    return real.amax(dim=0) > real.amin(dim=0)


def _is_double_elementwise(step: nn.Module) -> bool:
    return is_elementwise(copy.deepcopy(step).float())


def _after(before: _Affine, norm: nn.BatchNorm1d) -> _Affine:
    shift = norm(before.shift.unsqueeze(0)).squeeze(0)
    return _Affine(norm((before.scale + before.shift).unsqueeze(0)).squeeze(0) - shift, shift)


@torch.no_grad()
def _quantize_linear(
    weight: Tensor,
    codes: Tensor,
    real: Tensor,
    n_bits: int,
    n_accum_bits: int,
    n_lookup_bits: int | None,
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
    narrowest = n_accum_bits if n_lookup_bits is None else max(2 * n_bits, n_lookup_bits)
    for budget in range(n_accum_bits, min(narrowest, n_accum_bits) - 1, -1):
        layer = QuantLinear(
            n_in,
            n_out,
            n_w_bits=n_bits,
            n_in_bits=n_bits,
            n_accum_bits=budget,
            n_lookup_bits=n_lookup_bits,
        )
        layer = layer.double().eval()
        layer.weight.copy_(weight / layer.input_step)
        _choose_scales(layer, codes)
        layer.weight.mul_(layer.mask(codes.std(dim=0, unbiased=False)))
        error = real - layer(codes)
        assert layer.bias is not None
        layer.bias.add_(error.mean(dim=0))
        disturbance = float((error.var(dim=0, unbiased=False) / unit).mean())
        if disturbance < least:
            best, least = layer, disturbance
    assert best is not None
    return best


@torch.no_grad()
def _choose_scales(quantized: QuantLinear, inputs: Tensor) -> None:
    """Set the scale, per neuron, whose rounding and clamping disturbs its output least.

    Inputs taken as uncorrelated, the output's squared error is that of the weights, each weighed
    with its input's variance.
    """
    weight, max_code = quantized.weight, quantized.max_weight_code
    variance = inputs.var(dim=0, unbiased=False)
    largest = weight.abs().amax(dim=1)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    best, least = largest / max_code, torch.full_like(largest, torch.inf)
    for fraction in _SCALE_FRACTIONS:
        scale = (fraction * largest / max_code).unsqueeze(1)
        codes = (weight / scale).round().clamp(-max_code, max_code)
        error = (codes * scale - weight).square() @ variance
        best = torch.where(error <= least, scale.squeeze(1), best)
        least = torch.minimum(error, least)
    quantized.log_scale.copy_(best.log())


def _quantize_activation(real: Tensor, n_bits: int, by: Relevance | None) -> ActivationQuantizer:
    quantizer = ActivationQuantizer(real.shape[1], n_bits, nn.Identity()).double()
    ranges = InputQuantizer(real.shape[1], n_bits)
    ranges.calibrate(real, by=by)
    with torch.no_grad():
        quantizer.log_step.copy_(ranges.scale.log())
        quantizer.offset.copy_(ranges.zero_point)
    return quantizer
