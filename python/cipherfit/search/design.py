"""Networks that a search has tried, and what it chose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sklearn.base import is_classifier

from cipherfit.estimators.protocol import Estimator
from cipherfit.exceptions import MissingDependencyError


@dataclass(frozen=True)
class Design:
    """A network that was tried.

    Parameters
    ----------
    parameters : dict
        Parameters of the estimator.
    p_error : float
        Error probability of a lookup, to compile with.
    score : float
        Mean accuracy, or R2, of held-out rows under simulated errors.
    score_error : float
        Its standard error over the folds; NaN where there was one fold.
    seconds_per_row : float
        Modelled seconds per encrypted row.
    n_lookups : int
        Lookups per row.
    """

    parameters: dict[str, Any]
    p_error: float
    score: float
    score_error: float
    seconds_per_row: float
    n_lookups: int

    def __str__(self) -> str:
        module = {name.removeprefix("module__"): value for name, value in self.parameters.items()}
        named = ", ".join(f"{name}={value!r}" for name, value in module.items())
        return (
            f"score {self.score:.4f} at {self.seconds_per_row:.3g} s per row, "
            f"{self.n_lookups} lookups: {named}, p_error={self.p_error:g}"
        )


@dataclass(frozen=True)
class DesignSearch:
    """The result of `design_network`; printed, it is a small table.

    Parameters
    ----------
    model : estimator
        The chosen network, fitted on all rows, not compiled: ``model.compile(p_error=p_error)``.
    chosen : Design
        What it is.
    designs : tuple of Design
        All that were tried, in order.
    max_latency : float or None
        As given.
    """

    model: Estimator
    chosen: Design
    designs: tuple[Design, ...]
    max_latency: float | None

    @property
    def p_error(self) -> float:
        """The error probability to compile with."""
        return self.chosen.p_error

    @property
    def front(self) -> tuple[Design, ...]:
        """The designs than which none is faster and as accurate, fastest first."""
        best, front = -math.inf, []
        for design in sorted(self.designs, key=lambda each: (each.seconds_per_row, -each.score)):
            if design.score > best:
                best = design.score
                front.append(design)
        return tuple(front)

    def plot(self, ax: Any = None) -> Any:
        """Draw score over latency, with the front.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise MissingDependencyError(
                    "plot needs matplotlib: pip install 'cipherfit[plot]'"
                ) from error
            _, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
        seconds, scores = zip(*[(d.seconds_per_row, d.score) for d in self.designs], strict=True)
        ax.scatter(seconds, scores, color="0.7", label="tried")
        front = self.front
        ax.plot(
            [d.seconds_per_row for d in front], [d.score for d in front],
            marker="o", drawstyle="steps-post", label="front",
        )  # fmt: skip
        chosen = self.chosen
        ax.scatter([chosen.seconds_per_row], [chosen.score], marker="*", s=180, color="C3",
                   zorder=3, label="chosen")  # fmt: skip
        if self.max_latency is not None:
            ax.axvline(self.max_latency, color="0.5", linestyle=":", label="max_latency")
        ax.set_xscale("log")
        ax.set_xlabel("seconds per encrypted row (modelled)")
        ax.set_ylabel("accuracy" if is_classifier(self.model) else "R2")
        ax.legend(loc="lower right")
        return ax

    def __str__(self) -> str:
        lines = [f"chosen: {self.chosen}", "front:", *(f"  {design}" for design in self.front)]
        return "\n".join(lines)
