"""What classifier and regressor share: training that ends in a proven integer graph."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from sklearn.base import is_classifier
from torch import nn

from cipherfit.estimators.inference import GraphPredictor, Lowered
from cipherfit.estimators.neuron_pruning import prune_neurons
from cipherfit.estimators.reproducibility import check_device, choose_threads, own_threads, seeded
from cipherfit.estimators.sample_weight import features_of, unreduced, weigh_rows, weighted_mean
from cipherfit.exceptions import InvalidParameterError, NotFittedError
from cipherfit.fhe.circuit import MAXIMUM_TLU_BIT_WIDTH
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets
from cipherfit.training.float_twin import float_copy
from cipherfit.training.lowering import lower
from cipherfit.training.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.training.post_training import quantize_module
from cipherfit.validation import check_features

#: Bits to which a custom float module is quantized where it names none (as `n_a_bits`).
DEFAULT_N_BITS = 4


class QuantizedSkorchEstimatorMixin(GraphPredictor):
    """Mixin class that adds quantization, proof and encrypted runs to skorch estimators.

    After `fit`, `graph_` holds the integer graph that the model computes; every prediction, in
    clear, simulated or encrypted, is that graph's.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    """

    module_: Any  # skorch builds it, and sets these from its parameters
    criterion_: Any
    callbacks_: list[tuple[str, Any]]
    classes: Any
    device: Any
    train_split: Any
    warm_start: bool
    n_features_in_: int

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

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Any:
        """Train, quantize and prove the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features: finite numbers; they become float32.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Class labels (strings, booleans, whole numbers), or a regressor's targets.
        **fit_params : dict
            `sample_weight`, array-like of shape (n_samples,): the weight of each row in the loss,
            at least 0 (batch normalization doesn't see it). The rest is passed on to skorch.

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
            As for `fit`.

        Returns
        -------
        self : object
        """
        train = super().partial_fit  # type: ignore[misc]
        if vars(self).get("training_now_"):
            return train(X, y, classes=classes, **fit_params)
        anew = "targets_" not in vars(self)
        return self._train(train, X, y, anew, classes, fit_params)

    def prune(
        self,
        X: Any,
        y: Any,
        fraction: float | None = None,
        *,
        n_lookups: int | None = None,
        tolerance: float | None = None,
        **fit_params: Any,
    ) -> Any:
        """Return a smaller estimator, without its least important hidden neurons.

        Each neuron that goes saves a lookup, so encrypted latency; what is left trains on, for
        `max_epochs` epochs. This estimator stays as it is. Give exactly one target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets.
        fraction : float in [0, 1), optional
            Part of the hidden neurons in `graph_` to remove.
        n_lookups : int, optional
            Keep at most so many lookups: at least one per hidden layer.
        tolerance : float, at least 0, optional
            Find the smallest network whose score on held-out rows is at most this far below that
            of the whole one. It trains several networks on four fifths of the rows.
        **fit_params : dict
            As for `fit`.

        Returns
        -------
        pruned : object
            A new fitted estimator, not compiled.

        Raises
        ------
        ValueError
            If a target is out of range, none or several are given, or there is no hidden layer.
        """
        self._check_calibrated("prune")
        return prune_neurons(
            self, X, y, fraction, n_lookups=n_lookups, tolerance=tolerance, **fit_params
        )

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

    def set_params(self, **params: Any) -> Any:
        """Set parameters of this estimator; those of the module make a trained one untrained.

        Parameters
        ----------
        **params : dict
            Parameters by name, as in `get_params`.

        Returns
        -------
        self : object
        """
        before = vars(self).get("module_")
        super().set_params(**params)  # type: ignore[misc]
        if vars(self).get("module_") is not before:
            # skorch has built the module anew: the old graph is no longer this estimator's.
            self._forget_graph()
        return self

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load trained parameters into the module, as skorch does, and prove its graph again.

        Parameters
        ----------
        *args, **kwargs
            As for skorch's `load_params`.
        """
        super().load_params(*args, **kwargs)  # type: ignore[misc]
        if vars(self).get("training_now_"):
            return
        self._forget_graph()
        if isinstance(self.module_, QuantNetwork) and "targets_" in vars(self):
            self._lower_anew()

    def check_data(self, X: Any, y: Any) -> None:
        """Skip skorch's check: it would take the encoded labels for the classes."""

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Skorch callback: choose the input quantizer from the data before the first step."""
        self._check_monitors()
        X = features_of(X)
        super().on_train_begin(net, X=X, y=y, **kwargs)  # type: ignore[misc]
        module = self.module_
        choose_threads(module)
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
        outputs: torch.Tensor = super().infer(features_of(x), **fit_params)  # type: ignore[misc]
        return outputs

    def get_loss(
        self, y_pred: torch.Tensor, y_true: Any, X: Any = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the loss of a batch, the mean over its rows, weighted where they have weights."""
        loss = super().get_loss  # type: ignore[misc]
        if not isinstance(X, dict):
            mean: torch.Tensor = loss(y_pred, y_true, X, *args, **kwargs)
            return mean
        with unreduced(self.criterion_):
            return weighted_mean(loss(y_pred, y_true, X, *args, **kwargs), X)

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
        weight = fit_params.pop("sample_weight", None)
        batches: Any = features
        if weight is not None:
            batches, targets = weigh_rows(features, targets, weight)
        self._forget_graph()
        self.training_now_ = True
        try:
            with own_threads(), seeded(vars(self).get("random_state")):
                train(batches, targets, **fit_params)
        finally:
            self.training_now_ = False
        self._lower_anew(torch.from_numpy(features))
        return self

    def _check_monitors(self) -> None:
        """Refuse callbacks that watch held-out rows where none are held out."""
        for _, callback in self.callbacks_:
            monitor = getattr(callback, "monitor", None)
            if self.train_split is None and str(monitor).startswith("valid_"):
                raise InvalidParameterError(
                    f"{type(callback).__name__} monitors {monitor!r}, but no rows are held out; "
                    "give train_split=skorch.dataset.ValidSplit(5), say, or another monitor"
                )

    def _uncompiled_copy(self) -> Any:
        copy = deepcopy(self)
        copy.fhe_circuit = None
        return copy

    def _with_module(self, state: dict[str, torch.Tensor], **parameters: Any) -> Any:
        """Return a copy whose module has other parameters, and this state; it has no graph yet."""
        copy = self._uncompiled_copy()
        copy.set_params(**{f"module__{name}": value for name, value in parameters.items()})
        copy.module_.load_state_dict(state)
        return copy

    def _forget_graph(self) -> None:
        self.fhe_circuit = None
        for name in ("graph_", "lowered_"):
            vars(self).pop(name, None)

    def _new_targets(self, y: Any, n_samples: int, classes: Any) -> Targets:
        if not is_classifier(self):
            return RealTargets(y, n_samples)
        targets = ClassTargets(y, n_samples, self.classes if classes is None else classes)
        self.classes_inferred_ = targets.classes
        return targets

    def _lower_anew(self, features: torch.Tensor | None = None) -> None:
        """Set the graph of the trained module; one that is not cipherfit's needs features."""
        self.lowered_ = self._lower(features)
        self.graph_ = self.lowered_.graph

    def _lower(self, features: torch.Tensor | None) -> Lowered:
        module = self.module_
        module.eval()
        if not isinstance(module, QuantNetwork):
            assert features is not None
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
