"""The quantized neural network as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch.regressor import NeuralNetRegressor as SkorchRegressor
from torch.optim import Adam

from cipherfit.estimator import Float64, QuantizedSkorchEstimatorMixin
from cipherfit.fixed_type import TRAINING_DEFAULTS, FixedTypeSkorchNeuralNet
from cipherfit.network import SparseQuantNeuralNetImpl
from cipherfit.validation import check_features, check_targets


class NeuralNetRegressor(FixedTypeSkorchNeuralNet, QuantizedSkorchEstimatorMixin, SkorchRegressor):
    """Scikit-learn regressor: a quantized, pruned multi-layer perceptron that runs in FHE.

    Targets need no scaling: the network learns them in units of their standard deviation.

    Parameters
    ----------
    *args : tuple
        Positional parameters of skorch's regressor, after its module.
    optimizer : type, default=torch.optim.Adam
        Torch optimizer.
    **kwargs : dict
        Parameters of skorch's regressor (`criterion` is ``torch.nn.MSELoss``), and of the network
        as ``module__...``: see `SparseQuantNeuralNetImpl`. `module__input_dim` and
        `module__n_outputs` are taken from the data. Defaults that differ from skorch's:
        ``lr=0.005``, ``max_epochs=100``, ``batch_size=64``, ``iterator_train__shuffle=True``,
        ``train_split=None`` and ``verbose=0``.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    n_features_in_ : int
        Number of features seen in `fit`.

    Examples
    --------
    >>> from cipherfit import NeuralNetRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = NeuralNetRegressor(module__n_hidden_neurons=8, max_epochs=20).fit(X, y)
    >>> model.predict(X[:2]).shape
    (2,)
    """

    flat_targets_: bool

    def __init__(self, *args: Any, optimizer: Any = Adam, **kwargs: Any) -> None:
        kwargs.pop("module", None)  # fixed; clones of skorch pass it on
        super().__init__(
            SparseQuantNeuralNetImpl,
            *args,
            optimizer=optimizer,
            **{**TRAINING_DEFAULTS, **kwargs},
        )

    @property
    def base_estimator_type(self) -> type[SkorchRegressor]:
        """Skorch's regressor, which trains the network."""
        return SkorchRegressor  # type: ignore[no-any-return]

    def fit(self, X: Any, y: Any, **fit_params: Any) -> NeuralNetRegressor:
        """Train, quantize and prove the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training features: finite numbers; they become float32.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets: finite numbers; they become float32.
        **fit_params : dict
            Passed on to skorch.

        Returns
        -------
        self : NeuralNetRegressor

        Raises
        ------
        ValueError
            If the data are not as described, or can't be held in float32 without loss.
        """
        features = check_features(self, X, reset=True)
        targets, self.flat_targets_ = check_targets(y, len(features))
        self.n_targets_ = targets.shape[1]
        self._train(lambda: SkorchRegressor.fit(self, features, targets, **fit_params))
        return self

    def predict(self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None) -> Float64:
        """Predict targets.

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
        y_pred : ndarray of shape (n_samples,) or (n_samples, n_targets), float64
            As `y` was in `fit`.
        """
        if vars(self).get("training_now_"):
            return np.asarray(super().predict_proba(X), dtype=np.float64)
        outputs = self.post_processing(self._outputs(X, execute_in_fhe, fhe))
        return outputs[:, 0] if self.flat_targets_ else outputs

    def predict_proba(
        self, X: Any, execute_in_fhe: bool = False, *, fhe: str | None = None
    ) -> Float64:
        """Predict targets, as `predict` does; skorch's regressors have both names."""
        return self.predict(X, execute_in_fhe, fhe=fhe)

    def check_data(self, X: Any, y: Any) -> None:
        """Skip skorch's check: `fit` has made the targets two-dimensional."""

    def _calibration_targets(self, y: Any) -> torch.Tensor | None:
        return None if y is None else torch.as_tensor(y)
