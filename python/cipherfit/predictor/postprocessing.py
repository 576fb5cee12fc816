"""What the client computes of a network's real-valued outputs, in the clear: NumPy, by name.

Names and plain parameters can be stored, and need nothing but NumPy wherever they are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidParameterError

Float64 = NDArray[np.float64]
#: A function from real values (n_samples, n) to real values (n_samples, m).
Function = Callable[[Float64], Float64]


def softmax(values: Float64) -> Float64:
    """Return ``exp(values) / sum(exp(values))`` of each row."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def log_softmax(values: Float64) -> Float64:
    """Return the logarithm of `softmax`."""
    shifted = values - values.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def sigmoid(values: Float64) -> Float64:
    """Return ``1 / (1 + exp(-values))``."""
    small = np.exp(-np.abs(values))  # never overflows
    return np.asarray(np.where(values >= 0, 1.0, small) / (1.0 + small))


def two_columns(values: Float64) -> Float64:
    """Return ``[1 - p, p]`` for probabilities p of shape (n_samples, 1) or (n_samples,)."""
    p = values.reshape(len(values), -1)[:, 0]
    return np.stack([1.0 - p, p], axis=1)


def affine(values: Float64, *, scale: Any, shift: Any) -> Float64:
    """Return ``values * scale + shift``, column by column."""
    return np.asarray(values * scale + shift)


def clip(values: Float64, *, low: float, high: float) -> Float64:
    """Return values clamped to [low, high]."""
    return np.clip(values, low, high)


def shares(values: Float64) -> Float64:
    """Return each value's part of its row's sum; where that is 0, the same for all."""
    sums = values.sum(axis=-1, keepdims=True)
    equal = np.full_like(values, 1.0 / values.shape[-1])
    return np.divide(values, sums, out=equal, where=sums != 0)


def scores(values: Float64) -> Float64:
    """Return scores of classes, of which the largest wins; one, s of the second, as ``[-s, s]``.

    They are no probabilities.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        return np.concatenate([-values, values], axis=1)
    return values


#: What a `Step` may be.
FUNCTIONS: dict[str, Callable[..., Float64]] = {
    "affine": affine,
    "clip": clip,
    "exp": np.exp,
    "log_softmax": log_softmax,
    "relu": lambda values: np.maximum(values, 0.0),
    "scores": scores,
    "shares": shares,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "softplus": lambda values: np.logaddexp(values, 0.0),
    "tanh": np.tanh,
    "two_columns": two_columns,
}


#: What makes probabilities of scores in front of `shares`, and keeps their order.
_RISING = ("affine", "clip", "sigmoid")


@dataclass(frozen=True)
class Step:
    """One of `FUNCTIONS`, with its parameters.

    Parameters
    ----------
    name : str
        Which.
    parameters : dict
        Numbers and arrays of shape (n_outputs,), by name.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise InvalidParameterError(
                f"post-processing {self.name!r} must be one of {', '.join(FUNCTIONS)}"
            )

    def __call__(self, values: Float64) -> Float64:
        """Return the function's values (n_samples, m) of real values (n_samples, n)."""
        return np.asarray(FUNCTIONS[self.name](values, **self.parameters), dtype=np.float64)


def check_probabilities(steps: Sequence[Function]) -> None:
    """Refuse to call what steps end in probabilities, where it is scores.

    Raises
    ------
    InvalidParameterError
        If they are.
    """
    if steps and isinstance(steps[-1], Step) and steps[-1].name == "scores":
        raise InvalidParameterError(
            "predict_proba is for models whose outputs stand for probabilities; this one was made "
            "of a classifier that has scores only, so call predict"
        )


def before_shares(steps: Sequence[Function]) -> Sequence[Function]:
    """Return the steps whose largest value names the label.

    One class versus the rest, several probabilities can be 1, or all of them 0, for scores of which
    one is the largest. So these steps end with the scores.

    Parameters
    ----------
    steps : sequence of callable
        What is computed of outputs.
    """
    names = [step.name if isinstance(step, Step) else "" for step in steps]
    if not names or names[-1] != "shares":
        return steps
    kept = len(names) - 1
    while kept and names[kept - 1] in _RISING:
        kept -= 1
    return steps[:kept]


def post_process(outputs: Any, steps: Iterable[Function]) -> Float64:
    """Return what steps make of real-valued outputs, one after the other.

    Parameters
    ----------
    outputs : array-like of shape (n_samples, n_outputs)
        Real values.
    steps : iterable of callable
        `Step` objects, or functions like them, which can't be stored.

    Returns
    -------
    ndarray of shape (n_samples, n), float64
    """
    values = np.asarray(outputs, dtype=np.float64)
    # The tails of exponentials are 0, or infinite, by intent.
    with np.errstate(over="ignore", under="ignore"):
        for step in steps:
            values = step(values)
    return values
