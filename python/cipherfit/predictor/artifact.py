"""What is stored of a model: the file of the one who serves it, and that of clients.

docs/model-file.md is the specification. Nothing here runs what a file says: graphs are validated
and proven anew, and all else is plain values of known kinds.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit import __version__
from cipherfit._core import BfvSpecs, IntegerGraph
from cipherfit.exceptions import (
    InvalidInputError,
    InvalidParameterError,
    SerializationError,
)
from cipherfit.predictor.clear import Clear
from cipherfit.predictor.compilation import Compilation, is_digest
from cipherfit.predictor.container import canonical, decode, encode, read_file
from cipherfit.predictor.postprocessing import before_shares, check_probabilities, post_process
from cipherfit.predictor.records import check_versions, is_plain
from cipherfit.predictor.surroundings import Surroundings
from cipherfit.predictor.targets import ClassTargets
from cipherfit.stages import client_part, encrypted_part

Float64 = NDArray[np.float64]

_MODEL, _CLIENT = "cipherfit model", "cipherfit client"
_SHARED = {"feature_names", "graph", "post_processing", "preparation", "targets", "versions"}
_MODEL_KEYS = frozenset({*_SHARED, "certificate", "client_layers", "compiled"})
_CLIENT_KEYS = frozenset({*_SHARED, "backend", "digest", "output"})
_CLIENT_LAYERS = (None, "learned", "random")
_BACKENDS = ("bfv", "concrete")


@dataclass(frozen=True)
class ModelFile:
    """What the file of a model holds.

    Parameters
    ----------
    graph : IntegerGraph
        What it computes.
    surroundings : Surroundings
        What is computed around it.
    client_layers : {"random", "learned"} or None
        Where the weights of its client layers come from.
    compiled : Compilation or None
        How it was compiled.
    versions : dict of str
        Versions that wrote it.
    """

    graph: IntegerGraph
    surroundings: Surroundings
    client_layers: str | None
    compiled: Compilation | None
    versions: dict[str, str]

    def to_bytes(self) -> bytes:
        """Return the bytes of the file; equal models give equal ones."""
        compiled = self.compiled
        metadata = {
            **self.surroundings.record(),
            "certificate": certificate_digest(self.graph),
            "client_layers": self.client_layers,
            "compiled": None if compiled is None else compiled.record(),
            "graph": self.graph.digest,
            "versions": self.versions,
        }
        return encode(_MODEL, metadata, {"graph": self.graph.to_bytes()})

    @classmethod
    def from_bytes(cls, data: bytes) -> ModelFile:
        """Read what `to_bytes` gave, and prove it anew.

        Raises
        ------
        SerializationError
            If it is anything else.
        """
        metadata, tensors = decode(data, _MODEL, _MODEL_KEYS, frozenset({"graph"}))
        graph = _read_graph(tensors["graph"], metadata["graph"])
        if metadata["certificate"] != certificate_digest(graph):
            raise SerializationError("the proof of the graph is not the one that was stored")
        layers = metadata["client_layers"]
        if not (layers is None or isinstance(layers, str)) or layers not in _CLIENT_LAYERS:
            raise SerializationError(f"client_layers={layers!r:.60} must be random or learned")
        file = cls(
            graph,
            Surroundings.from_record(metadata, graph.n_features, graph.n_outputs),
            layers,
            Compilation.from_record(metadata["compiled"], graph),
            check_versions(metadata["versions"]),
        )
        _check_canonical(file.to_bytes(), data)
        return file


class ClientModel:
    """What a client holds of a model: all that turns rows into codes and sums into answers.

    It has no weights of the server's part, and needs NumPy and safetensors alone.

    Attributes
    ----------
    backend : {"bfv", "concrete"}
        What encrypts.
    digest : str
        SHA-256 of the server's graph, in hexadecimal: which model a server is to run.
    specs : bytes
        Public parameters of the encryption: those of `BfvClient`, or of Concrete's client.
    n_features : int
        Raw features of a row.
    n_codes, n_outputs : int
        Codes of a row that are encrypted, and sums that come back.
    surroundings : Surroundings
        What is computed around the graph.
    versions : dict of str
        Versions that wrote it.
    """

    def __init__(
        self,
        graph: IntegerGraph,
        output: tuple[Float64, Float64],
        surroundings: Surroundings,
        *,
        backend: str,
        digest: str,
        specs: bytes,
        versions: dict[str, str],
    ) -> None:
        self._graph = graph
        self._output = output
        self.surroundings = surroundings
        self.backend = backend
        self.digest = digest
        self.specs = specs
        self.versions = versions

    @classmethod
    def of(
        cls, graph: IntegerGraph, surroundings: Surroundings, *, backend: str, specs: bytes
    ) -> ClientModel:
        """Return the client's part of a graph.

        Parameters
        ----------
        graph : IntegerGraph
            The whole network.
        surroundings : Surroundings
            What is computed around it.
        backend : {"bfv", "concrete"}
            What it was compiled with.
        specs : bytes
            The circuit's public parameters.
        """
        output = graph.to_dict()["output"]
        return cls(
            _client_graph(graph),
            (output["scale"], output["offset"]),
            surroundings,
            backend=backend,
            digest=encrypted_part(graph).digest,
            specs=specs,
            versions=versions(),
        )

    @property
    def n_features(self) -> int:
        """Raw features of a row."""
        return self.surroundings.n_features(self._graph.n_features)

    @property
    def n_codes(self) -> int:
        """Codes of a row that are encrypted."""
        graph = self._graph
        return graph.n_outputs if graph.n_client_layers else graph.n_features

    @property
    def n_outputs(self) -> int:
        """Sums of a row that come back."""
        return len(self._output[0])

    @property
    def is_classifier(self) -> bool:
        """Whether answers are classes."""
        return isinstance(self.surroundings.targets, ClassTargets)

    def encode(self, X: Any) -> NDArray[np.uint16]:
        """Return what is to be encrypted of features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, raw ones where the model was saved with a pipeline.

        Returns
        -------
        ndarray of shape (n_samples, n_codes), uint16
            Codes, after the client's layers where there are some.

        Raises
        ------
        InvalidInputError, InputTypeError
            If the features can't be those of the model.
        """
        codes = Clear(self._graph, self.surroundings).codes(X)
        if self._graph.n_client_layers:
            return self._graph.simulate(codes).astype(np.uint16)
        return codes

    def answer(self, sums: Any) -> NDArray[Any]:
        """Return the predictions of decrypted sums.

        Parameters
        ----------
        sums : array-like of int, shape (n_samples, n_outputs)
            What was decrypted.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets, as they were in training.
        """
        steps = before_shares(self.surroundings.post_processing)
        return self.surroundings.targets.decode(post_process(self._outputs(sums), steps))

    def answer_proba(self, sums: Any) -> Float64:
        """Return the probabilities of decrypted sums.

        Parameters
        ----------
        sums : array-like of int, shape (n_samples, n_outputs)
            What was decrypted.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64

        Raises
        ------
        InvalidParameterError
            If the model predicts real values, or scores of classes that are no probabilities.
        """
        if not self.is_classifier:
            raise InvalidParameterError("this model predicts real values, and no probabilities")
        check_probabilities(self.surroundings.post_processing)
        return post_process(self._outputs(sums), self.surroundings.post_processing)

    def to_bytes(self) -> bytes:
        """Return the bytes of the client's file."""
        scale, offset = self._output
        metadata = {
            **self.surroundings.record(),
            "backend": self.backend,
            "digest": self.digest,
            "graph": self._graph.digest,
            "output": {"offset": offset.tolist(), "scale": scale.tolist()},
            "versions": self.versions,
        }
        return encode(_CLIENT, metadata, {"graph": self._graph.to_bytes(), "specs": self.specs})

    @classmethod
    def from_bytes(cls, data: bytes) -> ClientModel:
        """Read what `to_bytes` gave.

        Raises
        ------
        SerializationError
            If it is anything else.
        """
        metadata, tensors = decode(data, _CLIENT, _CLIENT_KEYS, frozenset({"graph", "specs"}))
        graph = _read_graph(tensors["graph"], metadata["graph"])
        output = _read_output(metadata["output"])
        backend, digest = metadata["backend"], metadata["digest"]
        if not isinstance(backend, str) or backend not in _BACKENDS:
            raise SerializationError(f"the back end {backend!r:.60} is unknown")
        if not isinstance(digest, str) or not is_digest(digest):
            raise SerializationError(f"the digest {digest!r:.80} is no SHA-256 in hexadecimal")
        client = cls(
            graph,
            output,
            Surroundings.from_record(metadata, graph.n_features, len(output[0])),
            backend=backend,
            digest=digest,
            specs=tensors["specs"],
            versions=check_versions(metadata["versions"]),
        )
        client._check_specs()
        _check_canonical(client.to_bytes(), data)
        return client

    def __repr__(self) -> str:
        return (
            f"ClientModel({self.n_features} features, {self.n_outputs} outputs, {self.backend}, "
            f"digest {self.digest[:12]})"
        )

    def _outputs(self, sums: Any) -> Float64:
        values = np.asarray(sums)
        if values.dtype.kind not in "iu" or values.ndim != 2 or values.shape[1] != self.n_outputs:
            raise InvalidInputError(
                f"sums of shape {values.shape} and type {values.dtype} must be integers of shape "
                f"(n_samples, {self.n_outputs})"
            )
        scale, offset = self._output
        return np.asarray(values.astype(np.float64) * scale + offset)

    def _check_specs(self) -> None:
        """Refuse parameters of BFV that the codes and sums don't fit."""
        if self.backend != "bfv":
            return
        specs = BfvSpecs.from_bytes(self.specs)
        sizes = (specs.n_features, specs.n_outputs)
        if sizes != (self.n_codes, self.n_outputs):
            raise SerializationError(
                f"the parameters are for {sizes[0]} codes and {sizes[1]} sums, the model has "
                f"{self.n_codes} and {self.n_outputs}"
            )


