"""The networks of a search as a picture: how accurate, how fast, and which are the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cipherfit.plotting import axes_or_new
from cipherfit.search.design import FRONT_SIZE, Design, DesignSearch, draw_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class LatencyFrontDisplay:
    """Score over encrypted latency of the networks that a search tried.

    Made by `from_search`.

    Parameters
    ----------
    designs : sequence of Design
        All that were tried.
    chosen : Design, optional
        Which was taken.
    max_latency : float, optional
        The most seconds per encrypted row that were allowed.
    score_name : {"accuracy", "R2"}, default="accuracy"
        What the score is.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure or SubFigure
        The figure of `ax_`.
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        *,
        designs: Sequence[Design],
        chosen: Design | None = None,
        max_latency: float | None = None,
        score_name: str = "accuracy",
    ) -> None:
        self.designs = tuple(designs)
        self.chosen = chosen
        self.max_latency = max_latency
        self.score_name = score_name

    @classmethod
    def from_search(cls, search: DesignSearch, *, ax: Axes | None = None) -> LatencyFrontDisplay:
        """Draw what a search found.

        Parameters
        ----------
        search : DesignSearch
            As `design_network` returns it.
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        LatencyFrontDisplay

        Raises
        ------
        MissingDependencyError
            If Matplotlib is not installed.
        """
        display = cls(
            designs=search.designs,
            chosen=search.chosen,
            max_latency=search.max_latency,
            score_name=search.score_name,
        )
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> LatencyFrontDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        LatencyFrontDisplay
            This display, with `ax_` and `figure_`.
        """
        ax = axes_or_new(ax, "LatencyFrontDisplay", FRONT_SIZE)
        draw_front(ax, self.designs, self.chosen, self.max_latency, self.score_name)
        self.ax_, self.figure_ = ax, ax.figure
        return self
