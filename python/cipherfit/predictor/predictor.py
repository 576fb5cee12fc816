"""What answers, whoever trained it: an integer graph, and what the client computes around it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.artifact import ClientModel, ModelFile, versions
from cipherfit.predictor.backend import Circuit, backend_for, backend_of, specs_of
from cipherfit.predictor.chunks import as_rows, each_chunk, joined
from cipherfit.predictor.clear import Clear
from cipherfit.predictor.container import write_file
from cipherfit.predictor.encrypted import Encrypted
from cipherfit.predictor.features import Features
from cipherfit.predictor.notebook import predictor_html
from cipherfit.predictor.p_error import search_p_error
from cipherfit.predictor.postprocessing import (
    Function,
    before_shares,
    check_probabilities,
    post_process,
)
from cipherfit.predictor.preparation import Preparation
from cipherfit.predictor.quantizer import UniformQuantizer
from cipherfit.predictor.surroundings import Surroundings
from cipherfit.predictor.targets import ClassTargets, Targets

Float64 = NDArray[np.float64]

FHE_MODES = ("disable", "simulate", "execute")


class Predictor:
    """A proven network, ready to answer in clear, simulated or encrypted.

    It holds the graph, what the client computes before it (checks of features, quantization) and
    after it (dequantization, post-processing, decoding of labels), and the circuit once compiled.
    A trained estimator has one as `predictor_`. Pickled or copied, it keeps how it was compiled,
    and neither circuit nor keys: both are made again when they are needed.

    Parameters
    ----------
    graph : IntegerGraph
        What it computes.
    targets : ClassTargets or RealTargets
        What its outputs stand for.
    post_processing : sequence of callable, default=()
        From real-valued outputs to predictions: see `cipherfit.predictor.postprocessing`.
    feature_names : sequence of str, optional
        Names of the features, where it was trained on a data frame.
    client_layers : {"random", "learned"}, optional
        Where the weights of the graph's client layers come from, if it has any: random ones say
        nothing of the training data; learned ones are public, since every client holds them.
    preparation : Preparation, optional
        What makes the network's features of raw ones. X is raw features then, in every method.

    Attributes
    ----------
    graph, targets, post_processing, client_layers, preparation
        As given.
    features : Features
        What the network takes: X, or what the preparation makes of it.
    """

    def __init__(
        self,
        graph: IntegerGraph,
        targets: Targets,
        *,
        post_processing: Sequence[Function] = (),
        feature_names: Sequence[str] | None = None,
        client_layers: str | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        names = None if feature_names is None else tuple(map(str, feature_names))
        self.graph = graph
        self.targets = targets
        self.post_processing = tuple(post_processing)
        self.features = Features(graph.n_features, names)
        self.client_layers = client_layers if graph.n_client_layers else None
        self.preparation = preparation
        self._encrypted = Encrypted(graph)

    def __repr__(self) -> str:
        """Say what answers, and how far it is."""
        return ", ".join([f"Predictor({self.graph!r}", *self._states().values()]) + ")"

    def _repr_html_(self) -> str:
        """Describe it as HTML, for notebooks."""
        return predictor_html(
            self.graph, self.targets, self.features, self.preparation, self._states()
        )

    def _states(self) -> dict[str, str]:
        """Say what of the network every client holds, and how far it is."""
        compiled = "compiled" if self._encrypted.is_compiled else "not compiled"
        if not self.graph.n_client_layers:
            return {"encryption": compiled}
        if self.client_layers == "random":
            disclosed = "client layers are random, all trained weights secret"
        else:
            known = "learned" if self.client_layers == "learned" else "not known to be random"
            disclosed = f"client layers are {known}: THEIR WEIGHTS ARE PUBLIC"
        return {"secrecy": disclosed, "encryption": compiled}

    @property
    def is_classifier(self) -> bool:
        """Whether it predicts classes."""
        return isinstance(self.targets, ClassTargets)

    @property
    def n_features(self) -> int:
        """Features of a row: raw ones where there is a preparation."""
        return self._surroundings().n_features(self.graph.n_features)

    @property
    def circuit(self) -> Any:
        """The compiled circuit; None before `compile`.

        After loading or copying it is compiled again, with the same options, when first needed.

        Raises
        ------
        CompilationError
            If a loaded model can't be compiled for the clients that it had when it was saved.
        """
        return self._encrypted.circuit

    @circuit.setter
    def circuit(self, circuit: Circuit | None) -> None:
        self._encrypted.circuit = circuit

    @property
    def input_quantizer(self) -> UniformQuantizer:
        """How features and codes relate."""
        parts = self.graph.to_dict()["input"]
        return UniformQuantizer(parts["scale"], parts["zero_point"], parts["n_bits"])

    @property
    def output_quantizer(self) -> UniformQuantizer:
        """How accumulators and real-valued outputs relate."""
        parts = self.graph.to_dict()["output"]
        bits = self.graph.prove().layers[-1].bits
        return UniformQuantizer(parts["scale"], -parts["offset"] / parts["scale"], bits)

    def with_graph(self, graph: IntegerGraph) -> Predictor:
        """Return an uncompiled predictor of another graph with the same inputs and outputs."""
        return Predictor(
            graph,
            self.targets,
            post_processing=self.post_processing,
            feature_names=self.features.names,
            client_layers=self.client_layers,
            preparation=self.preparation,
        )

    def with_preparation(self, preparation: Preparation | None) -> Predictor:
        """Return this predictor behind what makes its features of raw ones; compiled as this is."""
        copy = Predictor.__new__(Predictor)
        vars(copy).update(vars(self), preparation=preparation, _encrypted=self._encrypted.twin())
        return copy

    @classmethod
    def from_file(cls, file: ModelFile) -> Predictor:
        """Return the predictor that a file holds: see `cipherfit.load`."""
        around = file.surroundings
        predictor = cls(
            file.graph,
            around.targets,
            post_processing=around.post_processing,
            feature_names=around.feature_names,
            client_layers=file.client_layers,
            preparation=around.preparation,
        )
        predictor._encrypted = Encrypted(file.graph, file.compiled)
        return predictor

    def to_bytes(self) -> bytes:
        """Return the bytes of the file that `save` writes."""
        compiled = self._encrypted.compilation()
        file = ModelFile(self.graph, self._surroundings(), self.client_layers, compiled, versions())
        data = file.to_bytes()
        ModelFile.from_bytes(data)  # what would be refused is not written
        return data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write this model to one file, which `cipherfit.load` reads.

        It holds weights in clear, so it is for who serves the model; clients get `save_client`.

        Parameters
        ----------
        path : str or path
            Where to. The file is written in one step.

        Raises
        ------
        SerializationError
            If the post-processing is a function of one's own, or an option that it was compiled
            with can't be stored; the message names it.
        """
        write_file(path, self.to_bytes())

    def client_model(self) -> ClientModel:
        """Return what clients need of this model: no weights of the part that is encrypted.

        Raises
        ------
        NotCompiledError
            If it is not compiled for encrypted execution: its public parameters are not known.
        """
        circuit = self._encrypted.circuit_for("making what its clients need")
        client = ClientModel.of(
            self.graph,
            self._surroundings(),
            backend=backend_of(circuit),
            specs=specs_of(circuit),
        )
        return ClientModel.from_bytes(client.to_bytes())  # as clients will have it

    def save_client(self, path: str | os.PathLike[str]) -> None:
        """Write what clients need to one file, which `cipherfit.load_client` reads.

        Parameters
        ----------
        path : str or path
            Where to. The file is written in one step.

        Raises
        ------
        NotCompiledError
            If it is not compiled for encrypted execution.
        SerializationError
            If the post-processing is a function of one's own.
        """
        write_file(path, self.client_model().to_bytes())

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            self.targets, self.post_processing, self.features.names, self.preparation
        )

    def _in_clear(self) -> Clear:
        return Clear(self.graph, self._surroundings())

    def quantize_input(self, X: Any) -> NDArray[np.uint16]:
        """Return the codes of features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_features), uint16
        """
        return joined(self.code_chunks(X), X)

    def code_chunks(self, X: Any) -> Iterator[NDArray[np.uint16]]:
        """Yield the codes of some rows of features after the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, which may be more than memory holds: see `predict`.

        Yields
        ------
        ndarray of shape (n, n_features), uint16
        """
        return each_chunk(X, self._in_clear().codes)

    def dequantize_output(self, accumulators: Any) -> Float64:
        """Return the real-valued outputs of accumulators.

        Parameters
        ----------
        accumulators : array-like of int, shape (n_samples, n_outputs)
            What the graph, or a decrypted run, gives.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), float64
        """
        return self.graph.dequantize(accumulators)

    def answer(self, accumulators: Any, graph: IntegerGraph | None = None) -> NDArray[Any]:
        """Return predictions of accumulators, such as decrypted ones.

        Parameters
        ----------
        accumulators : array-like of int, shape (n_samples, n_outputs)
            What the graph, or a decrypted run, gives.
        graph : IntegerGraph, optional
            Another graph whose accumulators they are.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets, as they were in training.
        """
        outputs = (graph or self.graph).dequantize(accumulators)
        return self.targets.decode(post_process(outputs, before_shares(self.post_processing)))

    def predict(
        self,
        X: Any,
        *,
        fhe: str = "disable",
        n_jobs: int | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> NDArray[Any]:
        """Predict class labels or targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; compiled, also one row of shape (n_features,). Memory maps, sparse matrices,
            Arrow's tables, streams, data sets and Parquet files, and Dask's arrays and data frames
            are gone through once, some rows after the other, so that they may be larger than
            memory.
        fhe : {"disable", "simulate", "execute"}, default="disable"
            "execute" runs on encrypted data, "simulate" the integer graph with random lookup errors
            at the rate that the circuit was compiled for; both ask for `compile` first.
        n_jobs : int, optional
            Of encrypted rows with lookups: workers of joblib's that run them, each on one core; -1
            is one for each core. Default: those of the context (`joblib.parallel_config`, which
            also names clusters), else this process, on all cores.
        storage : str or path, optional
            Of encrypted rows with lookups: a file that keeps each row's answer, and from which an
            interrupted call goes on.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets, as they were in training.

        Raises
        ------
        UnansweredRowsError
            If workers keep failing over encrypted rows.
        InvalidParameterError
            If `storage` is of another model, key or data, or nothing is encrypted that takes long.
        """
        outputs = self._outputs(X, fhe, n_jobs, storage)
        steps = before_shares(self.post_processing)
        processed = (post_process(part, steps) for part in outputs)
        return joined((self.targets.decode(part) for part in processed), X)

    def predict_proba(
        self,
        X: Any,
        *,
        fhe: str = "disable",
        n_jobs: int | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> Float64:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; compiled, also one row of shape (n_features,).
        fhe, n_jobs, storage : optional
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Probabilities, whose rows sum to 1.

        Raises
        ------
        InvalidParameterError
            If it predicts real values, or scores of classes that are no probabilities.
        """
        if not self.is_classifier:
            raise InvalidParameterError(
                "predict_proba is for classes, and this network predicts real values: call predict"
            )
        check_probabilities(self.post_processing)
        outputs = self._outputs(X, fhe, n_jobs, storage)
        return joined((post_process(part, self.post_processing) for part in outputs), X)

    def compile(
        self,
        X: Any = None,
        configuration: Any = None,
        compilation_artifacts: Any = None,
        show_mlir: bool = False,
        use_virtual_lib: bool = False,
        p_error: float | str | None = None,
        *,
        y: Any = None,
        max_accuracy_drop: float = 0.01,
        backend: str = "auto",
        flooding_bits: int | None = None,
        n_output_bits: int | None = None,
    ) -> Any:
        """Compile the network, or what follows its client layers, to run on encrypted data.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Rows that ``p_error="auto"`` is chosen by. Else not needed, since the proof gives all
            widths; where given, only its shape is checked.
        configuration : fhe.Configuration, optional
            Concrete's options.
        compilation_artifacts : fhe.DebugArtifacts, optional
            Where Concrete leaves its intermediate results.
        show_mlir : bool, default=False
            Print the MLIR that Concrete compiles.
        use_virtual_lib : bool, default=False
            Compile for Concrete's simulation only, without cryptography.
        p_error : float in (0, 1) or "auto", default=0.01
            Probability that one lookup gives a neighbour's value. Smaller is slower. "auto" takes
            the fastest that the model bears on `X`: see `cipherfit.search_p_error`.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            For "auto", labels or targets of `X`. Default: what the model predicts in the clear.
        max_accuracy_drop : float in (0, 1), default=0.01
            For "auto", by how much accuracy or R2 may fall, with 95 % confidence.
        backend : {"auto", "concrete", "bfv"}, default="auto"
            What encrypts. Concrete (TFHE) runs lookups; BFV networks that have none left to
            encrypt, exactly, hundreds of times as fast, and without evaluation keys. "auto" takes
            BFV where it can; where one of Concrete's options is named, Concrete.
        flooding_bits : int, optional
            For BFV, statistical bits that hide the weights from who decrypts: see
            `cipherfit.bfv.compile_graph`.
        n_output_bits : int, optional
            For Concrete, at least 3: high bits of the outputs that encryption leaves right, each
            output with the probability ``1 - p_error``. Those below may carry noise, as they do
            in any case where lookups err. The lookups before outputs of 10 bits or more cost up
            to 1.6 times as much as before outputs of 7. Default: all. Without lookups outputs are
            exact. Such noise says something of the secret key: pass on labels, and never scores.

        Returns
        -------
        fhe.Circuit or BfvCircuit
            The circuit, also kept. Both have `keygen`, `encrypt`, `run`, `decrypt`,
            `encrypt_run_decrypt`, `client` and `server`.

        Raises
        ------
        ValueError
            If the model is not fitted.
        CompilationError
            If the back end can't run the network; the message says what would fit.
        """
        own = {
            "configuration": configuration,
            "compilation_artifacts": compilation_artifacts,
            "show_mlir": show_mlir,
            "use_virtual_lib": use_virtual_lib,
            "n_output_bits": n_output_bits,
        }
        name = backend_for(self.graph, backend, options=own)
        if name == "concrete" and isinstance(p_error, str):
            p_error = self._fastest_p_error(p_error, X, y, max_accuracy_drop, n_output_bits)
        elif X is not None:
            for _ in each_chunk(X, self._in_clear().features):
                pass
        return self._encrypted.compile(
            name,
            flooding_bits,
            configuration=configuration,
            p_error=p_error,
            n_output_bits=n_output_bits,
            artifacts=compilation_artifacts,
            show_mlir=show_mlir,
            simulation_only=use_virtual_lib,
        )

    def estimate_fhe(self, p_error: float | None = None, *, backend: str = "auto") -> Any:
        """Estimate what encrypted prediction costs, before keys are made.

        The first estimate of a process times a small circuit of its own: for Concrete about two
        seconds.

        Parameters
        ----------
        p_error : float in (0, 1), optional
            Probability that one lookup errs. Default: that of the compiled circuit, else 0.01.
        backend : {"auto", "concrete", "bfv"}, default="auto"
            What encrypts: as for `compile`. "auto" stays with that of a compiled circuit.

        Returns
        -------
        FheEstimate
            Back end and its parameters, lookups, bits, seconds per row on this machine, sizes of
            keys and ciphertexts, memory.

        Raises
        ------
        ValueError
            If the model is not fitted.
        CompilationError
            If Concrete can't run the network.
        """
        return self._encrypted.estimate(p_error, backend)

    def report(
        self, path: str | os.PathLike[str], X: Any = None, y: Any = None, **options: Any
    ) -> None:
        """Write one page of HTML: how good, what is proven, who learns what, what it costs.

        Parameters
        ----------
        path : str or path
            Where to. The file is written in one step, and needs nothing else to be read.
        X : array-like of shape (n_samples, n_features), optional
            Test rows, held out from training.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            Their labels or targets.
        **options
            `X_train`, `y_train`, `design`, `encrypted_rows` and `title`: see
            `cipherfit.write_report`.

        Raises
        ------
        MissingDependencyError
            If Jinja2 is not installed.
        """
        # Reports know predictors, and not the other way around.
        import_module("cipherfit.report.html").write_report(self, path, X, y, **options)

    def _fastest_p_error(
        self, given: str, X: Any, y: Any, max_accuracy_drop: float, n_output_bits: int | None
    ) -> float:
        """Return the fastest of some error probabilities that the model bears on `X`."""
        if given != "auto":
            raise InvalidParameterError(f"p_error={given!r} must be a number or 'auto'")
        if X is None:
            raise InvalidParameterError("p_error='auto' is chosen by rows: give X, and y if known")
        found = search_p_error(
            self, X, y, max_accuracy_drop=max_accuracy_drop, n_output_bits=n_output_bits
        )
        return self._encrypted.fastest_p_error(found.p_error, n_output_bits)

    def _outputs(
        self, X: Any, mode: str, n_jobs: int | None, storage: str | os.PathLike[str] | None
    ) -> Iterator[Float64]:
        """Yield real-valued outputs (n, n_outputs) in clear, simulated or encrypted."""
        if mode not in FHE_MODES:
            raise InvalidParameterError(f"fhe={mode!r} must be one of {', '.join(FHE_MODES)}")
        if storage is not None and mode != "execute":
            raise InvalidParameterError(
                f"storage={os.fspath(storage)!r} is for fhe='execute', and fhe={mode!r} takes no "
                "time worth storing"
            )
        if mode == "disable":
            yield from each_chunk(X, self._in_clear().outputs)
            return
        self._encrypted.check(mode)
        X = as_rows(X)
        if mode == "simulate":
            p_error, noise = self._encrypted.p_error, self._encrypted.output_noise
            for outputs in each_chunk(X, partial(self._in_clear().outputs, p_error=p_error)):
                yield noise.on_outputs(outputs, self.graph)
            return
        sums = self._encrypted.run(self.code_chunks(X), n_jobs=n_jobs, storage=storage)
        yield self.graph.dequantize(sums)
