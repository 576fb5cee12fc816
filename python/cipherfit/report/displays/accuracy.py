"""What errors of lookups cost as a picture: the score under encryption over their probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cipherfit.exceptions import InvalidParameterError
from cipherfit.parameters import fraction
from cipherfit.plotting import ACCENT, ENCRYPTED, SEEN, axes_or_new, legend_below, unframed
from cipherfit.predictor.p_error import NoisyScore, PErrorSearch, Trial
from cipherfit.predictor.protocols import predictor_of, unwrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

#: What is simulated by default.
P_ERRORS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)


class EncryptedAccuracyDisplay:
    """Accuracy, or R2, of encrypted rows over the error probability of a lookup, by simulation.

    Made by `from_search` of what `search_p_error` found, or by `from_estimator`.

    Parameters
    ----------
    trials : sequence of Trial
        What simulation gave at each error probability.
    score : float
        The score without errors.
    confidence : float
        With what confidence one encrypted pass over the same rows scores within the interval.
    score_name : {"accuracy", "R2"}, default="accuracy"
        What the score is.
    chosen : float, optional
        Error probability that was chosen.
    max_accuracy_drop : float, optional
        By how much the score may fall.
    measured : tuple of (float, float), optional
        An error probability, and the score of the same rows run encrypted with it.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure or SubFigure
        The figure of `ax_`.
    points_ : matplotlib.container.ErrorbarContainer
        The mean score at each error probability, and where that of one encrypted pass lies.
    """

    ax_: Axes
    figure_: Figure | SubFigure
    points_: Any

    def __init__(
        self,
        *,
        trials: Sequence[Trial],
        score: float,
        confidence: float,
        score_name: str = "accuracy",
        chosen: float | None = None,
        max_accuracy_drop: float | None = None,
        measured: tuple[float, float] | None = None,
    ) -> None:
        self.trials = tuple(sorted(trials, key=lambda trial: trial.p_error))
        self.score = score
        self.confidence = confidence
        self.score_name = score_name
        self.chosen = chosen
        self.max_accuracy_drop = max_accuracy_drop
        self.measured = measured

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        p_errors: Sequence[float] = P_ERRORS,
        confidence: float = 0.95,
        random_state: int = 0,
        measured: tuple[float, float] | None = None,
        ax: Axes | None = None,
    ) -> EncryptedAccuracyDisplay:
        """Simulate a model at some error probabilities, and draw its scores.

        Parameters
        ----------
        estimator : Predictor, NeuralNetClassifier, NeuralNetRegressor or an estimator like them
            Fitted, also as the last step of a pipeline; it need not be compiled.
        X : array-like of shape (n_samples, n_features)
            Rows, held out from training where possible.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), optional
            Their labels or targets. Default: what the model predicts without errors.
        p_errors : sequence of float in (0, 1), default=0.0001 to 0.1
            Error probabilities to simulate.
        confidence : float in (0, 1), default=0.95
            With what confidence one encrypted pass scores within the interval.
        random_state : int, default=0
            Seed of the simulated errors.
        measured : tuple of (float, float), optional
            An error probability, and the score of the same rows run encrypted with it: a point.
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        EncryptedAccuracyDisplay

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        InvalidParameterError
            If a parameter is out of range.
        MissingDependencyError
            If Matplotlib is not installed.
        """
        tried = [fraction("p_errors", p_error) for p_error in p_errors]
        if not tried:
            raise InvalidParameterError(f"p_errors={p_errors!r} must hold at least one number")
        last, X = unwrapped(estimator, X)
        predictor = predictor_of(last)
        judge = NoisyScore(predictor, X, y, confidence=confidence, random_state=random_state)
        display = cls(
            trials=[judge.trial(predictor.graph, p_error) for p_error in tried],
            score=judge.score,
            confidence=confidence,
            score_name=judge.score_name,
            measured=measured,
        )
        return display.plot(ax)

    @classmethod
    def from_search(
        cls,
        search: PErrorSearch,
        *,
        measured: tuple[float, float] | None = None,
        ax: Axes | None = None,
    ) -> EncryptedAccuracyDisplay:
        """Draw all that a search tried, and what it chose.

        Parameters
        ----------
        search : PErrorSearch
            As `search_p_error` returns it.
        measured : tuple of (float, float), optional
            An error probability, and the score of the same rows run encrypted with it: a point.
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        EncryptedAccuracyDisplay

        Raises
        ------
        MissingDependencyError
            If Matplotlib is not installed.
        """
        display = cls(
            trials=search.trials,
            score=search.score,
            confidence=search.confidence,
            score_name=search.score_name,
            chosen=search.p_error,
            max_accuracy_drop=search.max_accuracy_drop,
            measured=measured,
        )
        return display.plot(ax)

    def plot(self, ax: Axes | None = None) -> EncryptedAccuracyDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. Default: a new figure.

        Returns
        -------
        EncryptedAccuracyDisplay
            This display, with `ax_`, `figure_` and what was drawn.
        """
        ax = axes_or_new(ax, "EncryptedAccuracyDisplay")
        p_errors = [trial.p_error for trial in self.trials]
        means = [self.score - trial.drop for trial in self.trials]
        reach = [(high - low) / 2 for low, high in (trial.score_interval for trial in self.trials)]
        self.points_ = ax.errorbar(
            p_errors, means, yerr=reach, color=ENCRYPTED, marker="o", markersize=4, capsize=4,
            label=f"simulated: mean, and {self.confidence:.0%} of passes",
        )  # fmt: skip
        ax.axhline(self.score, color=SEEN, linewidth=1, label="without errors")
        if self.max_accuracy_drop is not None:
            allowed = self.score - self.max_accuracy_drop
            ax.axhline(allowed, color=ACCENT, linewidth=1, linestyle="--", label="allowed")
        if self.chosen is not None:
            ax.axvline(self.chosen, color="0.5", linestyle=":", label=f"chosen: {self.chosen:.2g}")
        if self.measured is not None:
            ax.plot(*self.measured, "*", color="black", markersize=12, label="measured, encrypted")
        ax.set(xscale="log", xlabel="error probability of a lookup", ylabel=self.score_name)
        legend_below(ax)
        unframed(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
