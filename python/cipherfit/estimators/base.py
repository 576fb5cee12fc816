"""What classifier and regressor share: training that ends in a proven integer graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier
from torch import nn

from cipherfit.estimators.calibration import relevance_of
from cipherfit.estimators.heavy_tails import warn_of_heavy_tails
from cipherfit.estimators.inference import InferenceMixin
from cipherfit.estimators.neuron_pruning import prune_neurons
from cipherfit.estimators.postprocessing import steps_of_module, steps_of_option
from cipherfit.estimators.precision import OwnPrecisionMixin
from cipherfit.estimators.reproducibility import (
    check_device,
    choose_threads,
    kept_draws,
    own_threads,
    seeded,
)
from cipherfit.estimators.sample_weight import (
    features_of,
    unreduced,
    weigh_rows,
    weighted_mean,
    weights_of,
)
from cipherfit.estimators.training_data import check_features, check_labels, check_targets
from cipherfit.exceptions import InvalidParameterError, NotFittedError
from cipherfit.predictor.postprocessing import Function
from cipherfit.predictor.predictor import Predictor
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets
from cipherfit.training.float_twin import float_copy
from cipherfit.training.integer_graph import integer_graph
from cipherfit.training.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.training.ranges import Relevance
from cipherfit.training.surroundings import own_settings

#: Bits to which a custom float module is quantized where it names none (as `n_a_bits`).
DEFAULT_N_BITS = 4


class QuantizedSkorchEstimatorMixin(InferenceMixin, OwnPrecisionMixin):
    """Mixin class that adds quantization, proof and encrypted runs to skorch estimators.

    After `fit`, `predictor_` answers: every prediction, in clear, simulated or encrypted, is that
    of its integer graph, which `graph_` gives.

    Attributes
    ----------
    predictor_ : Predictor
        The proven network, and what the client computes around it.
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    """

    module_: Any  # skorch builds it, sets these from its parameters, and scores
    criterion_: Any
    callbacks_: list[tuple[str, Any]]
    classes: Any
    device: Any
    train_split: Any
    warm_start: bool
    n_features_in_: int
    score: Callable[[Any, Any], float]
    targets_: Targets
    epilogue_: list[Function]

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
        self._fitted("base_module_to_compile")
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

    @own_settings()
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
        self._fitted("prune")
        unseeded = vars(self).get("random_state") is None
        with nullcontext() if unseeded else kept_draws():
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

    @own_settings()
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
        with kept_draws():
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
            vars(self).pop("predictor_", None)
        elif "predictor_" in vars(self) and {"predict_nonlinearity", "criterion"} & params.keys():
            self.predictor_.post_processing = tuple(self._post_processing())
        return self

    @own_settings()
    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load trained parameters into the module, as skorch does, and prove its graph again.

        Parameters
        ----------
        *args, **kwargs
            As for skorch's `load_params`.
        """
        super().load_params(*args, **kwargs)  # type: ignore[misc]
        if vars(self).get("training_now_"):
            if isinstance(self.module_, SparseQuantNeuralNetImpl):
                self.module_.enable_pruning()  # a finished network's is permanent
            return
        vars(self).pop("predictor_", None)
        if isinstance(self.module_, QuantNetwork) and "targets_" in vars(self):
            self.rebuild_predictor()

    @own_settings()
    def rebuild_predictor(
        self, features: torch.Tensor | None = None, by: Relevance | None = None
    ) -> None:
        """Lower and prove the module as it is now, such as after its weights were set by hand.

        Parameters
        ----------
        features : torch.Tensor of shape (n_samples, n_features), optional
            Rows to quantize a float module by; cipherfit's own networks need none.
        by : Relevance, optional
            Their targets and weights.
        """
        with kept_draws():
            graph, epilogue = integer_graph(self.module_, features, self.n_bits_quant, by)
        self.epilogue_ = steps_of_module(epilogue)
        self.predictor_ = Predictor(
            graph,
            self.targets_,
            post_processing=self._post_processing(),
            feature_names=getattr(self, "feature_names_in_", None),
        )

    def check_data(self, X: Any, y: Any) -> None:
        """Skip skorch's check: it would take the encoded labels for the classes."""

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Skorch callback: choose the input quantizer from the data before the first step."""
        self._check_monitors()
        weights, X = weights_of(X), features_of(X)
        super().on_train_begin(net, X=X, y=y, **kwargs)  # type: ignore[misc]
        module = self.module_
        choose_threads(module)
        if isinstance(module, SparseQuantNeuralNetImpl):
            module.enable_pruning()
            if not bool(module.input_quantizer.calibrated):
                scale_by = None if is_classifier(self) or y is None else torch.as_tensor(y)
                by = relevance_of(self, y, weights)
                module.calibrate(torch.as_tensor(X), scale_by, by=by)

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

    @own_settings()
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
            self.targets_ = self._learn_targets(y, len(features), classes)
        targets = self._encoded(y, len(features))
        weight = fit_params.pop("sample_weight", None)
        batches: Any = features
        if weight is not None:
            batches, targets = weigh_rows(features, targets, weight)
        vars(self).pop("predictor_", None)
        self.training_now_ = True
        try:
            with own_threads(), seeded(vars(self).get("random_state")):
                train(batches, targets, **fit_params)
        finally:
            self.training_now_ = False
        rows = torch.from_numpy(features_of(batches))
        self.rebuild_predictor(rows, relevance_of(self, targets, weights_of(batches)))
        if anew:
            graph = self.predictor_.graph
            names = getattr(self, "feature_names_in_", None)
            warn_of_heavy_tails(features, graph.quantize(features), graph.n_bits, names)
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

    def _learn_targets(self, y: Any, n_samples: int, classes: Any) -> Targets:
        if not is_classifier(self):
            matrix, flat = check_targets(y, n_samples)
            return RealTargets(matrix.shape[1], flat)
        known = self.classes if classes is None else classes
        seen = np.unique(check_labels(y, n_samples)) if known is None else np.asarray(known)
        targets = ClassTargets(seen)
        self.classes_inferred_ = targets.classes
        return targets

    def _encoded(self, y: Any, n_samples: int) -> NDArray[Any]:
        """Return `y` as skorch trains on it."""
        if isinstance(self.targets_, ClassTargets):
            return self.targets_.encode(check_labels(y, n_samples))
        return check_targets(y, n_samples)[0]

    def _post_processing(self) -> list[Function]:
        option = steps_of_option(self.predict_nonlinearity, self.criterion_)
        return [*self.epilogue_, *option]
