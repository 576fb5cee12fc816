"""From a float module to linear layers with elementwise tails: what can be quantized afterwards.

The module's forward is recorded, then cut at its linear layers, of which convolutions and average
pooling are some: each is the matrix that it shows on unit vectors. What lies between two of them
must be elementwise as a whole, whatever it consists of: then it becomes one lookup table per
neuron; where it only scales and shifts, as between a convolution and average pooling, both are one
layer. What comes before them may scale and shift features, and what follows them runs on the
client. All of this is found by meaning, on probes, before the first epoch of training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.training.calls import INPUT, Call, Ref, Steps, mapped
from cipherfit.training.columns import (
    OTHER_COLUMNS,
    RowFunction,
    affine_of,
    agrees,
    borders,
    close,
    flaw_of_columns,
    flaw_of_rows,
    probes,
)
from cipherfit.training.recording import Recording, record

#: Functions that may be linear layers: they are where all but the rows is constant.
_LINEAR = frozenset(
    ["torch.nn.functional.linear", "torch.functional.einsum", "torch.linalg.matmul"]
    + [
        f"torch.{where}{name}"
        for where in ("", "Tensor.")
        for name in ("matmul", "mm", "mv", "addmm")
    ]
    + [
        f"torch.{where}{name}{n_dims}d"
        for where in ("", "nn.functional.")
        for name in ("conv", "conv_transpose", "avg_pool", "adaptive_avg_pool")
        for n_dims in (1, 2, 3)
    ]
    + ["torch.nn.functional.pad"]
)
#: What to put in place of a function that is none.
_INSTEAD = {
    "max_pool": "; the largest of several values takes many lookups under encryption, so use "
    "average pooling (such as AvgPool2d) or a convolution with a stride",
    "group_norm": "; use batch normalization, which vanishes into the lookups",
    "instance_norm": "; use batch normalization, which vanishes into the lookups",
    "layer_norm": "; use batch normalization, which vanishes into the lookups",
}


@dataclass
class Affine:
    """What scales and shifts the features, column by column, such as batch normalization."""

    scale: Tensor
    shift: Tensor


@dataclass
class FloatLayer:
    """A linear layer, in double precision, and the elementwise function behind it.

    `pattern` is its weight, had its kernels been random numbers: where two entries are equal there,
    they are one weight of the module's.
    """

    name: str
    weight: Tensor
    bias: Tensor
    tail: Steps
    pattern: Tensor


@dataclass
class Chain:
    """A module as a chain of layers; `epilogue` is what follows the last, in separate steps."""

    before: Affine
    layers: list[FloatLayer]
    epilogue: nn.Sequential


def check_supported(
    module: nn.Module, n_features: int, shape: tuple[int, ...] | None = None
) -> tuple[int, int]:
    """Check that a module can be quantized once it is trained, and return what it consists of.

    Parameters
    ----------
    module : nn.Module
        A float module; it stays as it is.
    n_features : int
        Number of columns that it takes.
    shape : tuple of int, optional
        What shape of a row the module gets. Default: (n_features,).

    Returns
    -------
    n_layers : int
        Its linear layers: those with a lookup behind them, and the last.
    n_outputs : int
        Columns that its forward returns.

    Raises
    ------
    UnsupportedModuleError
        Naming the layer that can't be lowered.
    """
    chain = trace(module, n_features, shape)
    outputs = chain.layers[-1].bias.expand(2, -1)
    return len(chain.layers), chain.epilogue(outputs).shape[1]


@torch.no_grad()
def trace(module: nn.Module, n_features: int, shape: tuple[int, ...] | None = None) -> Chain:
    """Return what a module computes in evaluation, as a chain of layers in double precision.

    Parameters
    ----------
    module : nn.Module
        A float module; it stays as it is.
    n_features : int
        Number of columns that it takes.
    shape : tuple of int, optional
        What shape of a row the module gets, such as (channels, height, width). Default:
        (n_features,).

    Returns
    -------
    Chain

    Raises
    ------
    UnsupportedModuleError
        Naming the layer that can't be lowered.
    """
    with torch.random.fork_rng(devices=[]):
        return _chain_of(record(module, n_features, shape), n_features)


def _chain_of(recording: Recording, n_features: int) -> Chain:
    """Return a recording's chain, in which whatever sums or moves columns may be a linear layer.

    Where a call is in the way, such as a mean over positions or a flip, it is tried as a layer.
    """
    tried: set[int] = set()
    first_error: UnsupportedModuleError | None = None
    while True:
        cut = _Cut(recording, n_features, tried)
        try:
            return cut.chain()
        except UnsupportedModuleError as error:
            first_error = first_error or error
            if cut.in_the_way is None:
                raise first_error from None
            tried.add(cut.in_the_way)


class _Cut:
    """A recording, cut into stages: what depends on the input, on the first linear layer, ...

    `others` are calls that are taken for linear layers, too.
    """

    def __init__(self, recording: Recording, n_features: int, others: set[int]) -> None:
        self.others = others
        #: The call that keeps a stage from being what it must be, if it may be a linear layer.
        self.in_the_way: int | None = None
        self.output = recording.output
        self.calls = _living(recording)
        #: The other calls of each stage, what it starts from, and the name of that.
        self.stages: list[dict[int, Call]] = [{}]
        self.starts = [INPUT]
        self.names = ["the input"]
        #: The linear layer that each stage but the last leads to.
        self.linear: list[Call] = []
        #: Shape of a row of each stage's start, known as far as the stages before are checked.
        self.shapes: list[tuple[int, ...]] = [(n_features,)]

    def _cut(self) -> None:
        stage_of = {INPUT.call: 0}
        for place, call in self.calls.items():
            stage, *others = sorted({stage_of[ref.call] for ref in call.refs()})
            if others:
                raise UnsupportedModuleError(
                    f"layer {call.name} joins {self.names[stage]} and {self.names[others[-1]]}, so "
                    "that one is used by several layers: only chains can be lowered"
                )
            stage_of[place] = stage
            is_linear = call.target in _LINEAR or place in self.others
            if not is_linear or len(call.refs()) > 1:
                self.stages[stage][place] = call
                continue
            if stage < len(self.linear):
                raise UnsupportedModuleError(
                    f"{self.names[stage]} is used by several layers, "
                    f"{self.linear[stage].name} and {call.name}: only chains can be lowered"
                )
            stage_of[place] = len(self.starts)
            self.linear.append(call)
            self.stages.append({})
            self.starts.append(Ref(place))
            self.names.append(f"the output of layer {call.name}")

    def chain(self) -> Chain:
        """Return the layers, or say which one is none."""
        self._cut()
        before = self._before()
        layers = []
        for stage, call in enumerate(self.linear):
            weight, bias, pattern = self._weights(stage)
            layers.append(FloatLayer(call.name, weight, bias, self._tail(stage + 1), pattern))
        layers = _merged(layers)
        return Chain(before, layers, nn.Sequential(*_links(layers[-1].tail)))

    def _before(self) -> Affine:
        """Return what comes before the first linear layer."""
        (n_features,) = self.shapes[0]
        found = affine_of(self._steps(0).unflattened, n_features)
        if found is None:
            name, flaw = self._culprit(0, _flaw_of_affine)
            raise UnsupportedModuleError(f"layer {name} {flaw}{self._instead(name)}")
        if not self.linear:
            raise UnsupportedModuleError("the module has no linear layer, so nothing to run in FHE")
        return Affine(*found)

    def _tail(self, stage: int) -> Steps:
        """Return what follows a linear layer, up to the next one or the output."""
        steps, is_last = self._steps(stage), stage == len(self.linear)
        flaw_of = flaw_of_rows if is_last else flaw_of_columns
        if flaw_of(steps.unflattened, math.prod(steps.shape)) is not None:
            name, flaw = self._culprit(stage, flaw_of)
            if not is_last:
                flaw += ", and linear layers follow it: only after the last one can it run"
                flaw += " on the client"
            raise UnsupportedModuleError(f"layer {name} {flaw}{self._instead(name)}")
        return steps

    def _weights(self, stage: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights and biases of the linear layer that a stage leads to, and its pattern."""
        call, start = self.linear[stage], self.starts[stage + 1]
        before = self._steps(stage)
        shape = before.unflattened(probes(math.prod(before.shape))).shape[1:]
        layer = Steps({start.call: call}, self._end(stage), start, shape)
        rows = probes(math.prod(shape))
        outputs = layer.unflattened(rows)
        if outputs.shape[:1] == rows.shape[:1]:
            self.shapes.append(tuple(outputs.shape[1:]))
            weight, bias = _linear_parts(call, layer, rows.shape[1])
            is_known = call.target in _LINEAR
            if close(layer(rows), rows @ weight.T + bias) and (
                is_known or _is_linear_throughout(layer, weight, bias)
            ):
                drawn = _with_random_kernels(call, seed=stage)
                random = Steps({start.call: drawn}, self._end(stage), start, shape)
                return weight, bias, _linear_parts(drawn, random, rows.shape[1])[0]
        raise UnsupportedModuleError(
            f"layer {call.name} makes shape {tuple(outputs.shape)} of {(len(rows), *shape)}, but "
            "not as a linear layer does, from whole rows"
        )

    def _culprit(self, stage: int, flaw_of: Callable[..., str | None]) -> tuple[str, str]:
        """Return the first call of a flawed stage that has a flaw itself, and which."""
        calls: dict[int, Call] = {}
        taken = {ref for call in self.calls.values() for ref in call.refs()} | {self.output}
        for place, call in self.stages[stage].items():
            calls[place] = call
            # Of several values none is the step's result.
            if Ref(place) in taken:
                steps = Steps(calls, self.starts[stage], Ref(place), self.shapes[stage])
                flaw = flaw_of(steps.unflattened, math.prod(steps.shape))
                if flaw is not None:
                    if len(call.refs()) == 1 and stage < len(self.linear):
                        self.in_the_way = place
                    return call.name, flaw
        return call.name, OTHER_COLUMNS

    def _instead(self, name: str) -> str:
        """Say what to put in place of a layer, where that is known."""
        targets = [call.target for call in self.calls.values() if call.name == name]
        found = [advice for part, advice in _INSTEAD.items() if any(part in t for t in targets)]
        return found[0] if found else ""

    def _steps(self, stage: int) -> Steps:
        return Steps(self.stages[stage], self.starts[stage], self._end(stage), self.shapes[stage])

    def _end(self, stage: int) -> Ref:
        """Return the value that a stage leads to."""
        return next(iter(self.linear[stage].refs())) if stage < len(self.linear) else self.output


