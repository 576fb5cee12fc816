"""What a function of rows does with their columns, found by trying it on probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

#: From real values (n_samples, n) to a tensor whose first axis should still be the rows.
RowFunction = Callable[[Tensor], Tensor]

RANDOM = "gives other outputs for the same inputs: it is random, or remembers"
OTHER_ROWS = (
    "makes a row's output depend on the other rows of its batch, as batch normalization without "
    "running statistics does"
)
OTHER_COLUMNS = "is not elementwise"

_ROWS_PER_MAGNITUDE = 8


def probes(n_columns: int, magnitudes: tuple[float, ...] = (0.1, 1, 10, 100)) -> Tensor:
    """Return rows (n_rows, n_columns) of several magnitudes, always the same ones."""
    generator = torch.Generator().manual_seed(n_columns)
    shape = (_ROWS_PER_MAGNITUDE, n_columns)
    rows = [
        size * torch.randn(shape, generator=generator, dtype=torch.float64) for size in magnitudes
    ]
    return torch.cat(rows)


@torch.no_grad()
def flaw_of_rows(function: RowFunction, n_columns: int) -> str | None:
    """Tell why a function doesn't work row by row; None if it does."""
    rows = probes(n_columns)
    outputs = function(rows)
    if outputs.dim() == 0 or len(outputs) != len(rows):
        shapes = f"{tuple(rows.shape)} become {tuple(outputs.shape)}"
        return f"changes what a row is: values of shape {shapes}"
    if not close(function(rows), outputs):
        return RANDOM
    if not close(function(rows[::3]), outputs[::3]):
        return OTHER_ROWS
    for kept in _partings(len(rows)):
        changed = function(torch.where(kept.unsqueeze(1), rows, _changed(rows)))
        if not close(changed[kept], outputs[kept]):
            return OTHER_ROWS
    return None


@torch.no_grad()
def flaw_of_columns(function: RowFunction, n_columns: int) -> str | None:
    """Tell why an output depends on more than the input at the same place; None if it doesn't."""
    flaw = flaw_of_rows(function, n_columns)
    if flaw is not None:
        return flaw
    rows = probes(n_columns)
    outputs = function(rows)
    if outputs.numel() != rows.numel():
        width = outputs.numel() // len(rows)
        return f"is not elementwise: it makes {width} columns of {n_columns}"
    for kept in _partings(n_columns):
        changed = function(torch.where(kept, rows, _changed(rows)))
        if not close(_flat(changed)[:, kept], _flat(outputs)[:, kept]):
            return OTHER_COLUMNS
    return None


@torch.no_grad()
def affine_of(function: RowFunction, n_columns: int) -> tuple[Tensor, Tensor] | None:
    """Return scale and shift (n_columns,) of a function that scales and shifts each column.

    None if it does anything else, to values of up to a million.
    """
    if flaw_of_rows(function, n_columns) is not None:
        return None
    zeros = torch.zeros(2, n_columns, dtype=torch.float64)
    origin, ones = _flat(function(zeros)), _flat(function(zeros + 1))
    if origin.shape != zeros.shape:
        return None
    shift, scale = origin[0], (ones - origin)[0]
    rows = probes(n_columns, (0.1, 1, 100, 1e4, 1e6))
    return (scale, shift) if close(_flat(function(rows)), rows * scale + shift) else None


def close(first: Tensor, second: Tensor) -> bool:
    """Tell whether two results are the same, up to the rounding of other instructions."""
    if first.shape != second.shape:
        return False
    first, second = first.double(), second.double()
    return torch.allclose(first, second, rtol=1e-9, atol=1e-10, equal_nan=True)


def _partings(n: int) -> Iterator[Tensor]:
    """Yield sets of n things, bool (n,), such that any one is with and without any other.

    Any two are parted by a bit of their numbers. What stays as it is while all that is not in the
    set changes, for each set, depends on itself alone.
    """
    numbers = torch.arange(n)
    for bit in range((n - 1).bit_length()):
        for value in (0, 1):
            yield (numbers >> bit) & 1 == value


def _changed(rows: Tensor) -> Tensor:
    return 3 * rows.flip(0) + 1


def _flat(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).double()
