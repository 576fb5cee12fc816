"""Ways to round in each hidden layer, and how a model gets another."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.estimators.protocol import Estimator, uncompiled_copy, with_module
from cipherfit.limits import MAX_LOOKUP_BITS
from cipherfit.predictor.predictor import Predictor
from cipherfit.stages import Lookup, stages_of
from cipherfit.training.lowering import lower
from cipherfit.training.network import SparseQuantNeuralNetImpl
from cipherfit.twin import prove

Int64 = NDArray[np.int64]

#: Wider lookups are never the fastest.
_WIDEST_TRIED = 8


@dataclass(frozen=True)
class Setting:
    """Lookup widths and rounding of encrypted hidden layers; it counts where bits are dropped.

    Parameters
    ----------
    bits : tuple of int
        Top bits that lookups read, per hidden layer.
    widths : tuple of int
        Bits of the accumulators.
    roundings : tuple of {"approximate", "exact"}
        How the others are rounded away.
    """

    bits: tuple[int, ...]
    widths: tuple[int, ...]
    roundings: tuple[str, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """How each layer rounds: "none" where no bits are dropped."""
        return tuple(
            rounding if bits < width else "none"
            for bits, width, rounding in zip(self.bits, self.widths, self.roundings, strict=True)
        )

    def variants(self, layer: int) -> list[Setting]:
        """Return all other ways to round in one layer, coarse ones last."""
        width = self.widths[layer]
        ways = [
            (bits, rounding)
            for bits in range(min(width, _WIDEST_TRIED), 0, -1)
            for rounding in (("approximate", "exact") if bits < width else ("approximate",))
        ]
        settings = [
            Setting(
                _replaced(self.bits, layer, bits),
                self.widths,
                _replaced(self.roundings, layer, rounding),
            )
            for bits, rounding in ways
        ]
        own = (self.bits, self.kinds)
        return [setting for setting in settings if (setting.bits, setting.kinds) != own]


class Rounder(Protocol):
    """A model whose lookups can be made to read other bits."""

    def setting(self) -> Setting:
        """Return how the model rounds now."""

    def lowered(self, setting: Setting) -> IntegerGraph:
        """Return the graph that rounds otherwise."""

    def applied(self, setting: Setting | None) -> Estimator | Predictor:
        """Return an uncompiled copy of the model that rounds so; None: as it is."""


@dataclass(frozen=True)
class NetworkRounder:
    """An estimator: its tables are evaluated anew, by its torch network."""

    model: Estimator
    network: SparseQuantNeuralNetImpl

    def setting(self) -> Setting:
        """Return how the network rounds now."""
        hidden = self.network.encrypted_layers[:-1]
        most = self.network.n_accum_bits
        reads = [int(layer.n_lookup_bits or MAX_LOOKUP_BITS) for layer in hidden]
        widths = tuple(
            min(read + layer.lsbs, most) for read, layer in zip(reads, hidden, strict=True)
        )
        bits = tuple(width - layer.lsbs for width, layer in zip(widths, hidden, strict=True))
        return Setting(bits, widths, tuple(self.network.roundings))

    def lowered(self, setting: Setting) -> IntegerGraph:
        """Return the graph of the network that rounds otherwise."""
        changed = deepcopy(self.network)
        changed.roundings = list(setting.roundings)
        for layer, bits in zip(changed.encrypted_layers[:-1], setting.bits, strict=True):
            layer.n_lookup_bits = bits
        return lower(changed)

    def applied(self, setting: Setting | None) -> Estimator:
        """Return a fitted copy of the estimator that rounds so."""
        if setting is None:
            return uncompiled_copy(self.model)
        rounded = with_module(
            self.model,
            self.network.state_dict(),
            n_lookup_bits=list(setting.bits), rounding=list(setting.roundings),
        )  # fmt: skip
        rounded.rebuild_predictor()
        return rounded


@dataclass(frozen=True)
class GraphRounder:
    """A predictor: its tables are read off its graph."""

    predictor: Predictor

    def setting(self) -> Setting:
        """Return how the graph rounds now."""
        graph = self.predictor.graph
        encrypted = stages_of(graph)[graph.n_client_layers :]
        hidden = [(stage.proof.bits, stage.lookup) for stage in encrypted]
        bits, widths, roundings = [], [], []
        for width, lookup in hidden:
            if lookup is not None:
                widths.append(width)
                bits.append(max(1, width - lookup.lsbs))
                roundings.append("exact" if lookup.rounding == "exact" else "approximate")
        return Setting(tuple(bits), tuple(widths), tuple(roundings))

    def lowered(self, setting: Setting) -> IntegerGraph:
        """Return the graph that rounds otherwise: see `rounded`."""
        return rounded(self.predictor.graph, setting)

    def applied(self, setting: Setting | None) -> Predictor:
        """Return a predictor that rounds so."""
        graph = self.predictor.graph if setting is None else self.lowered(setting)
        return self.predictor.with_graph(graph)


def rounded(graph: IntegerGraph, setting: Setting) -> IntegerGraph:
    """Return a graph whose lookups read other bits of their accumulators.

    An entry of a new table is what the old one gives in the middle of the accumulators that share
    it. Coarser tables may give fewer codes, so that intervals behind them shrink, and with them the
    tables that read those.

    Parameters
    ----------
    graph : IntegerGraph
        The network.
    setting : Setting
        How each encrypted hidden layer is to round; those of the client stay as they are.

    Returns
    -------
    IntegerGraph

    Raises
    ------
    ProofError
        If a lookup's index needs more than 16 bits.
    """
    parts = graph.to_dict()
    n_client = graph.n_client_layers
    layers: list[dict[str, Any]] = parts["layers"][: 2 * n_client]
    for number, stage in enumerate(stages_of(graph)[n_client:]):
        layers.append({"kind": "linear", "weights": stage.weights, "offset": stage.offset})
        if stage.lookup is None:
            break
        low, high = prove({**parts, "layers": layers})[-1]
        lsbs = max(0, setting.widths[number] - setting.bits[number])
        ends = zip(low.tolist(), high.tolist(), strict=True)
        tables = [_read(stage.lookup, neuron, *end, lsbs) for neuron, end in enumerate(ends)]
        exact = lsbs == 0 or setting.roundings[number] == "exact"
        layers.append(
            {"kind": "lookup", "low": low, "lsbs": lsbs, "exact": exact, "tables": tables}
        )
    return IntegerGraph.from_layers(
        parts["input"], layers, parts["output"], n_client_layers=n_client
    )


def _read(lookup: Lookup, neuron: int, low: int, high: int, lsbs: int) -> Int64:
    """Return a neuron's table for accumulators in [low, high], read off the one that it has."""
    half = (1 << lsbs) >> 1
    middles = np.arange(0, ((high - low + half) >> lsbs) + 1) << lsbs
    accumulators = np.minimum(low + middles, high)
    old_half = (1 << lookup.lsbs) >> 1
    index = (accumulators - int(lookup.low[neuron]) + old_half) >> lookup.lsbs
    return np.asarray(lookup.tables[neuron][index], dtype=np.int64)


def _replaced(values: Sequence[Any], index: int, value: Any) -> tuple[Any, ...]:
    return (*values[:index], value, *values[index + 1 :])
