"""What an encrypted run costs, in the words that back ends share."""

from __future__ import annotations

from dataclasses import dataclass

from cipherfit.pages.fragments import facts, panel


@dataclass(frozen=True)
class LayerCost:
    """A layer of lookups.

    Parameters
    ----------
    n_lookups : int
        One per neuron.
    accumulator_bits : int
        Proven width of the accumulators.
    lookup_bits : int
        Bits that a lookup reads.
    rounding : {"none", "approximate", "exact"}
        How the bits between the two are rounded away.
    """

    n_lookups: int
    accumulator_bits: int
    lookup_bits: int
    rounding: str


@dataclass(frozen=True)
class FheEstimate:
    """What an encrypted run costs; printed, it is a small table.

    Parameters
    ----------
    backend : {"concrete", "bfv"}
        What encrypts.
    parameters : str
        The scheme and its parameters.
    layers : tuple of LayerCost
        The encrypted layers that have lookups.
    output_bits : int
        Proven width of the output accumulators.
    p_error : float
        Probability that one lookup errs; 0 where there is none.
    seconds_per_row : float
        Modelled seconds per encrypted row on this machine.
    input_bytes, output_bytes : int
        Sizes of a row's ciphertexts, on their way to the server and back.
    bootstrap_key_bytes, keyswitch_key_bytes : int, default=0
        Sizes of the evaluation keys that the server needs for lookups.
    public_key_bytes : int, default=0
        Size of the public key that the server needs for BFV.
    complexity : float, default=0.0
        Concrete's own measure of a run.
    """

    backend: str
    parameters: str
    layers: tuple[LayerCost, ...]
    output_bits: int
    p_error: float
    seconds_per_row: float
    input_bytes: int
    output_bytes: int
    bootstrap_key_bytes: int = 0
    keyswitch_key_bytes: int = 0
    public_key_bytes: int = 0
    complexity: float = 0.0

    @property
    def n_lookups(self) -> int:
        """Encrypted lookups per row."""
        return sum(layer.n_lookups for layer in self.layers)

    @property
    def key_bytes(self) -> int:
        """Bytes of all keys that the server needs."""
        return self.bootstrap_key_bytes + self.keyswitch_key_bytes + self.public_key_bytes

    @property
    def memory_bytes(self) -> int:
        """Bytes that keys and ciphertexts take in memory, beyond the program itself."""
        return self.key_bytes + self.input_bytes + self.output_bytes

    def __str__(self) -> str:
        lines = [
            f"{layer.n_lookups} lookups of {layer.lookup_bits} bits behind accumulators of "
            f"{layer.accumulator_bits} ({layer.rounding} rounding)"
            for layer in self.layers
        ]
        errors = f"p_error {self.p_error:g}" if self.layers else "no lookups, so no errors"
        return "\n".join([
            *lines,
            f"outputs of {self.output_bits} bits, {errors}",
            f"{self.backend}: {self.parameters}",
            f"{self.seconds_per_row:.3g} s per encrypted row on this machine (modelled)",
            f"keys {_size(self.key_bytes)}, input {_size(self.input_bytes)}, "
            f"output {_size(self.output_bytes)} per row",
        ])  # fmt: skip

    def _repr_html_(self) -> str:
        """Describe it as HTML, for notebooks."""
        return panel("FheEstimate: what encrypted rows cost", facts(self._facts()))

    def _facts(self) -> list[tuple[str, str]]:
        lookups = [
            (f"lookups, layer {number}", f"{layer.n_lookups} of {layer.lookup_bits} bits behind "
             f"accumulators of {layer.accumulator_bits} ({layer.rounding} rounding)")
            for number, layer in enumerate(self.layers, start=1)
        ]  # fmt: skip
        errors = f"p_error {self.p_error:g} per lookup" if self.layers else "none"
        return [
            ("an encrypted row", f"{self.seconds_per_row:.3g} s on this machine (modelled)"),
            *(lookups or [("lookups", "none")]),
            ("errors", errors),
            ("outputs", f"{self.output_bits} bits"),
            (self.backend, self.parameters),
            ("keys that the server needs", _size(self.key_bytes)),
            ("up, per row", _size(self.input_bytes)),
            ("down, per row", _size(self.output_bytes)),
        ]


def _size(n_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes} bytes"
