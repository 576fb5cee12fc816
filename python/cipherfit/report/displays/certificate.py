"""The proof of a layer as a picture: what is proven, what rows reach, and the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import Certificate
from cipherfit.parameters import integer
from cipherfit.plotting import ACCENT, PROVEN, SEEN, axes_or_new, unframed
from cipherfit.predictor.protocols import predictor_of, unwrapped
from cipherfit.stages import up_to

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Int64 = NDArray[np.int64]


class CertificateDisplay:
    """Proven intervals of a layer's accumulators, and what rows reach of them.

    Every neuron's interval is drawn from its proven minimum, since only its width counts: a clear
    addition shifts it for free. Made by `from_estimator` or `from_certificate`.

    Parameters
    ----------
    low, high : ndarray of shape (n_neurons,)
        Proven minimum and maximum of each accumulator.
    n_bits : int
        Bits that are drawn as a line: the accumulators' budget, or their width.
    budgeted : bool, default=False
        Whether it is a budget, which training held them to.
    seen_low, seen_high : ndarray of shape (n_neurons,), optional
        Least and largest that rows reach.
    n_rows : int, default=0
        How many rows.
    title : str, default="accumulators"
        What is drawn.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure or SubFigure
        The figure of `ax_`.
    proven_, seen_ : matplotlib.container.BarContainer
        One bar per neuron; `seen_` is None without rows.
    limit_ : matplotlib.lines.Line2D
        The line at the most that `n_bits` hold.
    """

    ax_: Axes
    figure_: Figure | SubFigure
    proven_: Any
    seen_: Any
    limit_: Any

    def __init__(
        self,
        *,
        low: Int64,
        high: Int64,
        n_bits: int,
        budgeted: bool = False,
        seen_low: Int64 | None = None,
        seen_high: Int64 | None = None,
        n_rows: int = 0,
        title: str = "accumulators",
    ) -> None:
        self.low, self.high = low, high
        self.n_bits, self.budgeted = n_bits, budgeted
        self.seen_low, self.seen_high, self.n_rows = seen_low, seen_high, n_rows
        self.title = title

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, *, layer: int | None = None, ax: Axes | None = None
    ) -> CertificateDisplay:
        """Draw a layer of a model, and what rows reach.

        Parameters
        ----------
        estimator : Predictor, NeuralNetClassifier, NeuralNetRegressor or an estimator like them
            Fitted, also as the last step of a pipeline.
        X : array-like of shape (n_samples, n_features), optional
            Rows. Default: only what is proven is drawn.
        layer : int, optional
            Which linear layer, counted from 0, those of the client included. Default: the first
            that is encrypted.
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        CertificateDisplay

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        InvalidParameterError
            If there is no such layer.
        MissingDependencyError
            If Matplotlib is not installed.
        """
        last, X = unwrapped(estimator, X)
        predictor = predictor_of(last)
        graph = predictor.graph
        certificate = graph.prove()
        number = _layer(certificate, graph.n_client_layers if layer is None else layer)
        proof = certificate.layers[number]
        is_encrypted_lookup = proof.lookup_bits is not None and number >= graph.n_client_layers
        budget = _budget(last) if is_encrypted_lookup else None
        seen: dict[str, Any] = {}
        if X is not None:
            reached = up_to(graph, number).simulate(predictor.quantize_input(X))
            seen = {"seen_low": reached.min(axis=0), "seen_high": reached.max(axis=0)}
            seen["n_rows"] = len(reached)
        display = cls(
            low=proof.low,
            high=proof.high,
            n_bits=proof.bits if budget is None else budget,
            budgeted=budget is not None,
            title=_title(number, graph.n_client_layers),
            **seen,
        )
        return display.plot(ax)

    @classmethod
    def from_certificate(
        cls, certificate: Certificate, *, layer: int = 0, ax: Axes | None = None
    ) -> CertificateDisplay:
        """Draw what is proven of a layer.

        Parameters
        ----------
        certificate : Certificate
            As `IntegerGraph.prove` returns it.
        layer : int, default=0
            Which linear layer, counted from 0.
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        CertificateDisplay
        """
        proof = certificate.layers[_layer(certificate, layer)]
        title = f"accumulators of layer {layer}"
        display = cls(low=proof.low, high=proof.high, n_bits=proof.bits, title=title)
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> CertificateDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        CertificateDisplay
            This display, with `ax_`, `figure_` and what was drawn.
        """
        ax = axes_or_new(ax, "CertificateDisplay")
        neurons = np.arange(len(self.low))
        self.proven_ = ax.bar(
            neurons, self.high - self.low, width=0.8, color=PROVEN, label="proven"
        )
        self.seen_ = None
        if self.seen_low is not None and self.seen_high is not None:
            self.seen_ = ax.bar(
                neurons,
                self.seen_high - self.seen_low,
                bottom=self.seen_low - self.low,
                width=0.35,
                color=SEEN,
                label=f"seen on {self.n_rows} rows",
            )
        most = 2**self.n_bits - 1
        what = "budget" if self.budgeted else "width"
        self.limit_ = ax.axhline(most, color=ACCENT, label=f"{what}: {self.n_bits} bits")
        top = 1.3 * max(most, int((self.high - self.low).max()), 1)
        ax.set(title=self.title, ylabel="above the minimum", xlabel="neuron", ylim=(0, top))
        ax.set_xticks(neurons[:: 1 + len(neurons) // 12])
        ax.legend(frameon=False, ncols=3, loc="upper center", fontsize="small")
        unframed(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _budget(model: Any) -> int | None:
    """Return the bits that training held an estimator's accumulators to, where it did."""
    n_bits = getattr(getattr(model, "module_", None), "n_accum_bits", None)
    return n_bits if isinstance(n_bits, int) else None


def _layer(certificate: Certificate, layer: int) -> int:
    last = len(certificate.layers) - 1
    return integer("layer", layer, 0, last, why="as many linear layers there are")


def _title(number: int, n_client_layers: int) -> str:
    if number < n_client_layers:
        return f"accumulators of client layer {number}, in clear"
    if number == n_client_layers:
        return "accumulators of the first encrypted layer"
    return f"accumulators of layer {number}"
