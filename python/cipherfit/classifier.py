"""The quantized neural network as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from skorch.callbacks import EpochTimer, PassthroughScoring, PrintLog
from skorch.classifier import NeuralNetClassifier as SkorchClassifier
from torch.nn import CrossEntropyLoss
from torch.optim import Adam

from cipherfit.estimator import Float64, QuantizedSkorchEstimatorMixin
from cipherfit.exceptions import InvalidInputError, InvalidParameterError
from cipherfit.fixed_type import TRAINING_DEFAULTS, FixedTypeSkorchNeuralNet
from cipherfit.network import SparseQuantNeuralNetImpl
from cipherfit.validation import check_features, check_labels


class NeuralNetClassifier(
    FixedTypeSkorchNeuralNet, QuantizedSkorchEstimatorMixin, SkorchClassifier
):
    """Scikit-learn classifier: a quantized, pruned multi-layer perceptron that runs in FHE.

    Trained with quantization-aware training; every accumulator is proven to fit the bits asked
    for, and clear, simulated and encrypted predictions are those of one integer graph.

    Parameters
    ----------
    *args : tuple
        Positional parameters of skorch's classifier, after its module.
    criterion : type, default=torch.nn.CrossEntropyLoss
        Loss between the network's outputs (logits) and the class indices. An ndarray
        `criterion__weight` (n_classes,) weighs the classes.
    classes : array-like of shape (n_classes,), optional
        All class labels, where `fit` may not see every one. Default: those in `y`.
    optimizer : type, default=torch.optim.Adam
        Torch optimizer.
    **kwargs : dict
        Parameters of skorch's classifier, and of the network as ``module__...``: see
        `SparseQuantNeuralNetImpl`. `module__input_dim` and `module__n_outputs` are taken from the
        data. Defaults that differ from skorch's: ``lr=0.005``, ``max_epochs=100``,
        ``batch_size=64``, ``iterator_train__shuffle=True``, ``train_split=None`` and
        ``verbose=0``.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    n_features_in_ : int
        Number of features seen in `fit`.

    Examples
    --------
    >>> from cipherfit import NeuralNetClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NeuralNetClassifier(module__n_hidden_neurons=8).fit(X, y)
    >>> model.graph_.prove().max_accumulator_bits <= 8
    True
    """

    def __init__(
        self,
        *args: Any,
        criterion: Any = CrossEntropyLoss,
        classes: Any = None,
        optimizer: Any = Adam,
        **kwargs: Any,
    ) -> None:
        n_outputs = kwargs.get("module__n_outputs")
        if n_outputs is not None and n_outputs < 2:
            raise InvalidParameterError(
                f"Invalid number of classes: module__n_outputs={n_outputs!r} must be at least 2"
            )
        weight = kwargs.get("criterion__weight")
        if isinstance(weight, np.ndarray):
            kwargs["criterion__weight"] = torch.from_numpy(weight).float()
        kwargs.pop("module", None)  # fixed; clones of skorch pass it on
        super().__init__(
            SparseQuantNeuralNetImpl,
            *args,
            criterion=criterion,
            classes=classes,
            optimizer=optimizer,
            **{**TRAINING_DEFAULTS, **kwargs},
        )

    @property
    def base_estimator_type(self) -> type[SkorchClassifier]:
        """Skorch's classifier, which trains the network."""
        return SkorchClassifier  # type: ignore[no-any-return]

    @property
    def classes_(self) -> NDArray[Any]:
        """Class labels, sorted."""
        return np.asarray(super().classes_)

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        # Skorch's, less its validation accuracy: that compares with labels before encoding.
        scores = [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring(name="train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
            ("print_log", PrintLog()),
        ]
        schedule = [pair for pair in super()._default_callbacks if pair[0] == "lr_schedule"]
        return [*scores, *schedule]

    def fit(self, X: Any, y: Any, **fit_params: Any) -> NeuralNetClassifier:
        """Train, quantize and prove the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features: finite numbers; they become float32.
        y : array-like of shape (n_samples,)
            Class labels: strings, booleans, or numbers that are whole.
        **fit_params : dict
            Passed on to skorch.

        Returns
        -------
        self : NeuralNetClassifier

        Raises
        ------
        ValueError
            If the data are not as described, hold fewer than two classes, or can't be held in
            float32 without loss.
        """
        features = check_features(self, X, reset=True)
        labels = check_labels(y, len(features))
        self.classes_inferred_ = np.unique(labels)
        indices = self._encode(labels)
        if len(self.classes_) < 2:
            raise InvalidInputError(
                f"y holds one class only ({self.classes_[0]!r}); a classifier needs at least 2"
            )
        self.n_targets_ = len(self.classes_)
        self._train(lambda: SkorchClassifier.fit(self, features, indices, **fit_params))
        return self

    def predict_proba(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> Float64:
        """Predict class probabilities.

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
        ndarray of shape (n_samples, n_classes), float64
            Rows sum to 1.
        """
        if vars(self).get("training_now_"):
            return np.asarray(super().predict_proba(X), dtype=np.float64)
        return self.post_processing(self._outputs(X, execute_in_fhe, fhe))

    def predict(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> NDArray[Any]:
        """Predict class labels; parameters as in `predict_proba`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels, as given in `fit`.
        """
        if vars(self).get("training_now_"):
            # Scoring callbacks see the encoded labels that skorch trains on.
            scores: NDArray[Any] = np.asarray(super().predict_proba(X))
            return np.asarray(scores.argmax(axis=1))
        labels: NDArray[Any] = self.classes_[self._outputs(X, execute_in_fhe, fhe).argmax(axis=1)]
        return labels

    def post_processing(self, outputs: Any) -> Float64:
        """Return class probabilities of real-valued outputs: their softmax, by row."""
        return np.asarray(softmax(np.asarray(outputs, dtype=np.float64), axis=1))

    def check_data(self, X: Any, y: Any) -> None:
        """Skip skorch's check, which would take the encoded labels for the classes."""

    def _encode(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        classes = self.classes_
        unknown = ~np.isin(labels, classes)
        if unknown.any():
            row = int(np.flatnonzero(unknown)[0])
            raise InvalidInputError(
                f"y[{row}] = {labels[row]!r} is not among classes={classes.tolist()!r}"
            )
        order = np.argsort(classes, kind="stable")
        return np.asarray(order[np.searchsorted(classes, labels, sorter=order)], dtype=np.int64)
