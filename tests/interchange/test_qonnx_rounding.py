"""Sums of QONNX's executor are as close to those of integers as is said, or ties are told."""

from __future__ import annotations

import numpy as np
import pytest

from cipherfit import from_qonnx
from cipherfit.exceptions import InvalidParameterError, UnsupportedModuleError

pytest.importorskip("qonnx")

from hypothesis import given, settings
from hypothesis import strategies as st
from qonnx_models import BATCH, executor, made, n_differing

from cipherfit.interchange.qonnx_chain import read
from cipherfit.interchange.qonnx_nodes import run_all
from cipherfit.interchange.qonnx_rounding import Codes, grain, rounding_errors

ROUND = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


def of_codes(n, largest, base, step):
    """Return codes (n,) whose values float32 has rounded."""
    counts = np.repeat(np.arange(largest + 1)[:, None], n, axis=1)
    values = (np.float32(base) + np.float32(step) * counts.astype(np.float32)).astype(np.float64)
    return Codes.of(values, counts, np.full(n, float(np.float32(step))), (n,))


@st.composite
def layers(draw):
    """Return nodes of a linear layer with what it computes, and the codes that go in."""
    n_in, n_out = draw(st.integers(1, 80)), draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    scale, step = draw(st.tuples(*[st.floats(0.125, 2.0, width=32)] * 2))
    powers = draw(st.booleans())
    if powers:
        scale, step = 2.0 ** np.round(np.log2([scale, step]))
    integers = generator.integers(-8, 9, (n_out, n_in))
    weights = integers.astype(np.float32) * np.float32(scale)
    base = draw(st.sampled_from([0.0, -4.0])) * step
    bias = generator.normal(size=n_out).astype(np.float32) * draw(st.sampled_from([0, 1]))
    if draw(st.booleans()):
        nodes = [("Gemm", ["W", "b"], {})]
    else:
        nodes = [("MatMul", ["W"], {}), ("Add", ["b"], {})]
    model = made(nodes, {"W": weights.T, "b": bias}, (n_in,), n_out, "INT8")
    codes = of_codes(n_in, draw(st.sampled_from([1, 15, 255])), base, step)
    return read(model).nodes, codes, weights.astype(float), integers, float(scale) * step, bias


@settings(max_examples=60)
@given(layer=layers(), seed=st.integers(0, 1000))
def test_the_executors_sums_are_as_close_as_is_said(layer, seed):
    nodes, codes, weights, integers, unit, bias = layer
    bias = bias.astype(np.float64)
    errors = rounding_errors(nodes, codes, weights, integers, np.full(len(bias), unit), bias)
    generator = np.random.default_rng(seed)
    for least in (0, codes.largest[0]):
        drawn = np.maximum(
            generator.integers(0, codes.largest + 1, (BATCH, len(codes.step))), least
        )
        rows = (codes.base + codes.step * drawn).astype(np.float32)
        exact = weights @ codes.base + bias + unit * (drawn @ integers.T)
        found = run_all(nodes, rows, codes.shape)
        off, error = np.abs(found.astype(np.float64) - exact), errors.at(exact)
        rounds = error > 0
        assert (off[rounds] <= error[rounds]).all()
        assert np.array_equal(found[~rounds], exact.astype(np.float32)[~rounds])


