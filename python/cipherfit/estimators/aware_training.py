"""Quantization-aware training of own modules, behind their training in float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Adam

from cipherfit.estimators.batches import BatchLoader
from cipherfit.estimators.reproducibility import kept_draws
from cipherfit.estimators.sample_weight import features_of
from cipherfit.estimators.schedule import OneCycle
from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS
from cipherfit.parameters import integer, real
from cipherfit.training.aware import aware_network
from cipherfit.training.network import QuantNetwork
from cipherfit.training.ranges import Relevance

#: Options of own modules: what each must be, at least and at most.
_WIDTHS = {
    "n_w_bits": (1, MAX_CODE_BITS),
    "n_a_bits": (1, MAX_CODE_BITS),
    "n_in_bits": (1, MAX_CODE_BITS),
    "n_accum_bits": (1, MAX_ACCUM_BITS),
}
OWN_OPTIONS = ("qat", "qat_epochs", "qat_lr", *_WIDTHS)
#: Epochs where `max_epochs`, by which they go, is 0.
_EPOCHS = 20
#: Rows of a batch where an epoch would else have fewer batches than this.
_BATCH_ROWS, _MIN_BATCHES = 32, 100


class AwareTrainingMixin:
    """Options of own modules, and the second half of their training, with quantized layers.

    Parameters
    ----------
    qat : bool, default=False
        Whether to train on, quantization-aware, once the module is trained in float.
    qat_epochs : int, optional
        For how many epochs. Default: `max_epochs`, or 20 where that is 0.
    qat_lr : float, default=0.002
        Adam's learning rate at the peak of one cycle.
    n_w_bits, n_a_bits, n_in_bits : int in [1, 16], optional
        Bits of a weight, an activation and an input. Default: `n_a_bits` for all, which is 4.
    n_accum_bits : int in [1, 48], optional
        Bits that every accumulator fits. Default: what gives weights room, and in front of lookups
        at most 16.
    """

    qat: Any = False
    qat_epochs: Any = None
    qat_lr: Any = 0.002
    n_w_bits: Any = None
    n_a_bits: Any = None
    n_in_bits: Any = None
    n_accum_bits: Any = None

    module_: Any
    optimizer_: Any
    history: Any
    max_epochs: Any
    batch_size: Any
    device: Any
    n_bits_quant: Any
    train_step: Callable[..., Any]
    get_split_datasets: Callable[..., tuple[Any, Any]]

    def _take_options(self, options: dict[str, Any]) -> None:
        """Set what there is of one's own among options, and take it out of them."""
        for name in OWN_OPTIONS:
            if name in options:
                setattr(self, name, options.pop(name))

    def _check_own_options(self) -> None:
        if not isinstance(self.qat, bool):
            raise InvalidParameterError(f"qat={self.qat!r} must be True or False")
        for name, (low, high) in _WIDTHS.items():
            if getattr(self, name) is not None:
                integer(name, getattr(self, name), low, high)
        if self.qat_epochs is not None:
            integer("qat_epochs", self.qat_epochs, 1)
        real("qat_lr", self.qat_lr, above_low=True)

    def _trains_aware(self) -> bool:
        """Tell whether a module that is trained in float is to be trained on, quantized."""
        return self.qat and not isinstance(self.module_, QuantNetwork)

    def _train_aware(
        self, X: Any, y: Any, by: Relevance | None, fit_params: dict[str, Any]
    ) -> None:
        """Put the quantized network in the float module's place, and train it."""
        n_bits = self.n_bits_quant
        with kept_draws():
            module = aware_network(
                self.module_.eval(),
                torch.as_tensor(features_of(X)),
                n_w_bits=self.n_w_bits or n_bits,
                n_a_bits=n_bits,
                n_in_bits=self.n_in_bits or n_bits,
                n_accum_bits=self.n_accum_bits,
                by=by,
                shape=vars(self).get("row_shape_"),
            )
        self.module_ = module.to(self.device)
        self.optimizer_ = Adam(self.module_.parameters(), lr=self.qat_lr, betas=(0.9, 0.99))
        dataset, _ = self.get_split_datasets(X, y)
        n_epochs = self.qat_epochs or self.max_epochs or _EPOCHS
        n_rows = _rows_of_a_batch(self.batch_size, len(dataset))
        cycle, iterator = OneCycle(), BatchLoader(dataset, n_rows, shuffle=True)
        n_steps, step = n_epochs * len(iterator), 0
        for _ in range(n_epochs):
            self.history.new_epoch()
            losses = []
            for batch in iterator:
                for group in self.optimizer_.param_groups:
                    group["lr"] = self.qat_lr * cycle.factor(step / n_steps)
                losses.append(float(self.train_step(batch, **fit_params)["loss"].detach()))
                step += 1
            self.history.record("epoch", len(self.history))
            self.history.record("train_loss", sum(losses) / len(losses))
        for group in self.optimizer_.param_groups:
            group["lr"] = self.qat_lr


def _rows_of_a_batch(batch_size: int, n_rows: int) -> int:
    """Return as many rows as asked for, or fewer where few steps would be left to train by."""
    most = max(_BATCH_ROWS, n_rows // _MIN_BATCHES)
    return most if batch_size == -1 else min(batch_size, most)
