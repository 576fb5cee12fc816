"""What searches ask of a model, and how they get it from estimators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from cipherfit import exceptions
from cipherfit._core import IntegerGraph
from cipherfit.predictor.targets import Targets


class Answering(Protocol):
    """What answers with an integer graph, as a `Predictor` does."""

    graph: IntegerGraph
    targets: Targets

    def quantize_input(self, X: Any) -> NDArray[np.uint16]:
        """Return the codes of features (n_samples, n_features)."""

    def code_chunks(self, X: Any) -> Iterator[NDArray[np.uint16]]:
        """Yield the codes of features (n_samples, n_features), some rows after the other."""

    def answer(self, accumulators: Any, graph: IntegerGraph | None = None) -> NDArray[Any]:
        """Return predictions of accumulators (n_samples, n_outputs), of its graph or another."""


class Holder(Protocol):
    """What keeps a predictor, as fitted estimators do."""

    @property
    def predictor_(self) -> Answering:
        """The predictor."""


def unwrapped(model: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step of a pipeline, and what the steps before make of features.

    Parameters
    ----------
    model : Predictor, estimator, Pipeline or fitted search over one
        What may hold a model.
    X : array-like of shape (n_samples, n_features), or None
        Features as the outermost takes them.
    """
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "steps") and hasattr(model, "named_steps"):
            if len(model.steps) > 1 and X is not None:
                X = model[:-1].transform(X)
            model = model[-1]
        else:
            return model, X


def predictor_of(model: Answering | Holder) -> Answering:
    """Return a predictor as it is, and that of a fitted estimator.

    Raises
    ------
    NotFittedError
        If there is none, as before `fit`.
    """
    found = getattr(model, "predictor_", model)
    if not hasattr(found, "answer"):
        raise exceptions.NotFittedError(
            f"this {type(model).__name__} needs to be calibrated first: give a fitted estimator of "
            "cipherfit's, a pipeline that ends in one, or its predictor_"
        )
    return cast(Answering, found)
