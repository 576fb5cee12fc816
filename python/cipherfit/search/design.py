"""Networks that a search has tried, and what it chose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklearn.base import is_classifier

from cipherfit.estimators.protocol import Estimator
from cipherfit.pages.fragments import Point, panel, points, table
from cipherfit.plotting import axes_or_new, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches of a front with its legend.
FRONT_SIZE = (6.4, 5.2)
#: Kinds of networks, with the colours that tell them apart.
KINDS = {
    "lookups": "C0",
    "linear": "C1",
    "random client layer, lookups": "C2",
    "random client layer, linear": "C3",
    "learned client layer, lookups": "C4",
    "learned client layer, linear": "C5",
}


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
        Encrypted lookups per row.
    """

    parameters: dict[str, Any]
    p_error: float
    score: float
    score_error: float
    seconds_per_row: float
    n_lookups: int

    @property
    def kind(self) -> str:
        """What is encrypted, behind which client layers: one of `KINDS`."""
        encrypted = "lookups" if self.n_lookups else "linear"
        client = self.parameters.get("module__client_layers")
        return f"{client} client layer, {encrypted}" if client else encrypted

    @property
    def secret(self) -> str:
        """Which weights no client sees."""
        client = self.parameters.get("module__client_layers")
        if client == "learned":
            return "all weights behind the client layer, which is public"
        return "all that was trained" if client == "random" else "all weights"

    @property
    def told_parameters(self) -> str:
        """The parameters, as text."""
        module = {name.removeprefix("module__"): value for name, value in self.parameters.items()}
        named = [f"{name}={value!r}" for name, value in module.items()]
        if self.n_lookups:
            named.append(f"p_error={self.p_error:g}")
        return ", ".join(named)

    def __str__(self) -> str:
        return (
            f"score {self.score:.4f} at {self.seconds_per_row:.3g} s per row, "
            f"{self.n_lookups} lookups: {self.told_parameters}; secret: {self.secret}"
        )


def front_of(designs: Iterable[Design]) -> tuple[Design, ...]:
    """Return the designs than which none is faster and as accurate, fastest first."""
    best, front = -math.inf, []
    for design in sorted(designs, key=lambda each: (each.seconds_per_row, -each.score)):
        if design.score > best:
            best = design.score
            front.append(design)
    return tuple(front)


def draw_front(
    ax: Axes,
    designs: Sequence[Design],
    chosen: Design | None = None,
    max_latency: float | None = None,
    score_name: str = "accuracy",
) -> None:
    """Draw score over latency, each kind in its colour, and what it keeps secret.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    designs : sequence of Design
        All that were tried.
    chosen : Design, optional
        One that gets a star.
    max_latency : float, optional
        The most seconds that were allowed, a line.
    score_name : {"accuracy", "R2"}, default="accuracy"
        What the score is.
    """
    front = front_of(designs)
    ax.plot(
        [d.seconds_per_row for d in front], [d.score for d in front],
        color="0.6", linewidth=1, drawstyle="steps-post", label="front", zorder=1,
    )  # fmt: skip
    for kind, color in KINDS.items():
        of_kind = [design for design in designs if design.kind == kind]
        if of_kind:
            ax.scatter(
                [d.seconds_per_row for d in of_kind], [d.score for d in of_kind],
                s=[36 if d in front else 14 for d in of_kind], color=color,
                label=f"{kind} (secret: {of_kind[0].secret})",
            )  # fmt: skip
    if chosen is not None:
        ax.scatter([chosen.seconds_per_row], [chosen.score], marker="*", s=180, color="black",
                   zorder=3, label="chosen")  # fmt: skip
    if max_latency is not None:
        ax.axvline(max_latency, color="0.5", linestyle=":", label="max_latency")
    ax.set_xscale("log")
    ax.set_xlabel("seconds per encrypted row (modelled)")
    ax.set_ylabel(score_name)
    legend_below(ax, ncols=1)


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
        return front_of(self.designs)

    @property
    def score_name(self) -> str:
        """What the score is: "accuracy" or "R2"."""
        return "accuracy" if is_classifier(self.model) else "R2"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw score over latency, each kind in its colour, and what it keeps secret.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax, "plot", FRONT_SIZE)
        draw_front(ax, self.designs, self.chosen, self.max_latency, self.score_name)
        return ax

    def __str__(self) -> str:
        lines = [f"chosen: {self.chosen}", "front:", *(f"  {design}" for design in self.front)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Describe it as HTML, for notebooks."""
        front = self.front
        marks = [
            Point(each.seconds_per_row, each.score, str(each), is_filled=each in front)
            for each in self.designs
        ]
        picture = points(
            marks, "seconds per encrypted row (modelled)", self.score_name,
            f"{self.score_name} over latency of {len(marks)} networks, the front filled",
        )  # fmt: skip
        rows = [
            (
                "chosen" if each == self.chosen else "", f"{each.score:.4f}",
                f"{each.seconds_per_row:.3g}", each.n_lookups, each.kind, each.secret,
                each.told_parameters,
            )
            for each in (front if self.chosen in front else (self.chosen, *front))
        ]  # fmt: skip
        columns = ("", self.score_name, "s per row", "lookups", "kind", "secret", "parameters")
        return panel(f"DesignSearch: {len(marks)} networks", picture, table(columns, rows))
