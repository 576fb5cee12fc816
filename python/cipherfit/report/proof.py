"""What is proven of every accumulator, and what rows reach of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.report.proven import LayerProof, Neuron, Proof, ProvenBar
from cipherfit.stages import Stage, encrypted_part, stages_of, up_to

Int64 = NDArray[np.int64]
Reached = tuple[Int64, Int64]

#: Layers, bars of a layer's picture, and neurons in its table.
MOST_LAYERS, MOST_BARS, MOST_NEURONS = 12, 96, 128
#: Rows whose accumulators are computed, and how many at once.
MOST_ROWS, _BATCH = 20_000, 2048


def proof_of(graph: IntegerGraph, codes: NDArray[np.uint16] | None = None) -> Proof:
    """Return what is proven of a graph, beside what rows reach.

    Parameters
    ----------
    graph : IntegerGraph
        The network.
    codes : ndarray of shape (n_samples, n_features), optional
        Input codes of test rows, of which the first are looked at.
    """
    stages = stages_of(graph)
    if codes is not None:
        codes = codes[:MOST_ROWS]
    layers = tuple(
        _layer(
            stage,
            None if codes is None else _reached(up_to(graph, index), codes),
            "client" if index < graph.n_client_layers else "server",
        )
        for index, stage in enumerate(stages[:MOST_LAYERS])
    )
    return Proof(
        graph=graph.digest,
        digest=encrypted_part(graph).digest,
        layers=layers,
        n_layers=len(stages),
        max_bits=graph.prove().max_accumulator_bits,
        n_rows=0 if codes is None else len(codes),
    )


def _reached(graph: IntegerGraph, codes: NDArray[np.uint16]) -> Reached:
    """Return the least and largest outputs (n_neurons,) of rows."""
    batches = (codes[first : first + _BATCH] for first in range(0, len(codes), _BATCH))
    ends = [(sums.min(axis=0), sums.max(axis=0)) for sums in map(graph.simulate, batches)]
    lows, highs = zip(*ends, strict=True)
    return np.min(lows, axis=0), np.max(highs, axis=0)


def _layer(stage: Stage, reached: Reached | None, side: str) -> LayerProof:
    proof, lookup = stage.proof, stage.lookup
    nonzeros = (stage.weights != 0).sum(axis=1)
    kept = np.sort(np.argsort(proof.headroom, kind="stable")[:MOST_NEURONS])
    seen = (None, None) if reached is None else reached
    neurons = tuple(
        Neuron(
            number=int(i),
            low=int(proof.low[i]),
            high=int(proof.high[i]),
            bits=int(proof.neuron_bits[i]),
            headroom=int(proof.headroom[i]),
            nonzeros=int(nonzeros[i]),
            seen_low=None if seen[0] is None else int(seen[0][i]),
            seen_high=None if seen[1] is None else int(seen[1][i]),
        )
        for i in kept
    )
    return LayerProof(
        side=side,
        n_neurons=stage.n_neurons,
        n_inputs=stage.weights.shape[1],
        nonzeros=int(nonzeros.sum()),
        bits=proof.bits,
        lookup_bits=None if lookup is None else max(1, proof.bits - lookup.lsbs),
        rounding="none" if lookup is None else lookup.rounding,
        low=int(proof.low.min()),
        high=int(proof.high.max()),
        bars=_bars(stage, reached),
        neurons=neurons,
    )


def _bars(stage: Stage, reached: Reached | None) -> tuple[ProvenBar, ...]:
    """Return a bar for each neuron, or for as many neurons each as leave few enough bars."""
    low = stage.proof.low
    width = stage.proof.high - low
    per_bar = -(-stage.n_neurons // MOST_BARS)
    bars = []
    for first in range(0, stage.n_neurons, per_bar):
        group = slice(first, first + per_bar)
        seen = None
        if reached is not None:
            lows, highs = (each[group] - low[group] for each in reached)
            seen = (int(lows.min()), int(highs.max()))
        last = min(first + per_bar, stage.n_neurons) - 1
        bars.append(ProvenBar(first, last, int(width[group].max()), seen))
    return tuple(bars)
