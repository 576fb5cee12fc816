"""The learning-rate schedule that estimators train with by default."""

from __future__ import annotations

import math
from typing import Any

from skorch.callbacks import Callback, LRScheduler


class OneCycle(Callback):  # type: ignore[misc]
    """Warm the learning rate up, then anneal it to zero along a cosine, batch by batch.

    The estimator's `lr` is the peak. Weights that end on the border between two codes would
    flicker at a constant rate; at a vanishing one they settle. After Smith and Topin (2019),
    arXiv:1708.07120. It stands back where the callbacks hold a skorch `LRScheduler`; to train at a
    constant rate, turn it off with ``callbacks__lr_schedule=None``.

    Parameters
    ----------
    warmup : float in [0, 1), default=0.2
        Fraction of the training during which the rate rises.
    start : float in (0, 1], default=0.04
        First rate, as a fraction of the peak.
    """

    def __init__(self, warmup: float = 0.2, start: float = 0.04) -> None:
        self.warmup = warmup
        self.start = start

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Note the peak rates, and at which epoch this training starts."""
        self.peaks_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.first_epoch_ = len(net.history)
        self.active_ = not any(isinstance(given, LRScheduler) for _, given in net.callbacks_)
        self.batch_ = 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Note how many batches an epoch has."""
        self.batch_ = 0
        self.n_batches_ = max(1, len(net.get_iterator(dataset_train, training=True)))

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the rate of the next step."""
        if not (training and self.active_):
            return
        epoch = len(net.history) - 1 - self.first_epoch_
        done = (epoch + self.batch_ / self.n_batches_) / max(1, net.max_epochs)
        factor = self.factor(min(done, 1.0))
        for group, peak in zip(net.optimizer_.param_groups, self.peaks_, strict=True):
            group["lr"] = peak * factor
        self.batch_ += 1

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Give the optimizer its peak rates back, so that a later training can start anew."""
        if not self.active_:
            return
        for group, peak in zip(net.optimizer_.param_groups, self.peaks_, strict=True):
            group["lr"] = peak

    def factor(self, done: float) -> float:
        """Return the rate's fraction of the peak when a fraction `done` of training is over."""
        if done < self.warmup:
            rise = (1 - math.cos(math.pi * done / self.warmup)) / 2
            return self.start + (1 - self.start) * rise
        return (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2
