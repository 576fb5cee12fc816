"""What was measured of a model: numbers with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A number, and where it lies with 95 % confidence.

    Parameters
    ----------
    value, low, high : float
        The number and its interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """The score of one way to answer the same rows.

    Parameters
    ----------
    name : str
        What answers.
    score : Interval
        Accuracy, or R2.
    difference : Interval or None
        By how much it is above this network's; None for the network itself.
    note : str, default=""
        What is to be known of it.
    """

    name: str
    score: Interval
    difference: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Bin:
    """Test rows whose answer was about as sure.

    Parameters
    ----------
    low, high : float
        Between which probabilities of the answer.
    n_rows : int
        How many.
    confidence : float
        Mean probability of the answer.
    accuracy : Interval
        How often it was right.
    """

    low: float
    high: float
    n_rows: int
    confidence: float
    accuracy: Interval


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities are what they say.

    Parameters
    ----------
    bins : tuple of Bin
        Test rows by the probability of their answer; without empty ones.
    expected_error : float
        Mean distance of accuracy and probability over the bins, by their rows.
    brier : float
        Mean squared distance of the probabilities from 1 for the true class and 0 for others.
    """

    bins: tuple[Bin, ...]
    expected_error: float
    brier: float


@dataclass(frozen=True)
class ClassScore:
    """How one class fared.

    Parameters
    ----------
    name : str
        The class.
    n_rows : int
        Test rows of it.
    recall : Interval or None
        The share of them that was found; None where there are none.
    precision : Interval or None
        The share of answers with this class that was right; None where there are none.
    """

    name: str
    n_rows: int
    recall: Interval | None
    precision: Interval | None


@dataclass(frozen=True)
class Confusion:
    """A mistake, and how often it was made.

    Parameters
    ----------
    truth, answer : str
        Two classes.
    n_rows : int
        Test rows of the first that got the second.
    """

    truth: str
    answer: str
    n_rows: int


@dataclass(frozen=True)
class ClassQuality:
    """How good a classifier is on test rows.

    Parameters
    ----------
    classes : tuple of ClassScore
        The first of its classes.
    n_classes : int
        All of them.
    matrix : ndarray of shape (n, n) or None
        Test rows by true class and answer; None where there are too many classes to show.
    confusions : tuple of Confusion
        The most frequent mistakes.
    calibration : Calibration or None
        None where outputs are no probabilities.
    """

    classes: tuple[ClassScore, ...]
    n_classes: int
    matrix: NDArray[np.int64] | None
    confusions: tuple[Confusion, ...]
    calibration: Calibration | None


@dataclass(frozen=True)
class TargetQuality:
    """How good a regressor is at one target.

    Parameters
    ----------
    name : str
        Which target.
    r2, root_mean_square, mean_absolute, bias : Interval
        R2, and errors in the target's unit; the bias is the mean of prediction less truth.
    counts : tuple of int
        Rows by residual, between `edges`.
    edges : tuple of float
        Where the bars of the histogram begin and end.
    points : tuple of (float, float)
        Truth and prediction of some rows.
    """

    name: str
    r2: Interval
    root_mean_square: Interval
    mean_absolute: Interval
    bias: Interval
    counts: tuple[int, ...]
    edges: tuple[float, ...]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Quality:
    """How good a model is on test rows.

    Parameters
    ----------
    n_rows : int
        Test rows.
    score : Compared
        The network's own.
    others : tuple of Compared
        Of its float twin and of a linear model, where they are known.
    method : str
        How the intervals are computed.
    of_classes : ClassQuality or None
        For a classifier.
    of_targets : tuple of TargetQuality
        For a regressor: the first of its targets.
    n_targets : int
        All of them; 0 for a classifier.
    """

    n_rows: int
    score: Compared
    others: tuple[Compared, ...]
    method: str
    of_classes: ClassQuality | None
    of_targets: tuple[TargetQuality, ...]
    n_targets: int


@dataclass(frozen=True)
class Errors:
    """What encryption does to answers.

    Parameters
    ----------
    p_error : float
        Probability that one lookup gives a neighbour's value.
    is_default : bool
        Whether that is what `compile` would take, as nothing is compiled.
    n_lookups : int
        Lookups per row.
    drop, drop_bound : float or None
        By how much the score falls in simulation, and what it doesn't fall by more than with 95 %
        confidence; None without test rows or lookups, and the bound of a single row.
    score : Interval or None
        The score of one encrypted pass over the test rows.
    n_rows, n_passes : int
        Rows, and how often they were simulated.
    """

    p_error: float
    is_default: bool
    n_lookups: int
    drop: float | None = None
    drop_bound: float | None = None
    score: Interval | None = None
    n_rows: int = 0
    n_passes: int = 0


@dataclass(frozen=True)
class Encrypted:
    """Rows that were run encrypted for the report.

    Parameters
    ----------
    n_rows : int
        How many.
    same : Interval
        The share whose answer is that in clear.
    score, clear_score : Interval or None
        Accuracy or R2 of these rows, encrypted and in clear; None without labels, or where it has
        no meaning.
    sums_off : int
        The largest distance of a decrypted sum from that in clear.
    seconds : float
        Median seconds per row: encryption, run and decryption.
    """

    n_rows: int
    same: Interval
    score: Interval | None
    clear_score: Interval | None
    sums_off: int
    seconds: float
