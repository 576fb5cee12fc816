"""What a module's forward does to its input, as a list of torch calls, found by running it.

Shapes, options and parameters are what they are while it runs, so that whatever Python does with
them, such as loops, default arguments and conditions on shapes, leaves no trace. What Python may
not do is to look at the values: then the calls would be others for other rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import resolve_name

from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.training.calls import INPUT, Call, Ref, Rows, Steps, leaves, mapped
from cipherfit.training.columns import close

_METHODS = """
__len__ __hash__ __repr__ __format__ __dir__ size dim ndimension numel nelement stride is_contiguous
is_floating_point is_complex is_signed get_device element_size storage_offset new_zeros new_ones
new_full new_empty new_tensor
"""
#: Functions whose results say nothing of a tensor's values.
_OF_NO_VALUE = {
    "torch.zeros_like", "torch.ones_like", "torch.full_like", "torch.empty_like",
    *(f"torch.Tensor.{name}" for name in _METHODS.split()),
}  # fmt: skip
_TO_DOUBLE = {f"torch.Tensor.{name}" for name in ("float", "half", "bfloat16", "double")}
_TO_HOST = {"torch.Tensor.cuda", "torch.Tensor.cpu"}
_DEVICES = ("cpu", "cuda", "mps", "xpu")
#: Rows of the two runs: what grows between them follows the number of rows.
_N_ROWS = 6
#: Relative difference between single and double precision that a module may show.
_TOLERANCE = 1e-2


@dataclass
class Recording:
    """The calls of a forward, in their order, and which value it returns."""

    calls: dict[int, Call]
    output: Ref


@torch.no_grad()
def record(module: nn.Module, n_features: int, shape: tuple[int, ...] | None = None) -> Recording:
    """Return what a module's forward does in evaluation, to any number of rows.

    Parameters
    ----------
    module : nn.Module
        It stays as it is: a copy runs.
    n_features : int
        Number of columns that it takes.
    shape : tuple of int, optional
        What shape of a row the module gets. Default: (n_features,).

    Returns
    -------
    Recording

    Raises
    ------
    UnsupportedModuleError
        If its steps depend on values, or can't be followed.
    """
    copied = _copy(module).eval()
    names = _Names(copied)
    shape = (n_features,) if shape is None else shape
    first = _recorded(copied, names, n_features, shape, _N_ROWS)
    second = _recorded(copied, names, n_features, shape, _N_ROWS + 1)
    try:
        if len(first.calls) != len(second.calls):
            raise _OtherStepsError
        pairs = zip(first.calls.values(), second.calls.values(), strict=True)
        calls = dict(enumerate(_merged_calls(*pair) for pair in pairs))
        recording = Recording(calls, _merged(first.output, second.output))
    except _OtherStepsError as error:
        raise UnsupportedModuleError(
            f"{type(module).__name__}.forward takes other steps when it runs again with one row "
            "more: what it does must depend neither on chance nor on the number of rows"
        ) from error
    _check(recording, copied, n_features, shape)
    return recording


class _OtherStepsError(Exception):
    """Two runs differ."""


class _Names:
    """Names of the modules that run now: hooks on each keep them."""

    def __init__(self, module: nn.Module) -> None:
        self.stack: list[tuple[str, bool]] = []
        for name, each in module.named_modules():
            if isinstance(each, torch.jit.ScriptModule):
                continue
            entry = (name, next(each.children(), None) is None)
            each.register_forward_pre_hook(self._entering(entry))
            each.register_forward_hook(lambda *_: self._left())

    def of(self, target: str) -> str:
        """Return what a user knows a call by."""
        path, alone = self.stack[-1] if self.stack else ("", False)
        if alone and path:
            return path
        function = target.removesuffix(".__get__").rpartition(".")[2].strip("_")
        return f"{path}.{function}" if path else function

    def _entering(self, entry: tuple[str, bool]) -> Callable[..., None]:
        return lambda *_: self.stack.append(entry)

    def _left(self) -> None:
        self.stack.pop()


class _Recorder:
    """Executes calls on values of one run, and writes them down."""

    def __init__(self, names: _Names) -> None:
        self.names = names
        self.calls: dict[int, Call] = {}

    def wrap(self, value: Tensor, ref: Ref) -> _Traced:
        traced = value.as_subclass(_Traced)
        traced.recorder, traced.ref, traced.seen = self, ref, value._version
        return traced

    def call(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        target = resolve_name(function) or ""
        if target in _OF_NO_VALUE:
            return function(*args, **kwargs)
        name = self.names.of(target or getattr(function, "__name__", "function"))
        tensors = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for each in tensors:
            if isinstance(each, _Traced) and each.recorder is not self:
                raise UnsupportedModuleError(f"layer {name} reads what an earlier batch left")
            if isinstance(each, _Traced) and each._version != each.seen:
                raise UnsupportedModuleError(f"layer {name} reads what was changed elsewhere")
        versions = [each._version for each in tensors]
        described = Call(name, target, _described(args), _described(kwargs))
        if target in _TO_DOUBLE or target in _TO_HOST:
            described.target = "torch.Tensor.double"
            described.args, described.kwargs = described.args[:1], {}
        result = function(*args, **kwargs)
        if target.endswith(".__get__") and not isinstance(result, Tensor):
            return result  # such as its shape
        for tensor, version in zip(tensors, versions, strict=True):
            if tensor._version != version:
                if tensor is not args[0] or not isinstance(tensor, _Traced):
                    raise UnsupportedModuleError(f"layer {name} writes values into other tensors")
                described.in_place = True
        if described.in_place:
            args[0].ref, args[0].seen = self._written(described), args[0]._version
            return None if result is None else args[0]
        if isinstance(result, _Traced):
            return result
        return self._wrapped(described, result)

    def _wrapped(self, described: Call, result: Any) -> Any:
        if isinstance(result, Tensor):
            return self.wrap(result, self._written(described))
        if isinstance(result, (tuple, list)) and any(isinstance(each, Tensor) for each in result):
            ref = self._written(described)
            values = [
                self.wrap(each, Ref(ref.call, item)) if isinstance(each, Tensor) else each
                for item, each in enumerate(result)
            ]
            return type(result)(values)
        raise UnsupportedModuleError(
            f"{described.name} looks at the values that flow through the network, so that its "
            "steps can't be known beforehand; they must be the same for all rows"
        )

    def _written(self, described: Call) -> Ref:
        if not described.target:
            raise UnsupportedModuleError(
                f"layer {described.name} is no function of torch's, such as those of torch.jit"
            )
        ref = Ref(len(self.calls))
        self.calls[ref.call] = described
        return ref


class _Traced(Tensor):
    """A tensor that writes down what is done to it."""

    recorder: _Recorder
    ref: Ref
    seen: int  # its version when it was last written down

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            traced = next(leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, _Traced))
            return traced.recorder.call(func, args, kwargs)


def _recorded(
    module: nn.Module, names: _Names, n_features: int, shape: tuple[int, ...], n_rows: int
) -> Recording:
    recorder = _Recorder(names)
    names.stack.clear()
    rows = _rows(module, n_features, n_rows)
    kind = type(module).__name__
    try:
        output = module(_shaped(recorder.wrap(rows, INPUT), shape))
    except UnsupportedModuleError as error:
        raise UnsupportedModuleError(f"{kind}.forward can't be traced: {error}") from error
    except Exception as error:
        where = "".join(f", in layer {name}" for name, _ in names.stack[-1:] if name)
        raise UnsupportedModuleError(
            f"{kind}.forward fails on rows of {_size(shape)}{where}: {error}"
        ) from error
    if not isinstance(output, _Traced):
        raise UnsupportedModuleError(
            f"{kind}.forward returns a {type(output).__name__} that torch functions don't make of "
            "its input: it must return one tensor"
        )
    return Recording(recorder.calls, output.ref)


def _rows(module: nn.Module, n_features: int, n_rows: int) -> Tensor:
    """Return rows of the type and on the device that the module takes."""
    like = next((each for each in module.parameters() if each.is_floating_point()), torch.ones(1))
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_rows, n_features, generator=generator).to(like)


def _shaped(rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    return rows if len(shape) == 1 else rows.reshape(len(rows), *shape)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} features" if len(shape) == 1 else f"shape {shape}"


def _check(
    recording: Recording, module: nn.Module, n_features: int, shape: tuple[int, ...]
) -> None:
    """Compare what was written down with itself, and with what the module gives untraced."""
    rows = _rows(module, n_features, 2 * _N_ROWS)
    expected = module(_shaped(rows.clone(), shape)).cpu().double()
    steps = Steps(recording.calls, INPUT, recording.output, (n_features,))
    values, again = (steps.values(rows.cpu().double()) for _ in range(2))
    for place, call in recording.calls.items():
        pairs = zip(leaves(values[place]), leaves(again[place]), strict=True)
        if any(isinstance(one, Tensor) and not close(one, other) for one, other in pairs):
            raise UnsupportedModuleError(
                f"layer {call.name} is random in evaluation too (a dropout of functions needs "
                "training=self.training)"
            )
    outputs = steps.unflattened(rows.cpu().double()).double()
    if outputs.shape == expected.shape:
        difference = ((outputs - expected).abs() / (1 + expected.abs())).nan_to_num()
        # A row may lie on a threshold, which single and double precision see differently.
        if not outputs.numel() or float(difference.quantile(0.8)) < _TOLERANCE:
            return
    raise UnsupportedModuleError(
        f"{type(module).__name__}.forward gives other values than the torch functions that it "
        "calls, one after the other"
    )


def _copy(module: nn.Module) -> nn.Module:
    """Return a deep copy, also of modules that keep tensors with a history, as weight_norm does."""
    kept = [value for each in module.modules() for value in vars(each).values()]
    memo: dict[int, Any] = {
        id(value): value.detach().clone()
        for value in kept
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise UnsupportedModuleError(
            f"{type(module).__name__} can't be copied, which following its steps needs: {error}"
        ) from error


def _described(value: Any) -> Any:
    """Return arguments as a `Call` holds them: on the host, and in double precision."""

    def describe(leaf: Any) -> Any:
        if isinstance(leaf, _Traced):
            return leaf.ref
        if isinstance(leaf, (Tensor, np.ndarray)):
            constant = torch.as_tensor(leaf).detach().cpu().clone()
            return constant.double() if constant.is_floating_point() else constant
        if isinstance(leaf, torch.dtype):
            return torch.float64 if leaf.is_floating_point else leaf
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        if isinstance(leaf, str) and leaf.partition(":")[0] in _DEVICES:
            return torch.device("cpu")
        if str(leaf).removeprefix("<class '").startswith("torch.") and "FloatTensor" in str(leaf):
            return torch.float64
        return leaf

    return mapped(describe, value)


def _merged_calls(first: Call, second: Call) -> Call:
    same = (first.name, first.target, first.in_place) == (
        second.name, second.target, second.in_place,
    )  # fmt: skip
    if not same:
        raise _OtherStepsError
    args, kwargs = _merged(first.args, second.args), _merged(first.kwargs, second.kwargs)
    return Call(first.name, first.target, args, kwargs, first.in_place)


def _merged(first: Any, second: Any) -> Any:
    """Return what two runs have in common, the second with one row more."""
    if type(first) is not type(second):
        raise _OtherStepsError
    if isinstance(first, (tuple, list)) and len(first) == len(second):
        return tuple(_merged(*pair) for pair in zip(first, second, strict=True))
    if isinstance(first, dict) and first.keys() == second.keys():
        return {name: _merged(value, second[name]) for name, value in first.items()}
    if isinstance(first, slice):
        names = ("start", "stop", "step")
        return slice(*(_merged(getattr(first, name), getattr(second, name)) for name in names))
    if isinstance(first, Tensor):
        if first.shape == second.shape and torch.equal(first, second):
            return first
        per_row = first.dim() > 0 and len(first) == _N_ROWS and len(second) == _N_ROWS + 1
        if per_row and torch.equal(first, second[:-1]) and bool((second == first[:1]).all()):
            return first[:1]
    elif first == second:
        return first
    elif type(first) is int:
        return Rows(second - first, first - (second - first) * _N_ROWS)
    raise _OtherStepsError
