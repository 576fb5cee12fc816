"""What a function of rows does with their columns, found by trying it on probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cipherfit.training.calls import leaves

#: From real values (n_samples, n) to a tensor whose first axis should still be the rows.
RowFunction = Callable[[Tensor], Tensor]

RANDOM = "gives other outputs for the same inputs: it is random, or remembers"
OTHER_ROWS = (
    "makes a row's output depend on the other rows of its batch, as batch normalization without "
    "running statistics does"
)
OTHER_COLUMNS = "is not elementwise"

#: Differences that the rounding of other instructions makes.
_RTOL, _ATOL = 1e-9, 1e-10
#: Magnitude up to which features are looked at.
_LARGEST = 1e12
_ROWS_PER_MAGNITUDE = 8
#: Entries of a grid on which what looks affine is tried, and rows that it has at least and at most.
_GRID_ENTRIES, _FEWEST_ROWS, _MOST_ROWS = 1 << 16, 33, 257
#: A grid of what a torch function is given reaches so far from 0, beyond its own constants.
_GRID_REACH = 8.0
#: Constants may be borders: where it is tried then, as multiples of them.
_AROUND = (-1.5, -1.01, -0.99, -0.5, 0.5, 0.99, 1.01, 1.5)


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

    None if it does anything else, to values of any size that features have.
    """
    if flaw_of_rows(function, n_columns) is not None:
        return None
    zeros = torch.zeros(2, n_columns, dtype=torch.float64)
    origin, ones = _flat(function(zeros)), _flat(function(zeros + 1))
    if origin.shape != zeros.shape:
        return None
    shift, scale = origin[0], (ones - origin)[0]
    rows = probes(n_columns, (0.1, 1, 100, 1e4, 1e6, _LARGEST))
    if not close(_flat(function(rows)), rows * scale + shift):
        return None
    for rows in borders(function, n_columns):
        scaled = rows * scale
        if not agrees(_flat(function(rows)), scaled + shift, scaled.abs() + shift.abs()):
            return None
    return scale, shift


def agrees(values: Tensor, sums: Tensor, magnitudes: Tensor) -> bool:
    """Tell whether values are sums of terms of such magnitudes, up to rounding."""
    return bool(((values - sums).abs() <= _ATOL + _RTOL * magnitudes).all())


def close(first: Tensor, second: Tensor) -> bool:
    """Tell whether two results are the same, up to the rounding of other instructions."""
    if first.shape != second.shape:
        return False
    first, second = first.double(), second.double()
    return torch.allclose(first, second, rtol=_RTOL, atol=_ATOL, equal_nan=True)


class _Given(TorchFunctionMode):
    """Writes down what the torch functions that run are given: values of rows, and constants."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape
        self.values: list[tuple[Tensor, list[float]]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        numbers = [float(x) for x in leaves((args, kwargs)) if isinstance(x, (int, float))]
        constants = [each for each in numbers if abs(each) <= _LARGEST]
        for each in leaves((args, kwargs)):
            is_rows = isinstance(each, Tensor) and each.shape[:1] == self.shape[:1]
            if is_rows and each.is_floating_point() and each.numel() == self.shape.numel():
                self.values.append((_flat(each.clone()), constants))
        return func(*args, **(kwargs or {}))


def borders(function: RowFunction, n_columns: int) -> Iterator[Tensor]:
    """Yield rows that give each torch function within a function a fine grid of values.

    There, parts of piecewise linear functions end, such as `hardshrink`: around 0, or around
    constants, which may be far from 0, or close to each other, in what comes in.
    """
    steps = torch.arange(2, dtype=torch.float64).unsqueeze(1).expand(-1, n_columns).contiguous()
    given = _Given(steps.shape)
    with given:
        function(steps)
    n_rows = min(_MOST_ROWS, max(_FEWEST_ROWS, _GRID_ENTRIES // n_columns))
    even = torch.linspace(-_GRID_REACH, _GRID_REACH, n_rows, dtype=torch.float64)
    # Columns have the points between those of others.
    between = torch.linspace(0, float(even[1] - even[0]), n_columns, dtype=torch.float64)
    for values, constants in given.values:
        around = torch.tensor([c * part for c in constants for part in _AROUND]).double()
        grid = torch.cat([even.unsqueeze(1) + between, around.unsqueeze(1).expand(-1, n_columns)])
        shift, scale = values[0], values[1] - values[0]
        varies = torch.isfinite(scale) & (scale != 0)
        yield torch.where(varies, (grid - shift) / torch.where(varies, scale, 1.0), 0.0)


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
