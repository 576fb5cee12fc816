"""Networks that Brevitas exports become graphs that compute what QONNX's executor computes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qonnx")
pytest.importorskip("brevitas")

import brevitas.nn as qnn
import torch
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8Bias,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    SignedTernaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from qonnx_models import BATCH, executor, exported, n_differing
from torch import nn

from cipherfit import from_qonnx
from cipherfit.exceptions import UnsupportedModuleError


class Int8WeightPerChannelFixedPoint(Int8WeightPerTensorFixedPoint):
    """A power of two for each neuron."""

    scaling_per_output_channel = True


pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("error::cipherfit.exceptions.CipherfitWarning"),
]

ACT, UACT, WEIGHT = (
    Int8ActPerTensorFixedPoint,
    Uint8ActPerTensorFixedPoint,
    Int8WeightPerTensorFixedPoint,
)


def first(bits=4, quant=ACT):
    return qnn.QuantIdentity(bit_width=bits, act_quant=quant, return_quant_tensor=True)


def linear(n_in, n_out, bits=3, quant=WEIGHT, **options):
    return qnn.QuantLinear(
        n_in, n_out, **{"bias": True, **options}, weight_bit_width=bits, weight_quant=quant
    )


def relu(bits=3, quant=UACT):
    return qnn.QuantReLU(bit_width=bits, act_quant=quant, return_quant_tensor=True)


def convolution(n_in, n_out, kernel=3, bits=3, quant=WEIGHT, **options):
    return qnn.QuantConv2d(
        n_in, n_out, kernel, **{"bias": True, **options}, weight_bit_width=bits, weight_quant=quant
    )


IMAGE = (2, 6, 6)
NETWORKS = {
    "two bits": lambda: ((6,), [first(2), linear(6, 8, 2), relu(2), linear(8, 3, 2)]),
    "eight bits": lambda: ((3,), [first(8), linear(3, 4, 6), relu(8), linear(4, 3, 8)]),
    "normalized": lambda: (
        (6,), [first(), linear(6, 8), nn.BatchNorm1d(8), relu(), linear(8, 3)],
    ),
    "scales per channel": lambda: (
        (6,),
        [first(), linear(6, 8, 4, Int8WeightPerChannelFixedPoint), relu(),
         linear(8, 3, 4, Int8WeightPerChannelFixedPoint)],
    ),
    "binary weights": lambda: (
        (6,),
        [first(), linear(6, 8, 1, SignedBinaryWeightPerTensorConst), nn.BatchNorm1d(8), relu(),
         linear(8, 3, 1, SignedBinaryWeightPerTensorConst, bias=False)],
    ),
    "ternary weights": lambda: (
        (6,),
        [first(), linear(6, 8, 2, SignedTernaryWeightPerTensorConst), relu(),
         linear(8, 3, 2, SignedTernaryWeightPerTensorConst)],
    ),
    "binary activations": lambda: (
        (6,),
        [qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst, return_quant_tensor=True),
         linear(6, 8, 1, SignedBinaryWeightPerTensorConst, bias=False), nn.BatchNorm1d(8),
         qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst, return_quant_tensor=True),
         linear(8, 3, 1, SignedBinaryWeightPerTensorConst, bias=False)],
    ),
    "activations between minus one and one": lambda: (
        (6,),
        [first(), linear(6, 8),
         qnn.QuantHardTanh(bit_width=4, min_val=-1.0, max_val=1.0, return_quant_tensor=True),
         linear(8, 5), qnn.QuantTanh(bit_width=4, return_quant_tensor=True),
         linear(5, 4), qnn.QuantSigmoid(bit_width=4, return_quant_tensor=True), linear(4, 3)],
    ),
    "any activation in front of a quantizer": lambda: (
        (6,), [first(), linear(6, 8), nn.SiLU(), first(3), linear(8, 3)],
    ),
    "biases of integers": lambda: (
        (6,),
        [first(), linear(6, 8, bias_quant=Int8Bias), relu(), linear(8, 3, bias_quant=Int8Bias)],
    ),
    "codes as outputs": lambda: (
        (6,), [first(), linear(6, 8), relu(), linear(8, 3, output_quant=ACT)],
    ),
    "sequences": lambda: (
        (2, 10),
        [first(),
         qnn.QuantConv1d(2, 4, 3, stride=2, padding=1, weight_bit_width=3, weight_quant=WEIGHT),
         relu(), nn.Flatten(), linear(20, 3)],
    ),
    "images": lambda: (
        IMAGE,
        [first(), convolution(2, 4, padding=1, stride=2), nn.BatchNorm2d(4), relu(),
         convolution(4, 4, 2, groups=4), relu(), convolution(4, 4, 1, dilation=1), relu(),
         nn.Flatten(), linear(16, 3)],
    ),
    "pooled": lambda: (
        IMAGE,
        [first(), nn.AvgPool2d(2), convolution(2, 4, 2), relu(), nn.AdaptiveAvgPool2d(1),
         nn.Flatten(), linear(4, 3)],
    ),
    "pooled and truncated": lambda: (
        IMAGE,
        [first(), convolution(2, 3), relu(), qnn.TruncAvgPool2d(2, bit_width=3),
         nn.Flatten(), linear(12, 3)],
    ),
    "dropout and softmax": lambda: (
        (6,),
        [first(), nn.Dropout(0.1), linear(6, 8), relu(), nn.Dropout(0.1), linear(8, 3),
         nn.Softmax(dim=1)],
    ),
}  # fmt: skip


def rows(shape, n=4 * BATCH, seed=0):
    return (1.5 * np.random.default_rng(seed).normal(size=(n, *shape))).astype(np.float32)


def check_same(path, X, **options):
    predictor = from_qonnx(path, **options)
    expected = executor(path, X)
    if predictor.post_processing:
        np.testing.assert_allclose(predictor.predict(X), expected, rtol=1e-4, atol=1e-6)
    else:
        assert n_differing(predictor, X, expected) == 0
    return predictor


@pytest.mark.parametrize("name", NETWORKS)
def test_scales_of_powers_of_two_give_the_same_integers(name, tmp_path):
    torch.manual_seed(0)
    shape, layers = NETWORKS[name]()
    path = exported(nn.Sequential(*layers), shape, tmp_path / "model.onnx")
    check_same(path, rows(shape))
    # Numbers that lie on borders between codes, as pixels often do.
    check_same(path, (np.round(rows(shape) * 32) / 32).astype(np.float32))


FLOAT = {
    "scales per tensor": (Int8ActPerTensorFloat, Uint8ActPerTensorFloat, Int8WeightPerTensorFloat),
    "scales per channel": (
        Int8ActPerTensorFloat, Uint8ActPerTensorFloat, Int8WeightPerChannelFloat,
    ),
    "zero points": (
        ShiftedUint8ActPerTensorFloat, ShiftedUint8ActPerTensorFloat, Int8WeightPerTensorFloat,
    ),
    "zero points of weights": (
        Int8ActPerTensorFloat, Uint8ActPerTensorFloat, ShiftedUint8WeightPerTensorFloat,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOAT)
def test_any_scales_and_zero_points_give_the_same_integers(name, tmp_path):
    signed, unsigned, weights = FLOAT[name]
    torch.manual_seed(0)
    module = nn.Sequential(
        first(4, signed), linear(6, 8, 3, weights), nn.BatchNorm1d(8), relu(3, unsigned),
        linear(8, 3, 3, weights),
    )  # fmt: skip
    path = exported(module, (6,), tmp_path / "model.onnx")
    assert check_same(path, rows((6,))).preparation is not None


@st.composite
def networks(draw):
    """Return a shape and layers of a small network with scales of powers of two."""
    bits = st.integers(2, 4)
    shape = draw(st.sampled_from([(5,), (2, 7), (1, 6, 6), (2, 5, 5)]))
    layers, channels = [first(draw(bits))], shape[0]
    kinds = {1: None, 2: qnn.QuantConv1d, 3: qnn.QuantConv2d}
    if kinds[len(shape)] is not None:
        out = 2 * draw(st.integers(1, 2)) if channels == 2 else draw(st.integers(1, 4))
        options = {
            "padding": draw(st.integers(0, 1)), "stride": draw(st.integers(1, 2)),
            "dilation": draw(st.integers(1, 2)), "groups": draw(st.sampled_from([1, channels])),
            "bias": draw(st.booleans()),
        }  # fmt: skip
        if out % options["groups"]:
            options["groups"] = 1
        kernel = draw(st.integers(1, 3))
        layers.append(
            kinds[len(shape)](
                channels, out, kernel, weight_bit_width=draw(bits), weight_quant=WEIGHT, **options
            )
        )
        if draw(st.booleans()):
            layers.append((nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(out))
        layers += [relu(draw(bits)), nn.Flatten()]
    with torch.no_grad():
        width = nn.Sequential(*layers).train()(torch.randn(3, *shape)).shape[1]
    for _ in range(draw(st.integers(1, 2))):
        out = draw(st.integers(1, 6))
        layers.append(linear(width, out, draw(bits), bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm1d(out))
        layers += draw(
            st.sampled_from(
                [[relu(3)], [first(3)], [nn.ELU(), first(3)],
                 [qnn.QuantTanh(bit_width=3, return_quant_tensor=True)]]
            )
        )  # fmt: skip
        width = out
    return shape, [*layers, linear(width, 2, draw(bits))]


@settings(max_examples=12)
@given(network=networks(), seed=st.integers(0, 1000))
def test_any_small_network_gives_the_same_integers(network, seed, tmp_path):
    shape, layers = network
    path = exported(nn.Sequential(*layers), shape, tmp_path / "model.onnx", batch=100, seed=seed)
    check_same(path, rows(shape, 500, seed))


class Residual(nn.Module):
    """Adds what goes into a layer to what comes out of it."""

    def __init__(self, joined):
        super().__init__()
        self.first, self.inner, self.last = first(), linear(6, 6), linear(6 * joined, 3)
        self.relu, self.joined = relu(), joined

    def forward(self, x):
        x = self.first(x)
        inner = self.relu(self.inner(x))
        pair = [x.value, inner.value]
        return self.last(torch.cat(pair, 1) if self.joined == 2 else pair[0] + pair[1])


@pytest.mark.parametrize(("joined", "kind"), [(1, "Add"), (2, "Concat")])
def test_branches_are_refused_with_what_to_do_instead(joined, kind, tmp_path):
    path = exported(Residual(joined), (6,), tmp_path / "model.onnx")
    with pytest.raises(UnsupportedModuleError, match=rf"\({kind}\) joins branches, .* instead"):
        from_qonnx(path)
