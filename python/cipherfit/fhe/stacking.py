"""Encrypted rows as one message of several, and the answer to it as answers to single rows.

A message of Concrete's is numbers in a mould that says what they are. Rows lie one behind the other
in a message of several, each encrypted as it was alone. So the numbers of rows, joined, in the
mould of the larger message are that message; nothing of the rows' keys is needed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cipherfit.fhe.capnp import payload_spans
from cipherfit.fhe.runtime import fhe


@dataclass(frozen=True)
class Mould:
    """A message without its numbers.

    Parameters
    ----------
    message : bytes
        The message; which numbers it holds is of no account.
    spans : tuple of (start, stop)
        Where they lie: ascending.
    """

    message: bytes
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, message: bytes) -> Mould:
        """Return the mould of a message that this process made."""
        return cls(message, tuple(payload_spans(message)))

    @property
    def n_bytes(self) -> int:
        """Bytes of numbers that it takes."""
        return sum(stop - start for start, stop in self.spans)

    def numbers(self, message: bytes) -> bytes:
        """Return the numbers of a message of this mould."""
        return b"".join(message[start:stop] for start, stop in self.spans)

    def cast(self, numbers: memoryview) -> bytes:
        """Return the message of other numbers, of which there are as many."""
        message, used = bytearray(self.message), 0
        for start, stop in self.spans:
            message[start:stop] = numbers[used : used + stop - start]
            used += stop - start
        assert used == len(numbers)
        return bytes(message)


class Stacking:
    """How so many rows become one message, and the answer single ones.

    Parameters
    ----------
    specs : bytes
        Client specs of the circuit that runs single rows: known to be secure.
    n_rows : int
        Rows of a message.

    Attributes
    ----------
    specs : dict
        Client specs that a circuit must have that runs so many rows with the same keys.
    """

    def __init__(self, specs: bytes, n_rows: int) -> None:
        self.specs = specs_of_several(specs, n_rows)
        self._n_rows = n_rows
        self._row = Mould.of(sample(specs, "inputs"))
        self._rows = Mould.of(sample(json.dumps(self.specs).encode(), "inputs"))
        self._answer = Mould.of(sample(specs, "outputs"))

    def stacked(self, rows: Sequence[bytes]) -> bytes:
        """Return one message of encrypted rows."""
        return self._rows.cast(memoryview(b"".join(map(self._row.numbers, rows))))

    def split(self, answers: bytes) -> list[bytes]:
        """Return answers to single rows of the answer to all of them."""
        numbers = memoryview(Mould.of(answers).numbers(answers))
        step = self._answer.n_bytes
        assert len(numbers) == step * self._n_rows
        return [
            self._answer.cast(numbers[start : start + step])
            for start in range(0, len(numbers), step)
        ]


def specs_of_several(specs: bytes, n_rows: int) -> dict[str, Any]:
    """Return the client specs of a circuit that runs so many rows, with the same keys."""
    several: dict[str, Any] = json.loads(specs)
    for circuit in several["circuits"]:
        for gate in (*circuit["inputs"], *circuit["outputs"]):
            value = gate["typeInfo"]["lweCiphertext"]
            for shape in (
                gate["rawInfo"]["shape"], value["abstractShape"], value["concreteShape"],
            ):  # fmt: skip
                shape["dimensions"].insert(0, n_rows)
    return several


def sample(specs: bytes, gates: str) -> bytes:
    """Return an encryption of zeros as a circuit takes or gives them, under a throwaway key.

    Parameters
    ----------
    specs : bytes
        Client specs: known to be secure.
    gates : {"inputs", "outputs"}
        Which of them.
    """
    parts = json.loads(specs)
    gate = parts["circuits"][0][gates]
    # An answer is laid out as an input is that has its shape.
    parts["circuits"][0].update(inputs=gate, outputs=copy.deepcopy(gate))
    parts.pop("tfhers_specs", None)  # of inputs, and empty
    for name in parts["keyset"]:
        if name != "lweSecretKeys":  # what takes seconds to make, and no encryption needs
            parts["keyset"][name] = []
    client = fhe.Client(fhe.ClientSpecs.deserialize(json.dumps(parts).encode()))
    client.keygen()
    shape = gate[0]["typeInfo"]["lweCiphertext"]["abstractShape"]["dimensions"]
    return bytes(client.encrypt(np.zeros(shape, dtype=np.int64)).serialize())
