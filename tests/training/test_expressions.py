"""Tables hold any elementwise expression between two linear layers, whatever it consists of."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from cipherfit import lower
from cipherfit.training.post_training import quantize_module

UNARY = {
    "relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "abs": torch.abs,
    "minus": lambda z: -z, "clamp": lambda z: z.clamp(-0.5, max=1.5), "square": lambda z: z**2,
    "bell": lambda z: torch.exp(-(z * z)), "sin": torch.sin, "gelu": F.gelu,
    "there and back": lambda z: z.unsqueeze(1).transpose(1, 2).reshape(len(z), -1),
    "step": lambda z: (z > 0.1).to(z.dtype), "leaky": lambda z: torch.where(z > 0, z, 0.1 * z),
}  # fmt: skip
BINARY = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "max": lambda a, b: torch.maximum(a, a * 0 + b), "/": lambda a, b: a / (1.5 + b * b),
    "lerp": lambda a, b: torch.lerp(a, a * 0 + b, 0.25),
}  # fmt: skip
NEURONS = 4
CONSTANTS = st.one_of(
    st.integers(-3, 3),
    st.floats(-2, 2, width=32),
    st.sampled_from([torch.linspace(-1, 2, NEURONS), torch.tensor(0.5)]),
)


def combined(inner):
    return st.one_of(
        st.tuples(st.sampled_from(sorted(UNARY)), inner),
        st.tuples(st.sampled_from(sorted(BINARY)), inner, inner),
        st.tuples(st.sampled_from(sorted(BINARY)), inner, CONSTANTS),
        st.tuples(st.sampled_from(["+", "-", "*", "/"]), CONSTANTS, inner),
    )


EXPRESSIONS = st.recursive(st.just("z"), combined, max_leaves=6)


def value_of(expression, z):
    if isinstance(expression, str):
        return z
    if not isinstance(expression, tuple):
        is_tensor = isinstance(expression, torch.Tensor)
        return expression.to(z.dtype) if is_tensor else expression
    name, *operands = expression
    return {**UNARY, **BINARY}[name](*(value_of(each, z) for each in operands))


class Expression(nn.Module):
    def __init__(self, expression, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.last = nn.Linear(3, NEURONS), nn.Linear(NEURONS, 2)
        self.expression = expression

    def forward(self, x):
        return self.last(value_of(self.expression, self.first(x)))


@given(expression=EXPRESSIONS, seed=st.integers(0, 2**32), n_bits=st.integers(1, 3))
def test_tables_hold_any_elementwise_expression_on_every_reachable_accumulator(
    expression, seed, n_bits
):
    module = Expression(expression, seed).eval()
    x = 2 * torch.randn(50, 3, generator=torch.Generator().manual_seed(seed))
    network, _ = quantize_module(module, x, n_bits=n_bits, n_accum_bits=12)
    graph = lower(network)
    codes = torch.cartesian_prod(*[torch.arange(2**n_bits, dtype=torch.float64)] * 3)
    if len(network.features) == 2:
        # What only scales and shifts has no table: both layers are one.
        assert not graph.n_lookups
        return
    _, first, _, activation, last = network.features
    with torch.no_grad():
        hidden = activation(value_of(expression, first(codes)))
        expected = last(hidden).numpy()
    outputs = graph.dequantize(graph.simulate(codes.to(torch.int64).numpy().astype(np.uint16)))
    np.testing.assert_allclose(outputs, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
