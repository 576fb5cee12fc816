"""What is computed around a graph: raw features to its own, and its outputs to answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import SerializationError
from cipherfit.predictor.features import Features
from cipherfit.predictor.postprocessing import Function, post_process
from cipherfit.predictor.preparation import Preparation
from cipherfit.predictor.records import (
    pack_names,
    pack_steps,
    pack_targets,
    unpack_names,
    unpack_steps,
    unpack_targets,
)
from cipherfit.predictor.targets import Targets


@dataclass(frozen=True)
class Surroundings:
    """What is computed around a graph, on either side of it.

    Parameters
    ----------
    targets : ClassTargets or RealTargets
        What outputs stand for.
    post_processing : tuple of callable
        From real-valued outputs to predictions.
    feature_names : tuple of str or None
        Names of the network's features.
    preparation : Preparation or None
        What makes these features of raw ones.
    """

    targets: Targets
    post_processing: tuple[Function, ...]
    feature_names: tuple[str, ...] | None
    preparation: Preparation | None

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        preparation = self.preparation
        return {
            "feature_names": pack_names(self.feature_names),
            "post_processing": pack_steps(self.post_processing),
            "preparation": None if preparation is None else preparation.record(),
            "targets": pack_targets(self.targets),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], n_features: int, n_outputs: int) -> Surroundings:
        """Return what `record` gave, checked against the sizes of a graph."""
        read = cls(
            unpack_targets(record["targets"]),
            unpack_steps(record["post_processing"]),
            unpack_names(record["feature_names"], n_features),
            Preparation.from_record(record["preparation"]),
        )
        read._check_outputs(n_outputs)
        return read

    def n_features(self, of_network: int) -> int:
        """Return how many features a row has, of which the network gets some number."""
        return of_network if self.preparation is None else self.preparation.n_features

    def features(self, X: Any, n_features: int) -> NDArray[np.float32]:
        """Return the network's features of raw ones, checked."""
        if self.preparation is None:
            return Features(n_features, self.feature_names).check(X)
        return Features(n_features).check(self.preparation(X))

    def _check_outputs(self, n_outputs: int) -> None:
        """Refuse post-processing and targets that a graph's outputs don't fit."""
        try:
            with np.errstate(all="ignore"):
                values = post_process(np.zeros((1, n_outputs)), self.post_processing)
        except (ValueError, IndexError) as error:
            raise SerializationError(f"the post-processing doesn't fit: {error}") from None
        if values.shape != (1, self.targets.n_outputs):
            raise SerializationError(
                f"there are {self.targets.n_outputs} classes or targets, and the graph's outputs "
                f"give values of shape {values.shape}"
            )
