"""The types that Concrete's integers get: those of the proof, never those of sample rows.

Concrete sizes integers by what it sees them hold on an inputset, and inputs beyond wrap silently.
A processor of its compilation pipeline puts the proven types in their place, so that the inputset
says nothing.

Sums need no wider type than the accumulators that they become, though they may be negative, or
larger, before the offset. A type of `b` bits is a ring of ``2**(b + 1)`` integers (the bit more is
TFHE's padding); products with clear weights and sums are those of the ring, and so is the offset.
What comes out is the accumulator modulo ``2**(b + 1)``, and that is proven to lie in the type's
range, so it is the accumulator: the argument by which the packed kernels of the simulation are
exact, too. A type one bit wider, which Concrete would take, makes a bootstrap up to 1.6 times as
dear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.fhe.runtime import fhe, integer_type
from cipherfit.integers import IntegerType
from cipherfit.stages import Stage, stages_of

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class TypedStage:
    """One stage as Concrete gets it.

    Parameters
    ----------
    weights, offset : ndarray
        As of the graph; where a lookup follows, the offset brings the least accumulator to 0.
    accumulators : IntegerType
        Of ``weights @ codes + offset``, and of the sums on the way there.
    lsbs : int
        Low bits that the lookup rounds away; in the last stage, those that may carry noise.
    exactness : fhe.Exactness
        How it does.
    tables : list of ndarray
        One per neuron, an entry per index; none in the last stage.
    """

    weights: Int64
    offset: Int64
    accumulators: IntegerType
    lsbs: int
    exactness: fhe.Exactness
    tables: list[Int64]

    @property
    def bits_read(self) -> int:
        """Bits that its lookups read; 0 in the last stage."""
        return self.accumulators.bits - self.lsbs if self.tables else 0


def typed_stages(graph: IntegerGraph, n_output_bits: int | None = None) -> list[TypedStage]:
    """Return the stages of a graph, with the types that the proof asks for.

    Parameters
    ----------
    graph : IntegerGraph
        Without client layers.
    n_output_bits : int, optional
        High bits of the outputs that are free of noise. Default: all.
    """
    stages = [_typed(stage) for stage in stages_of(graph)]
    if n_output_bits is not None and not stages[-1].tables:
        lsbs = max(0, stages[-1].accumulators.bits - n_output_bits)
        stages[-1] = replace(stages[-1], lsbs=lsbs, exactness=fhe.Exactness.APPROXIMATE)
    return stages


def _typed(stage: Stage) -> TypedStage:
    low, high = np.asarray(stage.proof.low), np.asarray(stage.proof.high)
    weights, offset, lookup = stage.weights, stage.offset, stage.lookup
    lsbs, exact, tables = 0, True, []
    if lookup is not None:
        lsbs, exact, tables = lookup.lsbs, lookup.exact, lookup.tables
        # A lookup's index starts at 0.
        offset, low, high = offset - low, np.zeros_like(low), high - low
        if all(len(table) == 1 for table in tables):
            # Nothing is read: of these accumulators rounding leaves no bit, and Concrete wants one.
            weights, offset, high = np.zeros_like(weights), np.zeros_like(offset), low
            lsbs, exact = 0, True
    # Rounding up may carry past the accumulator's own top.
    top = max([int(high.max()), *((len(table) - 1) << lsbs for table in tables)])
    return TypedStage(
        weights=weights,
        offset=offset,
        accumulators=IntegerType.of(int(low.min()), top),
        lsbs=lsbs,
        exactness=fhe.Exactness.EXACT if exact else fhe.Exactness.APPROXIMATE,
        tables=tables,
    )


class ProvenTypes(fhe.GraphProcessor):  # type: ignore[misc]
    """Give the integers of a circuit their proven types.

    Parameters
    ----------
    n_bits : int
        Bits of the input codes.
    stages : list of TypedStage
        What the circuit is made of; the nodes of stage i are tagged ``layer{i}``.
    """

    def __init__(self, n_bits: int, stages: list[TypedStage]) -> None:
        self.types: dict[tuple[str, str], IntegerType] = {("", "input"): IntegerType(n_bits)}
        for index, stage in enumerate(stages):
            tag = f"layer{index}"
            self.types[tag, "matmul"] = stage.accumulators
            self.types[tag, "add"] = stage.accumulators
            self.types[tag, "round_bit_pattern"] = stage.accumulators
            if stage.tables:
                largest = max(int(table.max()) for table in stage.tables)
                self.types[tag, "tlu"] = IntegerType.of(0, largest)

    def apply(self, graph: Any) -> None:
        """Set the types of a graph's nodes, which the nodes that read them share."""
        for node in graph.query_nodes(ordered=True):
            if node.operation == fhe.Operation.Constant:
                continue
            proven = self.types[place_of(node)]
            node.output.dtype = integer_type(proven.bits, proven.signed)
            if node.operation == fhe.Operation.Input:
                node.inputs[0] = node.output
            for successor in graph.graph.successors(node):
                for edge in graph.graph.get_edge_data(node, successor).values():
                    successor.inputs[edge["input_idx"]] = node.output


def place_of(node: Any) -> tuple[str, str]:
    """Return the tag of a node, and what it computes."""
    if node.operation == fhe.Operation.Input:
        return "", "input"
    return node.tag, str(node.properties.get("name"))
