"""What follows a network's outputs, from torch's modules and skorch's options to NumPy by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.postprocessing import Float64, Function, Step

#: Modules, and functions that modules call, with a counterpart in NumPy.
_SAME: dict[Any, str] = {
    nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh",
    torch.relu: "relu", torch.sigmoid: "sigmoid", torch.tanh: "tanh", torch.exp: "exp",
    nn.functional.relu: "relu",
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "exp": "exp",
}  # fmt: skip
_OF_ROWS = {nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax"}


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


def steps_of_module(module: nn.Module) -> list[Function]:
    """Return what modules behind the last linear layer compute."""
    steps: list[Function] = []
    for each in module.children() if isinstance(module, nn.Sequential) else [module]:
        if isinstance(each, (nn.Identity, nn.Dropout)):
            continue
        steps.append(_named(each) or TorchStep(each.double().eval()))
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


def _named(module: nn.Module) -> Step | None:
    kind = getattr(module, "called", type(module))
    if kind in _SAME:
        return Step(_SAME[kind])
    if kind in _OF_ROWS and module.dim in (None, 1, -1):
        return Step(_OF_ROWS[kind])
    if isinstance(module, nn.Softplus) and module.beta == 1:
        return Step("softplus")
    if isinstance(module, nn.Hardtanh):
        return Step("clip", {"low": float(module.min_val), "high": float(module.max_val)})
    if isinstance(module, nn.BatchNorm1d) and module.running_mean is not None:
        zero = torch.zeros(1, module.num_features, dtype=torch.float64)
        with torch.no_grad():
            norm = module.double().eval()
            shift, ends = norm(zero)[0].numpy(), norm(zero + 1)[0].numpy()
        return Step("affine", {"scale": ends - shift, "shift": shift})
    return None