@pytest.mark.parametrize("n_in", [2, 5, 60])
@pytest.mark.parametrize("biased", [False, True])
def test_sums_in_the_worst_of_orders_are_as_close_as_is_said(n_in, biased):
    generator = np.random.default_rng(n_in)
    scale, step = 0.1037, 0.0721
    weights = generator.integers(-7, 8, (3, n_in))
    real = (weights * np.float32(scale)).astype(np.float32).astype(float)
    bias = generator.normal(size=3).astype(np.float32).astype(float) * biased
    constants, codes = {"W": real.T, "b": bias}, of_codes(n_in, 15, 0.0, step)
    nodes = read(made([("Gemm", ["W", "b"], {})], constants, (n_in,), 3, "INT8")).nodes
    unit = np.full(3, float(np.float32(scale)) * float(np.float32(step)))
    errors = rounding_errors(nodes, codes, real, weights, unit, bias)
    drawn = generator.integers(0, 16, (200, n_in))
    drawn[:100] = np.where(weights[0] > 0, 15 - drawn[:100] // 4, drawn[:100] // 4)
    values = (np.float32(step) * drawn.astype(np.float32)).astype(np.float32)
    found, exact = [], drawn @ weights.T * unit + bias
    for row in values:
        for neuron in range(3):
            products = (real[neuron].astype(np.float32) * row).tolist()
            terms = np.array([*products, bias[neuron]], dtype=np.float32)
            for order in (np.argsort(terms), np.argsort(-terms), np.argsort(-np.abs(terms))):
                total = np.float32(0)
                for term in terms[order]:
                    total = np.float32(total + term)
                found.append(total)
    off = np.abs(np.array(found, dtype=float).reshape(200, 3, 3) - exact[:, :, None]).max(axis=2)
    said = errors.at(exact)
    assert (off <= said).all()
    assert off.max() > 0.02 * said.max(), "what is said is far from what occurs"
    assert (said.max(axis=0) > said.min(axis=0)).any() or n_in == 2


def test_powers_of_two_leave_nothing_to_round_and_other_scales_do():
    weights = np.random.default_rng(0).integers(-8, 9, (3, 50))
    for scale, is_exact in ((0.25, True), (0.75, True), (0.1, False)):
        scaled = (weights * np.float32(scale)).astype(np.float32)
        nodes = read(made([("MatMul", ["W"], {})], {"W": scaled.T}, (50,), 3, "INT8")).nodes
        codes = of_codes(50, 15, 0.0, 0.5)
        unit = np.full(3, float(np.float32(scale)) / 2)
        errors = rounding_errors(nodes, codes, scaled.astype(float), weights, unit, np.zeros(3))
        assert (errors.of_section == 0).all() == is_exact
    # 24 bits hold no more.
    wide = of_codes(50, 65535, 0.0, 0.5)
    scaled = (weights * np.float32(16.0)).astype(np.float32)
    nodes = read(made([("MatMul", ["W"], {})], {"W": scaled.T + 0.25}, (50,), 3, "INT8")).nodes
    arguments = scaled + 0.25, weights * 64 + 1, np.full(3, 0.125), np.zeros(3)
    assert (rounding_errors(nodes, wide, *arguments).of_section > 0).all()


@pytest.mark.parametrize(("width", "is_exact"), [(2, True), (3, False), (4, True)])
def test_means_of_powers_of_two_many_numbers_are_not_rounded(width, is_exact):
    shape = (1, width, width)
    nodes = read(made([("GlobalAveragePool", [], {})], {}, shape, 1, "INT8")).nodes
    flat = of_codes(width**2, 15, 0.0, 0.5)
    codes = Codes(flat.base, flat.step, flat.largest, shape, flat.most, flat.error, flat.grain)
    share = np.full((1, width**2), float(np.float32(1 / width**2)))
    weights, unit = np.ones_like(share, dtype=np.int64), share[:, 0] / 2
    errors = rounding_errors(nodes, codes, share, weights, unit, np.zeros(1))
    assert (errors.of_section == 0).all() == is_exact


def test_a_grain_is_the_largest_power_of_two_that_divides():
    assert grain(np.array([0.75, -1.5, 0.0])) == 0.25
    assert grain(np.array([6.0, 4.0])) == 2.0
    assert grain(np.float32([0.1])) == 2.0**-27
    assert grain(np.zeros(3)) == np.inf


#: A sum of n has the value 0.03 n, and a code is 0.02 wide: so where n is odd, it lies on a border.
CONSTANTS = {
    "s": 0.1, "t": 0.02, "zero": 0.0, "two": 2.0, "three": 3.0, "eight": 8.0, "V": np.eye(3),
    "W": np.array([[0.3, 0.3, 0.3], [0.3, -0.3, 0.6], [0.0, 0.3, -0.6], [0.3, 0.6, 0.6]]),
}  # fmt: skip
NODES = [
    ("Quant", ["s", "zero", "three"], ROUND), ("MatMul", ["W"], {}),
    ("Quant", ["t", "zero", "eight"], ROUND), ("MatMul", ["V"], {}),
]  # fmt: skip


def test_ties_name_nodes_channels_and_how_many_entries_they_are():
    # Codes from -4 to 3: sums from -12 to 9, from -19 to 19 and from -24 to 23 or so.
    integers = np.rint(np.array(CONSTANTS["W"]) / 0.3).astype(int)
    low = np.minimum(-4 * integers, 3 * integers).sum(axis=0)
    high = np.maximum(-4 * integers, 3 * integers).sum(axis=0)
    odd = [sum(n % 2 != 0 for n in range(a, b + 1)) for a, b in zip(low, high, strict=True)]
    common = np.array([np.gcd.reduce(column) for column in integers.T])
    assert (common == 1).all()
    with pytest.raises(
        UnsupportedModuleError,
        match=rf"^{sum(odd)} of {sum(high - low + 1)} entries of the tables between node "
        r"n1 \(MatMul\) and node n2 \(Quant\), channels 0, 1, 2: .* powers of two, or give "
        "ties='nearest'",
    ):
        from_qonnx(made(NODES, CONSTANTS))


def test_nearest_differs_from_the_executor_at_ties_alone():
    model = made(NODES, CONSTANTS)
    predictor = from_qonnx(model, ties="nearest")
    X = np.random.default_rng(0).normal(size=(8 * BATCH, 4)).astype(np.float32) / 4
    expected, found = executor(model, X), predictor.predict(X)
    codes = np.clip(np.rint(X / np.float32(0.1)), -4, 3)
    sums = np.rint(codes @ np.array(CONSTANTS["W"]) / 0.3)
    other = np.abs(found - expected) > 1e-3
    assert other.any(), "these ties are no ties to the executor"
    assert (sums[other] % 2 != 0).all()
    assert (np.abs(found - expected)[other] < 0.021).all()


def test_one_neuron_without_ties_is_no_tie_of_its_layer():
    constants = {**CONSTANTS, "W": np.array(CONSTANTS["W"]) * [0.5, 1.0, 0.5]}
    with pytest.raises(UnsupportedModuleError, match="channel 1: "):
        from_qonnx(made(NODES, {**constants, "t": 0.06 * np.array([0.37, 1.0, 0.37])}))


def test_powers_of_two_have_ties_that_are_none():
    constants = {
        **CONSTANTS,
        "s": 0.5,
        "t": 0.5,
        "W": np.rint(CONSTANTS["W"]) + [[1, 0.5, 0.5]] * 4,
    }
    model = made(NODES, constants)
    X = np.random.default_rng(0).normal(size=(8 * BATCH, 4)).astype(np.float32)
    assert n_differing(from_qonnx(model), X, executor(model, X)) == 0


def test_other_words_for_ties_are_refused():
    with pytest.raises(InvalidParameterError, match="ties='even' must be one of error, nearest"):
        from_qonnx(made(NODES, CONSTANTS), ties="even")


def test_a_code_that_no_exact_sum_has_is_a_tie_too():
    # Sums are multiples of 0.3: 0 is rounded up to code 0 of 0.2, and all that is above it to code
    # 2. What float32 makes of products that cancel can be above 0, which is code 1.
    weights = np.array([[0.3, -0.3], [-0.3, 0.3], [0.3, 0.3]]).T
    constants = {
        "W": weights, "V": np.eye(3), "quarter": 0.25, "t": 0.2, "zero": 0.0, "two": 2.0, "s": 0.1,
        "eight": 8.0,
    }  # fmt: skip
    up = {"signed": 0, "narrow": 0, "rounding_mode": "CEIL"}
    nodes = [
        ("Quant", ["s", "zero", "eight"], ROUND), ("MatMul", ["W"], {}), ("Mul", ["eight"], {}),
        ("Min", ["quarter"], {}), ("Quant", ["t", "zero", "two"], up), ("MatMul", ["V"], {}),
    ]  # fmt: skip
    with pytest.raises(
        UnsupportedModuleError, match=r"3 of .* channels 0, 1, 2: there a sum is so"
    ):
        from_qonnx(made(nodes, constants, (2,)))


def test_what_no_quantizer_rounds_stays_as_far_off_in_the_layer_behind():
    constants = {**CONSTANTS, "V": np.eye(3) * 0.5}
    nodes = [*NODES[:2], ("Relu", [], {}), ("MatMul", ["V"], {}), NODES[2]]
    # At the border but for so much as is more than the second layer alone is off by.
    shifted = {**constants, "t": 0.02 * (1 + 4e-6)}
    with pytest.raises(UnsupportedModuleError, match=r"between node n3 \(MatMul\) and node n4"):
        from_qonnx(made(nodes, shifted))
    from_qonnx(made(nodes, {**constants, "t": 0.02 * (1 + 1e-5)}))