def _merged(layers: list[FloatLayer]) -> list[FloatLayer]:
    """Return layers such that between two of them something is not linear."""
    merged = layers[:1]
    for layer in layers[1:]:
        last = merged[-1]
        affine = affine_of(last.tail.unflattened, len(last.bias))
        if affine is None:
            merged.append(layer)
            continue
        scale, shift = affine
        weight = layer.weight @ (scale.unsqueeze(1) * last.weight)
        bias = layer.weight @ (scale * last.bias + shift) + layer.bias
        pattern = layer.pattern @ (scale.unsqueeze(1) * last.pattern)
        name = f"{last.name} and {layer.name}"
        merged[-1] = FloatLayer(name, weight, bias, layer.tail, pattern)
    return merged


def _with_random_kernels(call: Call, seed: int) -> Call:
    """Return a call with random numbers in place of its matrices and kernels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() > 1:
            return torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        return leaf

    args, kwargs = mapped(draw, call.args), mapped(draw, call.kwargs)
    return Call(call.name, call.target, args, kwargs, call.in_place)


def _living(recording: Recording) -> dict[int, Call]:
    """Return the calls that the output depends on, in their order."""
    needed = {recording.output.call}
    for place in reversed(recording.calls):
        if place in needed:
            needed |= {ref.call for ref in recording.calls[place].refs()}
    return {place: call for place, call in recording.calls.items() if place in needed}


def _linear_parts(call: Call, layer: Steps, n_in: int) -> tuple[Tensor, Tensor]:
    """Return weights and biases as they are stored, or else as they show on unit vectors."""
    if call.target == "torch.nn.functional.linear":
        given = {**dict(zip(("input", "weight", "bias"), call.args, strict=False)), **call.kwargs}
        weight, bias = given["weight"], given.get("bias")
        if isinstance(weight, Tensor) and weight.shape[1:] == (n_in,):
            return weight, weight.new_zeros(len(weight)) if bias is None else bias
    bias = layer(torch.zeros(2, n_in, dtype=torch.float64))[0]
    return (layer(torch.eye(n_in, dtype=torch.float64)) - bias).T, bias


def _is_linear_throughout(layer: Steps, weight: Tensor, bias: Tensor) -> bool:
    """Tell whether a function has no narrow band in which it is something else."""
    return all(
        agrees(layer(rows), rows @ weight.T + bias, rows.abs() @ weight.abs().T + bias.abs())
        for rows in borders(layer.unflattened, weight.shape[1])
    )


def _flaw_of_affine(function: RowFunction, n_columns: int) -> str | None:
    if affine_of(function, n_columns) is not None:
        return None
    return flaw_of_rows(function, n_columns) or (
        "comes before the first linear layer; only what scales and shifts each feature can, such "
        "as BatchNorm1d, so put it into a preprocessing step"
    )


def _links(steps: Steps) -> list[Steps]:
    """Cut steps wherever a single value passes from one to the next."""
    links: list[Steps] = []
    calls: dict[int, Call] = {}
    start, shape = steps.start, steps.shape
    rows = probes(math.prod(shape))
    last_use = {ref.call: place for place, call in steps.calls.items() for ref in call.refs()}
    last_use[steps.end.call] = max(steps.calls, default=-1) + 1
    for place, call in steps.calls.items():
        calls[place] = call
        waiting = [made for made in (start.call, *calls) if last_use.get(made, -1) > place]
        end = steps.end if place == steps.end.call else Ref(place)
        if waiting == [place] and end.item is None:
            links.append(Steps(calls, start, end, shape))
            shape = tuple(links[-1].unflattened(rows).shape[1:])
            rows = probes(math.prod(shape))
            calls, start = {}, end
    if calls:
        links.append(Steps(calls, start, steps.end, shape))
    return links
