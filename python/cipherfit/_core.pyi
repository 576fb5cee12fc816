"""Integer graphs: what cipherfit computes, proves and simulates, in Rust."""

from collections.abc import Callable, Iterable
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = ["Certificate", "IntegerGraph", "LayerCertificate", "accumulator_mask"]

MAX_LOOKUP_BITS: int
"""Bits of the widest lookup index, and of the widest code."""

@final
class IntegerGraph:
    """What a model computes, in integers: quantizer, layers over codes, dequantizer.

    Immutable, validated when it is built and cheap to copy. Two graphs are equal, and hash alike,
    when their digests are. Built with :meth:`from_layers`.
    """

    @staticmethod
    def from_layers(
        input: dict[str, Any],
        layers: Iterable[dict[str, Any]],
        output: dict[str, Any],
        n_client_layers: int | None = 0,
    ) -> IntegerGraph:
        """Build a graph from its layers, and prove that everything fits.

        Takes what :meth:`to_dict` returns. Raises GraphError, ProofError or InputTypeError.
        """

    @staticmethod
    def from_bytes(data: bytes) -> IntegerGraph:
        """Read a graph that :meth:`to_bytes` wrote, and validate it anew.

        Raises SerializationError. The bytes are never executed.
        """

    def to_bytes(self) -> bytes:
        """Return the graph as bytes; equal graphs give equal bytes."""

    def to_dict(self) -> dict[str, Any]:
        """Return all parts as :meth:`from_layers` takes them."""

    def split(self, n: int | None = None) -> tuple[IntegerGraph, IntegerGraph]:
        """Return the client's graph, up to the n-th lookup, and the server's, from there on."""

    def quantize(self, X: npt.ArrayLike, *, single: bool = False) -> npt.NDArray[np.uint16]:
        """Turn features (n_samples, n_features) into codes of the same shape.

        With ``single`` they are taken in single precision, as a predictor does; integers that it
        can't hold are then refused, too. Raises InvalidInputError on NaN, infinity or a wrong
        shape, InputTypeError on other types.
        """

    def quantize_columns(self, columns: Iterable[npt.ArrayLike]) -> npt.NDArray[np.uint16]:
        """Turn features that are given column by column, each (n_samples,), into codes by rows.

        They are taken in single precision, and may have any types. Raises as ``quantize`` does.
        """

    def simulate(
        self,
        codes: npt.ArrayLike,
        *,
        p_error: float = 0.0,
        seed: int | None = None,
        n_threads: int | None = None,
        path: str | None = None,
    ) -> npt.NDArray[np.int64]:
        """Compute output accumulators (n_samples, n_outputs) of codes (n_samples, n_features).

        With ``p_error`` above 0 lookups err by one step of their index as TFHE's do: with that
        probability, or, rounded approximately, more where the accumulator is near a threshold; the
        same ones for the same ``seed``. ``path`` is the way to compute, None for the fastest;
        all give the same. Raises InvalidInputError, InputTypeError or InvalidParameterError.
        """

    def dequantize(self, accumulators: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Turn output accumulators (n_samples, n_outputs) into real values.

        Raises InvalidInputError or InputTypeError.
        """

    def run(
        self,
        X: npt.ArrayLike,
        *,
        single: bool = False,
        p_error: float = 0.0,
        seed: int | None = None,
        n_threads: int | None = None,
        path: str | None = None,
    ) -> npt.NDArray[np.float64]:
        """Quantize, simulate and dequantize rows: (n_samples, n_outputs) real values.

        With ``single`` they are taken in single precision: see ``quantize``. ``p_error``,
        ``seed`` and ``path`` are as for ``simulate``.

        Raises InvalidInputError, InputTypeError or InvalidParameterError.
        """

    def run_columns(
        self,
        columns: Iterable[npt.ArrayLike],
        *,
        p_error: float = 0.0,
        seed: int | None = None,
        n_threads: int | None = None,
        path: str | None = None,
    ) -> npt.NDArray[np.float64]:
        """Do what ``run`` does with rows that are given column by column, each (n_samples,).

        They are taken in single precision, and may have any types. Raises as ``run`` does.
        """

    def prove(self, max_bits: int | None = None) -> Certificate:
        """Prove the width of every accumulator, for every input that the quantizer can emit.

        Raises ProofError if one needs more than ``max_bits``.
        """

    @property
    def digest(self) -> str:
        """SHA-256 of the graph's bytes, in hexadecimal."""

    @property
    def n_features(self) -> int:
        """Number of input features."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""

    @property
    def n_bits(self) -> int:
        """Bits of an input code."""

    @property
    def n_client_layers(self) -> int:
        """Lookups, counted from the first, that the client computes in clear."""

    @property
    def ends_in_codes(self) -> bool:
        """Whether outputs are codes of a lookup, not accumulators."""

    @property
    def n_lookups(self) -> int:
        """Encrypted table lookups, so programmable bootstrappings, per row."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> IntegerGraph: ...
    def __deepcopy__(self, _memo: object) -> IntegerGraph: ...
    def __reduce__(self) -> tuple[Callable[[bytes], IntegerGraph], tuple[bytes]]: ...
    def _repr_html_(self) -> str:
        """Describe the graph as HTML, for notebooks."""

@final
class Certificate:
    """What is proven of a graph: each accumulator's interval, for every input.

    Made by :meth:`IntegerGraph.prove`. Pickling stores the graph; loading proves it anew.
    """

    @property
    def max_accumulator_bits(self) -> int:
        """Bits of the graph's widest accumulator, counted from its minimum."""

    @property
    def digest(self) -> str:
        """Digest of the graph that is proven."""

    @property
    def layers(self) -> list[LayerCertificate]:
        """One LayerCertificate per linear layer, in order."""

    def witnesses(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Return input codes (n_neurons, n_features) that bring the first layer to its ends.

        Row i of the first brings neuron i to its minimum, of the second to its maximum.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain numbers, lists and dicts, ready for JSON."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[[], Certificate], tuple[()]]: ...
    def _repr_html_(self) -> str:
        """Describe the certificate as HTML, for notebooks."""

@final
class LayerCertificate:
    """What is proven of one linear layer; arrays have shape (n_neurons,)."""

    @property
    def low(self) -> npt.NDArray[np.int64]:
        """Proven minimum of each accumulator."""

    @property
    def high(self) -> npt.NDArray[np.int64]:
        """Proven maximum of each accumulator."""

    @property
    def neuron_bits(self) -> npt.NDArray[np.int64]:
        """Bits of ``high - low`` of each neuron; 0 where it is constant."""

    @property
    def headroom(self) -> npt.NDArray[np.int64]:
        """What each neuron leaves of the layer's bits: ``2**bits - 1 - (high - low)``."""

    @property
    def nonzeros(self) -> npt.NDArray[np.int64]:
        """Weights of each neuron that are not zero."""

    @property
    def bits(self) -> int:
        """Bits of the layer's widest accumulator, counted from its minimum."""

    @property
    def lookup_bits(self) -> int | None:
        """Bits of the largest index of the lookup that follows; None after the last layer."""

def accumulator_mask(
    weights: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    n_accum_bits: int,
    *,
    importance: npt.ArrayLike | None = None,
    reserve: int = 0,
) -> npt.NDArray[np.bool_]:
    """Choose which weights (n_out, n_in) to keep so that every accumulator is proven to fit.

    Each neuron keeps the longest run of its weights, by descending ``importance`` (by default
    magnitude), whose summed ``abs(weight) * (high - low)`` is at most
    ``2**n_accum_bits - 1 - reserve``. Raises InvalidInputError, InputTypeError or
    InvalidParameterError.
    """

@final
class WeightQuantizer:
    """How a linear layer's float32 weights become codes in training, and their gradient."""

    def __init__(
        self,
        n_w_bits: int,
        n_in_bits: int,
        n_accum_bits: int,
        reserve: int,
        *,
        shrinks: bool,
        is_scarce: bool,
    ) -> None: ...
    def quantize(
        self, weights: npt.ArrayLike, inverse_scale: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None, npt.NDArray[np.float32]]:
        """Return codes (n_out, n_in), the mask or None, and four numbers per neuron (4, n_out).

        By what its weights shrink, from which magnitude on they count for that, its accumulator's
        least value, and its value in the middle of all inputs' codes.
        """

    def gradient(
        self,
        weights: npt.ArrayLike,
        inverse_scale: npt.ArrayLike,
        neurons: npt.ArrayLike,
        mask: npt.NDArray[np.bool_] | None,
        gradient: npt.ArrayLike,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the gradients of weights (n_out, n_in) and log scales (n_out,), of the codes'."""

def activation_codes(
    values: npt.ArrayLike, inverse_step: npt.ArrayLike, offset: npt.ArrayLike, max_code: int
) -> npt.NDArray[np.float32]:
    """Return ``clamp(round(values * inverse_step + offset), 0, max_code)``, as ``values``."""

def activation_gradients(
    values: npt.ArrayLike,
    inverse_step: npt.ArrayLike,
    offset: npt.ArrayLike,
    max_code: int,
    gradient: npt.ArrayLike,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the gradients of activations, of the logarithm of steps, and of offsets."""

@final
class BfvSpecs:
    """Public parameters of a BFV circuit: sizes and widths, no weights."""

    @staticmethod
    def from_bytes(data: bytes) -> BfvSpecs:
        """Read what :meth:`to_bytes` wrote. Raises SerializationError."""

    def to_bytes(self) -> bytes:
        """Return these specs as bytes."""

    @property
    def n_features(self) -> int:
        """Features per row."""

    @property
    def n_outputs(self) -> int:
        """Sums per row."""

    @property
    def max_code(self) -> int:
        """The largest code."""

    @property
    def degree(self) -> int:
        """Degree N of the ring."""

    @property
    def modulus(self) -> int:
        """Ciphertext modulus q."""

    @property
    def primes(self) -> list[int]:
        """Primes whose product is the modulus."""

    @property
    def sum_bits(self) -> int:
        """Bits of the plaintext modulus, ``t = 2**sum_bits``."""

    @property
    def scale_bits(self) -> int:
        """Bits of the scale of a message."""

    @property
    def dropped_bits(self) -> int:
        """Low bits of an answer's coefficients that are rounded away."""

    @property
    def flooding_bits(self) -> int:
        """Statistical bits with which a row's answer hides the weights beyond its sums."""

    @property
    def layouts(self) -> list[tuple[int, int, int]]:
        """Features and outputs of a ciphertext, and its rows, in each layout."""

    @property
    def public_key_bytes(self) -> int:
        """Bytes of a public key."""

    def layout_of(self, n_rows: int) -> int:
        """Return the position of the layout that rows are encrypted in."""

    def cost(self, n_rows: int) -> int:
        """Return what rows cost, client and server together, in products of two polynomials."""

    def request_bytes(self, n_rows: int) -> int:
        """Return the bytes of the encryption of so many rows."""

    def answer_bytes(self, n_rows: int) -> int:
        """Return the bytes of the answer to so many rows."""

@final
class BfvClient:
    """Encrypts rows and decrypts their sums: holds a secret key."""

    @staticmethod
    def generate(specs: BfvSpecs) -> BfvClient:
        """Make new keys."""

    @staticmethod
    def from_secret_key(specs: BfvSpecs, data: bytes) -> BfvClient:
        """Take keys that :meth:`secret_key` gave. Raises SerializationError."""

    def secret_key(self) -> bytes:
        """Return the secret key, which decrypts all that is encrypted by this client."""

    def public_key(self) -> bytes:
        """Return the public key, which servers hide their weights with."""

    def encrypt(self, codes: npt.ArrayLike) -> bytes:
        """Encrypt codes (n_samples, n_features), or (n_features,) for an answer of one row.

        Raises InvalidInputError or InputTypeError.
        """

    def decrypt(self, answer: bytes) -> npt.NDArray[np.int64]:
        """Decrypt an answer: (n_samples, n_outputs) or (n_outputs,), as what was encrypted.

        Raises SerializationError, or InvalidInputError on an answer to rows of other keys.
        """

@final
class BfvPublicKey:
    """A client's public key, checked: what a server hides its weights with."""

    @staticmethod
    def from_bytes(specs: BfvSpecs, data: bytes) -> BfvPublicKey:
        """Read what :meth:`BfvClient.public_key` gave. Raises SerializationError."""

@final
class BfvServer:
    """Computes sums of encrypted rows: holds weights, and no key."""

    @staticmethod
    def compile(graph: IntegerGraph, flooding_bits: int | None = None) -> BfvServer:
        """Choose parameters for a graph, and prove that noise changes no sum.

        Raises CompilationError or InvalidParameterError.
        """

    @staticmethod
    def from_bytes(data: bytes) -> BfvServer:
        """Read what :meth:`to_bytes` wrote, and prove it anew. Raises SerializationError."""

    def to_bytes(self) -> bytes:
        """Return the server as bytes, its weights included."""

    @property
    def specs(self) -> BfvSpecs:
        """Public parameters, which clients are made from."""

    def run(self, request: bytes, public_key: BfvPublicKey) -> bytes:
        """Compute the sums of encrypted rows.

        Raises SerializationError, or InvalidInputError on rows of other keys.
        """
