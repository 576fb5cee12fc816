"""Where training runs, on how many threads, and from which seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from cipherfit.exceptions import InvalidParameterError

#: Networks up to this many parameters train on one thread: more cost them more than they bring, by
#: multiples where cores are busy, and make sums, so the trained network, depend on the machine.
_SMALL_NETWORK = 500_000


@contextmanager
def own_threads() -> Iterator[None]:
    """Give torch its number of threads back after a block that may change it."""
    n_threads = torch.get_num_threads()
    try:
        yield
    finally:
        # Setting it sets it for threads that begin later, too: so only where it has changed.
        if torch.get_num_threads() != n_threads:
            torch.set_num_threads(n_threads)


def choose_threads(module: nn.Module) -> None:
    """Let torch use one thread where the network is small."""
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    if n_parameters <= _SMALL_NETWORK and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@contextmanager
def seeded(random_state: Any) -> Iterator[None]:
    """Seed torch for the duration of a block, and restore its state; None changes nothing.

    Parameters
    ----------
    random_state : int, numpy.random.RandomState or None
        As scikit-learn takes it.

    Raises
    ------
    InvalidParameterError
        If it is none of these.
    """
    if random_state is None:
        yield
        return
    try:
        state = check_random_state(random_state)
    except (TypeError, ValueError) as error:
        raise InvalidParameterError(
            f"random_state={random_state!r} must be an integer in [0, 2**32 - 1], a "
            "numpy.random.RandomState, or None"
        ) from error
    seed = int(state.randint(np.iinfo(np.int32).max))
    with kept_draws():
        torch.manual_seed(seed)
        yield


@contextmanager
def kept_draws() -> Iterator[None]:
    """Restore the state of torch's random numbers after a block that draws some for nothing."""
    # Naming the devices spares a warning where there are several.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield


def check_device(device: Any) -> None:
    """Check that training can run on a device.

    Raises
    ------
    InvalidParameterError
        If it is a CUDA device and torch finds none.
    """
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise InvalidParameterError(
            f"device={device!r}, but torch finds no CUDA device here; use device='cpu'"
        )
