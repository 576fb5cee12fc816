"""What is proven of a model: intervals of accumulators, beside what rows reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Neuron:
    """What is proven of an accumulator, and what test rows reach.

    Parameters
    ----------
    number : int
        Its place in the layer.
    low, high : int
        The proven interval.
    bits : int
        Bits of its width.
    headroom : int
        What it leaves of the layer's bits.
    nonzeros : int
        Weights that are not 0.
    seen_low, seen_high : int or None
        Least and largest value on the test rows.
    """

    number: int
    low: int
    high: int
    bits: int
    headroom: int
    nonzeros: int
    seen_low: int | None
    seen_high: int | None


@dataclass(frozen=True)
class ProvenBar:
    """One or several neurons of a picture, each counted from its proven minimum.

    Parameters
    ----------
    first, last : int
        Which neurons.
    width : int
        The widest proven interval among them.
    seen : tuple of (int, int) or None
        The least and the largest value that test rows reach in any of them.
    """

    first: int
    last: int
    width: int
    seen: tuple[int, int] | None


@dataclass(frozen=True)
class LayerProof:
    """What is proven of a layer.

    Parameters
    ----------
    side : {"client", "server"}
        Who computes it; the client in clear, the server on ciphertexts.
    n_neurons, n_inputs, nonzeros : int
        Its size, and weights that are not 0.
    bits : int
        Bits of its widest accumulator, counted from the minimum.
    lookup_bits : int or None
        Bits that the lookup behind it reads; None where there is none.
    rounding : {"none", "approximate", "exact"}
        How the bits between the two are rounded away.
    low, high : int
        The least minimum and the largest maximum.
    bars : tuple of ProvenBar
        The picture.
    neurons : tuple of Neuron
        The table: all, or those with the least headroom.
    """

    side: str
    n_neurons: int
    n_inputs: int
    nonzeros: int
    bits: int
    lookup_bits: int | None
    rounding: str
    low: int
    high: int
    bars: tuple[ProvenBar, ...]
    neurons: tuple[Neuron, ...]

    @property
    def room(self) -> int:
        """The widest interval that its bits hold."""
        return int(2**self.bits - 1)

    @property
    def seen_share(self) -> float | None:
        """The part of the widest proven interval that test rows span at most; None without any."""
        spans = [bar.seen[1] - bar.seen[0] for bar in self.bars if bar.seen is not None]
        widest = max((bar.width for bar in self.bars), default=0)
        return max(spans) / widest if spans and widest else None


@dataclass(frozen=True)
class Proof:
    """What is proven of a model.

    Parameters
    ----------
    graph, digest : str
        SHA-256 of the whole graph, and of what the server runs.
    layers : tuple of LayerProof
        The first of its layers.
    n_layers : int
        All of them.
    max_bits : int
        Bits of the widest accumulator.
    n_rows : int
        Test rows whose accumulators are shown.
    """

    graph: str
    digest: str
    layers: tuple[LayerProof, ...]
    n_layers: int
    max_bits: int
    n_rows: int
