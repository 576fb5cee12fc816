"""What bytes of a circuit's keys and ciphertexts must look like, before Concrete sees any.

Concrete takes bytes on trust: keys of another circuit, an honest mistake, end the process, and so
do sizes that lie. Of one circuit's messages everything but the numbers is constant. So a template
is their length, and a digest of all that is not a number; checking one takes microseconds. Numbers
themselves can't do harm: all are ciphertexts of something.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from cipherfit.exceptions import NotCompiledError, SerializationError
from cipherfit.fhe.capnp import payload_spans
from cipherfit.fhe.security import check_security

__all__ = ["Template", "Templates", "check_security", "output_template"]

_MOST_SPANS = 4096


@dataclass(frozen=True)
class Template:
    """Of one kind of message, everything but its numbers.

    Parameters
    ----------
    what : str
        What it is a template of, in words for errors.
    length : int
        Bytes in all.
    spans : tuple of (start, stop)
        Where numbers lie: ascending.
    digest : str
        SHA-256 of all other bytes, in hexadecimal.
    """

    what: str
    length: int
    spans: tuple[tuple[int, int], ...]
    digest: str

    @classmethod
    def of(cls, what: str, message: bytes) -> Template:
        """Return the template of a message that this process made.

        Parameters
        ----------
        what : str
            What it is.
        message : bytes
            As ``serialize`` returned it.
        """
        spans = tuple(payload_spans(message))
        return cls(what, len(message), spans, _digest(message, spans))

    def check(self, message: bytes | mmap) -> None:
        """Check a message: it is as long, and differs in numbers only.

        Parameters
        ----------
        message : bytes or other buffer

        Raises
        ------
        SerializationError
            If not.
        """
        if len(message) != self.length:
            raise SerializationError(
                f"{self.what} of this circuit take {self.length} bytes, and these are "
                f"{len(message)}: they are cut, or of another circuit"
            )
        if _digest(message, self.spans) != self.digest:
            raise SerializationError(
                f"these are no {self.what} of this circuit, though as long: they are of another "
                "circuit, or altered"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON holds: see `from_dict`."""
        return {"length": self.length, "spans": list(map(list, self.spans)), "digest": self.digest}

    @classmethod
    def from_dict(cls, what: str, data: Any) -> Template:
        """Read what `to_dict` returned.

        Raises
        ------
        SerializationError
            If it is something else.
        """
        if not isinstance(data, dict) or set(data) != {"length", "spans", "digest"}:
            raise SerializationError(f"the template of {what} must have length, spans and digest")
        length, spans, digest = data["length"], data["spans"], data["digest"]
        if type(length) is not int or not _are_spans(spans, length):
            raise SerializationError(f"the template of {what} must have ascending spans within it")
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise SerializationError(f"the template of {what} must have a SHA-256 digest")
        return cls(what, length, tuple((start, stop) for start, stop in spans), digest)


@dataclass(frozen=True)
class Templates:
    """Templates of a circuit's evaluation keys, encrypted inputs and encrypted outputs.

    Parameters
    ----------
    keys, input, output : Template
        One for each.
    """

    keys: Template
    input: Template
    output: Template

    @classmethod
    def of(cls, circuit: Any) -> Templates:
        """Return a compiled circuit's templates, from throwaway keys.

        Parameters
        ----------
        circuit : fhe.Circuit
            As `cipherfit.fhe.compile_graph` returns it.

        Raises
        ------
        NotCompiledError
            If it was compiled for simulation only.
        """
        if not circuit.configuration.fhe_execution:
            raise NotCompiledError("this circuit only simulates: compile one that encrypts")
        return cls.of_specs(circuit.client.specs.serialize())

    @classmethod
    def of_specs(cls, specs: bytes) -> Templates:
        """Return the templates of client specs, from throwaway keys, which takes seconds.

        Parameters
        ----------
        specs : bytes
            As ``client.specs.serialize()`` returns them.

        Raises
        ------
        SecurityError
            If `check_security` refuses them.
        """
        from cipherfit.fhe.client import client_of

        client = client_of(specs)
        client.keygen()
        return cls.of_client(client)

    @classmethod
    def of_client(cls, client: Any) -> Templates:
        """Return the templates of a client that has keys.

        Parameters
        ----------
        client : fhe.Client
            With keys.
        """
        return cls(
            Template.of("evaluation keys", client.evaluation_keys.serialize()),
            Template.of("encrypted inputs", _sample(client, "inputs")),
            output_template(client),
        )

    def check_keys(self, data: bytes | mmap) -> None:
        """Check serialized evaluation keys.

        Parameters
        ----------
        data : bytes or other buffer

        Raises
        ------
        SerializationError
            If they are not those of some client of this circuit.
        """
        self.keys.check(data)

    def check_input(self, data: bytes) -> None:
        """Check a serialized encrypted row: as `check_keys`."""
        self.input.check(data)

    def check_output(self, data: bytes) -> None:
        """Check a serialized encrypted answer: as `check_keys`."""
        self.output.check(data)

    def to_dict(self) -> dict[str, Any]:
        """Return them as what JSON holds: see `from_dict`."""
        return {
            "keys": self.keys.to_dict(),
            "input": self.input.to_dict(),
            "output": self.output.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Templates:
        """Read what `to_dict` returned.

        Raises
        ------
        SerializationError
            If it is something else.
        """
        if not isinstance(data, dict) or set(data) != {"keys", "input", "output"}:
            raise SerializationError("templates must be those of keys, input and output")
        return cls(
            Template.from_dict("evaluation keys", data["keys"]),
            Template.from_dict("encrypted inputs", data["input"]),
            Template.from_dict("encrypted outputs", data["output"]),
        )


def output_template(client: Any) -> Template:
    """Return the template of what a client of a circuit decrypts.

    Nothing that a server says is needed: an answer is laid out as an input is that has its shape.

    Parameters
    ----------
    client : fhe.Client
        Of a circuit.
    """
    return Template.of("encrypted outputs", _sample(client, "outputs"))


def _sample(client: Any, gates: str) -> bytes:
    from cipherfit.fhe.stacking import sample

    return sample(client.specs.serialize(), gates)


def _digest(message: bytes | mmap, spans: tuple[tuple[int, int], ...]) -> str:
    view, digest, start = memoryview(message).cast("B"), hashlib.sha256(), 0
    for first, last in spans:
        digest.update(view[start:first])
        start = last
    digest.update(view[start:])
    return digest.hexdigest()


def _are_spans(spans: Any, length: int) -> bool:
    if not isinstance(spans, list) or len(spans) > _MOST_SPANS:
        return False
    last = 0
    for span in spans:
        if not isinstance(span, list) or [type(end) for end in span] != [int, int]:
            return False
        if not last <= span[0] <= span[1] <= length:
            return False
        last = span[1]
    return True
