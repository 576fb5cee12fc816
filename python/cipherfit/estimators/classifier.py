"""The quantized neural network as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from skorch.classifier import NeuralNetClassifier as SkorchClassifier
from torch.nn import CrossEntropyLoss
from torch.optim import Adam

from cipherfit.estimators.base import QuantizedSkorchEstimatorMixin
from cipherfit.estimators.batches import BatchLoader
from cipherfit.estimators.fixed_module import FixedTypeSkorchNeuralNet
from cipherfit.parameters import integer


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
        Loss between the network's outputs (logits) and the class indices. `criterion__weight`
        (n_classes,), a list, an array or a tensor, weighs the classes. Cross entropy runs with
        ``criterion__label_smoothing=0.1``, but without where there is no hidden layer.
    classes : array-like of shape (n_classes,), optional
        All class labels, where `fit` may not see every one. Default: those in `y`.
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
    class_weight : "balanced", dict or None, default=None
        Weights of classes, which multiply those of rows: a dict by label, or "balanced" for
        ``n_samples / (n_classes * count)``.
    **kwargs : dict
        Parameters of skorch's classifier, and of the network as ``module__...``: see
        `SparseQuantNeuralNetImpl`. `module__input_dim` and `module__n_outputs` are taken from the
        data. With ``module__n_layers=1``, bits that aren't named are wide, since nothing is looked
        up: 7 of weights, 8 of inputs, and what holds every sum of accumulators; a named
        `module__n_accum_bits` narrows them.

    Attributes
    ----------
    graph_ : IntegerGraph
        The proven integer graph of the trained network.
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    n_features_in_ : int
        Number of features seen in `fit`.

    Notes
    -----
    Without hidden layers (``module__n_layers=1``) training is a convex problem, and `fit` solves
    it: multinomial logistic regression, its L2 penalty chosen by cross-validation, then integer
    weights that keep its outputs. That is one epoch, whatever `max_epochs` (0 trains nothing),
    `lr` and `batch_size`, also with `warm_start`. Where the bits are so few that rounding loses
    more than 1 % of what was explained, the remaining ``max_epochs - 1`` epochs train on from
    there, and the better network is kept. `partial_fit` always trains, as do losses other than
    CrossEntropyLoss, optimizers other than Adam, any ``optimizer__...``, and subclasses with
    steps of their own.

    Examples
    --------
    >>> from cipherfit import NeuralNetClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NeuralNetClassifier(module__n_hidden_neurons=8).fit(X, y)
    >>> model.graph_.prove().max_accumulator_bits <= 8
    True
    """

    _estimator_type = "classifier"  # as code written for older releases of scikit-learn asks

    def __init__(
        self,
        *args: Any,
        criterion: Any = CrossEntropyLoss,
        classes: Any = None,
        optimizer: Any = Adam,
        lr: float = 0.005,
        max_epochs: int = 100,
        batch_size: int = 32,
        iterator_train: Any = BatchLoader,
        iterator_train__shuffle: bool = True,
        train_split: Any = None,
        verbose: int = 0,
        random_state: Any = None,
        class_weight: Any = None,
        **kwargs: Any,
    ) -> None:
        n_outputs = kwargs.get("module__n_outputs")
        if n_outputs is not None:
            integer("module__n_outputs", n_outputs, 2, what="number of classes")
        weight = kwargs.get("criterion__weight")
        if isinstance(weight, np.ndarray) and weight.dtype.kind in "biuf":
            kwargs["criterion__weight"] = torch.from_numpy(weight).float()
        self.class_weight = class_weight
        super().__init__(
            *args,
            criterion=criterion,
            classes=classes,
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
