"""Quantization-aware training of own modules, behind their training in float."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import numpy as np
import torch
from sklearn.base import is_classifier
from torch.optim import Adam
from torch.utils.data import DataLoader

from cipherfit.estimators.batches import BatchLoader
from cipherfit.estimators.phases import (
    Callbacks,
    PhaseCycle,
    callbacks_of_phase,
    forget_first_phase,
)
from cipherfit.estimators.reproducibility import kept_draws
from cipherfit.estimators.sample_weight import features_of
from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer, real
from cipherfit.training.aware import AwareNetwork, aware_network
from cipherfit.training.network import QuantNetwork
from cipherfit.training.ranges import Relevance
from cipherfit.training.widths import NamedWidths, each_of, plain

#: Options of own modules: what each must be, at most.
_WIDTHS = {
    "n_w_bits": MAX_CODE_BITS,
    "n_a_bits": MAX_CODE_BITS,
    "n_in_bits": MAX_CODE_BITS,
    "n_accum_bits": MAX_ACCUM_BITS,
    "n_lookup_bits": MAX_LOOKUP_BITS,
}
OWN_OPTIONS = (
    *("qat", "qat_epochs", "qat_lr", *_WIDTHS),
    *("rounding", "n_lookups", "random_state", "class_weight"),
)
#: Epochs where `max_epochs`, by which they go, is 0.
_EPOCHS = 20
#: Rows of a batch where an epoch would else have fewer batches than this.
_BATCH_ROWS, _MIN_BATCHES = 32, 100


class AwareTrainingMixin:
    """Options of own modules, and the second half of their training, with quantized layers.

    Both halves are trainings as skorch's callbacks know them, from `on_train_begin` to
    `on_train_end`, with one history. The second has a learning rate of its own, so schedulers of
    the rate don't hear of it; scores are the best anew.

    `QuantizedSkorchEstimatorMixin` describes them.
    """

    qat: Any = False
    qat_epochs: Any = None
    qat_lr: Any = 0.002
    n_w_bits: Any = None
    n_a_bits: Any = None
    n_in_bits: Any = None
    n_accum_bits: Any = None
    n_lookup_bits: Any = None
    rounding: Any = "approximate"
    n_lookups: Any = None
    random_state: Any = None
    class_weight: Any = None

    module_: Any
    optimizer_: Any
    history: Any
    max_epochs: Any
    batch_size: Any
    device: Any
    n_bits_quant: Any
    verbose: Any
    iterator_train: Any
    callbacks_: Callbacks
    fit_loop: Callable[..., Any]
    listeners_now_: Callbacks | None

    def _take_options(self, options: dict[str, Any]) -> None:
        """Set what there is of one's own among options, and take it out of them."""
        for name in OWN_OPTIONS:
            if name in options:
                setattr(self, name, options.pop(name))

    def _check_own_options(self) -> None:
        if not isinstance(self.qat, (bool, np.bool_)):
            raise InvalidParameterError(f"qat={self.qat!r} must be True or False")
        for name, most in _WIDTHS.items():
            for bits in each_of(getattr(self, name)) if name != "n_in_bits" else [self.n_in_bits]:
                if bits is not None:
                    integer(name, bits, 1, most)
        for each in each_of(self.rounding):
            if each not in ("approximate", "exact"):
                raise InvalidParameterError(
                    f"rounding={each!r} must be 'approximate' or 'exact', or one of them per "
                    "hidden layer"
                )
        if self.n_lookups is not None:
            integer("n_lookups", self.n_lookups, 1)
            if not self.qat:
                raise InvalidParameterError(
                    f"n_lookups={self.n_lookups!r} needs qat=True: lookups go while the module "
                    "trains quantization-aware"
                )
        if self.qat_epochs is not None:
            integer("qat_epochs", self.qat_epochs, 1)
        real("qat_lr", self.qat_lr, above_low=True)
        if self.class_weight is not None and not is_classifier(self):
            raise InvalidParameterError(
                f"class_weight={self.class_weight!r} is for classifiers, and "
                f"{type(self).__name__} is none; fit takes sample_weight"
            )

    def _check_own_layers(self, n_layers: int) -> None:
        """Check options that say something of each layer, of a module with so many linear ones."""
        self._named_widths().check(n_layers)
        if self.n_lookups is not None:
            integer("n_lookups", self.n_lookups, n_layers - 1, why="one per hidden layer")

    def _named_widths(self) -> NamedWidths:
        """Return what is named of the widths of an own module's layers."""
        names = ("n_w_bits", "n_a_bits", "n_in_bits", "n_accum_bits", "n_lookup_bits", "rounding")
        return NamedWidths(**{name: plain(getattr(self, name)) for name in names})

    def _trains_aware(self) -> bool:
        """Tell whether a module is to be trained on, quantized."""
        module = self.module_
        return bool(self.qat) and (
            isinstance(module, AwareNetwork) or not isinstance(module, QuantNetwork)
        )

    def _goes_on_aware(self, anew: bool) -> bool:
        """Tell whether training goes on with a network that is quantized already."""
        return not anew and bool(self.qat) and isinstance(vars(self).get("module_"), AwareNetwork)

    def _float_phase(self) -> AbstractContextManager[None]:
        """Let no callback hear of the training in float where it has no epochs."""
        return self._heard_by([] if self.qat and self.max_epochs == 0 else None)

    def _train_aware(
        self, X: Any, y: Any, by: Relevance | None, fit_params: dict[str, Any]
    ) -> None:
        """Put the quantized network in the float module's place, and train it as skorch does."""
        is_new = not isinstance(self.module_, AwareNetwork)
        if is_new:
            self.module_ = self._quantized(X, by).to(self.device)
        if self.n_lookups is not None:
            self.module_.keep_lookups(self.n_lookups)
        self.optimizer_ = Adam(self.module_.parameters(), lr=self.qat_lr, betas=(0.9, 0.99))
        n_epochs = self.qat_epochs or self.max_epochs or _EPOCHS
        if self.verbose:
            print(f"Training on for {n_epochs} epochs, quantization-aware.")  # as skorch prints
        cycle = PhaseCycle(self.qat_lr, n_epochs)
        with self._heard_by([("qat_cycle", cycle), *callbacks_of_phase(self.callbacks_)]):
            self.notify("on_train_begin", X=X, y=y)
            if is_new:
                forget_first_phase(self.callbacks_)
            with suppress(KeyboardInterrupt):  # by which callbacks and users end a training
                self.fit_loop(X, y, epochs=n_epochs, **fit_params)
            self.notify("on_train_end", X=X, y=y)

    def _quantized(self, X: Any, by: Relevance | None) -> AwareNetwork:
        """Return the network that computes about what the float module does."""
        with kept_draws():
            return aware_network(
                self.module_.eval(),
                torch.as_tensor(features_of(X)),
                self._named_widths(),
                n_bits=self.n_bits_quant,
                by=by,
                shape=vars(self).get("row_shape_"),
            )

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Notify callbacks, as skorch does, or those that a phase of training has.

        Parameters
        ----------
        method_name : str
            Such as "on_epoch_end".
        **kwargs : dict
            What they are given.
        """
        listeners = vars(self).get("listeners_now_")
        if listeners is None:
            super().notify(method_name, **kwargs)  # type: ignore[misc]
            return
        getattr(self, method_name)(self, **kwargs)
        for _, callback in listeners:
            getattr(callback, method_name)(self, **kwargs)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return what loads batches: training quantization-aware, shuffled ones, unless named.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            Rows.
        training : bool, default=False
            Whether to train on them.
        """
        if training and vars(self).get("listeners_now_") and self._has_plain_batches():
            n_rows = _rows_of_a_batch(self.batch_size, len(dataset))
            return BatchLoader(dataset, n_rows, shuffle=True)
        return super().get_iterator(dataset, training=training)  # type: ignore[misc]

    def _has_plain_batches(self) -> bool:
        """Tell whether nothing but size and order of the batches is named."""
        prefix = "iterator_train__"
        named = {name for name in vars(self) if name.startswith(prefix)}
        return self.iterator_train is DataLoader and named <= {f"{prefix}shuffle"}

    @contextmanager
    def _heard_by(self, listeners: Callbacks | None) -> Iterator[None]:
        """Let a phase of training have callbacks of its own; None: all that there are."""
        self.listeners_now_ = listeners
        try:
            yield
        finally:
            del self.listeners_now_


def _rows_of_a_batch(batch_size: int, n_rows: int) -> int:
    """Return as many rows as asked for, or fewer where few steps would be left to train by."""
    most = max(_BATCH_ROWS, n_rows // _MIN_BATCHES)
    return most if batch_size == -1 else min(batch_size, most)
