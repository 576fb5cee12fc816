"""Which values of a feature its codes span: the bulk, and tails that tell targets apart.

Few codes are worth more where the rows are than at rare, extreme values, so a range clamps those.
But a rare class may lie in a tail alone, and clamped it could not be told from the bulk's end. So
a range reaches further where what it clamps explains targets that nothing else of it could: it is
split as a regression tree is (Breiman et al., 1984), and the split's share of a target's whole
variance decides. The indicator of a class is a target like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float64 = NDArray[np.float64]

#: Share of a target's variance, of a class's indicator say, that makes a tail worth its codes.
_LEAST_SHARE = 0.15
#: Rows that hold a target's largest or smallest values below which they are taken for errors.
_LEAST_ROWS = 3
#: Weight of the rows that a tail needs, in units of the mean weight: one row is no pattern.
_LEAST_WEIGHT = 2.0
#: Part of a range, at its end, whose rows a tail is compared with.
_NEIGHBOURHOOD = 0.25
#: Times the weight that may be clamped from which clamped rows are heavy.
_HEAVY = 3.0
#: A tail may make a range so many times as long, and more only where it could not be told from the
#: bulk otherwise; what lies beyond is clamped to its end.
_MOST_STRETCH = 3.0


@dataclass(frozen=True)
class Relevance:
    """What tells which values matter.

    Parameters
    ----------
    targets : ndarray of shape (n_samples, n_targets), optional
        Real targets, or one indicator (0 or 1) per class.
    weights : ndarray of shape (n_samples,), optional
        Weight of every row in the loss, at least 0. Default: the same for all.
    """

    targets: Float64 | None = None
    weights: Float64 | None = None

    @classmethod
    def of_classes(
        cls, classes: NDArray[Any], sample_weight: Any = None, class_weight: Any = None
    ) -> Relevance:
        """Return the relevance of rows with class indices (n_samples,).

        Parameters
        ----------
        classes : ndarray of shape (n_samples,)
            Index of each row's class.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of rows.
        class_weight : array-like of shape (n_classes,), optional
            Weights of classes, by which those of their rows are multiplied.
        """
        indices = np.asarray(classes).astype(np.int64).ravel()
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if class_weight is not None:
            of_class = np.asarray(class_weight, dtype=np.float64)[indices]
            weights = of_class if weights is None else weights * of_class
        return cls((indices[:, None] == np.unique(indices)).astype(np.float64), weights)

    @classmethod
    def of_targets(cls, targets: NDArray[Any], sample_weight: Any = None) -> Relevance:
        """Return the relevance of rows with real targets (n_samples, n_targets)."""
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        matrix = np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
        return cls(matrix, weights)

    def of_rows(self, rows: slice) -> Relevance:
        """Return the relevance of some of the rows; all of weight 0 count alike."""
        targets = None if self.targets is None else self.targets[rows]
        weights = None if self.weights is None else self.weights[rows]
        return Relevance(targets, None if weights is None or not weights.any() else weights)


def evenly_spaced(n_rows: int, most: int) -> slice:
    """Return which rows stand for so many: at most `most`, evenly spaced."""
    return slice(None, None, max(1, -(-n_rows // most)))


def value_ranges(x: Tensor, max_code: int, tail: float, by: Relevance) -> tuple[Tensor, Tensor]:
    """Return lower and upper end of what the codes of each feature span.

    Parameters
    ----------
    x : torch.Tensor of shape (n_samples, n_features), float64
        Representative values, finite.
    max_code : int
        Largest code.
    tail : float in [0, 0.5)
        Fraction of the rows at each end that may be clamped where they tell nothing.
    by : Relevance
        Targets and weights.

    Returns
    -------
    low, high : torch.Tensor of shape (n_features,), float64
    """
    if tail == 0:
        return x.amin(dim=0), x.amax(dim=0)
    ordered, order = x.sort(dim=0)
    inner_low, inner_high = _quantiles(ordered, order, tail, by.weights)
    use_inner = inner_high > inner_low
    low = torch.where(use_inner, inner_low, ordered[0])
    high = torch.where(use_inner, inner_high, ordered[-1])
    if by.targets is None or len(x) < 2 * _LEAST_ROWS:
        return low, high
    ends = np.stack([low.cpu().numpy(), high.cpu().numpy()])
    clamps = (use_inner & ((ordered[0] < low) | (ordered[-1] > high))).nonzero()[:, 0]
    search = _Tails(by, max_code, len(x))
    for j in clamps.tolist():
        column, (first, last) = x[:, j].cpu().numpy(), ends[:, j]
        ends[0, j] = -search.upper_end(-column, -last, -first)
        ends[1, j] = search.upper_end(column, first, last)
    return tuple(torch.from_numpy(ends).to(x.device))


def _quantiles(
    ordered: Tensor, order: Tensor, tail: float, weights: Float64 | None
) -> tuple[Tensor, Tensor]:
    """Return the values beyond which a fraction of the rows lies at each end.

    Where those are rows of much weight, they are the values beyond which that fraction of the
    weight lies; never less, since light rows are to be predicted, too.
    """
    n_rows = len(ordered)
    cut = int(tail * (n_rows - 1))
    low, high = ordered[cut], ordered[n_rows - 1 - cut]
    if weights is None:
        return low, high
    each = torch.from_numpy(weights * (n_rows / weights.sum())).to(ordered)[order]
    most = tail * (n_rows - 1)
    first = (each.cumsum(dim=0) <= most).sum(dim=0, keepdim=True)
    last = n_rows - 1 - (each.flip(0).cumsum(dim=0) <= most).sum(dim=0, keepdim=True)
    longest = _MOST_STRETCH * (high - low)
    of_low = torch.maximum(ordered.gather(0, first)[0], high - longest)
    of_high = torch.minimum(ordered.gather(0, last)[0], low + longest)
    heavy_low = (each * (ordered < low)).sum(dim=0) > _HEAVY * most
    heavy_high = (each * (ordered > high)).sum(dim=0) > _HEAVY * most
    return (
        torch.where(heavy_low, torch.minimum(of_low, low), low),
        torch.where(heavy_high, torch.maximum(of_high, high), high),
    )


class _Tails:
    """The search for how far up a range has to reach."""

    def __init__(self, by: Relevance, max_code: int, n_rows: int) -> None:
        assert by.targets is not None
        weights = np.ones(n_rows) if by.weights is None else by.weights
        self.weights = weights * (n_rows / weights.sum())
        ordered = np.sort(by.targets, axis=0)
        targets = by.targets.clip(ordered[_LEAST_ROWS - 1], ordered[-_LEAST_ROWS])
        mean = self.weights @ targets / n_rows
        variance = self.weights @ (targets - mean) ** 2 / n_rows
        # Beyond what rounding leaves of a constant.
        varies = variance > 1e-24 * np.maximum(mean**2, np.finfo(np.float64).tiny)
        # In units in which every target's whole sum of squares is 1.
        centred = (targets - mean)[:, varies]
        self.targets = centred / np.sqrt(n_rows * variance[varies])
        self.max_code = max_code

    def upper_end(self, values: Float64, low: float, high: float) -> float:
        """Return the upper end of a range that has to tell apart what tells targets apart."""
        longest = low + _MOST_STRETCH * (high - low)
        while values.max() > high:
            rows = np.flatnonzero(values >= high - _NEIGHBOURHOOD * (high - low))
            rows = rows[np.argsort(values[rows], kind="stable")]
            split = self._split(values[rows], rows, high)
            if split is None:
                return high
            beyond = values[rows[split:]]
            needed = self._end_between(values[rows[split - 1]], beyond[0], low)
            bulk = beyond[int(0.99 * (len(beyond) - 1))]
            high = max(needed, min(bulk, longest))
        return high

    def _split(self, values: Float64, rows: NDArray[np.int64], high: float) -> int | None:
        """Return where clamped rows, in order, are best cut off from others; None: nowhere."""
        weights, targets = self.weights[rows], self.targets[rows]
        mass = weights.cumsum()
        sums = (weights[:, None] * targets).cumsum(axis=0)
        cuts = np.flatnonzero((np.diff(values) > 0) & (values[1:] > high))
        above = mass[-1] - mass[cuts]
        cuts = cuts[above >= _LEAST_WEIGHT]
        if not len(cuts):
            return None
        below, above = mass[cuts, None], mass[-1] - mass[cuts, None]
        share = sums[cuts] ** 2 / below + (sums[-1] - sums[cuts]) ** 2 / above
        gain = (share - sums[-1] ** 2 / mass[-1]).max(axis=1, initial=0.0)
        best = int(gain.argmax())
        return None if gain[best] < _LEAST_SHARE else int(cuts[best]) + 1

    def _end_between(self, below: float, above: float, low: float) -> float:
        """Return the end of the range whose last code starts between two values."""
        step = (below - low) / max(1, self.max_code - 1)
        start = below + min(0.75 * step, (above - below) / 2)
        return start + (start - low) / max(1, 2 * self.max_code - 1)
