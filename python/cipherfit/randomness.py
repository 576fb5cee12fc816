"""Where training runs, and from which seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from cipherfit.exceptions import InvalidParameterError


@contextmanager
def seeded(random_state: Any) -> Iterator[None]:
    """Seed torch for the duration of a block, and restore its state; None changes nothing.

    Parameters
    ----------
    random_state : int, numpy.random.RandomState or None
        As scikit-learn takes it.
    """
    if random_state is None:
        yield
        return
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
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
