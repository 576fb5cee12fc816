"""Linear models on codes, solved to the optimum: ridge regression and multinomial logistic one.

Both are convex. Codes are standardized, so that one strength of the L2 penalty suits all; it is
chosen by generalized cross-validation (Golub, Heath and Wahba, 1979), which the eigenvalues of a
ridge give for nothing, and by held-out log losses for the logistic model. That is minimized by
SciPy's L-BFGS in coordinates in which the curvature is about the same in every direction: a
multiple of the codes' covariance bounds it from above (Böhning, 1992), and its Cholesky factor
makes codes that are nearly each other's sums, as those of many random neurons are, converge in a
fraction of the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

Float64 = NDArray[np.float64]

#: Penalties, per row and in units of standardized codes, from strong to weak.
_RIDGES = np.logspace(3, -7, 61)
_LOGISTIC = np.logspace(1, -6, 15)
_LOGISTIC_COARSE = np.logspace(0, -5, 11)
#: Products of a pass over the rows from which one split of a part of them serves instead of folds.
_LARGE, _ROWS_OF_SEARCH = 30_000_000, 10_000
#: Relative decrease of the loss at which solutions end that are close enough.
_ROUGHLY = 1e-5
_FOLDS = 5
#: Weaker penalties than the best so far that may be worse before the search ends.
_PATIENCE = 2
#: Rows that tell the codes' covariance well enough to precondition by.
_ROWS_OF_COVARIANCE = 20_000


@dataclass(frozen=True)
class LinearModel:
    """Real outputs of codes: ``(codes - mean) @ weights.T + centre``.

    Parameters
    ----------
    weights : ndarray of shape (n_outputs, n_codes)
        Real weight of every code.
    mean : ndarray of shape (n_codes,)
        Weighted mean of the codes.
    centre : ndarray of shape (n_outputs,)
        Outputs at the mean.
    penalty : ndarray of shape (n_outputs,) or float
        The penalty chosen, per row and in units of standardized codes.
    """

    weights: Float64
    mean: Float64
    centre: Float64
    penalty: Float64 | float

    def __call__(self, codes: NDArray[Any]) -> Float64:
        """Return the outputs (n_samples, n_outputs) of codes (n_samples, n_codes)."""
        shift = self.centre - self.weights @ self.mean
        return np.asarray(codes @ self.weights.T.astype(codes.dtype) + shift, dtype=np.float64)


def ridge(codes: NDArray[Any], targets: NDArray[Any], weights: Any = None) -> LinearModel:
    """Return the ridge regression of targets, each with the penalty that suits it.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_codes), float32 or float64
        Codes, which stay as they are.
    targets : ndarray of shape (n_samples, n_targets)
        Real targets.
    weights : ndarray of shape (n_samples,), optional
        Weights of the rows, above 0.
    """
    rows = _row_weights(weights, len(codes))
    mean, spread = _moments(codes, rows)
    root = np.sqrt(rows)[:, None]
    standard = _standardized(codes, mean, spread) * root.astype(codes.dtype)
    centre = rows @ targets / rows.sum()
    centred = (targets - centre) * root
    spectrum = _spectrum(standard, centred)
    penalties = _generalized_validation(spectrum, centred)
    weights_of_standard = spectrum.weights(penalties * len(codes))
    return LinearModel(weights_of_standard.T / spread, mean, centre, penalties)


def multinomial(
    codes: NDArray[Any], targets: Float64, classes: NDArray[Any], *, seed: int
) -> LinearModel:
    """Return the multinomial logistic regression of targets: its outputs are logits.

    It minimizes ``-sum(targets * log_softmax(outputs)) / n_samples`` and half the penalty times
    the weights' sum of squares.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, n_codes), float32 or float64
        Codes, which stay as they are.
    targets : ndarray of shape (n_samples, n_classes)
        What each class counts in each row, at least 0: an indicator, times the row's weight, or
        spread over classes by label smoothing.
    classes : ndarray of shape (n_samples,)
        Index of each row's class, by which folds are stratified.
    seed : int
        Draws the folds.
    """
    targets = targets * (len(codes) / targets.sum())
    with threadpool_limits(_threads(codes.size * targets.shape[1])):
        return _multinomial(codes, targets, classes, seed)


def _multinomial(
    codes: NDArray[Any], targets: Float64, classes: NDArray[Any], seed: int
) -> LinearModel:
    mean, spread = _moments(codes, targets.sum(axis=1))
    standard = _standardized(codes, mean, spread)
    basis = None
    if len(codes) < codes.shape[1]:
        # The solution is a sum of rows, so it has no more coordinates than there are rows.
        basis, triangle = np.linalg.qr(standard.T)
        standard = np.ascontiguousarray(triangle.T)
    problem = _Logistic(standard, targets)
    if codes.size * targets.shape[1] > _LARGE:
        penalty, start = _validated_on_a_part(problem, classes, seed)
        solution = problem.solve(penalty, start, tolerance=_ROUGHLY)
    else:
        folds = _folds(classes, seed)
        losses = np.hstack([_held_out_losses(problem, rows, _LOGISTIC)[0] for rows in folds])
        penalty = float(_LOGISTIC[_strongest_within_an_error(losses)])
        solution = problem.solve(penalty)
    weights = solution[:-1] if basis is None else basis @ solution[:-1]
    return LinearModel(weights.T / spread, mean, solution[-1], penalty)


def _threads(size: int) -> int | None:
    """Return threads for linear algebra: in small problems they wait for each other for longest."""
    return 1 if size <= _LARGE else None


class _Logistic:
    """The logistic model of standardized codes; a solution has the intercepts as its last row."""

    def __init__(self, standard: NDArray[Any], targets: Float64) -> None:
        self.standard, self.targets = standard, targets
        rows = standard[:: max(1, len(standard) // _ROWS_OF_COVARIANCE)]
        self.covariance = np.asarray(rows.T @ rows, dtype=np.float64) / len(rows)

    def solve(
        self, penalty: float, start: Float64 | None = None, *, tolerance: float = 1e-8
    ) -> Float64:
        """Return the solution (n_codes + 1, n_classes) for a penalty."""
        n_codes, n_classes = self.standard.shape[1], self.targets.shape[1]
        bound = self.covariance / (2 * n_classes)
        # What rounding may take from the least eigenvalue goes to all.
        rounding = 10 * np.finfo(self.standard.dtype).eps * np.trace(bound)
        factor = cholesky(bound + (penalty + rounding) * np.eye(n_codes), lower=True)
        ones = self.targets.sum(axis=1)
        n_rows = len(self.standard)

        def loss(flat: Float64) -> tuple[float, Float64]:
            scaled = flat.reshape(-1, n_classes)
            weights = solve_triangular(factor, scaled[:-1], lower=True, trans="T")
            logits = self._logits(weights, scaled[-1])
            total = logsumexp(logits, axis=1)
            value = (ones @ total - (self.targets * logits).sum()) / n_rows
            residual = np.exp(logits - total[:, None]) * ones[:, None] - self.targets
            slope = self.standard.T @ residual.astype(self.standard.dtype)
            slope = np.asarray(slope, dtype=np.float64) / n_rows + penalty * weights
            gradient = np.vstack(
                [
                    solve_triangular(factor, slope, lower=True),
                    residual.sum(axis=0, keepdims=True) / n_rows,
                ]
            )
            return float(value + penalty / 2 * (weights**2).sum()), gradient.ravel()

        scaled = np.zeros((n_codes + 1, n_classes))
        if start is not None:
            scaled[:-1], scaled[-1] = factor.T @ start[:-1], start[-1]
        found = minimize(
            loss, scaled.ravel(), jac=True, method="L-BFGS-B",
            options={"maxiter": 500, "ftol": tolerance, "gtol": 1e-6},
        )  # fmt: skip
        solution: Float64 = found.x.reshape(-1, n_classes)
        solution[:-1] = solve_triangular(factor, solution[:-1], lower=True, trans="T")
        return solution

    def losses(self, solution: Float64) -> Float64:
        """Return each row's log loss."""
        logits = self._logits(solution[:-1], solution[-1])
        total = self.targets.sum(axis=1) * logsumexp(logits, axis=1)
        return np.asarray(total - (self.targets * logits).sum(axis=1), dtype=np.float64)

    def _logits(self, weights: Float64, intercepts: Float64) -> Float64:
        linear = self.standard @ weights.astype(self.standard.dtype)
        return np.asarray(linear, dtype=np.float64) + intercepts


