"""The server's part of a circuit: encrypted rows as they travel, several in one call.

Concrete prepares evaluation keys anew in each call, and shares the lookups of a call out to all
cores: both are done with when the last lookup is. So rows are run several at a time, by a circuit
that takes as many, with the keys of the one that takes a single row.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence

from cipherfit.exceptions import CompilationError
from cipherfit.fhe.latency import reference_seconds
from cipherfit.fhe.runtime import fhe
from cipherfit.fhe.stacking import Stacking

#: Rows of a call at most, and at least where there is more than one.
MOST_ROWS, LEAST_ROWS = 32, 4
#: Modelled seconds of a call, after which it can be interrupted, and bytes of its inputs, at most.
_CALL_SECONDS, _CALL_BYTES = 2.0, 64_000_000


class RowServer:
    """Runs encrypted rows of a circuit.

    Parameters
    ----------
    circuit : fhe.Circuit
        It takes single rows.
    compile_for : callable
        Returns the circuit that takes so many rows instead, or raises a `CompilationError`.

    Attributes
    ----------
    most_rows : int
        Rows that are run in one call, at most.
    """

    def __init__(self, circuit: fhe.Circuit, compile_for: Callable[[int], fhe.Circuit]) -> None:
        self._server = circuit.server
        self._specs = bytes(circuit.client.specs.serialize())
        self._compile_for = compile_for
        self._several: dict[int, tuple[Stacking, fhe.Server] | None] = {}
        self._lock = threading.Lock()
        self.most_rows = _most_rows(self._specs, reference_seconds(circuit))

    def run(self, rows: Sequence[bytes], keys: fhe.EvaluationKeys) -> list[bytes]:
        """Return the encrypted answers to encrypted rows, as they travel.

        Parameters
        ----------
        rows : sequence of bytes
            Checked: Concrete trusts what it is given.
        keys : fhe.EvaluationKeys
            Of who encrypted all of them.
        """
        answers: list[bytes] = []
        for size in self.sizes(len(rows)):
            answers += self._run(rows[len(answers) : len(answers) + size], keys)
        return answers

    def sizes(self, n_rows: int) -> list[int]:
        """Return how many rows go into each call, of so many: few sizes, each compiled once."""
        sizes = [self.most_rows] * (n_rows // self.most_rows)
        left, size = n_rows % self.most_rows, self.most_rows // 2
        while size >= LEAST_ROWS:
            if left >= size:
                sizes.append(size)
                left -= size
            size //= 2
        return sizes + [1] * left

    def _run(self, rows: Sequence[bytes], keys: fhe.EvaluationKeys) -> list[bytes]:
        several = None if len(rows) == 1 else self._for(len(rows))
        if several is None:
            return [_answer(self._server, row, keys) for row in rows]
        stacking, server = several
        return stacking.split(_answer(server, stacking.stacked(rows), keys))

    def _for(self, n_rows: int) -> tuple[Stacking, fhe.Server] | None:
        """Return what runs so many rows; None where Concrete has none with the same keys."""
        with self._lock:
            if n_rows not in self._several:
                self._several[n_rows] = self._made_for(n_rows)
            return self._several[n_rows]

    def _made_for(self, n_rows: int) -> tuple[Stacking, fhe.Server] | None:
        stacking = Stacking(self._specs, n_rows)
        try:
            circuit = self._compile_for(n_rows)
        except CompilationError:
            return None
        fits = json.loads(circuit.client.specs.serialize()) == stacking.specs
        return (stacking, circuit.server) if fits else None


def _answer(server: fhe.Server, message: bytes, keys: fhe.EvaluationKeys) -> bytes:
    answer = server.run(fhe.Value.deserialize(message), evaluation_keys=keys)
    return bytes(answer.serialize())


def _most_rows(specs: bytes, seconds_per_row: float) -> int:
    """Return rows of a call: a power of two, within what a call may take; 1 where few would fit."""
    gate = json.loads(specs)["circuits"][0]["inputs"][0]["typeInfo"]["lweCiphertext"]
    n_values = math.prod(gate["abstractShape"]["dimensions"])
    # Compressed inputs are written out before they are used.
    n_bytes = 8 * n_values * (gate["encryption"]["lweDimension"] + 1)
    fits = min(MOST_ROWS, int(_CALL_SECONDS / seconds_per_row), _CALL_BYTES // n_bytes)
    return 1 if fits < LEAST_ROWS else 1 << (fits.bit_length() - 1)
