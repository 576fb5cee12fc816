"""Module and loss in the precision of the features, whatever torch's default."""

from __future__ import annotations

from typing import Any

from torch import nn

from cipherfit.training.surroundings import own_settings


class OwnPrecisionMixin:
    """Build what a skorch estimator trains in float32, and on its own device."""

    module_: Any
    criterion_: Any

    @own_settings()
    def initialize(self) -> Any:
        """Build module, loss and optimizer, as skorch does, in float32 whatever torch's default."""
        return super().initialize()  # type: ignore[misc]

    def initialize_module(self) -> Any:
        """Build the module, as skorch does, in the precision of the features."""
        super().initialize_module()  # type: ignore[misc]
        self.module_.float()
        return self

    def initialize_criterion(self) -> Any:
        """Build the loss, as skorch does, in the precision of the features."""
        super().initialize_criterion()  # type: ignore[misc]
        if isinstance(self.criterion_, nn.Module):
            for name, buffer in list(self.criterion_.named_buffers(recurse=False)):
                setattr(self.criterion_, name, buffer.float().clone())
        return self
