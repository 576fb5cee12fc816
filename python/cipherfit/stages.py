"""How the layers of an integer graph follow each other: the one place that says so.

A graph is a chain of stages. Each has a linear layer; all but the last have a lookup that reads its
accumulators, and whose codes the next stage takes. In a graph that ends in codes the last has one,
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph, LayerCertificate
from cipherfit.exceptions import CompilationError

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Lookup:
    """One table per neuron, read at the accumulator's top bits; as of `IntegerGraph.to_dict`.

    Parameters
    ----------
    low : ndarray of shape (n_neurons,)
        Each neuron's proven minimum, which the index counts from.
    lsbs : int
        Low bits that are rounded away.
    exact : bool
        Whether they are rounded exactly.
    tables : list of ndarray
        One per neuron, an entry per index.
    """

    low: Int64
    lsbs: int
    exact: bool
    tables: list[Int64]

    @property
    def rounding(self) -> str:
        """How bits are rounded away: "none", "approximate" or "exact"."""
        if not self.lsbs:
            return "none"
        return "exact" if self.exact else "approximate"


@dataclass(frozen=True)
class Stage:
    """A linear layer, its proof, and the lookup behind it, if there is one.

    Parameters
    ----------
    weights : ndarray of shape (n_neurons, n_inputs)
        Integer weights.
    offset : ndarray of shape (n_neurons,)
        What is added to each sum.
    proof : LayerCertificate
        Proven intervals of the accumulators.
    lookup : Lookup or None
        None in a last stage whose accumulators are the outputs.
    """

    weights: Int64
    offset: Int64
    proof: LayerCertificate
    lookup: Lookup | None

    @property
    def n_neurons(self) -> int:
        """Number of accumulators."""
        return len(self.weights)


def client_part(graph: IntegerGraph) -> IntegerGraph | None:
    """Return the client's layers, which end in codes; None where there are none."""
    return _halves(graph)[0] if graph.n_client_layers else None


def encrypted_part(graph: IntegerGraph) -> IntegerGraph:
    """Return what of a graph is encrypted: all that follows its client layers.

    Raises
    ------
    CompilationError
        If nothing follows.
    """
    if not graph.n_client_layers:
        return graph
    if graph.ends_in_codes and graph.n_client_layers == len(graph.prove().layers):
        raise CompilationError(
            "nothing of this graph is encrypted: it ends with the client's layers. Compile what "
            "follows them, the other half of `split`, or the whole graph"
        )
    return _halves(graph)[1]


@lru_cache(maxsize=16)
def _halves(graph: IntegerGraph) -> tuple[IntegerGraph, IntegerGraph]:
    """Cut a graph, which takes longer than a row: once for all rows."""
    return graph.split()


def stages_of(graph: IntegerGraph) -> list[Stage]:
    """Return the stages of a graph, first to last."""
    layers = graph.to_dict()["layers"]
    lookups = [_lookup(layer) for layer in layers[1::2]]
    last = [] if graph.ends_in_codes else [None]
    return [
        Stage(linear["weights"], linear["offset"], proof, lookup)
        for linear, proof, lookup in zip(
            layers[::2], graph.prove().layers, [*lookups, *last], strict=True
        )
    ]


def up_to(graph: IntegerGraph, layer: int) -> IntegerGraph:
    """Return the graph whose outputs are the accumulators of one of a graph's linear layers.

    Parameters
    ----------
    graph : IntegerGraph
        The whole.
    layer : int
        Which linear layer, counted from 0.
    """
    parts = graph.to_dict()
    layers = parts["layers"][: 2 * layer + 1]
    n_outputs = len(layers[-1]["offset"])
    as_they_are = {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)}
    return IntegerGraph.from_layers(parts["input"], layers, as_they_are)


def _lookup(layer: dict[str, Any]) -> Lookup:
    return Lookup(
        np.asarray(layer["low"]), int(layer["lsbs"]), bool(layer["exact"]), list(layer["tables"])
    )
