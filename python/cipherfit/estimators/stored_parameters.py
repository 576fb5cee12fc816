"""Parameters of a trained network from files of skorch's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from cipherfit.exceptions import CipherfitWarning, SerializationError
from cipherfit.predictor.targets import ClassTargets, RealTargets, Targets
from cipherfit.training.aware import AwareNetwork
from cipherfit.training.network import QuantNetwork, SparseQuantNeuralNetImpl
from cipherfit.training.surroundings import own_settings

#: What torch's errors call the digest that only networks trained quantization-aware store.
_DIGEST = "_extra_state"
_KEEP_WHOLE = (
    "Keep such a network whole: save(path) and cipherfit.load(path) to predict, pickle to train on"
)


class StoredParametersMixin:
    """Load parameters into an estimator's module, and prove its graph again."""

    module_: Any
    qat: Any
    classes: Any
    targets_: Targets
    n_features_in_: int
    rebuild_predictor: Callable[..., None]

    @own_settings()
    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load trained parameters into the module, as skorch does, and prove its graph again.

        Those of a network trained with ``qat=True`` fit that very network, as a checkpoint of its
        training does: what lies between its layers is in no file of parameters. `save` and pickles
        keep all of it.

        Parameters
        ----------
        *args, **kwargs
            As for skorch's `load_params`.

        Raises
        ------
        SerializationError
            If they are those of another network.
        """
        is_training = bool(vars(self).get("training_now_"))
        try:
            super().load_params(*args, **kwargs)  # type: ignore[misc]
        except (RuntimeError, ValueError) as error:
            if not (is_training and isinstance(self.module_, AwareNetwork)):
                raise self._unlike(error) from error
            warnings.warn(
                "the checkpoint is none of the quantized network that is being trained, such as "
                "one of its module in float: the network stays as it is",
                CipherfitWarning,
                stacklevel=2,
            )
        if is_training:
            if isinstance(self.module_, SparseQuantNeuralNetImpl):
                self.module_.enable_pruning()  # a finished network's is permanent
            return
        vars(self).pop("predictor_", None)
        if not isinstance(self.module_, QuantNetwork):
            self.unfitted_because_ = (
                "load_params restored the module in float, which is quantized by rows: call "
                "partial_fit(X, y) with max_epochs=0"
            )
            return
        if "targets_" not in vars(self):
            self._take_targets_from_parameters()
        if "targets_" in vars(self):
            self.rebuild_predictor()

    def _unlike(self, error: Exception) -> Exception:
        """Return an error that says what to do about parameters that don't fit."""
        if isinstance(error, SerializationError):
            return SerializationError(f"{error}. {_KEEP_WHOLE}")
        is_of_optimizer = self.qat and "parameter group" in str(error)
        if _DIGEST not in str(error) and not is_of_optimizer:
            return error
        if isinstance(self.module_, AwareNetwork):
            return SerializationError(
                "these are parameters of the module in float, and the estimator holds the network "
                "that qat=True made of it: call initialize() first"
            )
        return SerializationError(
            "these are parameters of a network trained with qat=True, and the estimator holds a "
            f"module in float. {_KEEP_WHOLE}"
        )

    def _take_targets_from_parameters(self) -> None:
        """Learn what outputs stand for where no `fit` told: parameters of the module don't say."""
        self.n_features_in_ = int(self.module_.input_quantizer.scale.numel())
        if not is_classifier(self):
            n_outputs = int(self.module_.output_scale.numel())
            self.targets_ = RealTargets(n_outputs, flat=n_outputs == 1)
        elif self.classes is not None:
            self.targets_ = ClassTargets(np.asarray(self.classes))
        else:
            self.unfitted_because_ = (
                "load_params restored the network, but not the labels that its outputs stand for: "
                "give them to the constructor as classes=[...], in sorted order, or pickle the "
                "whole estimator (skorch's Checkpoint does with f_pickle)"
            )
