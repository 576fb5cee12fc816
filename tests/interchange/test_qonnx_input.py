"""The client makes the executor's codes of every float32, however the model quantizes its input."""

from __future__ import annotations

import numpy as np
import pytest

import cipherfit
from cipherfit import from_qonnx
from cipherfit.exceptions import InvalidInputError, UnsupportedModuleError

pytest.importorskip("qonnx")


from hypothesis import given, settings
from hypothesis import strategies as st
from qonnx_models import BATCH, executor, made, n_differing

pytestmark = pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")

CODES = {"W": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), "one": 1.0, "zero": 0.0}
ROUND = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
MODES = ("ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")


def passed_on(head, constants, **options):
    """Return a model whose outputs are the values that its head makes of inputs."""
    nodes = [*head, ("MatMul", ["W"], {})]
    return made(nodes, {**CODES, **constants}, shape=(3,), **options)


def around(borders):
    """Return rows (n, 3) of numbers at, right below and right above borders, and of any others."""
    borders = np.asarray(borders, dtype=np.float32)
    near = [borders]
    for end in (-np.inf, np.inf):
        step = borders
        for _ in range(3):
            step = np.nextafter(step, np.float32(end))
            near.append(step)
    anything = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 5
    extreme = np.array([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38], dtype=np.float32)
    numbers = np.concatenate([*near, anything, extreme])
    n_rows = -(-len(numbers) // BATCH) * BATCH
    return np.repeat(np.resize(numbers, n_rows)[:, None], 3, axis=1)


@settings(max_examples=40)
@given(
    scale=st.floats(0.0078125, 2.0, width=32),
    zero=st.one_of(st.integers(-20, 20), st.floats(-4, 4, width=32)),
    n_bits=st.integers(2, 8),
    signed=st.booleans(),
    narrow=st.booleans(),
    mode=st.sampled_from(MODES),
)
def test_codes_are_the_executors_on_both_sides_of_every_border(
    scale, zero, n_bits, signed, narrow, mode
):
    options = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": mode}
    constants = {"s": scale, "z": zero, "n": n_bits}
    model = passed_on([("Quant", ["s", "z", "n"], options)], constants)
    predictor = from_qonnx(model)
    least = -(2 ** (n_bits - 1)) if signed else 0
    halves = np.arange(2 * least - 1, 2 * (least + 2**n_bits) + 1) / 2
    X = around((halves - zero) * scale)
    assert n_differing(predictor, X, executor(model, X)) == 0


def test_scales_of_powers_of_two_need_no_preparation_and_features_may_have_their_own():
    constants = {"s": [0.5, 0.25, 2.0], "z": 0.0, "n": 4}
    plain = from_qonnx(passed_on([("Quant", ["s", "z", "n"], ROUND)], constants))
    assert plain.preparation is None
    assert plain.graph.to_dict()["input"]["scale"].tolist() == [0.5, 0.25, 2.0]
    # Halves are rounded to even behind the zero point, and an odd one changes what is even.
    odd = from_qonnx(passed_on([("Quant", ["s", "z", "n"], ROUND)], {**constants, "z": 3.0}))
    assert odd.preparation is not None
    assert odd.preparation(np.array([[0.25, 0.125, 1.0]])).tolist() == [[12, 12, 12]]


HEADS = {
    "bipolar, shifted as images are": (
        [("Mul", ["two"], {}), ("Sub", ["one"], {}), ("BipolarQuant", ["third"], {})],
        [0.5],
    ),
    "falling": (
        [("Neg", [], {}), ("Quant", ["third", "zero", "three"], ROUND)], np.arange(-9, 9) / 6
    ),
    "requantized": (
        [("Quant", ["third", "zero", "six"], ROUND), ("Quant", ["two", "zero", "three"], ROUND)],
        np.arange(-40, 40) / 6,
    ),
    "thresholds, each channel its own": (
        [("MultiThreshold", ["T"], {"out_dtype": "UINT2", "out_scale": 0.3})],
        [0.1, 0.2, 0.7, -1.0, 2.0],
    ),
    "clipped behind": (
        [("Quant", ["third", "zero", "three"], ROUND), ("Relu", [], {}), ("Add", ["one"], {})],
        np.arange(-9, 9) / 6,
    ),
    "truncated": (
        [("Quant", ["half", "zero", "six"], ROUND),
         ("Trunc", ["half", "zero", "six", "three"], {"rounding_mode": "FLOOR"})],
        np.arange(-70, 70) / 4,
    ),
    "normalized": (
        [("BatchNormalization", ["scales", "shifts", "means", "variances"], {}),
         ("Quant", ["third", "zero", "three"], ROUND)],
        np.arange(-9, 9) / 6,
    ),
}  # fmt: skip
CONSTANTS = {
    "third": 1 / 3, "half": 0.5, "two": 2.0, "three": 3.0, "six": 6.0,
    "T": [[0.1, 0.2, 0.7], [-1.0, -1.0, 2.0], [0.1, 0.1, 0.1]],
    "scales": [1.1, -0.7, 0.3], "shifts": [0.1, 0.2, 0.3], "means": [0.5, -0.2, 0.1],
    "variances": [1.3, 0.7, 2.0],
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_whatever_rises_or_falls_in_steps_is_followed(name):
    head, borders = HEADS[name]
    model = passed_on(head, CONSTANTS)
    X = around(borders)
    predictor = from_qonnx(model)
    np.testing.assert_allclose(predictor.predict(X), executor(model, X), rtol=1e-5, atol=1e-6)


def test_doubles_are_rounded_to_float32_as_for_the_executor():
    model = passed_on([("Quant", ["third", "zero", "three"], ROUND)], CONSTANTS)
    predictor = from_qonnx(model)
    X = around(np.arange(-9, 9) / 6).astype(np.float64)
    below = np.nextafter(X.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
    moved = X * (1 + np.random.default_rng(0).uniform(-1, 1, X.shape) * 2.0**-24)
    # Halfway between two numbers of float32 it is the even one.
    halfway = (X + below) / 2
    X = np.concatenate([moved, halfway, np.nextafter(halfway, np.inf)])
    expected = executor(model, X.astype(np.float32))
    np.testing.assert_allclose(predictor.predict(X), expected, rtol=1e-6, atol=1e-6)


def test_what_is_no_number_is_an_error_that_names_its_place():
    predictor = from_qonnx(passed_on([("Quant", ["third", "zero", "three"], ROUND)], CONSTANTS))
    assert predictor.preparation is not None
    with pytest.raises(InvalidInputError, match="row 1, column 2"):
        predictor.predict([[0.0, 0.0, 0.0], [0.0, 0.0, np.nan]])


def test_a_preparation_is_stored(tmp_path):
    model = passed_on([("Quant", ["third", "zero", "three"], ROUND)], CONSTANTS)
    predictor = from_qonnx(model)
    cipherfit.save(predictor, tmp_path / "m")
    X = around(np.arange(-9, 9) / 6)
    assert np.array_equal(cipherfit.load(tmp_path / "m").predict(X), predictor.predict(X))


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("INT4", np.arange(-8, 8)), ("UINT3", np.arange(8)), ("BIPOLAR", [-1, 1]),
        ("TERNARY", [-1, 0, 1]), ("FIXED<6,3>", np.arange(-32, 32) / 8), ("BINARY", [0, 1]),
    ],
)  # fmt: skip
def test_the_models_type_of_the_input_is_enough(kind, numbers):
    head = [("Add", ["one"], {}), ("Div", ["two"], {})]
    X = np.random.default_rng(0).choice(numbers, (BATCH, 3)).astype(np.float32)
    for each in (head, []):
        model = passed_on(each, CONSTANTS, input_type=kind)
        predictor = from_qonnx(model)
        assert (predictor.preparation is None) == (kind != "BIPOLAR")
        assert n_differing(predictor, X, executor(model, X)) == 0


def test_integers_may_be_quantized_anew():
    head = [("Quant", ["two", "zero", "three"], ROUND)]
    model = passed_on(head, CONSTANTS, input_type="INT6")
    X = np.random.default_rng(0).integers(-32, 32, (BATCH, 3)).astype(np.float32)
    assert n_differing(from_qonnx(model), X, executor(model, X)) == 0


REFUSED = {
    "neither rises nor falls": (
        [("Abs", [], {}), ("Quant", ["third", "zero", "three"], ROUND)],
        r"node n0 \(Abs\) is in front of the input's quantizer",
    ),
    "divides by the input": (
        [("Div", ["one", "@"], {}), ("Quant", ["third", "zero", "three"], ROUND)],
        r"node n0 \(Div\) is in front of",
    ),
    "not quantized": ([("Relu", [], {})], r"the input goes to n0 \(Relu\) without a quantizer"),
    "no steps of one width": (
        [("Quant", ["third", "zero", "three"], ROUND), ("Exp", [], {})],
        r"values behind node n1 \(Exp\), feature 0, are no steps of one width",
    ),
    "falls and rises": (
        [("Quant", ["third", "zero", "three"], ROUND), ("Abs", [], {})],
        r"values behind node n1 \(Abs\) neither rise nor fall",
    ),
    "infinite": (
        [("BipolarQuant", ["one"], {}), ("Mul", ["huge"], {}), ("Mul", ["huge"], {})],
        r"what node n2 \(Mul\) gives of the input is not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_input_that_no_client_can_quantize_names_the_node(name):
    head, message = REFUSED[name]
    with pytest.raises(UnsupportedModuleError, match=message):
        from_qonnx(passed_on(head, {**CONSTANTS, "huge": 1e30}))


def test_a_type_of_too_many_values_is_refused():
    with pytest.raises(UnsupportedModuleError, match="type has 16777216 values"):
        from_qonnx(passed_on([], CONSTANTS, input_type="INT24"))