def load_client(path: str | os.PathLike[str]) -> ClientModel:
    """Read the file that `save_client` wrote.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    ClientModel

    Raises
    ------
    SerializationError
        If it is no such file, or was altered.
    OSError
        If it can't be read.
    """
    return ClientModel.from_bytes(read_file(path))


def versions() -> dict[str, str]:
    """Return the versions that write a file."""
    return {"cipherfit": __version__, "numpy": np.__version__}


def certificate_digest(graph: IntegerGraph) -> str:
    """Return SHA-256 of a graph's proof, as canonical JSON, in hexadecimal."""
    proof = canonical(graph.prove().to_dict())
    return hashlib.sha256(proof.encode()).hexdigest()


def _client_graph(graph: IntegerGraph) -> IntegerGraph:
    """Return the client's layers; where there are none, its quantizer before a sum of nothing."""
    layers = client_part(graph)
    if layers is not None:
        return layers
    nothing = np.zeros((1, graph.n_features), dtype=np.int64)
    head = {"kind": "linear", "weights": nothing, "offset": np.zeros(1, dtype=np.int64)}
    output = {"scale": np.ones(1), "offset": np.zeros(1)}
    return IntegerGraph.from_layers(graph.to_dict()["input"], [head], output)


def _read_graph(data: bytes, digest: Any) -> IntegerGraph:
    """Return a graph whose bytes are its canonical ones, and have a digest."""
    graph = IntegerGraph.from_bytes(data)
    if graph.digest != digest or graph.to_bytes() != data:
        raise SerializationError("the graph is not the one whose digest is stored")
    return graph


def _read_output(record: Any) -> tuple[Float64, Float64]:
    if not isinstance(record, dict) or set(record) != {"offset", "scale"}:
        raise SerializationError("the output is not scales and offsets")
    scale, offset = record["scale"], record["offset"]
    for values in (scale, offset):
        if not isinstance(values, list) or not all(is_plain(value, float) for value in values):
            raise SerializationError("scales and offsets of the output are not finite floats")
    if not scale or len(scale) != len(offset) or min(scale) <= 0:
        raise SerializationError("there must be as many positive scales as offsets of the output")
    return np.array(scale), np.array(offset)


def _check_canonical(written: bytes, data: bytes) -> None:
    if written != data:
        raise SerializationError("the file is not in canonical form")
