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
            f"keys {readable_bytes(self.key_bytes)}, input {readable_bytes(self.input_bytes)}, "
            f"output {readable_bytes(self.output_bytes)} per row",
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
            ("keys that the server needs", readable_bytes(self.key_bytes)),
            ("up, per row", readable_bytes(self.input_bytes)),
            ("down, per row", readable_bytes(self.output_bytes)),
        ]


@dataclass(frozen=True)
class TaskCosts:
    """What encrypted rows take where workers run them, as measured on one machine.

    Parameters
    ----------
    most_rows : int
        Rows of a worker's call, at most.
    row_seconds : float
        Of a worker's core, per row, in calls of that many, where no other core is at work.
    busy_row_seconds : float
        The same where all cores of the machine are at work, which share its memory and caches.
    cores : int
        How many there are.
    encryption_seconds, decryption_seconds : float
        Of the caller, per row.
    prepare_seconds : float
        Of the caller, once: what it does to keys before it sends them.
    share_seconds : float
        Of the caller, once: it writes keys where workers of its own machine find them.
    ready_seconds : float
        Of a worker, once: it compiles the circuit and reads keys.
    key_bytes : int
        Evaluation keys, as they are sent to a worker.
    input_bytes, output_bytes : int
        A row, as it is sent, and its answer.
    """

    most_rows: int
    row_seconds: float
    busy_row_seconds: float
    cores: int
    encryption_seconds: float
    decryption_seconds: float
    prepare_seconds: float
    share_seconds: float
    ready_seconds: float
    key_bytes: int
    input_bytes: int
    output_bytes: int

    def seconds_per_row(self, workers: int) -> float:
        """Return what a row takes a worker on a machine of which so many cores are at work."""
        if self.cores == 1:
            return self.busy_row_seconds
        others = (min(workers, self.cores) - 1) / (self.cores - 1)
        return self.row_seconds + others * (self.busy_row_seconds - self.row_seconds)


def rows_per_task(most_rows: int, n_rows: int, workers: int) -> int:
    """Return how many encrypted rows a worker gets at a time.

    Parameters
    ----------
    most_rows : int
        Rows of one call, at most.
    n_rows : int
        Rows in all.
    workers : int
        Among whom they are shared out.
    """
    return max(1, min(most_rows, -(-n_rows // workers)))


def readable_bytes(n_bytes: float) -> str:
    """Return a number of bytes as people read it."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes:.3g} bytes"
