"""What a fitted model answers with: its integer graph, in clear, simulated or encrypted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.metaestimators import available_if
from torch import nn

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError, NotCompiledError, NotFittedError
from cipherfit.fhe.circuit import compile_graph, run_encrypted
from cipherfit.fhe.estimate import FheEstimate, estimate_circuit, modelled_seconds
from cipherfit.fhe.runtime import fhe
from cipherfit.interchange.onnx_export import to_onnx
from cipherfit.predictor.p_error import search_p_error
from cipherfit.predictor.quantizer import UniformQuantizer
from cipherfit.predictor.targets import Targets
from cipherfit.validation import Float32, check_features

Float64 = NDArray[np.float64]

_FHE_MODES = ("disable", "simulate", "execute")
#: By what the largest error probability is divided, in search of a faster one.
_PARTS_OF_LARGEST = (1, 1.5, 2.5, 4, 7)


@dataclass(frozen=True)
class Lowered:
    """A model as it answers: the integer graph, then what the client computes in the clear."""

    graph: IntegerGraph
    epilogue: nn.Module


class GraphPredictor:
    """The half of an estimator that reads its graph: quantizers, predictions, compilation.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    """

    graph_: IntegerGraph
    lowered_: Lowered
    targets_: Targets
    circuit_: fhe.Circuit | None
    saved_configuration_: fhe.Configuration
    training_now_: bool

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle or copy: of the circuit, only how to compile it again."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[misc]
        circuit = state.pop("circuit_", None)
        if circuit is not None:
            state["saved_configuration_"] = circuit.configuration
        return state

    @property
    def input_quantizers(self) -> list[UniformQuantizer]:
        """The quantizer of the input features, in a list as there is one input."""
        self._check_calibrated("input_quantizers")
        parts = self.graph_.to_dict()["input"]
        return [UniformQuantizer(parts["scale"], parts["zero_point"], parts["n_bits"])]

    @property
    def output_quantizers(self) -> list[UniformQuantizer]:
        """What gives accumulators their real values, in a list as there is one output."""
        self._check_calibrated("output_quantizers")
        parts = self.graph_.to_dict()["output"]
        bits = self.graph_.prove().layers[-1].bits
        return [UniformQuantizer(parts["scale"], -parts["offset"] / parts["scale"], bits)]

    @property
    def onnx_model(self) -> Any:
        """The integer graph as an ONNX model (`onnx.ModelProto`), in standard operators."""
        self._check_calibrated("onnx_model")
        return to_onnx(self.graph_)

    @property
    def fhe_circuit(self) -> fhe.Circuit | None:
        """The compiled circuit; None before `compile`.

        A pickled or copied model compiles it again, with the same options, when it is first needed.
        """
        if "saved_configuration_" in vars(self):
            self.fhe_circuit = compile_graph(self.graph_, configuration=self.saved_configuration_)
        return vars(self).get("circuit_")

    @fhe_circuit.setter
    def fhe_circuit(self, circuit: fhe.Circuit | None) -> None:
        vars(self).pop("saved_configuration_", None)
        self.circuit_ = circuit

    @property
    def quantize_input(self) -> Callable[[Any], NDArray[np.uint16]]:
        """Function from features (n_samples, n_features) to input codes of the same shape."""
        self._check_calibrated("quantize_input")
        return lambda X: self.graph_.quantize(self._features(X))

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
        self._check_calibrated("dequantize_output")
        return self.graph_.dequantize(accumulators)

    def post_processing(self, outputs: Any) -> Float64:
        """Return predictions of real-valued outputs, as the client computes them in the clear.

        Parameters
        ----------
        outputs : array-like of shape (n_samples, n_outputs)
            Real-valued outputs, as of `dequantize_output`.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), float64
            For a classifier, probabilities whose rows sum to 1; for a regressor, the outputs.
        """
        self._check_calibrated("post_processing")
        values = torch.as_tensor(np.asarray(outputs, dtype=np.float64))
        with torch.no_grad():
            nonlinearity = self._get_predict_nonlinearity()  # type: ignore[attr-defined]
            processed = nonlinearity(self.lowered_.epilogue(values))
        return np.asarray(processed.numpy(), dtype=np.float64)

    @available_if(is_classifier)  # type: ignore[untyped-decorator]
    def predict_proba(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> Float64:
        """Predict class probabilities; a regressor has no such method.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; on the FHE path also one row of shape (n_features,).
        execute_in_fhe : bool, default=False
            Whether to run on encrypted data; the model must be compiled.
        fhe : {"disable", "simulate", "execute"}, optional
            The same choice, and "simulate": the integer graph with random lookup errors at the
            rate that the circuit was compiled for.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), float64
            Probabilities, whose rows sum to 1.
        """
        if vars(self).get("training_now_"):
            return self._outputs_in_training(X)
        return self.post_processing(self._outputs(X, execute_in_fhe, fhe))

    def predict(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> NDArray[Any]:
        """Predict class labels or targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; on the FHE path also one row of shape (n_features,).
        execute_in_fhe : bool, default=False
            Whether to run on encrypted data; the model must be compiled.
        fhe : {"disable", "simulate", "execute"}, optional
            The same choice, and "simulate": the integer graph with random lookup errors at the
            rate that the circuit was compiled for.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets, as given in `fit`.
        """
        if vars(self).get("training_now_"):
            outputs = self._outputs_in_training(X)
            return outputs.argmax(axis=1) if is_classifier(self) else outputs
        outputs = self._outputs(X, execute_in_fhe, fhe)
        return self.targets_.decode(self.post_processing(outputs))

    def compile(
        self,
        X: Any = None,
        configuration: fhe.Configuration | None = None,
        compilation_artifacts: fhe.DebugArtifacts | None = None,
        show_mlir: bool = False,
        use_virtual_lib: bool = False,
        p_error: float | str | None = None,
        *,
        y: Any = None,
        max_accuracy_drop: float = 0.01,
    ) -> fhe.Circuit:
        """Compile the trained network to an FHE circuit.

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

        Returns
        -------
        fhe.Circuit
            The circuit, also kept as `fhe_circuit`.

        Raises
        ------
        ValueError
            If the model is not fitted.
        CompilationError
            If Concrete can't run the network; the message says what would fit.
        """
        self._check_calibrated("compile")
        if X is not None:
            self._features(X)
        if isinstance(p_error, str):
            p_error = self._fastest_p_error(p_error, X, y, max_accuracy_drop)
        self.fhe_circuit = compile_graph(
            self.graph_,
            configuration=configuration,
            p_error=p_error,
            artifacts=compilation_artifacts,
            show_mlir=show_mlir,
            simulation_only=use_virtual_lib,
        )
        return self.fhe_circuit

    def estimate_fhe(self, p_error: float | None = None) -> FheEstimate:
        """Estimate what encrypted prediction costs, before keys are made.

        The first estimate of a process times a small circuit of its own, for about two seconds.

        Parameters
        ----------
        p_error : float in (0, 1), optional
            Probability that one lookup errs. Default: that of the compiled circuit, else 0.01.

        Returns
        -------
        FheEstimate
            Lookups, bits, seconds per row on this machine, sizes of keys and ciphertexts, memory.

        Raises
        ------
        ValueError
            If the model is not fitted.
        CompilationError
            If Concrete can't run the network.
        """
        self._check_calibrated("estimate_fhe")
        circuit = self.fhe_circuit if p_error is None else None
        if circuit is None or not circuit.configuration.fhe_execution:
            circuit = compile_graph(self.graph_, p_error=p_error, warn_of_size=False)
        return estimate_circuit(circuit, self.graph_)

    def _fastest_p_error(self, given: str, X: Any, y: Any, max_accuracy_drop: float) -> float:
        """Return the fastest of some error probabilities that the model bears on `X`."""
        if given != "auto":
            raise InvalidParameterError(f"p_error={given!r} must be a number or 'auto'")
        if X is None:
            raise InvalidParameterError("p_error='auto' is chosen by rows: give X, and y if known")
        largest = search_p_error(self, X, y, max_accuracy_drop=max_accuracy_drop).p_error
        # Rarer errors can be faster, as TFHE's parameters come in steps.
        return min(
            (largest / part for part in _PARTS_OF_LARGEST),
            key=lambda p_error: modelled_seconds(self.graph_, p_error),
        )

    def _features(self, X: Any) -> Float32:
        return check_features(self, X, reset=False)

    def _check_calibrated(self, what: str) -> None:
        if "graph_" not in vars(self):
            raise NotFittedError(
                f"this {type(self).__name__} needs to be calibrated before {what}: call fit first"
            )

    def _outputs_in_training(self, X: Any) -> Float64:
        """Return what the network gives before there is a graph, for callbacks that score it."""
        nonlinearity = self._get_predict_nonlinearity()  # type: ignore[attr-defined]
        batches = self.forward_iter(X, training=False)  # type: ignore[attr-defined]
        outputs = torch.cat([nonlinearity(batch).detach() for batch in batches])
        return np.asarray(outputs.double().cpu().numpy(), dtype=np.float64)

    def _outputs(self, X: Any, execute_in_fhe: bool, mode: str | None) -> Float64:
        """Return real-valued outputs (n_samples, n_outputs) in clear, simulated or encrypted."""
        mode = _fhe_mode(execute_in_fhe, mode)
        self._check_calibrated("predict")
        if mode == "disable":
            return self.graph_.run(self._features(X))
        circuit = self.fhe_circuit
        if circuit is None:
            raise NotCompiledError(
                f"this {type(self).__name__} is not yet compiled to FHE: call compile() before "
                f"predicting with fhe={mode!r}"
            )
        if np.ndim(X) == 1:
            X = np.asarray(X).reshape(1, -1)
        codes = self.graph_.quantize(self._features(X))
        if mode == "simulate":
            return self.graph_.dequantize(
                self.graph_.simulate(codes, p_error=float(circuit.p_error))
            )
        if not circuit.configuration.fhe_execution:
            raise NotCompiledError(
                f"this {type(self).__name__} is not yet compiled for encrypted execution, only for "
                "simulation: call compile() without use_virtual_lib"
            )
        return self.graph_.dequantize(run_encrypted(circuit, codes))


def _fhe_mode(execute_in_fhe: bool, mode: str | None) -> str:
    if mode is None:
        return "execute" if execute_in_fhe else "disable"
    if mode not in _FHE_MODES:
        raise InvalidParameterError(f"fhe={mode!r} must be one of {', '.join(_FHE_MODES)}")
    if execute_in_fhe and mode != "execute":
        raise InvalidParameterError(
            f"execute_in_fhe=True contradicts fhe={mode!r}; give one of the two"
        )
    return mode
