"""What classifier and regressor share: from data to proven graph to encrypted predictions."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from concrete import fhe
from numpy.typing import NDArray
from sklearn.base import is_classifier
from torch import nn

from cipherfit._core import IntegerGraph
from cipherfit.circuit import MAXIMUM_TLU_BIT_WIDTH, compile_graph, run_encrypted
from cipherfit.exceptions import InvalidParameterError, NotCompiledError, NotFittedError
from cipherfit.float_twin import float_copy
from cipherfit.lowering import lower
from cipherfit.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.onnx_export import to_onnx
from cipherfit.post_training import quantize_module
from cipherfit.quantizer_view import UniformQuantizer
from cipherfit.randomness import check_device, seeded
from cipherfit.targets import ClassTargets, RealTargets, Targets
from cipherfit.validation import Float32, check_features

Float64 = NDArray[np.float64]

#: Bits to which a custom float module is quantized where it names none (as `n_a_bits`).
DEFAULT_N_BITS = 4
_FHE_MODES = ("disable", "simulate", "execute")


@dataclass(frozen=True)
class Lowered:
    """A model as it answers: the integer graph, then what the client computes in the clear."""

    graph: IntegerGraph
    epilogue: nn.Module


class QuantizedSkorchEstimatorMixin:
    """Mixin class that adds quantization, proof and encrypted runs to skorch estimators.

    After `fit`, `graph_` holds the integer graph that the model computes; every prediction, in
    clear, simulated or encrypted, is that graph's.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    """

    graph_: IntegerGraph
    lowered_: Lowered
    targets_: Targets
    module_: Any  # skorch builds it, and sets these from its parameters
    classes: Any
    device: Any
    warm_start: bool
    n_features_in_: int
    circuit_: fhe.Circuit | None
    training_now_: bool

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; `compile` stays the method, though skorch has an option so named."""
        if name == "compile":
            if value:
                raise InvalidParameterError(
                    "compile=True is skorch's switch for torch.compile, which cipherfit doesn't "
                    "support: here compile() is the method that compiles to FHE"
                )
            return
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle or copy: all but the circuit, which holds native handles."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[misc]
        state.pop("circuit_", None)
        return state

    def torch_compile(self, module: nn.Module, name: str) -> nn.Module:
        """Return the module as it is: torch.compile isn't supported."""
        return module

    @property
    def base_estimator_type(self) -> type:
        """The skorch class that trains this estimator."""
        return next(kind for kind in type(self).__mro__ if kind.__module__.startswith("skorch."))

    @property
    def base_module_to_compile(self) -> nn.Module:
        """The trained torch module that is compiled to FHE."""
        self._check_calibrated("base_module_to_compile")
        module: nn.Module = self.module_
        return module

    @property
    def n_bits_quant(self) -> int:
        """Number of bits to which inputs and activations are quantized.

        Raises
        ------
        ValueError
            Before `fit`, since the module doesn't exist yet.
        """
        if "module_" not in vars(self):
            raise NotFittedError(
                f"this {type(self).__name__} must be trained before n_bits_quant is known: call fit"
            )
        return int(getattr(self.module_, "n_a_bits", DEFAULT_N_BITS))

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
        """The compiled circuit; None before `compile`."""
        return vars(self).get("circuit_")

    @fhe_circuit.setter
    def fhe_circuit(self, circuit: fhe.Circuit | None) -> None:
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

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Any:
        """Train, quantize and prove the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features: finite numbers; they become float32.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Class labels (strings, booleans, whole numbers), or a regressor's targets.
        **fit_params : dict
            Passed on to skorch.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the data are not as described, hold fewer than two classes, or can't be held in
            float32 without loss.
        """
        anew = not (self.warm_start and vars(self).get("initialized_"))
        return self._train(super().fit, X, y, anew, None, fit_params)  # type: ignore[misc]

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any) -> Any:
        """Train on, for `max_epochs` more epochs, and quantize and prove again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets.
        classes : array-like of shape (n_classes,), optional
            All labels, at the first call, where `y` doesn't hold every one.
        **fit_params : dict
            Passed on to skorch.

        Returns
        -------
        self : object
        """
        train = super().partial_fit  # type: ignore[misc]
        if vars(self).get("training_now_"):
            return train(X, y, classes=classes, **fit_params)
        anew = "targets_" not in vars(self)
        return self._train(train, X, y, anew, classes, fit_params)

    def predict_proba(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> Float64:
        """Predict class probabilities; for a regressor, targets.

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
            Probabilities, whose rows sum to 1; for a regressor, targets in the shape of `predict`.
        """
        if vars(self).get("training_now_"):
            # Scoring callbacks ask while the network is in training, before there is a graph.
            return np.asarray(super().predict_proba(X), dtype=np.float64)  # type: ignore[misc]
        outputs = self.post_processing(self._outputs(X, execute_in_fhe, fhe))
        return outputs if is_classifier(self) else self.targets_.decode(outputs)

    def predict(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> NDArray[Any]:
        """Predict class labels or targets; parameters as in `predict_proba`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets, as given in `fit`.
        """
        if vars(self).get("training_now_"):
            return np.asarray(super().predict(X))  # type: ignore[misc]
        outputs = self._outputs(X, execute_in_fhe, fhe)
        return self.targets_.decode(self.post_processing(outputs))

    def get_params_for_benchmark(self) -> dict[str, Any]:
        """Return the parameters of an equivalent estimator around an instantiated float module.

        Returns
        -------
        params : dict
            This estimator's parameters, without those of the module and of its own.
        """
        params = self.get_params(deep=False)  # type: ignore[attr-defined]
        return {
            name: value
            for name, value in params.items()
            if name not in ("module", "random_state", "_params_to_validate")
            and not name.startswith("module__")
        }

    def fit_benchmark(self, X: Any, y: Any, **fit_params: Any) -> tuple[Any, Any]:
        """Fit, and return a float32 twin that computes with the same trained weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets.
        **fit_params : dict
            Passed on to `fit`.

        Returns
        -------
        self : object
            This estimator, fitted.
        net : object
            A skorch net of the base type around a float32 copy of the trained module: weights
            before rounding, pruning resolved, activations not quantized. It takes float32 features
            and, as skorch does, predicts class indices.
        """
        self.fit(X, y, **fit_params)
        module = self.module_
        copied = float_copy(module) if isinstance(module, QuantNetwork) else deepcopy(module)
        net = self.base_estimator_type(copied.eval(), **self.get_params_for_benchmark())
        return self, net.initialize()

    def check_data(self, X: Any, y: Any) -> None:
        """Skip skorch's check: it would take the encoded labels for the classes."""

    def compile(
        self,
        X: Any = None,
        configuration: fhe.Configuration | None = None,
        compilation_artifacts: fhe.DebugArtifacts | None = None,
        show_mlir: bool = False,
        use_virtual_lib: bool = False,
        p_error: float | None = None,
    ) -> fhe.Circuit:
        """Compile the trained network to an FHE circuit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Not needed, since the proof gives all widths; where given, only its shape is checked.
        configuration : fhe.Configuration, optional
            Concrete's options.
        compilation_artifacts : fhe.DebugArtifacts, optional
            Where Concrete leaves its intermediate results.
        show_mlir : bool, default=False
            Print the MLIR that Concrete compiles.
        use_virtual_lib : bool, default=False
            Compile for Concrete's simulation only, without cryptography.
        p_error : float in (0, 1), default=0.01
            Probability that one lookup gives a neighbour's value. Smaller is slower.

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
        self.fhe_circuit = compile_graph(
            self.graph_,
            configuration=configuration,
            p_error=p_error,
            artifacts=compilation_artifacts,
            show_mlir=show_mlir,
            simulation_only=use_virtual_lib,
        )
        return self.fhe_circuit

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Skorch callback: choose the input quantizer from the data before the first step."""
        super().on_train_begin(net, X=X, y=y, **kwargs)  # type: ignore[misc]
        module = self.module_
        if isinstance(module, SparseQuantNeuralNetImpl):
            module.enable_pruning()
            if not bool(module.input_quantizer.calibrated):
                scale_by = None if is_classifier(self) or y is None else torch.as_tensor(y)
                module.calibrate(torch.as_tensor(X), scale_by)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Skorch callback: tell the module that training has ended.

        Parameters
        ----------
        net : NeuralNet
            Estimator for which training has ended (equal to self).
        X : array-like
            Data.
        y : array-like
            Targets.
        **kwargs : dict
            Other arguments.
        """
        super().on_train_end(net, X=X, y=y, **kwargs)  # type: ignore[misc]
        if hasattr(self.module_, "on_train_end"):
            self.module_.on_train_end()

    def infer(self, x: torch.Tensor, **fit_params: Any) -> torch.Tensor:
        """Perform a single inference step of the torch module on a batch of data.

        Parameters
        ----------
        x : torch.Tensor
            A batch of the input data, produced by a Dataset.
        **fit_params : dict
            Additional parameters passed to the `forward` method of the module.

        Returns
        -------
        torch.Tensor
            The module's outputs for each row.
        """
        outputs: torch.Tensor = super().infer(x, **fit_params)  # type: ignore[misc]
        return outputs

    def _train(
        self,
        train: Callable[..., Any],
        X: Any,
        y: Any,
        anew: bool,
        classes: Any,
        fit_params: dict[str, Any],
    ) -> Any:
        """Run skorch's training, then lower what it left, whatever its callbacks restored."""
        check_device(self.device)
        features = check_features(self, X, reset=anew)
        if anew:
            self.targets_ = self._new_targets(y, len(features), classes)
        targets = self.targets_.encode(y, len(features))
        self.fhe_circuit = None
        for name in ("graph_", "lowered_"):
            vars(self).pop(name, None)
        self.training_now_ = True
        try:
            with seeded(vars(self).get("random_state")):
                train(features, targets, **fit_params)
        finally:
            self.training_now_ = False
        self.lowered_ = self._lower(torch.from_numpy(features))
        self.graph_ = self.lowered_.graph
        return self

    def _new_targets(self, y: Any, n_samples: int, classes: Any) -> Targets:
        if not is_classifier(self):
            return RealTargets(y, n_samples)
        targets = ClassTargets(y, n_samples, self.classes if classes is None else classes)
        self.classes_inferred_ = targets.classes
        return targets

    def _lower(self, features: torch.Tensor) -> Lowered:
        module = self.module_
        module.eval()
        if not isinstance(module, QuantNetwork):
            n_bits = self.n_bits_quant
            # The widest that compiles: pruning after training costs more accuracy than it saves.
            widest = max(MAXIMUM_TLU_BIT_WIDTH, 2 * n_bits + 8)
            n_accum_bits = int(getattr(module, "n_accum_bits", widest))
            network, epilogue = quantize_module(
                module, features, n_bits=n_bits, n_accum_bits=n_accum_bits
            )
            return Lowered(lower(network), epilogue)
        if isinstance(module, SparseQuantNeuralNetImpl):
            module.enable_pruning()
            module.make_pruning_permanent()
        return Lowered(lower(module), nn.Identity())

    def _features(self, X: Any) -> Float32:
        return check_features(self, X, reset=False)

    def _check_calibrated(self, what: str) -> None:
        if "graph_" not in vars(self):
            raise NotFittedError(
                f"this {type(self).__name__} needs to be calibrated before {what}: call fit first"
            )

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
