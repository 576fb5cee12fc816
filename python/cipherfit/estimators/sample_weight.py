"""Weights of single training rows, on their way through skorch's batches to the loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor

from cipherfit.exceptions import InvalidInputError, InvalidParameterError
from cipherfit.parameters import real
from cipherfit.predictor.targets import ClassTargets, Targets

FEATURES, WEIGHTS = "X", "sample_weight"


def weigh_rows(
    features: NDArray[Any], targets: NDArray[Any], sample_weight: Any
) -> tuple[dict[str, NDArray[Any]], NDArray[Any], NDArray[np.bool_]]:
    """Return training data whose batches carry the weights of their rows.

    Parameters
    ----------
    features : ndarray of shape (n_samples, n_features)
        Features.
    targets : ndarray of shape (n_samples, ...)
        Targets.
    sample_weight : array-like of shape (n_samples,)
        Weights, not negative. Only their ratios count; a row of weight 0 is left out.

    Returns
    -------
    batches : dict
        What skorch's data set takes for features.
    targets : ndarray
        Targets of the rows that stay.
    stay : ndarray of shape (n_samples,), bool
        Which rows do.

    Raises
    ------
    InvalidInputError
        If there is not one finite weight of at least 0 per row, or none above 0.
    """
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"sample_weight must be numbers, one per row: {error}") from error
    if weights.shape != (len(features),):
        raise InvalidInputError(
            f"sample_weight has shape {weights.shape}; expected ({len(features)},), one per row"
        )
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise InvalidInputError(
            f"sample_weight[{bad[0]}] = {weights[bad[0]]} must be finite and at least 0"
        )
    stay = weights > 0
    if not stay.any():
        raise InvalidInputError("sample_weight is zero for every row; at least one must be above 0")
    weights = weights[stay] / weights[stay].mean()
    return {FEATURES: features[stay], WEIGHTS: weights.astype(np.float32)}, targets[stay], stay


def class_weights(given: Any, y: Any, targets: Targets, sample_weight: Any) -> NDArray[np.float64]:
    """Return the weights of rows that weights of classes amount to.

    Parameters
    ----------
    given : "balanced" or dict
        "balanced" weighs classes inversely to how often they occur, as scikit-learn does:
        ``n_samples / (n_classes * count)``; a dict maps labels to weights, 1 where it has none.
    y : array-like of shape (n_samples,)
        Labels.
    targets : ClassTargets
        The classes.
    sample_weight : array-like of shape (n_samples,) or None
        Weights that rows have beside.

    Returns
    -------
    ndarray of shape (n_samples,), float64

    Raises
    ------
    InvalidParameterError
        If it is neither, or names a label that is no class.
    """
    assert isinstance(targets, ClassTargets)
    if not (isinstance(given, dict) or given == "balanced"):
        raise InvalidParameterError(
            f"class_weight={given!r} must be 'balanced', a dict of weights by label, or None"
        )
    if isinstance(given, dict):
        unknown = [label for label in given if label not in targets.classes.tolist()]
        if unknown:
            raise InvalidParameterError(
                f"class_weight has a weight for {unknown[0]!r}, which is not among the classes "
                f"{targets.classes.tolist()!r}"
            )
        for label, weight in given.items():
            real(f"class_weight[{label!r}]", weight)
    weights = np.asarray(compute_sample_weight(given, np.asarray(y)), dtype=np.float64)
    return weights if sample_weight is None else weights * np.asarray(sample_weight, np.float64)


def features_of(batch: Any) -> Any:
    """Return the features of a batch, or of a whole data set, with or without weights."""
    return batch[FEATURES] if isinstance(batch, dict) else batch


def weights_of(batch: Any) -> Any:
    """Return the weights of the rows of a batch, or of a whole data set; None: they have none."""
    return batch[WEIGHTS] if isinstance(batch, dict) else None


def weighted_mean(losses: Tensor, batch: dict[str, Any]) -> Tensor:
    """Return the mean loss of a batch whose rows are weighted."""
    weights = torch.as_tensor(batch[WEIGHTS]).to(losses)
    return (losses.reshape(len(losses), -1).mean(dim=1) * weights).mean()


@contextmanager
def unreduced(criterion: Any) -> Iterator[None]:
    """Let a criterion return one loss per row for the duration of a block.

    Raises
    ------
    InvalidParameterError
        If it has no `reduction`, as torch's losses have.
    """
    reduction = getattr(criterion, "reduction", None)
    if reduction is None:
        raise InvalidParameterError(
            f"sample_weight needs a criterion with a `reduction`, as torch's have; "
            f"{type(criterion).__name__} has none"
        )
    criterion.reduction = "none"
    try:
        yield
    finally:
        criterion.reduction = reduction
