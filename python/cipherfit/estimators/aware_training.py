"""Quantization-aware training of own modules, behind their training in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Adam

from cipherfit.estimators.batches import BatchLoader
from cipherfit.estimators.reproducibility import kept_draws
from cipherfit.estimators.sample_weight import features_of
from cipherfit.estimators.schedule import OneCycle
from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer, real
from cipherfit.training.aware import aware_network
from cipherfit.training.network import QuantNetwork
from cipherfit.training.ranges import Relevance
from cipherfit.training.widths import NamedWidths

#: Options of own modules: what each must be, at most.
_WIDTHS = {
    "n_w_bits": MAX_CODE_BITS,
    "n_a_bits": MAX_CODE_BITS,
    "n_in_bits": MAX_CODE_BITS,
    "n_accum_bits": MAX_ACCUM_BITS,
    "n_lookup_bits": MAX_LOOKUP_BITS,
}
OWN_OPTIONS = ("qat", "qat_epochs", "qat_lr", "rounding", "n_lookups", *_WIDTHS)
#: Epochs where `max_epochs`, by which they go, is 0.
_EPOCHS = 20
_BATCH_ROWS = 32


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
    n_w_bits, n_a_bits : int in [1, 16], or sequence of them, optional
        Bits of a weight and of an activation, in every layer or in each: linear layers have
        weights, and all but the last of them activations. Default: `n_a_bits` for all, which is 4.
    n_in_bits : int in [1, 16], optional
        Bits of an input. Default: as the widest activations.
    n_accum_bits : int in [1, 48], or sequence of them, optional
        Bits that accumulators fit, in every linear layer or in each. Default: what gives weights
        room, and in front of lookups at most 16.
    n_lookup_bits : int in [1, 16], or sequence of them, optional
        Top bits of an accumulator that its lookup reads, in every hidden layer or in each. Default:
        all of them up to 6, else 5 (6 after training) or one more than the activations have.
    rounding : {"approximate", "exact"} or sequence of them, default="approximate"
        How the circuit rounds away the bits that a lookup does not read, in every hidden layer or
        in each.
    n_lookups : int, optional
        How many lookups are left at most: the least important go while it trains with `qat`.
        Default: all.
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

    module_: Any
    optimizer_: Any
    history: Any
    max_epochs: Any
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
        for name, most in _WIDTHS.items():
            for bits in _each(getattr(self, name)) if name != "n_in_bits" else [self.n_in_bits]:
                if bits is not None:
                    integer(name, bits, 1, most)
        for each in _each(self.rounding):
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

    def _check_own_layers(self, n_layers: int) -> None:
        """Check options that say something of each layer, of a module with so many linear ones."""
        self._named_widths().check(n_layers)
        if self.n_lookups is not None:
            integer("n_lookups", self.n_lookups, n_layers - 1, why="one per hidden layer")

    def _named_widths(self) -> NamedWidths:
        """Return what is named of the widths of an own module's layers."""
        names = ("n_w_bits", "n_a_bits", "n_in_bits", "n_accum_bits", "n_lookup_bits", "rounding")
        return NamedWidths(**{name: _listed(getattr(self, name)) for name in names})

    def _trains_aware(self) -> bool:
        """Tell whether a module that is trained in float is to be trained on, quantized."""
        return self.qat and not isinstance(self.module_, QuantNetwork)

    def _train_aware(
        self, X: Any, y: Any, by: Relevance | None, fit_params: dict[str, Any]
    ) -> None:
        """Put the quantized network in the float module's place, and train it."""
        with kept_draws():
            module = aware_network(
                self.module_.eval(),
                torch.as_tensor(features_of(X)),
                self._named_widths(),
                n_bits=self.n_bits_quant,
                by=by,
                shape=vars(self).get("row_shape_"),
            )
            if self.n_lookups is not None:
                module.keep_lookups(self.n_lookups)
        self.module_ = module.to(self.device)
        self.optimizer_ = Adam(self.module_.parameters(), lr=self.qat_lr, betas=(0.9, 0.99))
        dataset, _ = self.get_split_datasets(X, y)
        n_epochs = self.qat_epochs or self.max_epochs or _EPOCHS
        cycle, iterator = OneCycle(), BatchLoader(dataset, _BATCH_ROWS, shuffle=True)
        n_steps, step = n_epochs * len(iterator), 0
        for _ in range(n_epochs):
            self.history.new_epoch()
            losses = []
            for batch in iterator:
                for group in self.optimizer_.param_groups:
                    group["lr"] = self.qat_lr * cycle.factor(step / n_steps)
                losses.append(float(self.train_step(batch, **fit_params)["loss"].detach()))
                step += 1
                module.advance(step / n_steps)
            self.history.record("epoch", len(self.history))
            self.history.record("train_loss", sum(losses) / len(losses))
        for group in self.optimizer_.param_groups:
            group["lr"] = self.qat_lr


def _listed(given: Any) -> Any:
    """Return a sequence, or an array, as a list of Python's numbers, and a value as it is."""
    given = given.tolist() if hasattr(given, "tolist") else given
    return given if isinstance(given, str) or not isinstance(given, Sequence) else list(given)


def _each(given: Any) -> list[Any]:
    """Return the values of a sequence, or of one value for all."""
    listed = _listed(given)
    return listed if isinstance(listed, list) else [listed]
