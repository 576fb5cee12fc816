"""Estimators whose torch module is always the sparse quantized network."""

from __future__ import annotations

from typing import Any

from cipherfit.exceptions import InvalidParameterError, NotFittedError
from cipherfit.network import SparseQuantNeuralNetImpl
from cipherfit.schedule import OneCycle

#: Where seed and sklearn habits leave a choice: silent, all rows train, enough epochs to converge.
TRAINING_DEFAULTS: dict[str, Any] = {
    "lr": 0.005,
    "max_epochs": 100,
    "batch_size": 64,
    "iterator_train__shuffle": True,  # rows sorted by class would train one class at a time
    "train_split": None,
    "verbose": 0,
}


class FixedTypeSkorchNeuralNet:
    """A mixin with a helpful modification to a skorch estimator that fixes the module type.

    The module's `input_dim` and `n_outputs` are taken from the data where they are left out, and
    `n_layers` is 2.
    """

    n_features_in_: int

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

    def initialize_module(self) -> Any:
        """Build the network for the data's features and targets."""
        options: dict[str, Any] = self.get_params_for("module")  # type: ignore[attr-defined]
        options.setdefault("n_layers", 2)
        self._fill_in(options, "input_dim", vars(self).get("n_features_in_"), "features in X")
        targets = vars(self).get("targets_")
        n_outputs = None if targets is None else targets.n_outputs
        self._fill_in(options, "n_outputs", n_outputs, "classes or targets in y")
        module: Any = self.initialized_instance(  # type: ignore[attr-defined]
            SparseQuantNeuralNetImpl, options
        )
        self.module_ = module
        return self

    @staticmethod
    def _fill_in(options: dict[str, Any], name: str, seen: int | None, what: str) -> None:
        if seen is None:
            if name not in options:
                raise NotFittedError(
                    f"module__{name} is taken from the data: call fit(X, y), or give it"
                )
            return
        if options.setdefault(name, seen) != seen:
            raise InvalidParameterError(
                f"module__{name}={options[name]!r}, but there are {seen} {what}; leave it out, and "
                "it is taken from the data"
            )
