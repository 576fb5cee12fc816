"""The largest error probability that a trained network bears, found by simulation.

TFHE's cost grows as errors of its lookups become rarer, and a network with quantized activations
shrugs many of them off. How many is a question to the data, which simulation answers without
compiling anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit._core import IntegerGraph
from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import LEAST_OUTPUT_BITS
from cipherfit.pages.fragments import Point, panel, paragraph, points
from cipherfit.parameters import fraction, integer
from cipherfit.predictor.chunks import joined, stored
from cipherfit.predictor.output_noise import OutputNoise
from cipherfit.predictor.protocols import Answering, Holder, predictor_of, unwrapped
from cipherfit.predictor.targets import ClassTargets

Float64 = NDArray[np.float64]

#: Probabilities that are tried. Above, errors of more than one step, which are not simulated, would
#: no longer be rarer than one in a million.
LARGEST, LEAST = 0.1, 1e-9
#: Steps of the search per decade, then halvings of the step that was found.
_PER_DECADE, _HALVINGS = 4, 4
#: Simulated rows in all that a trial aims at, and the least and most passes over the data.
_ROWS_PER_TRIAL, _LEAST_PASSES, _MOST_PASSES = 200_000, 30, 200
#: Rows that are simulated at once, with a seed of their own: it grows with the first row.
_ROWS_AT_ONCE, _SEED_BITS = 1 << 16, 16


@dataclass(frozen=True)
class Trial:
    """What simulation gave at one error probability.

    Parameters
    ----------
    p_error : float
        The probability that lookups were simulated with.
    drop : float
        By how much the mean score fell: accuracy, or R2 for a regressor.
    drop_bound : float
        What the drop on rows like these does not exceed, with the confidence that was asked for.
    score_interval : tuple of (float, float)
        Where the score of one encrypted pass over the same rows lies, with that confidence.
    """

    p_error: float
    drop: float
    drop_bound: float
    score_interval: tuple[float, float]


@dataclass(frozen=True)
class PErrorSearch:
    """The result of `search_p_error`; printed, it is a statement.

    Parameters
    ----------
    p_error : float
        The largest error probability, up to 0.1, whose `drop_bound` is within what was asked for.
    score : float
        Accuracy, or R2, without errors.
    chosen : Trial
        What simulation gave at `p_error`.
    trials : tuple of Trial
        All that was tried, in order.
    max_accuracy_drop, confidence : float
        As they were given.
    n_rows, n_passes : int
        Rows, and how often each trial simulated them.
    score_name : {"accuracy", "R2"}
        What the score is.
    """

    p_error: float
    score: float
    chosen: Trial
    trials: tuple[Trial, ...]
    max_accuracy_drop: float
    confidence: float
    n_rows: int
    n_passes: int
    score_name: str

    def __str__(self) -> str:
        low, high = self.chosen.score_interval
        return (
            f"p_error={self.p_error:.2g}: a score of {self.score:.4f} falls by "
            f"{self.chosen.drop:.4f}, and by at most {self.chosen.drop_bound:.4f} with "
            f"{self.confidence:.0%} confidence ({self.max_accuracy_drop:g} allowed); an encrypted "
            f"pass over these {self.n_rows} rows scores {low:.4f} to {high:.4f}"
        )

    def _repr_html_(self) -> str:
        """Describe it as HTML, for notebooks."""
        marks = [
            Point(
                trial.p_error, self.score - trial.drop,
                f"p_error {trial.p_error:.2g}: falls by {trial.drop:.4f}, at most "
                f"{trial.drop_bound:.4f}",
                *trial.score_interval, is_filled=trial.p_error == self.p_error,
            )
            for trial in self.trials
        ]  # fmt: skip
        picture = points(
            marks, "p_error", self.score_name,
            f"{self.score_name} under encryption at {len(marks)} error probabilities",
        )  # fmt: skip
        return panel(f"PErrorSearch: p_error {self.p_error:.2g}", paragraph(str(self)), picture)


def search_p_error(
    model: Answering | Holder,
    X: Any,
    y: Any = None,
    *,
    max_accuracy_drop: float = 0.01,
    confidence: float = 0.95,
    random_state: int = 0,
    n_output_bits: int | None = None,
) -> PErrorSearch:
    """Find the largest `p_error`, up to 0.1, that a fitted model bears, by simulating errors.

    Every row is simulated many times with errors of its own. How much its loss rises is one
    observation; their mean is the drop of the score, and their spread over the rows bounds it (a
    one-sided normal interval), so that the statement holds for further rows of the same kind.

    Parameters
    ----------
    model : Predictor, NeuralNetClassifier, NeuralNetRegressor or an estimator like them
        Fitted, also as the last step of a pipeline; it need not be compiled.
    X : array-like of shape (n_samples, n_features)
        Rows like those to come, held out from training where possible. Few rows give a wide bound
        and so a small `p_error`. Of more rows than memory should hold, codes go to a temporary file
        without a name.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), optional
        Their labels or targets. Default: what the model predicts without errors.
    max_accuracy_drop : float in (0, 1), default=0.01
        By how much accuracy, or R2, may fall.
    confidence : float in (0, 1), default=0.95
        With what confidence it may not fall by more.
    random_state : int, default=0
        Seed of the simulated errors.
    n_output_bits : int, optional
        As it will be given to `compile`: the noise below these bits of the outputs is simulated,
        too. Default: there is none.

    Returns
    -------
    PErrorSearch
        With the probability, and what it was chosen by.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    InvalidParameterError
        If a parameter is out of range, or no `p_error` down to 1e-9 bears the drop: then the
        approximate rounding itself costs more.
    """
    allowed = fraction("max_accuracy_drop", max_accuracy_drop)
    last, X = unwrapped(model, X)
    predictor = predictor_of(last)
    if n_output_bits is not None:
        n_output_bits = integer("n_output_bits", n_output_bits, LEAST_OUTPUT_BITS)
    judge = NoisyScore(
        predictor, X, y,
        confidence=confidence, random_state=random_state, n_output_bits=n_output_bits,
    )  # fmt: skip
    chosen, trials = _largest(lambda p_error: judge.trial(predictor.graph, p_error), allowed)
    if chosen is None:
        raise InvalidParameterError(
            f"max_accuracy_drop={max_accuracy_drop:g} is not met on these {judge.n_rows} rows even "
            f"at p_error={LEAST:g}, where at least {trials[-1].drop_bound:.2g} can't be ruled out: "
            "allow more, give more rows, or train with module__rounding='exact'"
        )
    return PErrorSearch(
        p_error=chosen.p_error,
        score=judge.score,
        chosen=chosen,
        trials=tuple(trials),
        max_accuracy_drop=allowed,
        confidence=confidence,
        n_rows=judge.n_rows,
        n_passes=judge.n_passes,
        score_name=judge.score_name,
    )


class NoisyScore:
    """The score of rows under simulated errors, for a predictor's graph or another of its kind.

    Parameters
    ----------
    predictor : Predictor
        What predicts, and decodes what other graphs of its kind give.
    X, y, confidence, random_state, n_output_bits
        As for `search_p_error`.

    Attributes
    ----------
    score : float
        Accuracy, or R2, of the model without errors.
    score_name : {"accuracy", "R2"}
        What it is.
    n_rows, n_passes : int
        Rows, and how often a trial simulates them.
    """

    def __init__(
        self,
        predictor: Answering,
        X: Any,
        y: Any = None,
        *,
        confidence: float = 0.95,
        random_state: int = 0,
        n_output_bits: int | None = None,
    ) -> None:
        self._one_sided = NormalDist().inv_cdf(fraction("confidence", confidence))
        self._two_sided = NormalDist().inv_cdf((1 + confidence) / 2)
        self._predictor = predictor
        self._n_output_bits = n_output_bits
        self._codes = stored(predictor.code_chunks(X))
        exact = self._answers(predictor.graph)
        self._loss = predictor.targets.loss_against(exact if y is None else y, exact.shape)
        self._clear = self._loss(exact)
        self._first_seed = int(random_state) * _MOST_PASSES
        self.score = float(1 - self._clear.mean())
        self.score_name = "accuracy" if isinstance(predictor.targets, ClassTargets) else "R2"
        self.n_rows = len(self._codes)
        self.n_passes = min(max(_ROWS_PER_TRIAL // self.n_rows, _LEAST_PASSES), _MOST_PASSES)

    def trial(self, graph: IntegerGraph, p_error: float) -> Trial:
        """Simulate a graph with errors; its drop is from the model's score without any."""
        rise, scores = np.zeros(self.n_rows), []
        for number in range(self.n_passes):
            noisy = self._loss(self._answers(graph, p_error, self._first_seed + number))
            scores.append(1 - noisy.mean())
            rise += (noisy - self._clear) / self.n_passes
        error = float(rise.std(ddof=1)) / math.sqrt(len(rise)) if len(rise) > 1 else math.inf
        middle, spread = float(np.mean(scores)), float(np.std(scores, ddof=1))
        reach = self._two_sided * spread * math.sqrt(1 + 1 / self.n_passes)
        drop = float(rise.mean())
        bound = drop + self._one_sided * error
        return Trial(p_error, drop, bound, (middle - reach, middle + reach))

    def _answers(self, graph: IntegerGraph, p_error: float = 0.0, seed: int = 0) -> NDArray[Any]:
        """Return what a graph predicts, some rows after the other, each with errors of its own."""
        noise = OutputNoise.of(graph, p_error, self._n_output_bits)

        def answers(first: int) -> NDArray[Any]:
            codes, own = self._codes[first : first + _ROWS_AT_ONCE], seed + (first << _SEED_BITS)
            sums = graph.simulate(codes, p_error=p_error, seed=own)
            return self._predictor.answer(noise.on_sums(sums, own), graph)

        return joined(answers(first) for first in range(0, len(self._codes), _ROWS_AT_ONCE))


def _largest(attempt: Callable[[float], Trial], allowed: float) -> tuple[Trial | None, list[Trial]]:
    """Go down until the drop is borne, then back up by halves of the last step."""
    trials: list[Trial] = []

    def bears(exponent: float) -> bool:
        # Two digits, so that what is reported is what was tried.
        trials.append(attempt(float(f"{10**exponent:.1e}")))
        return trials[-1].drop_bound <= allowed

    top, bottom = math.log10(LARGEST), math.log10(LEAST)
    exponent = top
    while not bears(exponent):
        if exponent <= bottom:
            return None, trials
        exponent = max(bottom, exponent - 1 / _PER_DECADE)
    chosen = trials[-1]
    low, high = exponent, min(top, exponent + 1 / _PER_DECADE)
    for _ in range(_HALVINGS if high > low else 0):
        middle = (low + high) / 2
        if bears(middle):
            low, chosen = middle, trials[-1]
        else:
            high = middle
    return chosen, trials
