"""What all plots share: axes to draw on, and colours. Matplotlib is imported once asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cipherfit.exceptions import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of what is proven, what was seen in clear, what was encrypted, and of limits and faults.
PROVEN, SEEN, ENCRYPTED, ACCENT = "#c9d6e8", "#2f5d8c", "#2a9d8f", "#c2452d"


def axes_or_new(ax: Axes | None, what: str, figsize: tuple[float, float] = (6.4, 4.2)) -> Axes:
    """Return axes as given, or those of a new figure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
        Where to draw.
    what : str
        What draws, for the error.
    figsize : tuple of (float, float), default=(6.4, 4.2)
        Inches of a new figure.

    Raises
    ------
    MissingDependencyError
        If Matplotlib is not installed.
    """
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs matplotlib: pip install 'cipherfit[plot]'"
        ) from error
    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def unframed(ax: Axes) -> None:
    """Take the lines above and to the right of a plot away."""
    ax.spines[["top", "right"]].set_visible(False)


def legend_below(ax: Axes, ncols: int = 2) -> None:
    """Say under the plot what is drawn, in so many columns: there it hides nothing."""
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=4.5, ncols=ncols,
        frameon=False, fontsize="small",
    )  # fmt: skip