def _held_out_losses(
    problem: _Logistic, held_out: NDArray[np.bool_], grid: Float64
) -> tuple[Float64, list[Float64]]:
    """Return held-out rows' losses for each penalty, infinite where the search has ended.

    The solutions come, too.
    """
    seen = _Logistic(problem.standard[~held_out], problem.targets[~held_out])
    unseen = _Logistic(problem.standard[held_out], problem.targets[held_out])
    losses = np.full((len(grid), len(unseen.targets)), np.inf)
    solutions: list[Float64] = []
    for index, penalty in enumerate(grid):
        start = solutions[-1] if solutions else None
        solutions.append(seen.solve(float(penalty), start, tolerance=_ROUGHLY))
        losses[index] = unseen.losses(solutions[-1])
        if index - int(losses.sum(axis=1).argmin()) >= _PATIENCE:
            break
    return losses, solutions


def _validated_on_a_part(
    problem: _Logistic, classes: NDArray[Any], seed: int
) -> tuple[float, Float64]:
    """Return the penalty that suits all of many rows, and where to start from.

    A fifth of a part is held out. As in scikit-learn, rows count in sum beside a penalty that is
    the same for however many: per row, it gets weaker with their number.
    """
    n_rows = len(classes)
    order = np.random.default_rng(seed).permutation(n_rows)[:_ROWS_OF_SEARCH]
    part = _Logistic(problem.standard[order], problem.targets[order])
    held_out = next(_folds(classes[order], seed))
    losses, solutions = _held_out_losses(part, held_out, _LOGISTIC_COARSE)
    best = _strongest_within_an_error(losses)
    n_seen = int((~held_out).sum())
    return float(_LOGISTIC_COARSE[best]) * n_seen / n_rows, solutions[best]


