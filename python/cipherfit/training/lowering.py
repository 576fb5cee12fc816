"""From a trained torch network straight to the integer graph that computes the same."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import NotFittedError, UnsupportedModuleError
from cipherfit.training.linear import QuantLinear
from cipherfit.training.network import QuantNetwork, double_state
from cipherfit.training.random_layers import RandomLayer

Int64 = NDArray[np.int64]

#: Table entries that are evaluated at once, which bounds the memory for wide lookups.
_ENTRIES_AT_ONCE = 1 << 21


def lower(network: QuantNetwork) -> IntegerGraph:
    """Lower a quantized network to its integer graph.

    Everything between two linear layers (dequantization, bias, batch normalization, activation,
    quantization) becomes one table per neuron, by evaluating it on every value that the neuron's
    accumulator can take. Hidden neurons that are constant, or that nothing reads, are folded away:
    they would cost a lookup and say nothing. Random client layers stay whole: which of
    their neurons nothing reads would tell something of the weights behind them.

    The code intervals proven on the way are written to the network's linear layers, so that its
    forward in evaluation mode rounds on the graph's grid.

    Parameters
    ----------
    network : QuantNetwork
        A trained (or at least calibrated) network.

    Returns
    -------
    IntegerGraph
        The graph whose outputs equal the network's in evaluation mode.

    Raises
    ------
    NotFittedError
        If the network's input quantizer was never calibrated.
    ProofError
        If an accumulator can't be proven to fit a lookup.
    UnsupportedModuleError
        If an activation is NaN somewhere in its accumulator's proven interval.
    """
    if not bool(network.input_quantizer.calibrated):
        raise NotFittedError(
            "the network needs to be calibrated first: train it, or call its calibrate(x)"
        )
    was_training = network.training
    network.eval()
    try:
        drawn = [_lower_random_layer(layer) for layer in network.random_layers]
        if drawn:
            _write_intervals(drawn[-1].tables, network.linear_layers[0])
        trained = _lower_linear_layers(network)
    finally:
        network.train(was_training)
    _fold_constant_neurons(trained)
    _drop_silent_neurons(trained)
    stack = drawn + trained
    quantizer = network.input_quantizer
    input_spec = {
        "scale": quantizer.scale.cpu().numpy(),
        "zero_point": quantizer.zero_point.cpu().numpy(),
        "n_bits": quantizer.n_bits,
    }
    layers = _assemble(stack, quantizer.max_code)
    # The graph's accumulator is the network's, less the constants folded away and its minimum.
    origin = stack[-1].folded - layers[-1]["offset"]
    return IntegerGraph.from_layers(
        input_spec,
        layers,
        _output(network, origin),
        n_client_layers=network.n_client_layers,
    )


@torch.no_grad()
def write_intervals(network: QuantNetwork, most_bits: int) -> None:
    """Write the code intervals that are proven for a network as it is now to its linear layers.

    So its forward rounds on the grid that its graph would have, in the midst of training, too.

    Parameters
    ----------
    network : QuantNetwork
        Without client layers.
    most_bits : int
        Lookups of more bits than these are left out: it would take long, and their grid is fine.
    """
    for linear, tail, following in _linear_runs(network):
        n_bits = linear.n_lookup_bits
        if following is None or n_bits is None or n_bits > most_bits:
            continue
        exact = copy.deepcopy(linear).double().eval()
        was_training = tail.training
        _write_intervals(_tables(exact, exact.weight_codes(), tail.eval()), following)
        tail.train(was_training)


def _linear_runs(
    network: QuantNetwork,
) -> Iterator[tuple[QuantLinear, nn.Sequential, QuantLinear | None]]:
    """Yield linear layers, what follows each, and the linear layer behind that, if there is one."""
    modules = list(network.features)
    starts = [i for i, module in enumerate(modules) if isinstance(module, QuantLinear)]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        linear, following = modules[start], None if end is None else modules[end]
        assert isinstance(linear, QuantLinear)
        assert following is None or isinstance(following, QuantLinear)
        yield linear, nn.Sequential(*modules[start + 1 : end]), following


@dataclass
class _Layer:
    """One linear layer in integers, and the tables of the lookup behind it, if there is one.

    `folded` is what neurons that were folded away contributed to each accumulator.
    """

    weights: Int64
    folded: Int64
    lsbs: int
    exact: bool
    tables: list[Int64]

    def constant(self) -> NDArray[np.bool_]:
        """Tell which neurons give one code whatever comes in."""
        return np.array([table.min() == table.max() for table in self.tables])


def _lower_random_layer(layer: RandomLayer) -> _Layer:
    weights, tables = layer.integers()
    nothing = np.zeros(len(weights), dtype=np.int64)
    return _Layer(weights, nothing, layer.lsbs, exact=True, tables=tables)


@torch.no_grad()
def _lower_linear_layers(network: QuantNetwork) -> list[_Layer]:
    stack = []
    # What a client computes, and the last layer's sums, are exact.
    n_client = len(network.linear_layers) - len(network.encrypted_layers)
    roundings = ["exact"] * n_client + [*network.roundings, "exact"]
    for (linear, tail, following), rounding in zip(_linear_runs(network), roundings, strict=True):
        exact = copy.deepcopy(linear).double()
        codes = exact.weight_codes()
        tables: list[Int64] = []
        if following is not None:
            tables = _tables(exact, codes, tail)
            _write_intervals(tables, following)
        stack.append(
            _Layer(
                weights=codes.to(torch.int64).cpu().numpy(),
                folded=np.zeros(len(codes), dtype=np.int64),
                lsbs=linear.lsbs,
                exact=rounding == "exact" or linear.lsbs == 0,
                tables=tables,
            )
        )
    return stack


def _tables(linear: QuantLinear, codes: Tensor, tail: nn.Sequential) -> list[Int64]:
    """Evaluate what follows a linear layer on each value that its accumulators can take."""
    state = double_state(tail)
    step = float(1 << linear.lsbs)
    low = linear.lowest(codes)
    width = codes.abs() @ (linear.in_high - linear.in_low)
    lengths = ((width + linear.rounding_half) / step).floor().to(torch.int64) + 1
    longest = int(lengths.max())
    entries = np.empty((longest, len(codes)), dtype=np.int64)
    rows = max(1, _ENTRIES_AT_ONCE // len(codes))
    for first in range(0, longest, rows):
        # One grid for all neurons, as long as the longest table: the rest is cut off below.
        index = torch.arange(first, min(first + rows, longest), device=low.device).double()
        real = linear.dequantize(low + index.unsqueeze(1) * step, codes)
        piece = torch.func.functional_call(tail, state, real)
        undefined = torch.isnan(piece) & (index.unsqueeze(1) < lengths)
        if undefined.any():
            neuron = int(undefined.any(dim=0).nonzero()[0])
            raise UnsupportedModuleError(
                f"what follows a hidden linear layer is NaN for inputs that neuron {neuron} can "
                "get, though no training row may give them: clamp what isn't defined everywhere, "
                "such as logarithms and roots"
            )
        entries[first : first + rows] = piece.to(torch.int64).cpu().numpy()
    return [np.ascontiguousarray(entries[:n, j]) for j, n in enumerate(lengths.tolist())]


def _write_intervals(tables: list[Int64], following: QuantLinear) -> None:
    low, high = following.in_low, following.in_high
    low.copy_(torch.tensor([float(table.min()) for table in tables]))
    high.copy_(torch.tensor([float(table.max()) for table in tables]))


@torch.no_grad()
def _output(network: QuantNetwork, origin: Int64) -> dict[str, NDArray[np.float64]]:
    """Return scale and offset to real values of accumulators counted from `origin`."""
    last = copy.deepcopy(network.linear_layers[-1]).double()
    scale = last.unit * network.output_scale
    real = last.dequantize(torch.from_numpy(origin).to(scale), last.weight_codes())
    offset = real * network.output_scale + network.output_mean
    return {"scale": scale.cpu().numpy(), "offset": offset.cpu().numpy()}


def _fold_constant_neurons(stack: list[_Layer]) -> None:
    """Cut constant neurons off, and note what they contribute to the layer that reads them."""
    for layer, following in itertools.pairwise(stack):
        constant = layer.constant()
        values = np.array([table[0] for table in layer.tables])
        following.folded += following.weights[:, constant] @ values[constant]
        following.weights[:, constant] = 0


def _drop_silent_neurons(stack: list[_Layer]) -> None:
    """Remove hidden neurons that no neuron reads; a layer keeps at least one."""
    # Backwards, since a neuron that goes may leave those before it unread.
    for layer, following in zip(stack[-2::-1], stack[:0:-1], strict=True):
        heard = following.weights.any(axis=0)
        heard[0] |= not heard.any()
        layer.weights = layer.weights[heard]
        layer.folded = layer.folded[heard]
        layer.tables = [table for table, kept in zip(layer.tables, heard, strict=True) if kept]
        following.weights = following.weights[:, heard]


def _assemble(stack: list[_Layer], max_input: int) -> list[dict[str, Any]]:
    """Write the layers as the graph takes them, with every accumulator's interval at 0."""
    layers: list[dict[str, Any]] = []
    in_low = np.zeros(stack[0].weights.shape[1], dtype=np.int64)
    in_high = np.full_like(in_low, max_input)
    for layer in stack:
        negative, positive = np.minimum(layer.weights, 0), np.maximum(layer.weights, 0)
        low = positive @ in_low + negative @ in_high
        # A clear addition is free in FHE: it moves each interval to start at 0, where its lookup
        # reads it, and takes the sign bit from the outputs.
        layers.append({"kind": "linear", "weights": layer.weights, "offset": -low})
        if layer.tables:
            layers.append(
                {
                    "kind": "lookup",
                    "low": np.zeros_like(low),
                    "lsbs": layer.lsbs,
                    "exact": layer.exact,
                    "tables": layer.tables,
                }
            )
            in_low = np.array([table.min() for table in layer.tables])
            in_high = np.array([table.max() for table in layer.tables])
    return layers
