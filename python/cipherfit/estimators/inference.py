"""What a fitted estimator answers with: its predictor, under the names of estimators."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.metaestimators import available_if
from skorch.utils import is_dataset

from cipherfit import exceptions
from cipherfit._core import IntegerGraph
from cipherfit.estimators.datasets import unpacked
from cipherfit.estimators.postprocessing import steps_of_option
from cipherfit.estimators.training_data import check_features, check_shape
from cipherfit.exceptions import CipherfitWarning, InvalidParameterError
from cipherfit.interchange.onnx_export import to_onnx
from cipherfit.predictor.postprocessing import post_process
from cipherfit.predictor.predictor import FHE_MODES, Predictor
from cipherfit.predictor.quantizer import UniformQuantizer
from cipherfit.predictor.saving import save
from cipherfit.predictor.targets import ClassTargets, Targets

Float64 = NDArray[np.float64]
Method = TypeVar("Method", bound=Callable[..., Any])


def described_by(source: Callable[..., Any]) -> Callable[[Method], Method]:
    """Give a method that delegates the description of what it delegates to."""

    def describe(method: Method) -> Method:
        method.__doc__ = source.__doc__
        return method

    return describe


class InferenceMixin:
    """The half of an estimator that answers: it delegates to `predictor_`.

    Attributes
    ----------
    predictor_ : Predictor
        The proven network, and what the client computes around it.
    """

    predictor_: Predictor
    targets_: Targets
    criterion_: Any
    predict_nonlinearity: Any

    @property
    def graph_(self) -> IntegerGraph:
        """The proven integer graph of the trained network."""
        if "predictor_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has no graph_ before fit")
        return self.predictor_.graph

    @property
    def classes_(self) -> NDArray[Any]:
        """Class labels (n_classes,), sorted; a regressor has none."""
        if isinstance(vars(self).get("targets_"), ClassTargets):
            return np.asarray(vars(self)["targets_"].classes)
        known: NDArray[Any] = super().classes_  # type: ignore[misc]
        return known

    @property
    def input_quantizers(self) -> list[UniformQuantizer]:
        """The quantizer of the input features, in a list as there is one input."""
        return [self._fitted("input_quantizers").input_quantizer]

    @property
    def output_quantizers(self) -> list[UniformQuantizer]:
        """What gives accumulators their real values, in a list as there is one output."""
        return [self._fitted("output_quantizers").output_quantizer]

    @property
    def onnx_model(self) -> Any:
        """The integer graph as an ONNX model (`onnx.ModelProto`), in standard operators."""
        return to_onnx(self._fitted("onnx_model").graph)

    @property
    def fhe_circuit(self) -> Any:
        """The compiled circuit; None before `compile`.

        A pickled or copied model compiles it again, with the same options, when it is first needed.
        """
        return self.predictor_.circuit if "predictor_" in vars(self) else None

    @fhe_circuit.setter
    def fhe_circuit(self, circuit: Any) -> None:
        if circuit is not None or "predictor_" in vars(self):
            self._fitted("fhe_circuit").circuit = circuit

    @property
    def quantize_input(self) -> Callable[[Any], NDArray[np.uint16]]:
        """Function from features (n_samples, n_features) to input codes of the same shape."""
        return self._fitted("quantize_input").quantize_input

    @described_by(Predictor.dequantize_output)
    def dequantize_output(self, accumulators: Any) -> Float64:
        """Return the real-valued outputs of accumulators."""
        return self._fitted("dequantize_output").dequantize_output(accumulators)

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
        return post_process(outputs, self._fitted("post_processing").post_processing)

    @available_if(is_classifier)  # type: ignore[untyped-decorator]
    def predict_proba(
        self,
        X: Any,
        execute_in_fhe: bool = False,
        *,
        fhe: str | None = None,
        n_jobs: int | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> Float64:
        """Predict class probabilities; a regressor has no such method.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, in memory or larger than it as for `Predictor.predict`; on the FHE path also
            one row of shape (n_features,).
        execute_in_fhe : bool, default=False
            Whether to run on encrypted data; the model must be compiled.
        fhe : {"disable", "simulate", "execute"}, optional
            The same choice, and "simulate": the integer graph with random lookup errors at the
            rate that the circuit was compiled for.
        n_jobs : int, optional
            Of encrypted rows with lookups: workers of joblib's, as for `Predictor.predict`.
        storage : str or path, optional
            Of encrypted rows with lookups: a file from which an interrupted call goes on.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), float64
            Probabilities, whose rows sum to 1.
        """
        if vars(self).get("training_now_"):
            return self._outputs_in_training(X)
        mode = self._mode(execute_in_fhe, fhe)
        predictor = self._fitted("predict_proba")
        return predictor.predict_proba(X, fhe=mode, n_jobs=n_jobs, storage=storage)

    def predict(
        self,
        X: Any,
        execute_in_fhe: bool = False,
        *,
        fhe: str | None = None,
        n_jobs: int | None = None,
        storage: str | os.PathLike[str] | None = None,
    ) -> NDArray[Any]:
        """Predict class labels or targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, in memory or larger than it as for `Predictor.predict`; on the FHE path also
            one row of shape (n_features,).
        execute_in_fhe : bool, default=False
            Whether to run on encrypted data; the model must be compiled.
        fhe : {"disable", "simulate", "execute"}, optional
            The same choice, and "simulate": the integer graph with random lookup errors at the
            rate that the circuit was compiled for.
        n_jobs : int, optional
            Of encrypted rows with lookups: workers of joblib's, as for `Predictor.predict`.
        storage : str or path, optional
            Of encrypted rows with lookups: a file from which an interrupted call goes on.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets, as given in `fit`.
        """
        if vars(self).get("training_now_"):
            outputs = self._outputs_in_training(X)
            if "forward_iter" in vars(self) and is_classifier(self):
                # skorch compares what it cached with encoded labels.
                return np.asarray(outputs.argmax(axis=1))
            return self.targets_.decode(outputs)
        mode = self._mode(execute_in_fhe, fhe)
        check_shape(self, X)
        predictor = self._fitted("predict")
        threshold = vars(self).get("threshold", 0.5)  # of skorch's binary classifier
        if threshold != 0.5:
            likely = predictor.predict_proba(X, fhe=mode, n_jobs=n_jobs, storage=storage)[:, 1]
            return np.asarray(self.classes_[(likely > threshold).astype(int)])
        return predictor.predict(X, fhe=mode, n_jobs=n_jobs, storage=storage)

    @described_by(Predictor.compile)
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
        """Compile the trained network to an FHE circuit."""
        return self._fitted("compile").compile(
            X,
            configuration,
            compilation_artifacts,
            show_mlir,
            use_virtual_lib,
            p_error,
            y=y,
            max_accuracy_drop=max_accuracy_drop,
            backend=backend,
            flooding_bits=flooding_bits,
            n_output_bits=n_output_bits,
        )

    @described_by(Predictor.estimate_fhe)
    def estimate_fhe(self, p_error: float | None = None, *, backend: str = "auto") -> Any:
        """Estimate what encrypted prediction costs, before keys are made."""
        return self._fitted("estimate_fhe").estimate_fhe(p_error, backend=backend)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trained network to one file, which `cipherfit.load` reads as a `Predictor`.

        Parameters
        ----------
        path : str or path
            Where to. The file is written in one step; it holds weights in clear.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        SerializationError
            If something can't be stored, such as a function of one's own after the network.
        """
        self._fitted("save")
        save(self, path)

    @described_by(Predictor.save_client)
    def save_client(self, path: str | os.PathLike[str]) -> None:
        """Write what clients need to one file."""
        self._fitted("save_client").save_client(path)

    @described_by(Predictor.report)
    def report(
        self, path: str | os.PathLike[str], X: Any = None, y: Any = None, **options: Any
    ) -> None:
        """Write one page of HTML about the model."""
        self._fitted("report")
        import_module("cipherfit.report.html").write_report(self, path, X, y, **options)

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that sparse matrices are taken."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        return tags

    def _mode(self, execute_in_fhe: bool, fhe: str | None) -> str:
        """Return how to predict; as in the seed, a circuit for simulation only simulates."""
        mode = _fhe_mode(execute_in_fhe, fhe)
        if mode == "execute" and fhe is None:
            circuit = self.fhe_circuit
            if circuit is not None and not circuit.configuration.fhe_execution:
                warnings.warn(
                    "the circuit was compiled with use_virtual_lib, for simulation only: nothing "
                    "is encrypted. Call compile() without it to run on encrypted data",
                    CipherfitWarning,
                    stacklevel=3,
                )
                return "simulate"
        return mode

    def _fitted(self, what: str) -> Predictor:
        if "predictor_" not in vars(self):
            why = vars(self).get("unfitted_because_", "call fit first")
            raise exceptions.NotFittedError(
                f"this {type(self).__name__} needs to be calibrated before {what}: {why}"
            )
        return self.predictor_

    def _outputs_in_training(self, X: Any) -> Float64:
        """Return what the network gives before there is a graph, for callbacks that score it."""
        if "forward_iter" not in vars(self) and not is_dataset(X):
            X = check_features(self, unpacked(X, None)[0], reset=False)
        batches = self.forward_iter(X, training=False)  # type: ignore[attr-defined]
        outputs = torch.cat([batch.detach() for batch in batches]).double().cpu().numpy()
        steps = steps_of_option(self.predict_nonlinearity, self.criterion_)
        return post_process(outputs, steps)


def _fhe_mode(execute_in_fhe: bool, mode: str | None) -> str:
    if mode is None:
        return "execute" if execute_in_fhe else "disable"
    if mode not in FHE_MODES:
        raise InvalidParameterError(f"fhe={mode!r} must be one of {', '.join(FHE_MODES)}")
    if execute_in_fhe and mode != "execute":
        raise InvalidParameterError(
            f"execute_in_fhe=True contradicts fhe={mode!r}; give one of the two"
        )
    return mode
