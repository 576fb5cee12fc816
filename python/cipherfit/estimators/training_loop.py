"""What skorch's training loop asks of an estimator: batches, losses, and checks on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier
from skorch.classifier import NeuralNetBinaryClassifier
from skorch.dataset import Dataset
from torch import nn
from torch.nn.parameter import is_lazy

from cipherfit.estimators.aware_training import AwareTrainingMixin
from cipherfit.estimators.calibration import relevance_of
from cipherfit.estimators.datasets import TrainingDataset, is_part_of, unpacked
from cipherfit.estimators.heavy_tails import warn_of_heavy_tails
from cipherfit.estimators.old_names import check_fit_options, check_options
from cipherfit.estimators.reproducibility import check_device, choose_threads, own_threads, seeded
from cipherfit.estimators.sample_weight import (
    class_weights,
    features_of,
    unreduced,
    weigh_rows,
    weighted_mean,
    weights_of,
)
from cipherfit.estimators.training_data import check_features, check_labels, check_targets
from cipherfit.exceptions import (
    CipherfitError,
    DivergenceError,
    InvalidInputError,
    InvalidParameterError,
    UnsupportedModuleError,
)
from cipherfit.parameters import integer, real
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets
from cipherfit.training.aware import AwareNetwork
from cipherfit.training.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.training.surroundings import own_settings
from cipherfit.training.tracing import check_supported

#: Losses that compare each output with one target.
_LOSSES_OF_PAIRS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


class TrainingMixin(AwareTrainingMixin):
    """The half of an estimator that trains: hooks of skorch's loop, and what goes through it.

    Attributes
    ----------
    targets_ : ClassTargets or RealTargets
        What the outputs stand for.
    training_now_ : bool
        Whether training is going on, in which callbacks may ask for predictions.
    row_shape_ : tuple of int
        Shape of a row of X in training, where it has more than one axis: the module gets it.
    """

    #: Whether rows of X may have a shape, such as images.
    takes_shapes = True

    module_: Any  # skorch builds it, and sets these from its parameters
    criterion_: Any
    optimizer_: Any
    callbacks_: list[tuple[str, Any]]
    history: Any
    classes: Any
    device: Any
    train_split: Any
    batch_size: Any
    max_epochs: Any
    lr: Any
    n_features_in_: int
    targets_: Targets
    training_now_: bool
    rows_now_: torch.Tensor
    predictor_: Any
    rebuild_predictor: Callable[..., None]

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
        elif not isinstance(module, QuantNetwork):
            shape = vars(self).get("row_shape_")
            n_layers, n_outputs = check_supported(module, self.n_features_in_, shape)
            self._check_own_layers(n_layers)
            self._check_outputs(n_outputs)
            if self.max_epochs and not any(each.requires_grad for each in module.parameters()):
                raise InvalidParameterError(
                    f"no parameter of {type(module).__name__} requires a gradient, so there is "
                    f"nothing to train for max_epochs={self.max_epochs!r}: with max_epochs=0 it is "
                    "quantized as it is"
                )

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
        fit_params.pop("groups", None)  # of rows, for whoever splits them
        rows, shape = features_of(x), vars(self).get("row_shape_")
        if shape is not None:
            rows = rows.reshape(len(rows), *shape)
        outputs: torch.Tensor = super().infer(rows, **fit_params)  # type: ignore[misc]
        return outputs

    def get_loss(
        self, y_pred: torch.Tensor, y_true: Any, X: Any = None, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the loss of a batch, the mean over its rows, weighted where they have weights."""
        module, criterion = self.module_, self.criterion_
        is_quantized = isinstance(module, QuantNetwork) and not isinstance(module, AwareNetwork)
        if isinstance(criterion, nn.NLLLoss) and is_quantized:
            y_pred = y_pred.softmax(dim=-1)
        elif isinstance(criterion, nn.NLLLoss) and not bool((y_pred > 0).any()):
            y_pred = y_pred.exp()  # skorch takes the logarithm, of probabilities
        if isinstance(self.targets_, RealTargets) and y_pred.numel() == y_true.numel():
            y_true = y_true.reshape(y_pred.shape)  # of modules that end with `squeeze`
        loss = super().get_loss  # type: ignore[misc]
        with _comparing(self.criterion_, y_pred, y_true):
            if not isinstance(X, dict):
                mean: torch.Tensor = loss(y_pred, y_true, X, *args, **kwargs)
                return mean
            with unreduced(self.criterion_):
                return weighted_mean(loss(y_pred, y_true, X, *args, **kwargs), X)

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **kw: Any) -> None:
        """Skorch callback: end a training that has left the numbers."""
        super().on_batch_end(net, batch=batch, training=training, **kw)  # type: ignore[misc]
        loss = kw.get("loss")
        if training and loss is not None and not bool(torch.isfinite(loss).all()):
            raise self._diverged(f"the loss is {float(loss.detach().mean())}")

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters of a component: weights as tensors, counts as Python's integers.

        Parameters
        ----------
        prefix : str
            Name of the component, such as "criterion".

        Returns
        -------
        params : dict
            Parameter names, without prefix, mapped to their values.
        """
        params: dict[str, Any] = super().get_params_for(prefix)  # type: ignore[misc]
        if prefix == "criterion":
            for name in ("weight", "pos_weight"):
                if params.get(name) is not None:
                    params[name] = self._class_weights(f"criterion__{name}", params[name])
        if prefix.startswith("iterator_"):
            size = params.get("batch_size", self.batch_size)
            params["batch_size"] = integer("batch_size", size, -1, why="-1 takes all rows")
        return params

    def initialize_module(self) -> Any:
        """Build the module, as skorch does, and refuse layers that wait for data to get a size."""
        super().initialize_module()  # type: ignore[misc]
        for name, layer in self.module_.named_modules():
            if any(map(is_lazy, layer.parameters(recurse=False))):
                raise UnsupportedModuleError(
                    f"layer {name or type(layer).__name__} is lazy: give it its number of inputs"
                )
        if next(self.module_.parameters(), None) is None:
            raise UnsupportedModuleError(
                f"{type(self.module_).__name__} has no parameters, so nothing to train or to run "
                "in FHE"
            )
        return self

    def _validate_params(self) -> None:
        """Check the names of parameters, as skorch does, with errors of our own."""
        try:
            super()._validate_params()  # type: ignore[misc]
        except (TypeError, ValueError) as error:
            raise InvalidParameterError(str(error)) from error

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Return skorch's data set of rows; in training, one that also knows the user's labels."""
        dataset = super().get_dataset(X, y)  # type: ignore[misc]
        labels = vars(self).get("labels_now_")
        if type(dataset) is Dataset and labels is not None and len(labels) == len(dataset):
            return TrainingDataset(dataset.X, dataset.y, labels)
        return dataset

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return the rows to train on and those held out, encoded alike wherever they are from.

        Both phases of a training have the same.
        """
        known: tuple[Any, Any] | None = vars(self).get("split_now_")
        if known is not None:
            return known
        train, valid = super().get_split_datasets(X, y, **fit_params)  # type: ignore[misc]
        if valid is not None and not is_part_of(valid, train):
            features, labels = unpacked(valid, None)
            held_out = check_features(self, features, reset=False)
            valid = TrainingDataset(held_out, self._encoded(labels, len(held_out)), labels)
        if self.qat and vars(self).get("training_now_"):
            self.split_now_ = (train, valid)
        return train, valid

    @own_settings()
    def _train(
        self,
        train: Callable[..., Any],
        X: Any,
        y: Any,
        anew: bool,
        classes: Any,
        sample_weight: Any,
        fit_params: dict[str, Any],
    ) -> Any:
        """Run skorch's training, then lower what it left, whatever its callbacks restored."""
        self._check_options(fit_params)
        X, y = unpacked(X, y)
        features = check_features(self, X, reset=anew)
        if anew:
            self.targets_ = self._learn_targets(y, len(features), classes)
        codes = self._encoded(y, len(features))
        batches: Any = features
        by_class = vars(self).get("class_weight")
        if by_class is not None:
            sample_weight = class_weights(by_class, y, self.targets_, sample_weight)
        labels = np.asarray(y)
        if sample_weight is not None:
            batches, codes, stay = weigh_rows(features, codes, sample_weight)
            labels = labels[stay]
        for name in ("predictor_", "unfitted_because_"):
            vars(self).pop(name, None)
        self.training_now_, self.rows_now_ = True, torch.from_numpy(features)
        self.labels_now_ = None if np.array_equal(labels, codes) else labels
        try:
            with own_threads(), seeded(vars(self).get("random_state")):
                if not self._goes_on_aware(anew):
                    with self._float_phase():
                        train(batches, codes, **fit_params)
                if self._trains_aware():
                    by = relevance_of(self, codes, weights_of(batches))
                    self._train_aware(batches, codes, by, fit_params)
        except CipherfitError as error:
            if self._has_diverged() and not isinstance(error, DivergenceError):
                raise self._diverged("the network's parameters are not finite") from error
            raise
        finally:
            self.training_now_ = False
            del self.rows_now_, self.labels_now_
            vars(self).pop("split_now_", None)
        if self._has_diverged():
            raise self._diverged("the network's parameters are not finite")
        rows = torch.from_numpy(features_of(batches))
        self.rebuild_predictor(rows, relevance_of(self, codes, weights_of(batches)))
        if anew:
            graph = self.predictor_.graph
            names = getattr(self, "feature_names_in_", None)
            warn_of_heavy_tails(features, graph.quantize(features), graph.n_bits, names)
        return self

    def _check_options(self, fit_params: dict[str, Any]) -> None:
        check_device(self.device)
        check_options(vars(self))
        check_fit_options(fit_params)
        for name in ("criterion", "optimizer"):
            given = getattr(self, name)
            if not callable(given):
                raise InvalidParameterError(
                    f"{name}={given!r} must be a class of torch's, such as torch.nn.MSELoss or "
                    "torch.optim.Adam, or one like it"
                )
        self._check_own_options()
        integer("max_epochs", self.max_epochs, 0)
        if self.batch_size != -1:
            integer("batch_size", self.batch_size, 1, why="or -1 for all rows")
        real("lr", self.lr, above_low=True)

    def _has_diverged(self) -> bool:
        module = vars(self).get("module_")
        if not isinstance(module, nn.Module):
            return False
        known = (each for each in module.parameters() if not is_lazy(each))
        return not all(bool(torch.isfinite(each).all()) for each in known)

    def _diverged(self, what: str) -> DivergenceError:
        epoch = len(self.history)
        return DivergenceError(
            f"training diverged in epoch {epoch}: {what}, with {type(self.criterion_).__name__} "
            f"at lr={self.lr!r}. A smaller lr helps, or scaled targets, or a criterion that takes "
            "the network's outputs as they are (CrossEntropyLoss takes logits)"
        )

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
        known = vars(self).get("classes") if classes is None else classes
        seen = np.unique(check_labels(y, n_samples)) if known is None else np.asarray(known)
        targets = ClassTargets(seen)
        if self._has_one_output() and targets.n_outputs != 2:
            raise InvalidInputError(
                f"{type(self).__name__} tells two classes apart, and y has {targets.n_outputs}: "
                f"{targets.classes.tolist()!r}"
            )
        return targets

    def _check_outputs(self, n_outputs: int) -> None:
        """Refuse own modules with other outputs than there are classes or targets."""
        kind, targets = type(self.module_).__name__, self.targets_
        if not isinstance(targets, ClassTargets):
            is_plain = isinstance(self.criterion_, _LOSSES_OF_PAIRS)
            if is_plain and n_outputs != targets.n_outputs:
                raise InvalidParameterError(
                    f"{kind} has {n_outputs} outputs, and y has {targets.n_outputs} targets; "
                    f"{type(self.criterion_).__name__} needs as many"
                )
            return
        n_classes = targets.n_outputs
        stands_for_two = n_outputs == 1 and n_classes == 2
        if n_outputs != n_classes and not stands_for_two:
            raise InvalidParameterError(
                f"{kind} has {n_outputs} outputs, and there are {n_classes} classes: "
                f"{targets.classes.tolist()!r}; give it one output per class, or classes=[...] "
                "where y lacks some"
            )

    def _has_one_output(self) -> bool:
        """Tell whether one logit stands for two classes, as skorch's binary classifier has it."""
        return isinstance(self, NeuralNetBinaryClassifier)

    def _class_weights(self, name: str, given: Any) -> torch.Tensor:
        weights = _weights(name, given)
        targets = vars(self).get("targets_")
        if name == "criterion__weight" and isinstance(targets, ClassTargets):
            n_classes = targets.n_outputs
            if weights.numel() != n_classes and not self._has_one_output():
                raise InvalidParameterError(
                    f"{name} has {weights.numel()} weights, but there are {n_classes} classes: "
                    f"{targets.classes.tolist()!r}"
                )
        return weights

    def _encoded(self, y: Any, n_samples: int) -> NDArray[Any]:
        """Return `y` as skorch trains on it."""
        if isinstance(self.targets_, ClassTargets):
            codes = self.targets_.encode(check_labels(y, n_samples))
            return codes.astype(np.float32) if self._has_one_output() else codes
        return check_targets(y, n_samples)[0]


@contextmanager
def _comparing(criterion: Any, y_pred: torch.Tensor, y_true: Any) -> Iterator[None]:
    """Say of a criterion that can't compare outputs with targets what it was given."""
    try:
        yield
    except CipherfitError:
        raise
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        shapes = f"outputs of shape {tuple(y_pred.shape)} with targets {tuple(y_true.shape)}"
        raise InvalidParameterError(
            f"criterion {type(criterion).__name__} can't compare {shapes}: {error}. Classes are "
            "learned with CrossEntropyLoss, real targets with MSELoss, and losses like them"
        ) from error


def _weights(name: str, given: Any) -> torch.Tensor:
    """Return weights of classes as a float32 tensor."""
    try:
        weights = torch.as_tensor(given).to(torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidParameterError(
            f"{name}={given!r} must be numbers, one per class, in an array or list"
        ) from error
    if weights.ndim > 1 or not bool((torch.isfinite(weights) & (weights >= 0)).all()):
        raise InvalidParameterError(
            f"{name}={given!r} must be finite numbers of at least 0, one per class"
        )
    return weights
