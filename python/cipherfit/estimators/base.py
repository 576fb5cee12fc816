"""What classifier and regressor share: training that ends in a proven integer graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import torch
from sklearn.base import is_classifier
from torch import nn

from cipherfit.estimators.aware_training import OWN_OPTIONS
from cipherfit.estimators.inference import InferenceMixin
from cipherfit.estimators.misfits import tell_of_misfits
from cipherfit.estimators.neuron_pruning import prune_neurons
from cipherfit.estimators.old_names import check_options
from cipherfit.estimators.postprocessing import probabilities, steps_of_module, steps_of_option
from cipherfit.estimators.precision import OwnPrecisionMixin
from cipherfit.estimators.reproducibility import kept_draws
from cipherfit.estimators.solving import SolvingMixin
from cipherfit.estimators.stored_parameters import StoredParametersMixin
from cipherfit.exceptions import InvalidParameterError, NotFittedError
from cipherfit.predictor.postprocessing import Function
from cipherfit.predictor.predictor import Predictor
from cipherfit.training.aware import AwareNetwork
from cipherfit.training.float_twin import float_copy
from cipherfit.training.integer_graph import integer_graph
from cipherfit.training.network import QuantNetwork
from cipherfit.training.post_training import Misfit
from cipherfit.training.ranges import Relevance
from cipherfit.training.surroundings import own_settings

#: Bits to which a custom float module is quantized where it names none (as `n_a_bits`).
DEFAULT_N_BITS = 4


class QuantizedSkorchEstimatorMixin(
    InferenceMixin, StoredParametersMixin, SolvingMixin, OwnPrecisionMixin
):
    """Mixin class that adds quantization, proof and encrypted runs to skorch estimators.

    After `fit`, `predictor_` answers: every prediction, in clear, simulated or encrypted, is that
    of its integer graph, which `graph_` gives.

    A float module of one's own is quantized after its training, or with ``qat=True`` trained on
    with quantized layers: parameters of the constructor, `set_params`, or attributes of the class.

    Parameters
    ----------
    qat : bool, default=False
        Whether to train on, quantization-aware, once the module is trained in float.
    qat_epochs : int, optional
        For how many epochs, with Adam on batches of `batch_size` rows, or of fewer, down to 32,
        where an epoch would have less than 100 of them. Default: `max_epochs`, or 20 where that is
        0, as for a module that is trained already.
    qat_lr : float, default=0.002
        Learning rate, at the peak of one cycle.
    n_w_bits, n_a_bits, n_in_bits : int in [1, 16], optional
        Bits of a weight, an activation and an input. Default: `n_bits_quant`, which is 4.
    n_accum_bits : int in [1, 48], optional
        Bits that every accumulator fits; weights are pruned until they do. Default: what gives
        them room, and in front of lookups at most 16.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches and dropout. None: as `torch.manual_seed` left it.
    class_weight : "balanced", dict or None, default=None
        Of a classifier: what errors on the rows of a class count, by label.

    Attributes
    ----------
    predictor_ : Predictor
        The proven network, and what the client computes around it.
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    """

    warm_start: bool
    score: Callable[[Any, Any], float]  # scikit-learn's
    epilogue_: list[Function]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.takes_shapes:
            self._take_options(kwargs)
        # Classes written for the seed call it without arguments, then skorch's own with them.
        if args or kwargs:
            super().__init__(*args, **kwargs)

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
        if self.n_a_bits is not None:
            return int(self.n_a_bits)
        return int(getattr(self.module_, "n_a_bits", DEFAULT_N_BITS))

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Train, quantize and prove the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or data set
            Training features: finite numbers; they become float32, and dense. A torch or skorch
            data set of pairs holds the targets, too. For a module of one's own a row may have a
            shape, such as (channels, height, width), which the module gets.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Class labels (strings, booleans, whole numbers), or a regressor's targets.
        sample_weight : array-like of shape (n_samples,), optional
            The weight of each row in the loss, at least 0 (batch normalization doesn't see it).
        **fit_params : dict
            Passed on to skorch: `groups` to `train_split`, all else to the module's `forward`.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the data are not as described, hold fewer than two classes, or can't be held in
            float32 without loss.
        DivergenceError
            If the loss or the network's parameters are no longer finite.
        """
        anew = not (self.warm_start and vars(self).get("initialized_"))
        train = super().fit  # type: ignore[misc]
        with self._solving():
            return self._train(train, X, y, anew, None, sample_weight, fit_params)

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        classes: Any = None,
        sample_weight: Any = None,
        **fit_params: Any,
    ) -> Any:
        """Train on, for `max_epochs` more epochs, and quantize and prove again.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or data set
            Training features.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Labels or targets.
        classes : array-like of shape (n_classes,), optional
            All labels, at the first call, where `y` doesn't hold every one.
        sample_weight, **fit_params
            As for `fit`.

        Returns
        -------
        self : object
        """
        train = super().partial_fit  # type: ignore[misc]
        if vars(self).get("training_now_"):
            return train(X, y, classes=classes, **fit_params)
        anew = "targets_" not in vars(self)
        return self._train(train, X, y, anew, classes, sample_weight, fit_params)

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
            if name not in ("module", "_params_to_validate")
            and name not in OWN_OPTIONS
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
        return self, self.float_twin()

    @own_settings()
    def float_twin(self) -> Any:
        """Return a float32 twin that computes with the same trained weights.

        Returns
        -------
        net : object
            As `fit_benchmark` returns it.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        self._fitted("float_twin")
        module = self.module_
        with kept_draws():
            copied = float_copy(module) if isinstance(module, QuantNetwork) else deepcopy(module)
            if isinstance(module, AwareNetwork):
                copied = nn.Sequential(nn.Flatten(), copied, *deepcopy(module.epilogue))
            net = self.base_estimator_type(copied.eval(), **self.get_params_for_benchmark())
            return net.initialize()

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
        check_options(params)
        if self.takes_shapes:
            self._take_options(params)
        before = vars(self).get("module_")
        super().set_params(**params)  # type: ignore[misc]
        if vars(self).get("module_") is not before:
            # skorch has built the module anew: the old graph is no longer this estimator's.
            vars(self).pop("predictor_", None)
        elif "predictor_" in vars(self) and {"predict_nonlinearity", "criterion"} & params.keys():
            self.predictor_.post_processing = tuple(self._post_processing())
        return self

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
        misfits: list[Misfit] = []
        with kept_draws():
            graph, epilogue = integer_graph(
                self.module_,
                features,
                self.n_bits_quant,
                by,
                shape=vars(self).get("row_shape_"),
                n_w_bits=self.n_w_bits,
                n_in_bits=self.n_in_bits,
                n_accum_bits=self.n_accum_bits,
                on_misfit=misfits.append,
            )
        self.epilogue_ = steps_of_module(epilogue, graph.n_outputs)
        self.predictor_ = Predictor(
            graph,
            self.targets_,
            post_processing=self._post_processing(),
            feature_names=getattr(self, "feature_names_in_", None),
            client_layers=getattr(self.module_, "client_layers", None),
        )
        if misfits and features is not None:
            rows = features.cpu().numpy()
            tell_of_misfits(misfits, self.predictor_, rows, self._outputs_in_training(rows))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle or copy: in training, that of the network as it is now.

        Callbacks such as skorch's `Checkpoint` pickle estimators that are in training. What they
        leave answers and compiles like any other.
        """
        state: dict[str, Any] = super().__getstate__()  # type: ignore[misc]
        rows = state.pop("rows_now_", None)
        for name in ("labels_now_", "split_now_", "listeners_now_"):
            state.pop(name, None)
        if state.pop("training_now_", False):
            copied = object.__new__(type(self))
            vars(copied).update(vars(self), module_=deepcopy(self.module_))
            copied.rebuild_predictor(rows)
            state = {**state, **{name: vars(copied)[name] for name in ("predictor_", "epilogue_")}}
        return state

    def _post_processing(self) -> list[Function]:
        option = steps_of_option(self.predict_nonlinearity, self.criterion_)
        steps = [*self.epilogue_, *option]
        is_own_choice = self.predict_nonlinearity != "auto"
        return steps if is_own_choice or not is_classifier(self) else probabilities(steps)
