"""What callbacks hear of the second phase of a training, and its learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from skorch.callbacks import LRScheduler, PrintLog

from cipherfit.estimators.schedule import OneCycle

Callbacks = list[tuple[str, Any]]


class PhaseCycle(OneCycle):
    """One cycle over a phase of training that has a peak rate and epochs of its own.

    Parameters
    ----------
    peak : float
        Highest learning rate.
    n_epochs : int
        Epochs of the phase.
    """

    def __init__(self, peak: float, n_epochs: int) -> None:
        super().__init__()
        self.peak = peak
        self.n_epochs = n_epochs

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note that the phase starts."""
        super().on_train_begin(net, **kwargs)
        self.active_ = True

    def peaks_of(self, net: Any) -> list[Any]:
        """Return the highest rate of each of the optimizer's parameter groups."""
        return [self.peak for _ in net.optimizer_.param_groups]

    def epochs_of(self, net: Any) -> int:
        """Return the number of epochs that the cycle spans."""
        return self.n_epochs


def callbacks_of_phase(callbacks: Callbacks) -> Callbacks:
    """Return the callbacks that hear of a second phase: all but those that set learning rates."""
    rates = (LRScheduler, OneCycle)
    return [(name, each) for name, each in callbacks if not isinstance(each, rates)]


def forget_first_phase(callbacks: Callbacks) -> None:
    """Let callbacks compare scores within a phase, and print its table under a head of its own."""
    for _, callback in callbacks:
        if hasattr(callback, "best_score_"):
            callback.best_score_ = np.inf if callback.lower_is_better else -np.inf
        if isinstance(callback, PrintLog):
            callback.initialize()
