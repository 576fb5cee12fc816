"""Client layers of random neurons: drawn from a seed, they say nothing of what trains behind them.

A neuron is a random cosine (Rahimi and Recht, 2007) of a random projection of a *few* inputs: its
integer weights are drawn, its table is the cosine, and only what follows trains, as in an extreme
learning machine (Huang et al., 2006). Neurons that read one to three features span functions of one
feature and the interactions of two and three, as additive models and MARS do (Friedman, 1991). On
images, neurons read random rectangles, since it is nearby pixels that belong together (Coates and
Ng, 2011; McDonnell et al., 2015, arXiv:1412.8307).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherfit.training.client_features import FeatureKind, Pairs

Int64 = NDArray[np.int64]

#: Euclidean norm of a neuron's integer weights, before they are rounded, unless it reads so many
#: inputs that they would be less than 2 in the mean.
_LEAST_NORM = 32.0
#: Radians of a neuron's cosine per unit of its projection, on inputs that span [-1, 1].
_RATES = (1.0, 1.5, 2.0)
#: Top bits of an accumulator that a table is indexed by.
_LOOKUP_BITS = 10


class RandomLayer(nn.Module):
    """A layer of random neurons from codes to codes: integer weights, and a cosine as table.

    Parameters
    ----------
    subsets : sequence of ndarray of int
        Which inputs each neuron reads.
    low, high : ndarray of shape (n_inputs,), int64
        Interval of each input's codes.
    n_bits : int
        Bits of the codes that come out, in [1, 16].
    rng : numpy.random.Generator
        Draws the neurons.

    Attributes
    ----------
    weight : torch.Tensor of shape (n_neurons, n_inputs)
        Integers.
    shift : torch.Tensor of shape (), int64
        Low bits of an accumulator that are rounded away, half up, before its table is read.
    least : torch.Tensor of shape (n_neurons,)
        Least value of each accumulator, at which its table starts.
    tables : torch.Tensor of shape (n_neurons, longest)
        Codes; past the end of a neuron's interval they are not read.
    lengths : torch.Tensor of shape (n_neurons,), int64
        Entries of each table that its accumulator can reach.
    """

    weight: Tensor
    shift: Tensor
    least: Tensor
    tables: Tensor
    lengths: Tensor

    def __init__(
        self,
        subsets: Sequence[Int64],
        low: Int64,
        high: Int64,
        n_bits: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__()
        self.n_bits = n_bits
        weights = np.zeros((len(subsets), len(low)))
        for row, inputs in zip(weights, subsets, strict=True):
            drawn = rng.standard_normal(len(inputs))
            norm = max(_LEAST_NORM, 2 * math.sqrt(len(inputs)))
            row[inputs] = np.rint(norm * drawn / np.linalg.norm(drawn))
        least = weights.clip(min=0) @ low + weights.clip(max=0) @ high
        width = np.abs(weights) @ (high - low)
        lsbs = max(0, int(width.max()).bit_length() - _LOOKUP_BITS)
        self.register_buffer("shift", torch.tensor(lsbs))
        lengths = (width.astype(np.int64) + self.rounding_half >> lsbs) + 1
        reached = np.arange(lengths.max()) << lsbs
        # In units in which inputs span [-1, 1].
        unit = 2 / (np.linalg.norm(weights, axis=1) * max(1, int((high - low).max())))
        projected = (reached - width[:, None] / 2) * unit[:, None]
        rate = rng.choice(_RATES, size=(len(weights), 1))
        phase = rng.uniform(0, 2 * math.pi, size=(len(weights), 1))
        waves = (np.cos(rate * projected + phase) + 1) / 2
        self.register_buffer("weight", torch.from_numpy(weights).float())
        self.register_buffer("least", torch.from_numpy(least).float())
        self.register_buffer("tables", torch.from_numpy(np.rint(waves * (2**n_bits - 1))).float())
        self.register_buffer("lengths", torch.from_numpy(lengths))

    @property
    def n_neurons(self) -> int:
        """Number of codes that come out."""
        return len(self.weight)

    @property
    def lsbs(self) -> int:
        """Low bits of an accumulator that are rounded away."""
        return int(self.shift)

    @property
    def rounding_half(self) -> int:
        """Half of the rounding step: what rounding half up adds to an accumulator."""
        return (1 << self.lsbs) >> 1

    def integers(self) -> tuple[Int64, list[Int64]]:
        """Return the weights (n_neurons, n_inputs), and the table of every neuron."""
        tables = self.tables.cpu().numpy().astype(np.int64)
        reached = [
            np.ascontiguousarray(table[:length])
            for table, length in zip(tables, self.lengths.tolist(), strict=True)
        ]
        return self.weight.cpu().numpy().astype(np.int64), reached

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes (n_samples, n_neurons) for those of the inputs (n_samples, n_inputs)."""
        # Single precision holds integers up to 2^24 exactly.
        exact = torch.float64 if self.lsbs + _LOOKUP_BITS > 24 else torch.float32
        raised = x.to(exact) @ self.weight.to(exact).T - self.least.to(exact)
        index = raised.add_(self.rounding_half).div_(1 << self.lsbs).floor_().to(torch.int64)
        codes = self.tables.gather(1, index.T.clamp_(0, self.tables.shape[1] - 1)).T
        return codes.to(x.dtype)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the state of a layer that another seed drew: its tables may be longer."""
        given = state_dict.get(prefix + "tables")
        if given is not None:
            self.tables = torch.empty_like(given, device=self.tables.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        return f"{self.weight.shape[1]}, {self.n_neurons}, n_bits={self.n_bits}, lsbs={self.lsbs}"


def random_layers(
    kind: FeatureKind, widths: Sequence[int], *, n_inputs: int, n_in_bits: int, n_a_bits: int
) -> list[RandomLayer]:
    """Draw a chain of random layers; torch's seed says which.

    Parameters
    ----------
    kind : FeatureKind
        What the first layer's neurons read; those of the next read pairs.
    widths : sequence of int
        Neurons of each layer.
    n_inputs : int
        Number of input features.
    n_in_bits, n_a_bits : int
        Bits of an input's code, and of those between and behind the layers.
    """
    rng = np.random.default_rng(int(torch.randint(2**62, ())))
    low = np.zeros(n_inputs, dtype=np.int64)
    high = np.full_like(low, 2**n_in_bits - 1)
    layers = []
    for width in widths:
        subsets = kind.draw(len(low), width, rng)
        layers.append(RandomLayer(subsets, low, high, n_a_bits, rng))
        _, tables = layers[-1].integers()
        low = np.array([table.min() for table in tables])
        high = np.array([table.max() for table in tables])
        kind = Pairs()
    return layers