def _strongest_within_an_error(losses: Float64) -> int:
    """Return the first penalty whose loss is within a standard error of the least.

    Breiman et al. (1984) choose so; it is at least as accurate on the tables of the benchmarks.
    """
    best = int(losses.mean(axis=1).argmin())
    excess = losses[np.isfinite(losses).all(axis=1)] - losses[best]
    error = excess.std(axis=1) / np.sqrt(excess.shape[1])
    return int(np.flatnonzero(excess.mean(axis=1) <= error)[0])


def _folds(classes: NDArray[Any], seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield which rows are held out, in one fold after the other, stratified by class."""
    order = np.random.default_rng(seed).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(len(classes), dtype=np.int64)
    fold[order] = np.arange(len(classes)) % _FOLDS
    for index in range(min(_FOLDS, len(classes))):
        yield fold == index


def covariance_of(codes: NDArray[Any], weights: Float64) -> Float64:
    """Return the weighted covariance (n_codes, n_codes) of codes, of a part where they are many."""
    step = max(1, len(codes) // _ROWS_OF_COVARIANCE)
    part, share = codes[::step].astype(np.float64), weights[::step] / weights[::step].sum()
    mean = share @ part
    part -= mean
    part *= np.sqrt(share)[:, None]
    return np.asarray(part.T @ part)


def _row_weights(weights: Any, n_rows: int) -> Float64:
    if weights is None:
        return np.ones(n_rows)
    rows = np.asarray(weights, dtype=np.float64)
    return np.asarray(rows * (n_rows / rows.sum()))


def _moments(codes: NDArray[Any], rows: Float64) -> tuple[Float64, Float64]:
    """Return weighted mean and standard deviation of codes; of those that never vary, infinity."""
    share = rows / rows.sum()
    mean = np.asarray(share @ codes, dtype=np.float64)
    spread = np.sqrt(share @ (codes - mean.astype(codes.dtype)) ** 2).astype(np.float64)
    return mean, np.where(spread > 1e-6 * (1 + np.abs(mean)), spread, np.inf)


def _standardized(codes: NDArray[Any], mean: Float64, spread: Float64) -> NDArray[Any]:
    standard: NDArray[Any] = codes - mean.astype(codes.dtype)
    standard /= spread.astype(codes.dtype)
    return standard


@dataclass(frozen=True)
class _Spectrum:
    """The singular values of a matrix, squared, and the targets' parts along their directions."""

    squares: Float64
    parts: Float64
    vectors: Float64
    matrix: NDArray[Any] | None

    def weights(self, penalties: Float64) -> Float64:
        """Return the ridge solution (n_codes, n_targets) for each target's penalty."""
        shrunk = self.parts / (self.squares[:, None] + penalties)
        if self.matrix is None:
            return np.asarray(self.vectors @ (shrunk * np.sqrt(self.squares)[:, None]))
        return np.asarray(self.matrix.T @ (self.vectors @ shrunk), dtype=np.float64)


def _spectrum(matrix: NDArray[Any], targets: Float64) -> _Spectrum:
    """Return the spectrum of a matrix by its smaller Gram matrix."""
    n_rows, n_codes = matrix.shape
    is_tall = n_codes <= n_rows
    gram = matrix.T @ matrix if is_tall else matrix @ matrix.T
    squares, vectors = np.linalg.eigh(gram.astype(np.float64))
    certain = squares > max(squares[-1], 0.0) * len(gram) * np.finfo(matrix.dtype).eps
    squares, vectors = squares[certain], vectors[:, certain]
    if not is_tall:
        return _Spectrum(squares, vectors.T @ targets, vectors, matrix)
    moments = np.asarray(matrix.T @ targets.astype(matrix.dtype), dtype=np.float64)
    return _Spectrum(squares, vectors.T @ moments / np.sqrt(squares)[:, None], vectors, None)


def _generalized_validation(spectrum: _Spectrum, targets: Float64) -> Float64:
    """Return the penalty of each centred target for which the validated error is least."""
    n_rows = len(targets)
    outside = (targets**2).sum(axis=0) - (spectrum.parts**2).sum(axis=0)
    errors = []
    for penalty in _RIDGES * n_rows:
        left = penalty / (spectrum.squares + penalty)
        residual = outside.clip(min=0) + left**2 @ spectrum.parts**2
        # Summed so, it stays exact where there are more codes than rows, and it is next to none.
        freedom = n_rows - 1 - len(left) + left.sum()
        errors.append(residual / max(freedom, np.finfo(np.float64).tiny ** 0.5) ** 2)
    return np.asarray(_RIDGES[np.argmin(errors, axis=0)])
