"""The learning-rate schedule that estimators train with by default."""

from __future__ import annotations

import math
from typing import Any

from skorch.callbacks import Callback, LRScheduler

#: Key, in the optimizer's parameter groups, of the fraction of a cycle that is over.
_POSITION = "one_cycle_done"


class OneCycle(Callback):  # type: ignore[misc]
    """Warm the learning rate up, then anneal it to zero along a cosine, batch by batch.

    The estimator's `lr` is the peak. Weights that end on the border between two codes would
    flicker at a constant rate; at a vanishing one they settle. After Smith and Topin (2019),
    arXiv:1708.07120. It stands back where the callbacks hold a skorch `LRScheduler`; to train at a
    constant rate, turn it off with ``callbacks__lr_schedule=None``.

    The peak is that of the estimator's parameters (`lr`, `optimizer__lr`, those of parameter
    groups), never of the optimizer's state, which a checkpoint holds as annealed as it was. A cycle
    spans the epochs of one training; one that goes on from a checkpoint in the middle of a cycle
    starts where that stands, and still ends at zero.

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
        """Note that a training starts; what stands in a checkpoint, others may load after this."""
        self.active_ = not any(isinstance(given, LRScheduler) for _, given in net.callbacks_)
        self.first_epoch_: int | None = None

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Note how many batches an epoch has and, at the first one, where the training stands."""
        self.batch_ = 0
        self.n_batches_ = max(1, len(net.get_iterator(dataset_train, training=True)))
        if self.first_epoch_ is None:
            self.first_epoch_ = len(net.history) - 1
            done = float(net.optimizer_.param_groups[0].get(_POSITION, 0.0))
            self.resumed_at_ = done if 0 < done < 1 else 0.0
            self.peaks_ = self.peaks_of(net)

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Set the rate of the next step."""
        if not (training and self.active_):
            return
        factor = self.factor(self._done(net, self.batch_ / self.n_batches_))
        for group, peak in zip(net.optimizer_.param_groups, self.peaks_, strict=True):
            group["lr"] = peak * factor
        self.batch_ += 1

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Leave in the optimizer's state, which checkpoints hold, where the cycle stands."""
        if self.active_:
            for group in net.optimizer_.param_groups:
                group[_POSITION] = self._done(net, 1.0)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Give the optimizer its peak rates back, so that a later training can start anew."""
        if not self.active_ or self.first_epoch_ is None:
            return
        for group, peak in zip(net.optimizer_.param_groups, self.peaks_, strict=True):
            group["lr"] = peak
            group.pop(_POSITION, None)

    def factor(self, done: float) -> float:
        """Return the rate's fraction of the peak when a fraction `done` of training is over."""
        if done < self.warmup:
            rise = (1 - math.cos(math.pi * done / self.warmup)) / 2
            return self.start + (1 - self.start) * rise
        return (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def peaks_of(self, net: Any) -> list[Any]:
        """Return the rate of each of the optimizer's parameter groups that the parameters give."""
        groups, parameters = net.optimizer_.param_groups, net.get_all_learnable_params()
        (given, *_), options = net.get_params_for_optimizer("optimizer", parameters)
        rate = options.get("lr", net.lr)
        if len(given) != len(groups):  # of an optimizer that a subclass builds itself
            return [group["lr"] for group in groups]
        return [
            options.get(f"param_groups__{index}__lr", group.get("lr", rate))
            for index, group in enumerate(given)
        ]

    def epochs_of(self, net: Any) -> int:
        """Return the number of epochs that the cycle spans."""
        return int(net.max_epochs)

    def _done(self, net: Any, of_epoch: float) -> float:
        """Return which fraction of the cycle is over after a fraction of the current epoch."""
        epoch = len(net.history) - 1 - (self.first_epoch_ or 0)
        done: float = min((epoch + of_epoch) / max(1, self.epochs_of(net)), 1.0)
        return self.resumed_at_ + (1 - self.resumed_at_) * done
