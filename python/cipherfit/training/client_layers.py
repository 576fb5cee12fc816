"""What the parameters of a network say of its client layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer
from cipherfit.training.client_features import FeatureKind, feature_kind
from cipherfit.training.random_layers import RandomLayer, random_layers
from cipherfit.training.widths import LayerWidths, check_accumulator, default_in_bits

#: Where the weights of client layers may come from.
_SOURCES = ("random", "learned")
#: Widths by default: in the clear they cost next to nothing, but the codes are what the encrypted
#: part takes in, whose sums they widen.
_W_BITS, _A_BITS, _ACCUM_BITS, _LOOKUP_BITS = 5, 4, 16, 10
#: Least and most learned neurons of a layer by default, and how many per feature between them: on
#: tables with few features more of them overfit.
_LEAST_NEURONS, _MOST_NEURONS, _PER_FEATURE = 16, 256, 2
#: Bits of an input that random neurons read: fine, and yet its range clamps rare values.
_RANDOM_IN_BITS = 7


@dataclass(frozen=True)
class ClientLayers:
    """The hidden layers that the client computes in the clear.

    Parameters
    ----------
    n_layers : int
        How many of the hidden layers, from the first on.
    kind : FeatureKind or None
        What the neurons of random layers read; None where there are none, or learned ones.
    widths : LayerWidths
        Bits of each of them.
    """

    n_layers: int
    kind: FeatureKind | None
    widths: LayerWidths

    @classmethod
    def chosen(
        cls,
        n_layers: int,
        n_hidden: int,
        source: str,
        *,
        features: str,
        input_dim: int,
        image_shape: Any,
        n_w_bits: int | None,
        n_a_bits: int | None,
        n_accum_bits: int | None,
    ) -> ClientLayers:
        """Return the client layers that a network's parameters describe; see there.

        Raises
        ------
        InvalidParameterError
            If a parameter is none that is allowed.
        """
        n_layers = integer(
            "n_client_layers", n_layers, 0, n_hidden,
            what="number of client layers", why="so many layers are hidden",
        )  # fmt: skip
        if source not in _SOURCES:
            raise InvalidParameterError(
                f"Invalid client_layers: {source!r} is neither 'random' nor 'learned'"
            )
        kind = feature_kind(features, input_dim, image_shape)
        is_random = n_layers > 0 and source == "random"
        return cls(n_layers, kind if is_random else None, _widths(n_w_bits, n_a_bits, n_accum_bits))

    def default_neurons(self, input_dim: int) -> int:
        """Return how many neurons a layer has by default."""
        if self.kind is not None:
            return self.kind.default_width(input_dim)
        return min(max(_PER_FEATURE * input_dim, _LEAST_NEURONS), _MOST_NEURONS)

    def default_in_bits(self, input_dim: int) -> int:
        """Return how many bits an input has by default."""
        if self.kind is not None:
            return _RANDOM_IN_BITS
        bits = self.widths
        return default_in_bits(input_dim, bits.n_w_bits, bits.n_a_bits, bits.n_accum_bits)

    def draw(self, input_dim: int, neurons: Sequence[int], n_in_bits: int) -> list[RandomLayer]:
        """Return the random layers, of so many neurons each; learned ones are not drawn."""
        if self.kind is None:
            return []
        n_a_bits = self.widths.n_a_bits
        return random_layers(
            self.kind, neurons, n_inputs=input_dim, n_in_bits=n_in_bits, n_a_bits=n_a_bits
        )


def _widths(n_w_bits: int | None, n_a_bits: int | None, n_accum_bits: int | None) -> LayerWidths:
    bits = {"w": (n_w_bits, _W_BITS), "a": (n_a_bits, _A_BITS)}
    w_bits, a_bits = (
        integer(
            f"n_client_{name}_bits", default if given is None else given, 1, MAX_CODE_BITS,
            what="quantization bitwidth",
        )
        for name, (given, default) in bits.items()
    )  # fmt: skip
    accum_bits = integer(
        "n_client_accum_bits", _ACCUM_BITS if n_accum_bits is None else n_accum_bits,
        1, MAX_ACCUM_BITS, what="accumulator bitwidth",
    )  # fmt: skip
    check_accumulator(accum_bits, w_bits, a_bits, "activation", "n_client_accum_bits")
    lookup_bits = min(accum_bits, MAX_LOOKUP_BITS, max(_LOOKUP_BITS, a_bits + 1))
    return LayerWidths(w_bits, accum_bits, lookup_bits, a_bits)
