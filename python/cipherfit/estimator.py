"""What classifier and regressor share: from data to proven graph to encrypted predictions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from concrete import fhe
from numpy.typing import NDArray
from torch import nn

from cipherfit._core import IntegerGraph
from cipherfit.circuit import compile_graph, run_encrypted
from cipherfit.exceptions import InvalidParameterError, NotCompiledError, NotFittedError
from cipherfit.lowering import lower
from cipherfit.network import SparseQuantNeuralNetImpl
from cipherfit.validation import Float32, check_features

Float64 = NDArray[np.float64]

logger = logging.getLogger(__name__)

_FHE_MODES = ("disable", "simulate", "execute")


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
    module_: Any  # skorch builds it
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
        return int(self.module_.n_a_bits)

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
        """Return predictions of real-valued outputs: for a regressor, the outputs themselves."""
        return np.asarray(outputs, dtype=np.float64)

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
                module.calibrate(torch.as_tensor(X), self._calibration_targets(y))

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

    def _calibration_targets(self, y: Any) -> torch.Tensor | None:
        return None

    def _train(self, train: Callable[[], Any]) -> None:
        """Run skorch's training, then lower what it left, whatever its callbacks restored."""
        self.fhe_circuit = None
        vars(self).pop("graph_", None)
        self.training_now_ = True
        try:
            train()
        finally:
            self.training_now_ = False
        module = self.module_
        module.enable_pruning()
        module.make_pruning_permanent()
        module.eval()
        self.graph_ = lower(module)

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
                f"this {type(self).__name__} is not yet compiled: call compile() before predicting "
                f"with fhe={mode!r}"
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
