"""A graph's way from rows to codes and outputs in clear, as the rows lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidInputError
from cipherfit.predictor.features import Features
from cipherfit.predictor.surroundings import Surroundings

Result = TypeVar("Result")


@dataclass(frozen=True)
class Clear:
    """A graph that computes with rows of any container that memory holds.

    Parameters
    ----------
    graph : IntegerGraph
        What is computed.
    surroundings : Surroundings
        What makes its features of the rows.
    """

    graph: IntegerGraph
    surroundings: Surroundings

    def features(self, X: Any) -> NDArray[np.float32]:
        """Return the graph's features (n, n_features) of rows, checked."""
        return self.surroundings.features(X, self.graph.n_features)

    def codes(self, X: Any) -> NDArray[np.uint16]:
        """Return the codes (n, n_features) of rows."""
        of_rows = partial(self.graph.quantize, single=True)
        return self._computed(X, of_rows, self.graph.quantize_columns)

    def outputs(self, X: Any, p_error: float = 0.0) -> NDArray[np.float64]:
        """Return the real-valued outputs (n, n_outputs) of rows, with errors of lookups."""
        of_rows = partial(self.graph.run, single=True, p_error=p_error)
        return self._computed(X, of_rows, partial(self.graph.run_columns, p_error=p_error))

    def _computed(
        self,
        X: Any,
        of_rows: Callable[[NDArray[Any]], Result],
        of_columns: Callable[[list[NDArray[Any]]], Result],
    ) -> Result:
        """Return what a graph computes of rows, in the way in which they lie in memory."""
        if self.surroundings.preparation is None:
            features = Features(self.graph.n_features, self.surroundings.feature_names)
            try:
                if (rows := features.rows(X)) is not None:
                    return of_rows(rows)
                if (columns := features.columns(X)) is not None:
                    return of_columns(columns)
            except InvalidInputError:
                pass  # the checks below say what is wrong
        return of_rows(self.features(X))
