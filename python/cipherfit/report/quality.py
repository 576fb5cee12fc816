"""How good a model is on test rows, and how that compares."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets
from cipherfit.report.intervals import bootstrapped, mean, paired_shares, share
from cipherfit.report.measured import (
    Bin,
    Calibration,
    ClassQuality,
    ClassScore,
    Compared,
    Confusion,
    Interval,
    Quality,
    TargetQuality,
)
from cipherfit.report.words import shown

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Classes that a matrix and a table hold, mistakes and targets that are listed.
MOST_IN_MATRIX, MOST_CLASSES, _MOST_CONFUSIONS, _MOST_TARGETS = 20, 100, 12, 6
_N_BINS = 10
_MOST_BARS, _MOST_POINTS = 25, 400
_OF_CLASSES = "Wilson's score interval; differences: Agresti and Min's of paired rows"
_OF_VALUES = "percentile bootstrap; differences: normal interval of paired rows"


def quality(
    targets: Targets,
    truth: Any,
    predicted: NDArray[Any],
    probabilities: Float64 | None,
    others: list[tuple[str, NDArray[Any], str]],
) -> Quality:
    """Return how good predictions are, beside those of others.

    Parameters
    ----------
    targets : ClassTargets or RealTargets
        What is predicted.
    truth : array-like of shape (n_samples,) or (n_samples, n_targets)
        Labels or targets of the test rows.
    predicted : ndarray of the same shape
        The network's answers.
    probabilities : ndarray of shape (n_samples, n_classes), optional
        Its probabilities.
    others : list of (name, predictions, note)
        What else answers these rows.

    Raises
    ------
    InvalidInputError
        If labels have another shape, or a label is not among the classes.
    """
    loss = targets.loss_against(truth, predicted.shape)
    own = loss(predicted)
    return Quality(
        n_rows=len(predicted),
        score=Compared("this network: integers, in clear", score(targets, truth, predicted)),
        others=tuple(
            Compared(
                name, score(targets, truth, other), _difference(targets, own, loss(other)), note
            )
            for name, other, note in others
        ),
        method=_OF_CLASSES if isinstance(targets, ClassTargets) else _OF_VALUES,
        of_classes=_of_classes(targets, truth, predicted, probabilities),
        of_targets=_of_targets(targets, truth, predicted),
        n_targets=targets.n_outputs if isinstance(targets, RealTargets) else 0,
    )


def score(targets: Targets, truth: Any, predicted: NDArray[Any]) -> Interval:
    """Return accuracy, or R2, of predictions with its interval."""
    n_rows = len(predicted)
    if isinstance(targets, ClassTargets):
        losses = targets.loss_against(truth, predicted.shape)(predicted)
        return share(int((losses == 0).sum()), n_rows)
    true = np.asarray(truth, dtype=np.float64).reshape(n_rows, -1)
    wrong = np.asarray(predicted, dtype=np.float64).reshape(n_rows, -1) - true
    return bootstrapped(partial(_mean_r2, true, wrong), n_rows)[0]


def _difference(targets: Targets, own: Float64, other: Float64) -> Interval:
    """Return by how much the score of other losses is above that of a network's own."""
    if isinstance(targets, ClassTargets):
        return paired_shares(own == 0, other == 0)
    return mean(own - other)


def _mean_r2(truth: Float64, wrong: Float64, rows: NDArray[np.intp]) -> Float64:
    r2 = 1 - np.square(wrong[rows]).mean(axis=0) / truth[rows].var(axis=0)
    return np.array([r2.mean()])


def _of_classes(
    targets: Targets, truth: Any, predicted: NDArray[Any], probabilities: Float64 | None
) -> ClassQuality | None:
    if not isinstance(targets, ClassTargets):
        return None
    n = targets.n_outputs
    true, answer = targets.encode(np.asarray(truth)), targets.encode(predicted)
    matrix = np.bincount(true * n + answer, minlength=n * n).reshape(n, n)
    names = [shown(label) for label in targets.classes]
    rows, answers, right = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
    return ClassQuality(
        classes=tuple(
            ClassScore(
                names[i],
                int(rows[i]),
                share(int(right[i]), int(rows[i])) if rows[i] else None,
                share(int(right[i]), int(answers[i])) if answers[i] else None,
            )
            for i in range(min(n, MOST_CLASSES))
        ),
        n_classes=n,
        matrix=matrix if n <= MOST_IN_MATRIX else None,
        confusions=_confusions(matrix, names),
        calibration=_calibration(true, probabilities),
    )


def _confusions(matrix: Int64, names: list[str]) -> tuple[Confusion, ...]:
    wrong = matrix - np.diag(matrix.diagonal())
    most = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    places = (divmod(int(place), len(names)) for place in most)
    return tuple(Confusion(names[i], names[j], int(wrong[i, j])) for i, j in places if wrong[i, j])


def _calibration(true: Int64, probabilities: Float64 | None) -> Calibration | None:
    if probabilities is None or not _are_probabilities(probabilities):
        return None
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    edges = np.linspace(0, 1, _N_BINS + 1)
    place = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, _N_BINS - 1)
    bins = []
    for i in range(_N_BINS):
        inside = place == i
        if n := int(inside.sum()):
            accuracy = share(int(right[inside].sum()), n)
            middle = float(confidence[inside].mean())
            bins.append(Bin(float(edges[i]), float(edges[i + 1]), n, middle, accuracy))
    gaps = [each.n_rows * abs(each.accuracy.value - each.confidence) for each in bins]
    distance = probabilities.copy()
    distance[np.arange(len(true)), true] -= 1
    brier = float(np.square(distance).sum(axis=1).mean())
    return Calibration(tuple(bins), float(sum(gaps) / len(true)), brier)


def _are_probabilities(values: Float64) -> bool:
    return bool(
        (values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-6)
    )  # as of post-processing of one's own


def _of_targets(targets: Targets, truth: Any, predicted: NDArray[Any]) -> tuple[TargetQuality, ...]:
    if not isinstance(targets, RealTargets):
        return ()
    n_rows = len(predicted)
    true = np.asarray(truth, dtype=np.float64).reshape(n_rows, -1)
    answer = np.asarray(predicted, dtype=np.float64).reshape(n_rows, -1)
    names = ["the target"] if true.shape[1] == 1 else [f"target {i}" for i in range(true.shape[1])]
    return tuple(
        _of_target(names[i], true[:, i], answer[:, i])
        for i in range(min(true.shape[1], _MOST_TARGETS))
    )


def _of_target(name: str, truth: Float64, answer: Float64) -> TargetQuality:
    residuals = answer - truth
    numbers = bootstrapped(partial(_statistics, truth, residuals), len(truth))
    r2, squared, absolute, bias = numbers
    n_bars = int(np.clip(np.sqrt(len(truth)), 5, _MOST_BARS))
    counts, edges = np.histogram(residuals, bins=n_bars)
    some = np.linspace(0, len(truth) - 1, min(len(truth), _MOST_POINTS)).astype(int)
    return TargetQuality(
        name=name,
        r2=r2,
        root_mean_square=squared,
        mean_absolute=absolute,
        bias=bias,
        counts=tuple(counts.tolist()),
        edges=tuple(edges.tolist()),
        points=tuple(zip(truth[some].tolist(), answer[some].tolist(), strict=True)),
    )


def _statistics(truth: Float64, residuals: Float64, rows: NDArray[np.intp]) -> Float64:
    true, wrong = truth[rows], residuals[rows]
    squared = np.square(wrong).mean()
    r2 = 1 - squared / true.var()
    return np.array([r2, np.sqrt(squared), np.abs(wrong).mean(), wrong.mean()])
