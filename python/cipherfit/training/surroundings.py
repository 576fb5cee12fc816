"""Settings of torch and NumPy that a program may have changed, and that networks depend on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

#: Held while torch's settings are ours: its default type, its random numbers and (for threads that
#: begin) its number of threads are those of the whole process.
_lock = threading.RLock()


def _renew_lock() -> None:
    """Forget, in a forked child, a lock whose holder stayed behind."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def own_settings() -> Iterator[None]:
    """Run a block, or a function, as under the settings that torch and NumPy start with.

    New tensors are of float32 and in the CPU's memory, products are computed in their precision,
    convolutions the same way each time, gradients are recorded, and NumPy raises no error where a
    value under- or overflows. Afterwards all is as it was. One thread at a time runs
    such a block, so that what they draw from torch's random numbers is what each draws alone.
    """
    with _lock, ExitStack() as stack:
        default = torch.get_default_dtype()
        if default != torch.float32:
            stack.callback(torch.set_default_dtype, default)
            torch.set_default_dtype(torch.float32)
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        _multiply_in_full(stack)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", invalid="warn", under="ignore"))
        yield


def _multiply_in_full(stack: ExitStack) -> None:
    """Let products of float32 be of float32: integers that those of fewer bits hold are few."""
    precision = torch.get_float32_matmul_precision()
    if precision != "highest":
        stack.callback(torch.set_float32_matmul_precision, precision)
        torch.set_float32_matmul_precision("highest")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        stack.enter_context(torch.autocast(device, enabled=False))
    flags = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, deterministic=True, allow_tf32=False
    )
    stack.enter_context(flags)
