"""The quantized neural network as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any

from skorch.regressor import NeuralNetRegressor as SkorchRegressor
from torch.optim import Adam

from cipherfit.estimator import QuantizedSkorchEstimatorMixin
from cipherfit.fixed_type import TRAINING_DEFAULTS, FixedTypeSkorchNeuralNet
from cipherfit.network import SparseQuantNeuralNetImpl


class NeuralNetRegressor(FixedTypeSkorchNeuralNet, QuantizedSkorchEstimatorMixin, SkorchRegressor):
    """Scikit-learn regressor: a quantized, pruned multi-layer perceptron that runs in FHE.

    Targets need no scaling: the network learns them in units of their standard deviation.

    Parameters
    ----------
    *args : tuple
        Positional parameters of skorch's regressor, after its module.
    optimizer : type, default=torch.optim.Adam
        Torch optimizer.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches and dropout. None: as `torch.manual_seed` left it.
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

    def __init__(
        self, *args: Any, optimizer: Any = Adam, random_state: Any = None, **kwargs: Any
    ) -> None:
        kwargs.pop("module", None)  # fixed; clones of skorch pass it on
        super().__init__(
            SparseQuantNeuralNetImpl,
            *args,
            optimizer=optimizer,
            **{**TRAINING_DEFAULTS, **kwargs},
        )
        self.random_state = random_state
