"""What an estimator's data say of the values that its quantizers have to tell apart."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier
from torch import nn

from cipherfit.training.ranges import Relevance


def relevance_of(estimator: Any, y: Any, weights: Any) -> Relevance | None:
    """Return which rows and targets the quantizers have to serve.

    Parameters
    ----------
    estimator : skorch.NeuralNet
        Whose loss weighs the classes, if it does.
    y : array-like of shape (n_samples, ...) or None
        Class indices, or real targets.
    weights : array-like of shape (n_samples,) or None
        Weights of the rows.
    """
    if y is None:
        return None
    if not is_classifier(estimator):
        return Relevance.of_targets(y, weights)
    criterion = estimator.criterion_
    by_class = isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss))
    of_class = criterion.weight.cpu().numpy() if by_class and criterion.weight is not None else None
    return Relevance.of_classes(y, weights, of_class)
