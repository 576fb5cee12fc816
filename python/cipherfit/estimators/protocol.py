"""What pruning and searches ask of an estimator."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Protocol, TypeVar

import torch

from cipherfit.predictor.predictor import Predictor


class Estimator(Protocol):
    """A fitted estimator of cipherfit's, around any torch module."""

    module_: Any
    predictor_: Predictor

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Any:
        """Train anew."""

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any) -> Any:
        """Train on."""

    def score(self, X: Any, y: Any) -> float:
        """Return accuracy or R2."""

    def set_params(self, **params: Any) -> Any:
        """Set parameters; those of the module build it anew."""

    def rebuild_predictor(self, features: torch.Tensor | None = None) -> None:
        """Lower and prove the module as it is now."""


E = TypeVar("E", bound=Estimator)


def uncompiled_copy(model: E) -> E:
    """Return a copy of a fitted estimator that is not compiled."""
    copy = deepcopy(model)
    copy.predictor_.circuit = None
    return copy


def with_module(model: E, state: dict[str, torch.Tensor], **parameters: Any) -> E:
    """Return a copy whose module has other parameters, and this state; it has no predictor yet."""
    copy = uncompiled_copy(model)
    copy.set_params(**{f"module__{name}": value for name, value in parameters.items()})
    copy.module_.load_state_dict(state)
    return copy
