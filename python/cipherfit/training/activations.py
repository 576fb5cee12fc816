"""Which activation functions a lookup table per neuron can hold: the elementwise ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cipherfit.exceptions import InvalidParameterError


def build_activation(activation_function: type[nn.Module]) -> nn.Module:
    """Instantiate an activation class and check that it works elementwise.

    Parameters
    ----------
    activation_function : type
        A torch activation class that can be built without arguments, such as ``nn.ReLU``.

    Returns
    -------
    nn.Module
        The activation.

    Raises
    ------
    InvalidParameterError
        If it is not such a class, or if an output depends on more than its own input.
    """
    name = getattr(activation_function, "__name__", repr(activation_function))
    try:
        activation = activation_function()
    except Exception as error:
        raise InvalidParameterError(
            f"activation_function={name} can't be built without arguments ({error}); pass a class "
            "such as torch.nn.ReLU, or a subclass of yours that sets them"
        ) from error
    if not isinstance(activation, nn.Module):
        raise InvalidParameterError(
            f"activation_function={name} gives a {type(activation).__name__}; a torch.nn.Module "
            "class such as torch.nn.ReLU is needed"
        )
    if not is_elementwise(activation):
        raise InvalidParameterError(
            f"activation_function={name} is not elementwise: each of its outputs must depend on "
            "the one input at the same place, such as with torch.nn.ReLU or torch.nn.Sigmoid"
        )
    return activation


@torch.no_grad()
def is_elementwise(activation: nn.Module) -> bool:
    """Tell whether every output of a module depends only on the input at the same place."""
    was_training = activation.training
    activation.eval()
    grid = torch.linspace(-4.0, 4.0, 33)
    batch = torch.stack([grid, grid.flip(0), torch.zeros(33)], dim=1)
    try:
        together: Any = activation(batch)
        alone = torch.stack([activation(value.reshape(1, 1)).reshape(()) for value in grid])
    except Exception:
        return False
    finally:
        activation.train(was_training)
    if not isinstance(together, Tensor) or together.shape != batch.shape:
        return False
    columns = (together[:, 0], together[:, 1].flip(0))
    return all(torch.allclose(column, alone, atol=1e-6) for column in columns)
