"""How many bits and neurons a network's layers get, from what the user gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias

from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer
from cipherfit.training.linear import AMPLE_WEIGHT

#: A number for all layers, one (or None) for each, or None: the default.
PerLayer: TypeAlias = int | Sequence[int | None] | None

#: Exact lookups are cheap in Concrete up to this width, and dear above it.
MAX_EXACT_LOOKUP_BITS = 6
#: What an approximately rounded lookup reads where the activations need no more.
ROUNDED_LOOKUP_BITS = 6
#: Weights and inputs of networks without lookups, where nothing narrows them: on every table of
#: benches/README.md within 0.002 of real ones, while a bit of the weights less costs up to 0.003.
LINEAR_W_BITS, LINEAR_IN_BITS = 7, 8
#: Accumulators that leave them less than this ask for the widths of other networks.
MIN_LINEAR_BITS = 4
#: Weights of the last layer where all hidden ones are the client's.
HEAD_W_BITS = 8
#: Inputs get no more bits than this without being asked, and are made no coarser than that.
MAX_CHOSEN_IN_BITS, MIN_CHOSEN_IN_BITS = 8, 2


@dataclass(frozen=True)
class LayerWidths:
    """Bits of a linear layer, and of the codes behind it; the last layer has no lookup."""

    n_w_bits: int
    n_accum_bits: int
    n_lookup_bits: int | None
    n_a_bits: int


@dataclass(frozen=True)
class NamedWidths:
    """What is named of the widths of a chain's layers; None stands for what it is by default.

    Each but `n_in_bits` is one value for all layers, or a sequence of one for each: linear layers
    have weights and accumulators, and all but the last of them a lookup and activations.

    Parameters
    ----------
    n_w_bits, n_a_bits, n_in_bits, n_accum_bits : int, sequence of int (or None) or None
        Bits of weights, activations, inputs, and those that every accumulator must fit.
    n_lookup_bits : int, sequence of int (or None) or None
        Top bits of an accumulator that its lookup reads.
    rounding : str or sequence of str
        How the others are rounded away: "approximate" or "exact".
    """

    n_w_bits: PerLayer = None
    n_a_bits: PerLayer = None
    n_in_bits: int | None = None
    n_accum_bits: PerLayer = None
    n_lookup_bits: PerLayer = None
    rounding: str | Sequence[str] = "approximate"

    def check(self, n_layers: int) -> None:
        """Refuse sequences of another length than a chain of so many linear layers asks for."""
        for name in ("n_w_bits", "n_accum_bits"):
            per_layer(name, getattr(self, name), n_layers, "linear")
        for name in ("n_a_bits", "n_lookup_bits", "rounding"):
            per_layer(name, getattr(self, name), n_layers - 1)

    @property
    def widest_activations(self) -> int | None:
        """Bits of the widest activations that are named."""
        return max((bits for bits in each_of(self.n_a_bits) if bits is not None), default=None)

    def of_layers(self, n_layers: int, default: int = 4) -> list[NamedLayer]:
        """Return what is named of each of so many linear layers.

        Where no bits of activations are named, `default` are theirs; weights and inputs have by
        default as many as the widest activations.
        """
        self.check(n_layers)
        n_hidden = n_layers - 1
        widest = self.widest_activations or default
        activations = [bits or widest for bits in per_layer("n_a_bits", self.n_a_bits, n_hidden)]
        inputs = [self.n_in_bits or widest, *activations]
        weights = per_layer("n_w_bits", self.n_w_bits, n_layers, "linear")
        sums = per_layer("n_accum_bits", self.n_accum_bits, n_layers, "linear")
        lookups = [*per_layer("n_lookup_bits", self.n_lookup_bits, n_hidden), None]
        return [
            NamedLayer(w or widest, n_in, n_a, accum, lookup)
            for w, n_in, n_a, accum, lookup in zip(
                weights, inputs, [*activations, None], sums, lookups, strict=True
            )
        ]


@dataclass(frozen=True)
class NamedLayer:
    """Bits of one layer's weights, inputs and activations; of accumulator and lookup, if named."""

    n_w_bits: int
    n_in_bits: int
    n_a_bits: int | None
    n_accum_bits: int | None
    n_lookup_bits: int | None

    def lookup_bits(self, n_accum_bits: int, rounded: int = ROUNDED_LOOKUP_BITS) -> int | None:
        """Return how many bits of an accumulator its lookup reads, if there is one.

        `rounded` is as for `default_lookup_bits`.
        """
        if self.n_a_bits is None:
            return None
        if self.n_lookup_bits is None:
            return default_lookup_bits(n_accum_bits, self.n_a_bits, rounded)
        return min(n_accum_bits, MAX_LOOKUP_BITS, self.n_lookup_bits)


