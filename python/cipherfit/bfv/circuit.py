"""Both parties in one place: what a compiled graph is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from cipherfit import _core
from cipherfit._core import IntegerGraph
from cipherfit.bfv.parties import BfvCiphertext, BfvClient, BfvServer, Int64
from cipherfit.stages import encrypted_part


@dataclass(frozen=True)
class BfvConfiguration:
    """How a circuit was compiled.

    Parameters
    ----------
    flooding_bits : int or None
        Statistical bits of circuit privacy that were asked for.
    fhe_execution : bool
        Whether it can encrypt: always.
    """

    flooding_bits: int | None = None
    fhe_execution: bool = True


class BfvCircuit:
    """A graph without lookups, with a client and a server that compute it encrypted.

    Results are exact: parameters are chosen so that the worst noise changes no sum. Pickled or
    copied, it keeps the weights and drops the keys.

    Parameters
    ----------
    server : BfvServer
        What computes.
    configuration : BfvConfiguration
        How it was compiled.

    Attributes
    ----------
    client : BfvClient
        What encrypts and decrypts, with keys of its own.
    server, configuration
        As given.
    """

    def __init__(self, server: BfvServer, configuration: BfvConfiguration) -> None:
        self.server = server
        self.configuration = configuration
        self.client = BfvClient(server.specs)

    @property
    def p_error(self) -> float:
        """Probability that a result is wrong: none is."""
        return 0.0

    @property
    def parameters(self) -> _core.BfvSpecs:
        """Public parameters: sizes, widths, degree and modulus."""
        return self.server.parameters

    @property
    def size_of_inputs(self) -> int:
        """Bytes of one encrypted row."""
        return self.parameters.request_bytes(1)

    @property
    def size_of_outputs(self) -> int:
        """Bytes of its encrypted sums."""
        return self.parameters.answer_bytes(1)

    @property
    def size_of_evaluation_keys(self) -> int:
        """Bytes of a client's public key, which a server gets once."""
        return self.parameters.public_key_bytes

    def keygen(self, force: bool = False) -> None:
        """Make keys, unless there are some or ``force`` is true."""
        self.client.keygen(force)

    def encrypt(self, codes: npt.ArrayLike) -> BfvCiphertext:
        """Encrypt codes (n_features,) or (n_samples, n_features); see `BfvClient.encrypt`."""
        return self.client.encrypt(codes)

    def run(self, encrypted: BfvCiphertext) -> BfvCiphertext:
        """Compute the sums of encrypted rows; see `BfvServer.run`."""
        return self.server.run(encrypted, self.client.evaluation_keys)

    def decrypt(self, result: BfvCiphertext) -> Int64:
        """Decrypt sums (n_outputs,) or (n_samples, n_outputs); see `BfvClient.decrypt`."""
        return self.client.decrypt(result)

    def encrypt_run_decrypt(self, codes: npt.ArrayLike) -> Int64:
        """Encrypt, run and decrypt codes of one row or of several.

        Parameters
        ----------
        codes : array-like of shape (n_features,) or (n_samples, n_features), integers
            In [0, 2**n_bits - 1].

        Returns
        -------
        ndarray of shape (n_outputs,) or (n_samples, n_outputs), dtype int64
            What `IntegerGraph.simulate` gives.

        Raises
        ------
        InvalidInputError
            If the shape is wrong or a code is out of range.
        InputTypeError
            If the codes are not integers.
        """
        return self.decrypt(self.run(self.encrypt(codes)))

    def __reduce__(self) -> tuple[Any, tuple[BfvServer, BfvConfiguration]]:
        return BfvCircuit, (self.server, self.configuration)

    def __repr__(self) -> str:
        specs = self.parameters
        return (
            f"BfvCircuit({specs.n_features} features, {specs.n_outputs} outputs, N={specs.degree}, "
            f"{specs.flooding_bits} bits of flooding)"
        )


def compile_graph(
    graph: IntegerGraph,
    *,
    flooding_bits: int | None = None,
    configuration: BfvConfiguration | None = None,
) -> BfvCircuit:
    """Compile an integer graph without lookups for encrypted rows.

    The plaintext modulus comes from the proven widths, and degree and modulus of the ring are the
    smallest of the Homomorphic Encryption Standard (128 bits, ternary secrets) in which

        21 ``|W|_1`` + 42 N + rounding + flooding <= scale / 2,

    where ``|W|_1`` is the sum of all weights' magnitudes in one result, for every input and all
    that encryption draws.

    Parameters
    ----------
    graph : IntegerGraph
        The network, of which all but the client layers is compiled. Its certificate gives all
        widths.
    flooding_bits : int in [0, 64], optional
        Statistical bits of circuit privacy: a row's encrypted sums are within statistical distance
        ``2**-flooding_bits`` of some that depend on the weights by their sums alone, but for the
        hardness of ring learning with errors. Default: what the smallest parameters leave (17 for
        128 codes of 4 bits and 10 sums), at least 12 and so many that ``n_features + 1`` answers,
        from which a linear layer can be solved in any case, together stay within 1/2.
        40 mostly takes degree 4096, and three to four times as long.
    configuration : BfvConfiguration, optional
        The same, as another circuit has it.

    Returns
    -------
    BfvCircuit

    Raises
    ------
    CompilationError
        If the graph has lookups, or no parameters fit.
    InvalidParameterError
        If ``flooding_bits`` is out of range.
    """
    if configuration is not None:
        flooding_bits = configuration.flooding_bits
    server = BfvServer(_core.BfvServer.compile(encrypted_part(graph), flooding_bits))
    return BfvCircuit(server, BfvConfiguration(flooding_bits))


def stored_options(configuration: BfvConfiguration) -> dict[str, Any]:
    """Return how a circuit was compiled, as plain values for a file."""
    return {"flooding_bits": configuration.flooding_bits}


def restored_configuration(options: dict[str, Any]) -> BfvConfiguration:
    """Return the configuration of what `stored_options` gave."""
    return BfvConfiguration(options["flooding_bits"])
