"""Calls of torch functions as data: what a recording consists of, and what runs it again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cipherfit.exceptions import UnsupportedModuleError


@dataclass(frozen=True)
class Ref:
    """The value of a call, by its place in the list; of several values, one."""

    call: int
    item: int | None = None


INPUT = Ref(-1)


@dataclass(frozen=True)
class Rows:
    """A whole number that follows the number of rows."""

    per_row: int
    more: int


@dataclass
class Call:
    """One call of a torch function.

    Parameters
    ----------
    name : str
        What a user knows it by: the layer, or the function.
    target : str
        The function, from `torch` on.
    args, kwargs
        Constants, in double precision; `Ref` to values; and `Rows`.
    in_place : bool
        Whether it changes its first argument, which then is its value.
    """

    name: str
    target: str
    args: Any
    kwargs: Any
    in_place: bool = False

    def refs(self) -> set[Ref]:
        """Return the values that it takes."""
        return {leaf for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Ref)}

    def moved(self, device: torch.device) -> Call:
        """Return the same call with its constants on another device."""

        def move(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return leaf.to(device)
            return device if isinstance(leaf, torch.device) else leaf

        return replace(self, args=mapped(move, self.args), kwargs=mapped(move, self.kwargs))

    def run(self, values: dict[int, Any], n_rows: int) -> Any:
        """Return its value."""

        def fill(leaf: Any) -> Any:
            if isinstance(leaf, Ref):
                value = values[leaf.call]
                return value if leaf.item is None else value[leaf.item]
            return leaf.per_row * n_rows + leaf.more if isinstance(leaf, Rows) else leaf

        args, kwargs = mapped(fill, self.args), mapped(fill, self.kwargs)
        try:
            if not self.in_place:
                return mapped(_in_double, _function(self.target)(*args, **kwargs))
            changed = args[0].clone()
            _function(self.target)(changed, *args[1:], **kwargs)
        except Exception as error:
            raise UnsupportedModuleError(
                f"layer {self.name} can't be run alone: {error}"
            ) from error
        return changed


class Steps(nn.Module):
    """Calls in a row, from one value to one value, in double precision.

    Parameters
    ----------
    calls : dict
        The calls by their place in the recording.
    start, end : Ref
        The value that it takes, and the one that it gives.
    shape : tuple of int
        Shape of a row of the value that it takes.
    """

    def __init__(self, calls: dict[int, Call], start: Ref, end: Ref, shape: Sequence[int]) -> None:
        super().__init__()
        self.calls = calls
        self.start = start
        self.end = end
        self.shape = tuple(shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Steps:
        """Follow the network to another device, in double precision whatever the network's."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0, dtype=torch.float64)).device
        self.calls = {place: call.moved(device) for place, call in self.calls.items()}
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the values, flattened row by row, of rows (n_samples, n)."""
        if len(x) == 1:
            # So that `squeeze` leaves the rows alone.
            return self(x.expand(2, -1))[:1]  # type: ignore[no-any-return]
        return self.unflattened(x.double()).reshape(len(x), -1).to(x.dtype)

    def unflattened(self, x: Tensor) -> Tensor:
        """Return the values, in whatever shape they come, of rows (n_samples, n)."""
        result: Any = self.values(x, forget=True)[self.end.call]
        outputs: Tensor = result if self.end.item is None else result[self.end.item]
        return outputs

    def values(self, x: Tensor, *, forget: bool = False) -> dict[int, Any]:
        """Return the values of all calls, or of those that none takes, for rows (n_samples, n)."""
        start = x.reshape(len(x), *self.shape)
        item = self.start.item
        values: dict[int, Any] = {self.start.call: start if item is None else {item: start}}
        last_use = {ref.call: place for place, call in self.calls.items() for ref in call.refs()}
        for place, call in self.calls.items():
            values[place] = call.run(values, len(x))
            if forget:
                for used in {ref.call for ref in call.refs()}:
                    if last_use[used] == place:
                        del values[used]
        return values


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return a nested structure with each leaf replaced."""
    if isinstance(value, (tuple, list)):
        return tuple(mapped(function, each) for each in value)
    if isinstance(value, dict):
        return {name: mapped(function, each) for name, each in value.items()}
    if isinstance(value, slice):
        return slice(*(mapped(function, each) for each in (value.start, value.stop, value.step)))
    return function(value)


def leaves(value: Any) -> Iterator[Any]:
    """Return the leaves of a nested structure, in their order."""
    found: list[Any] = []
    mapped(found.append, value)
    return iter(found)


def _in_double(value: Any) -> Any:
    """Return a value in double precision, also where scalars alone say which it has."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


@functools.cache
def _function(target: str) -> Callable[..., Any]:
    found: Any = torch
    for name in target.split(".")[1:]:
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]
