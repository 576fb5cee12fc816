"""What follows a network's outputs, from torch's modules and skorch's options to NumPy by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.postprocessing import Float64, Function, Step
from cipherfit.training.columns import affine_of, close, probes

#: Functions with a counterpart in NumPy that has no parameters, the most frequent first.
_NAMES = ("softmax", "log_softmax", "sigmoid", "tanh", "relu", "exp", "softplus", "two_columns")
#: Steps whose results are probabilities; so are those of a sigmoid, where it stands for one.
_PROBABILITIES = ("softmax", "two_columns", "sigmoid")


class TorchStep:
    """A function of torch's on outputs, where NumPy's by name has no counterpart.

    Parameters
    ----------
    function : callable
        From a tensor (n_samples, n) to a tensor (n_samples, m).
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, values: Float64) -> Float64:
        """Return the function's values (n_samples, m) of real values (n_samples, n)."""
        with torch.no_grad():
            processed = self.function(torch.from_numpy(values.copy()))
        return np.asarray(processed.cpu().numpy(), dtype=np.float64)


@torch.no_grad()
def steps_of_module(module: nn.Module, n_outputs: int) -> list[Function]:
    """Return what modules behind the last linear layer compute, by name where NumPy has it.

    What has a name is found by meaning: whatever gives the values of a named function on probes,
    be it several modules together, is that function.

    Parameters
    ----------
    module : nn.Module
        A module, or a sequence of them.
    n_outputs : int
        Number of columns of the values that the first one takes.
    """
    left = list(module.children()) if isinstance(module, nn.Sequential) else [module]
    left = [each.double().eval() for each in left]
    steps: list[Function] = []
    while left:
        for n_together in range(len(left), 0, -1):
            together = nn.Sequential(*left[:n_together])
            named = _named(together, n_outputs)
            if named is not None:
                steps += named
                break
        else:
            n_together, together = 1, nn.Sequential(left[0])
            steps.append(TorchStep(left[0]))
        n_outputs = together(probes(n_outputs)).flatten(1).shape[1]
        left = left[n_together:]
    return steps


def steps_of_criterion(criterion: Any) -> list[Function]:
    """Return what turns a network's outputs into probabilities, by the loss it was trained with.

    Parameters
    ----------
    criterion : nn.Module
        Cross entropy was trained on logits, the binary losses on one output: its logit, or its
        probability. Others say nothing.
    """
    if isinstance(criterion, nn.CrossEntropyLoss):
        return [Step("softmax")]
    if isinstance(criterion, nn.BCEWithLogitsLoss):
        return [Step("sigmoid"), Step("two_columns")]
    if isinstance(criterion, nn.BCELoss):
        return [Step("two_columns")]
    return []


def steps_of_option(option: Any, criterion: Any) -> list[Function]:
    """Return what skorch's `predict_nonlinearity` asks for.

    Raises
    ------
    InvalidParameterError
        If it is neither "auto", None nor a function.
    """
    if option is None:
        return []
    if isinstance(option, str) and option == "auto":
        return steps_of_criterion(criterion)
    if not callable(option):
        raise InvalidParameterError(
            f"predict_nonlinearity={option!r} has to be a callable, 'auto' or None"
        )
    return [TorchStep(option)]


def probabilities(steps: list[Function]) -> list[Function]:
    """Return steps that end in probabilities, whatever a classifier was trained with.

    Parameters
    ----------
    steps : list of callable
        What follows the outputs so far. Functions of torch's own are taken to know what they do.
    """
    if not steps:
        return [Step("softmax")]
    last = steps[-1]
    if not isinstance(last, Step) or last.name in _PROBABILITIES:
        return steps
    return [*steps, Step("exp" if last.name == "log_softmax" else "softmax")]


def _named(module: nn.Module, n_columns: int) -> list[Function] | None:
    """Return the steps of NumPy's that give a module's values; None if there are none."""
    affine = affine_of(module, n_columns)
    if affine is not None:
        scale, shift = (part.numpy() for part in affine)
        if (scale == 1).all() and (shift == 0).all():
            return []
        return [Step("affine", {"scale": scale, "shift": shift})]
    rows = probes(n_columns, (0.1, 1, 10, 1000, 1e6))
    outputs = module(rows)
    candidates = [Step(name) for name in _NAMES if name != "two_columns" or n_columns == 1]
    low, high = float(outputs.min()), float(outputs.max())
    # A bound that one value alone reaches is that value.
    if int((outputs == low).sum()) > 1 and int((outputs == high).sum()) > 1:
        candidates.append(Step("clip", {"low": low, "high": high}))
    values = rows.numpy()
    with np.errstate(all="ignore"):
        for step in candidates:
            if close(torch.from_numpy(step(values)), outputs):
                return [step]
    return None