def max_active_neurons(n_accum_bits: int, n_w_bits: int, n_a_bits: int) -> int:
    """Return how many weights fit where every weight and code is at its maximum."""
    worst = (2**n_w_bits - 1) * (2**n_a_bits - 1)
    return int((2**n_accum_bits - 1) // worst)


def check_accumulator(
    n_accum_bits: int, n_w_bits: int, n_code_bits: int, what: str, name: str = "n_accum_bits"
) -> None:
    """Refuse accumulators that can't hold the product of one weight and one code."""
    if max_active_neurons(n_accum_bits, n_w_bits, n_code_bits) == 0:
        raise InvalidParameterError(
            f"Invalid accumulator bitwidth: {name}={n_accum_bits} can't hold the product "
            f"of one {n_w_bits}-bit weight and one {n_code_bits}-bit {what}; at least "
            f"{n_w_bits + n_code_bits} bits are needed"
        )


def multiplied(multiplier: float, most_active: int) -> int:
    """Return the width of hidden layers that a multiplier gives, at least 1."""
    width = int(multiplier * most_active)
    if width < 1:
        raise InvalidParameterError(
            f"Invalid n_hidden_neurons_multiplier: {multiplier!r} times {most_active} active "
            "neurons gives hidden layers of no neuron"
        )
    return width


def hidden_widths_of(
    n_hidden_neurons: int | Sequence[int | None] | None, defaults: Sequence[Callable[[], int]]
) -> list[int]:
    """Return the width of each hidden layer; where None is given, its default."""
    given = per_layer("n_hidden_neurons", n_hidden_neurons, len(defaults))
    return [
        default()
        if width is None
        else integer("n_hidden_neurons", width, 1, what="number of hidden neurons")
        for width, default in zip(given, defaults, strict=True)
    ]


def per_layer(name: str, given: Any, n_hidden: int, of: str = "hidden") -> list[Any]:
    """Return one value per hidden layer, of a sequence or of one value for all.

    `of` says which hidden layers these are.
    """
    given = plain(given)
    values = each_of(given)
    if not _is_sequence(given):
        return values * n_hidden
    if len(values) != n_hidden:
        raise InvalidParameterError(
            f"Invalid {name}: {given!r} has {_counted(len(values), 'value')}, but there "
            f"{'is' if n_hidden == 1 else 'are'} {_counted(n_hidden, f'{of} layer')}"
        )
    return values


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def plain(given: Any) -> Any:
    """Return what an array, or a number of NumPy's, holds as Python has it; others as they are."""
    return given.tolist() if hasattr(given, "tolist") else given


def each_of(given: Any) -> list[Any]:
    """Return the values of a sequence or an array, or one value for all."""
    given = plain(given)
    return list(given) if _is_sequence(given) else [given]


def _is_sequence(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def default_lookup_bits(
    n_accum_bits: int, n_a_bits: int, rounded: int = ROUNDED_LOOKUP_BITS
) -> int:
    """Return how many top bits of an accumulator a lookup reads by default.

    If others are rounded away, it reads `rounded` where the activations need no more.
    """
    if n_accum_bits <= MAX_EXACT_LOOKUP_BITS:
        return n_accum_bits
    return min(n_accum_bits, MAX_LOOKUP_BITS, max(rounded, n_a_bits + 1))


def default_in_bits(input_dim: int, n_w_bits: int, n_a_bits: int, n_accum_bits: int) -> int:
    """Return how many bits an input has by default: as many as an activation, more, or fewer.

    An accumulator holds weight codes of an L1 norm up to ``(2**n_accum_bits - 1) / (2**n - 1)`` on
    inputs of n bits. With few inputs, finer ones are worth more than norm: each bit is taken as
    long as the norm stays at 0.8 per input, and at the sum of the two largest weights, up to 8
    bits. With so many that the norm is scarce (see `AMPLE_WEIGHT`), coarser inputs make room for
    weights, down to 2 bits.
    """
    max_weight = max(1, 2 ** (n_w_bits - 1) - 1)
    most = 2**n_accum_bits - 1
    needed = max(0.8 * input_dim, 2 * max_weight)
    n_bits = n_a_bits
    while n_bits < MAX_CHOSEN_IN_BITS and most >= needed * (2 ** (n_bits + 1) - 1):
        n_bits += 1
    while n_bits > MIN_CHOSEN_IN_BITS and most < AMPLE_WEIGHT * input_dim * (2**n_bits - 1):
        n_bits -= 1
    return n_bits


def linear_widths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widths of a network without hidden layers where none are named: wide ones.

    Its sums are read by no lookup, so that they may be wide. Weights get 7 bits, inputs 8 (or what
    `default_in_bits` makes of `n_a_bits`, where that is named), and accumulators what holds every
    sum. Named accumulators narrow weights and inputs alike, until they hold weight codes of 0.3 of
    the largest in the mean; below 4 bits, all widths are those of other networks.

    Parameters
    ----------
    options : mapping
        Parameters of the network, with `input_dim`.

    Returns
    -------
    dict
        The same, completed.
    """
    completed = dict(options)
    if completed.get("n_in_bits") is None:
        completed.pop("n_in_bits", None)
    names = {"input_dim", "n_accum_bits", "n_w_bits", "n_a_bits", "n_in_bits"} & completed.keys()
    if not all(isinstance(completed[name], Integral) for name in names):
        return completed  # the network says what is wrong with them
    narrowest = MAX_CODE_BITS
    if "n_accum_bits" in completed:
        full = max(1.0, AMPLE_WEIGHT * completed["input_dim"])
        narrowest = int((completed["n_accum_bits"] + 1 - math.log2(full)) // 2)
        if narrowest < MIN_LINEAR_BITS:
            return completed
    n_w_bits = completed.setdefault("n_w_bits", min(LINEAR_W_BITS, narrowest))
    if "n_a_bits" not in completed:
        completed.setdefault("n_in_bits", min(LINEAR_IN_BITS, narrowest))
        completed["n_a_bits"] = completed["n_in_bits"]
    if "n_accum_bits" not in completed:
        n_in_bits = max(completed["n_a_bits"], completed.get("n_in_bits", MAX_CHOSEN_IN_BITS))
        largest = (2 ** max(1, n_w_bits - 1)) * 2**n_in_bits
        needed = max(n_w_bits + n_in_bits, int(completed["input_dim"] * largest).bit_length())
        completed["n_accum_bits"] = min(MAX_ACCUM_BITS, needed)
    return completed


def head_widths(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widths of a network whose hidden layers are all the client's: wide ones.

    As in `linear_widths`, no lookup reads its sums: weights get 8 bits, and accumulators what holds
    any sum.
    """
    return {"n_w_bits": HEAD_W_BITS, "n_accum_bits": MAX_ACCUM_BITS, **options}
