"""Estimators whose torch module is always the sparse quantized network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch.nn import CrossEntropyLoss
from torch.optim import Adam

from cipherfit.estimators.old_names import check_options
from cipherfit.estimators.schedule import OneCycle
from cipherfit.exceptions import InvalidParameterError, NotFittedError
from cipherfit.training.network import SparseQuantNeuralNetImpl
from cipherfit.training.widths import head_widths, linear_widths

#: Options of loss and optimizer that help few bits, where they are of the kind named and the user
#: leaves them out: found by the experiments in docs/training.md.
_TRAINING_OPTIONS: dict[str, tuple[type, dict[str, Any]]] = {
    "criterion": (CrossEntropyLoss, {"label_smoothing": 0.1}),
    "optimizer": (Adam, {"betas": (0.9, 0.99)}),
}
#: Options of Adam with which it can't be fused.
_NOT_FUSED = {"fused", "foreach", "differentiable", "capturable"}


class FixedTypeSkorchNeuralNet:
    """A mixin with a helpful modification to a skorch estimator that fixes the module type.

    The module's `input_dim` and `n_outputs` are taken from the data where they are left out, and
    `n_layers` is 2. A network without hidden layers gets wide weights and inputs, unless the caller
    names its bits: see `cipherfit.training.widths.linear_widths`.
    """

    takes_shapes = False
    n_features_in_: int
    device: Any
    # What skorch holds before training. It sets these at construction, where scikit-learn's
    # conventions allow parameters alone.
    history_: Any = None
    initialized_: bool = False
    virtual_params_: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *args: Any, random_state: Any, **kwargs: Any) -> None:
        kwargs.pop("module", None)  # fixed; clones of skorch pass it on
        check_options(kwargs)
        super().__init__(SparseQuantNeuralNetImpl, *args, **kwargs)  # type: ignore[call-arg]
        self.random_state = random_state
        for name in ("history_", "initialized_", "virtual_params_"):
            if not vars(self)[name]:
                vars(self).pop(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; during construction all are parameters, none a trained component."""
        if "_params_to_validate" in vars(self) or name == "compile":
            super().__setattr__(name, value)
        else:
            object.__setattr__(self, name, value)

    def get_params(self, deep: bool = True, **kwargs: Any) -> dict[str, Any]:
        """Get parameters for this estimator.

        Parameters
        ----------
        deep : bool, default=True
            If True, also those of contained objects that are estimators.
        **kwargs : dict
            Passed on to skorch.

        Returns
        -------
        params : dict
            Parameter names mapped to their values, without `module`, which is fixed.
        """
        params: dict[str, Any] = super().get_params(deep, **kwargs)  # type: ignore[misc]
        for name in ("module", "_params_to_validate"):  # fixed; skorch's own bookkeeping
            params.pop(name, None)
        return params

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [*super()._default_callbacks, ("lr_schedule", OneCycle())]  # type: ignore[misc]

    def get_params_for(self, prefix: str) -> dict[str, Any]:
        """Return the parameters of a component, with defaults that suit training with few bits.

        Parameters
        ----------
        prefix : str
            Name of the component, such as "optimizer".

        Returns
        -------
        params : dict
            Parameter names, without prefix, mapped to their values.
        """
        params: dict[str, Any] = super().get_params_for(prefix)  # type: ignore[misc]
        kind, options = _TRAINING_OPTIONS.get(prefix, (None, {}))
        if vars(self).get(prefix) is not kind:
            return params
        if prefix == "criterion" and self._is_solved():
            return params  # to the optimum, with a penalty of its own
        if kind is Adam and not _NOT_FUSED & params.keys() and str(self.device) == "cpu":
            options = {**options, **_fused_on_cpu()}
        return {**options, **params}

    def initialize_module(self) -> Any:
        """Build the network for the data's features and targets."""
        options: dict[str, Any] = self.get_params_for("module")
        options.setdefault("n_layers", 2)
        self._fill_in(options, "input_dim", vars(self).get("n_features_in_"), "features in X")
        targets = vars(self).get("targets_")
        n_outputs = None if targets is None else targets.n_outputs
        self._fill_in(options, "n_outputs", n_outputs, "classes or targets in y")
        known = inspect.signature(SparseQuantNeuralNetImpl).parameters
        unknown = options.keys() - known.keys()
        if unknown:
            raise InvalidParameterError(
                f"module__{min(unknown)} is no parameter of the network; it has {', '.join(known)}"
            )
        if options["n_layers"] == 1:
            options = linear_widths(options)
        elif options.get("n_client_layers", 0) + 1 == options["n_layers"]:
            options = head_widths(options)
        module: Any = self.initialized_instance(  # type: ignore[attr-defined]
            SparseQuantNeuralNetImpl, options
        )
        self.module_ = module
        return self

    def _is_solved(self) -> bool:
        """Tell whether the module's last layer is all that is trained."""
        given = vars(self)
        n_layers = given.get("module__n_layers", 2)
        n_client = given.get("module__n_client_layers", 0)
        is_random = given.get("module__client_layers", "random") == "random"
        return bool(n_layers == 1 or (is_random and n_layers == n_client + 1))

    @staticmethod
    def _fill_in(options: dict[str, Any], name: str, seen: int | None, what: str) -> None:
        if seen is None:
            if name not in options:
                raise NotFittedError(
                    f"module__{name} is taken from the data: call fit(X, y), or give it"
                )
            return
        if options.setdefault(name, seen) != seen:
            SparseQuantNeuralNetImpl(**_complete(options))  # whose own errors come first
            raise InvalidParameterError(
                f"module__{name}={options[name]!r}, but there are {seen} {what}; leave it out, and "
                "it is taken from the data"
            )


def _complete(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of a network with the sizes that are still to come from the data."""
    return {"input_dim": 1, "n_outputs": 2, **options}


@cache
def _fused_on_cpu() -> dict[str, Any]:
    """Return Adam's option to update all parameters in one call on a CPU, if this torch has it."""
    try:
        Adam([torch.zeros(1, requires_grad=True)], fused=True)
    except RuntimeError:
        return {}
    return {"fused": True}
