"""The quantized neural network as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any

from skorch.regressor import NeuralNetRegressor as SkorchRegressor
from torch.optim import Adam

from cipherfit.estimators.base import QuantizedSkorchEstimatorMixin
from cipherfit.estimators.batches import BatchLoader
from cipherfit.estimators.fixed_module import FixedTypeSkorchNeuralNet


class NeuralNetRegressor(FixedTypeSkorchNeuralNet, QuantizedSkorchEstimatorMixin, SkorchRegressor):
    """Scikit-learn regressor: a quantized, pruned multi-layer perceptron that runs in FHE.

    Targets need no scaling: the network learns them in units of their standard deviation.

    Parameters
    ----------
    *args : tuple
        Positional parameters of skorch's regressor, after its module.
    optimizer : type, default=torch.optim.Adam
        Torch optimizer. Adam runs with ``optimizer__betas=(0.9, 0.99)``, and fused on a CPU
        (``optimizer__fused``), where torch can.
    lr : float, default=0.005
        Learning rate: the peak of the one-cycle schedule (see
        `cipherfit.estimators.schedule.OneCycle`).
    max_epochs : int, default=100
        Epochs: passes over the training rows, but for few rows, where an epoch makes at least 10
        steps (``iterator_train__min_batches``). Without hidden layers see the notes.
    batch_size : int, default=32
        Rows of a training step; -1: all.
    iterator_train : type, default=cipherfit.estimators.batches.BatchLoader
        What draws the batches.
    iterator_train__shuffle : bool, default=True
        Whether to draw the rows of each epoch in random order.
    train_split : callable or None, default=None
        How to hold out validation rows, such as ``skorch.dataset.ValidSplit(5)``; None: train on
        every row.
    verbose : int, default=0
        1 prints a table of epochs.
    random_state : int, RandomState or None, default=None
        Seed of weights, batches and dropout. None: as `torch.manual_seed` left it.
    **kwargs : dict
        Parameters of skorch's regressor (`criterion` is ``torch.nn.MSELoss``), and of the network
        as ``module__...``: see `SparseQuantNeuralNetImpl`. `module__input_dim` and
        `module__n_outputs` are taken from the data. With ``module__n_layers=1``, bits that aren't
        named are wide, since nothing is looked up: 7 of weights, 8 of inputs, and what holds every
        sum of accumulators; a named `module__n_accum_bits` narrows them.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    n_features_in_ : int
        Number of features seen in `fit`.

    Notes
    -----
    Without hidden layers (``module__n_layers=1``) training is a convex problem, and `fit` solves
    it: ridge regression, each target's penalty chosen by generalized cross-validation, then
    integer weights that keep its outputs. That is one epoch, whatever `max_epochs` (0 trains
    nothing), `lr` and `batch_size`, also with `warm_start`. Where the bits are so few that
    rounding loses more than 1 % of what was explained, the remaining ``max_epochs - 1`` epochs
    train on from there, and the better network is kept. `partial_fit` always trains, as do losses
    other than MSELoss, optimizers other than Adam, any ``optimizer__...``, and subclasses with
    steps of their own.

    Examples
    --------
    >>> from cipherfit import NeuralNetRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = NeuralNetRegressor(module__n_hidden_neurons=8, max_epochs=20).fit(X, y)
    >>> model.predict(X[:2]).shape
    (2,)
    """

    _estimator_type = "regressor"  # as code written for older releases of scikit-learn asks

    def __init__(
        self,
        *args: Any,
        optimizer: Any = Adam,
        lr: float = 0.005,
        max_epochs: int = 100,
        batch_size: int = 32,
        iterator_train: Any = BatchLoader,
        iterator_train__shuffle: bool = True,
        train_split: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args,
            optimizer=optimizer,
            lr=lr,
            max_epochs=max_epochs,
            batch_size=batch_size,
            iterator_train=iterator_train,
            iterator_train__shuffle=iterator_train__shuffle,
            train_split=train_split,
            verbose=verbose,
            random_state=random_state,
            **kwargs,
        )

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that several targets are learned together."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
