"""Which lookups of a network go while it trains: those whose loss is least.

A neuron that is held at one code needs no lookup. What that would change in the loss is, to first
order, each row's gradient times the distance of its code from the mean; of its square the mean is
taken, over the batches of the last steps (compare Molchanov et al., 2019, arXiv:1906.10771, who
score channels so). Every position of a convolution's channel is a neuron of its own here: a lookup
each. They go few at a time, as weights do in gradual pruning (Zhu and Gupta, 2017,
arXiv:1710.01878), and training makes up for those that went.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cipherfit.training.quantizers import GroupedActivationQuantizer

#: Between which parts of training lookups go.
_FIRST, _LAST = 0.1, 0.6
#: How much of what was observed a step keeps.
_MEMORY_OF_LOSS, _MEMORY_OF_CODES = 0.98, 0.9


class Observer:
    """What the neurons behind a quantizer do in training, and what the loss makes of it.

    Parameters
    ----------
    quantizer : GroupedActivationQuantizer
        Whose codes are observed.
    """

    def __init__(self, quantizer: GroupedActivationQuantizer) -> None:
        self.quantizer = quantizer
        self.mean: Tensor | None = None
        self.loss: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], codes: Tensor) -> None:
        """Take note of codes, and later of their gradients: a forward hook of the quantizer."""
        if not (module.training and codes.requires_grad):
            return
        seen = codes.detach()
        mean = seen.mean(dim=0)
        if self.mean is not None:
            mean.lerp_(self.mean, _MEMORY_OF_CODES)
        self.mean = mean
        codes.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: self._note((seen - mean) * gradient)
        )

    def _note(self, change: Tensor) -> None:
        loss = change.square().sum(dim=0)
        self.loss = loss if self.loss is None else self.loss.mul_(_MEMORY_OF_LOSS).add_(loss)

    def scores(self) -> Tensor | None:
        """Return what each neuron is worth (n_neurons,), infinity where it is held already."""
        if self.loss is None:
            return None
        return self.loss.masked_fill(self.quantizer.is_held, torch.inf)

    def hold(self, neurons: Tensor) -> None:
        """Hold neurons, bool (n_neurons,), at their mean code."""
        assert self.mean is not None
        self.quantizer.hold(neurons, self.mean.round())


class FewerLookups:
    """The least important lookups of a network in training go, until so many are left.

    Parameters
    ----------
    quantizers : sequence of GroupedActivationQuantizer
        Those of its hidden layers.
    n_lookups : int
        How many are left in the end, at least one of each layer.
    """

    def __init__(self, quantizers: Sequence[GroupedActivationQuantizer], n_lookups: int) -> None:
        self.n_lookups = n_lookups
        self._observers = [Observer(quantizer) for quantizer in quantizers]
        self._hooks = [each.quantizer.register_forward_hook(each) for each in self._observers]

    @property
    def _n_left(self) -> int:
        return sum(int((~each.quantizer.is_held).sum()) for each in self._observers)

    @property
    def _n_neurons(self) -> int:
        return sum(len(each.quantizer.is_held) for each in self._observers)

    @torch.no_grad()
    def until(self, progress: float) -> None:
        """Let as many go as are due once a part `progress` of the training is over, in [0, 1]."""
        scores = [each.scores() for each in self._observers]
        known = [each for each in scores if each is not None]
        n_too_many = self._n_left - self._due(progress)
        if n_too_many <= 0 or len(known) < len(scores):
            return
        for layer in known:
            layer[layer.masked_fill(layer.isinf(), -1.0).argmax()] = torch.inf
        order = torch.cat(known).argsort(stable=True)[:n_too_many]
        gone = torch.zeros(self._n_neurons, dtype=torch.bool, device=order.device)
        gone[order] = True
        parts = torch.split(gone, [len(layer) for layer in known])
        for each, part in zip(self._observers, parts, strict=True):
            each.hold(part)

    def close(self) -> None:
        """Observe no longer."""
        for hook in self._hooks:
            hook.remove()

    def _due(self, progress: float) -> int:
        """Return how many lookups may be left at some point of the training."""
        part = min(1.0, max(0.0, (progress - _FIRST) / (_LAST - _FIRST)))
        n_more = self._n_neurons - self.n_lookups
        return self.n_lookups + int(max(0, n_more) * (1 - part) ** 3)
