"""Whatever is linear between two quantizers becomes one layer, and what is not, a table."""

from __future__ import annotations

import numpy as np
import pytest

from cipherfit import from_qonnx
from cipherfit.exceptions import UnsupportedModuleError

pytest.importorskip("qonnx")

from qonnx_models import BATCH, executor, made, n_differing

RNG = np.random.default_rng(0)
ROUND = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
CONSTANTS = {
    "s": 0.25, "half": 0.5, "zero": 0.0, "two": 2.0, "four": 4.0, "eight": 8.0, "third": 1 / 3,
    "W": RNG.integers(-3, 4, (4, 5)) * 0.125, "V": RNG.integers(-3, 4, (5, 3)) * 0.5,
    "U": RNG.integers(-3, 4, (3, 3)) * 1.0, "b": RNG.normal(size=5),
    "scales": 2.0 ** RNG.integers(-2, 2, 5), "shifts": RNG.normal(size=5),
    "means": RNG.normal(size=5), "variances": [4.0, 1.0, 0.25, 1.0, 4.0],
}  # fmt: skip
INPUT = ("Quant", ["s", "zero", "four"], ROUND)


def rows(n=4 * BATCH, shape=(4,)):
    return (1.5 * np.random.default_rng(2).normal(size=(n, *shape))).astype(np.float32)


def check_same(model, X, **options):
    predictor = from_qonnx(model, **options)
    assert n_differing(predictor, X, executor(model, X)) == 0
    return predictor


@pytest.mark.parametrize(
    "last",
    [
        [("Quant", ["half", "zero", "four"], ROUND)],
        [("Relu", [], {}), ("Quant", ["half", "zero", "four"], ROUND), ("Mul", ["third"], {})],
        [("BipolarQuant", ["third"], {})],
        [("Tanh", [], {}), ("Quant", ["third", "zero", "four"], ROUND), ("Mul", ["two"], {})],
    ],
)
def test_a_model_may_end_in_a_quantizer(last):
    model = made([INPUT, ("MatMul", ["W"], {}), *last], CONSTANTS, outputs=5)
    predictor = check_same(model, rows())
    assert predictor.graph.n_lookups == 5


def test_what_follows_a_quantizer_at_the_end_is_computed_by_the_client():
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Quant", ["half", "zero", "four"], ROUND)]
    model = made([*nodes, ("Softmax", [], {"axis": 1})], CONSTANTS, outputs=5)
    predictor = from_qonnx(model)
    X = rows()
    np.testing.assert_allclose(predictor.predict(X), executor(model, X), rtol=1e-5)


@pytest.mark.parametrize(
    "last",
    [
        [("Mul", ["scales"], {})],
        [("Sub", ["shifts", "@"], {})],
        [("BatchNormalization", ["scales", "shifts", "means", "variances"], {})],
        [("Quant", ["half", "zero", "four"], ROUND), ("Neg", [], {})],
    ],
    ids=["Mul", "Sub", "BatchNormalization", "Neg"],
)
def test_outputs_may_fall_as_sums_rise(last):
    constants = {**CONSTANTS, "scales": np.array([-1, 1, -0.5, 2, -2]) * CONSTANTS["scales"]}
    nodes = [INPUT, ("MatMul", ["W"], {}), *last]
    check_same(made(nodes, constants, outputs=5), rows(), ties="nearest")


def test_a_curve_at_the_end_is_no_straight_line():
    # With sums that are as far below 0 as above, three points of tanh are in line.
    constants = {**CONSTANTS, "I": np.eye(4) * 0.5}
    nodes = [("Quant", ["s", "zero", "four"], {**ROUND, "narrow": 1}), ("MatMul", ["I"], {})]
    for curve, name in ((("Tanh", [], {}), "tanh"), (("Sigmoid", [], {}), "sigmoid")):
        model = made([*nodes, curve], constants, outputs=4)
        predictor = from_qonnx(model)
        assert [step.name for step in predictor.post_processing] == [name]
        np.testing.assert_allclose(predictor.predict(rows()), executor(model, rows()), rtol=1e-5)


def test_what_scales_and_shifts_between_linear_nodes_costs_no_lookups():
    between = [
        ("Add", ["b"], {}), ("Mul", ["half"], {}),
        ("BatchNormalization", ["scales", "shifts", "means", "variances"], {"epsilon": 0.0}),
        ("Sub", ["shifts", "@"], {}), ("Div", ["four"], {}),
    ]  # fmt: skip
    nodes = [INPUT, ("MatMul", ["W"], {}), *between, ("MatMul", ["V"], {})]
    predictor = check_same(made(nodes, CONSTANTS), rows())
    assert predictor.graph.n_lookups == 0
    hidden = [*nodes, ("Quant", ["two", "zero", "four"], ROUND), ("MatMul", ["U"], {})]
    assert check_same(made(hidden, CONSTANTS), rows(), ties="nearest").graph.n_lookups == 3


def test_a_value_times_itself_is_no_scaling():
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Mul", ["@", "@"], {}),
             ("Quant", ["half", "zero", "four"], ROUND), ("MatMul", ["V"], {})]  # fmt: skip
    assert check_same(made(nodes, CONSTANTS), rows()).graph.n_lookups == 5
    assert check_same(made([*nodes[:3], nodes[4]], CONSTANTS), rows()).graph.n_lookups == 5
    with pytest.raises(UnsupportedModuleError, match=r"n2 \(Mul\) follows the last linear layer"):
        from_qonnx(made(nodes[:3], CONSTANTS, outputs=5))


def test_shapes_may_stand_between_a_layer_and_its_quantizer():
    constants = {**CONSTANTS, "shape": [BATCH, 5, 1]}
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Relu", [], {}), ("Reshape", ["shape"], {}),
             ("Quant", ["half", "zero", "four"], ROUND), ("Flatten", [], {}),
             ("MatMul", ["V"], {})]  # fmt: skip
    assert check_same(made(nodes, constants), rows()).graph.n_lookups == 5


POOLS = {
    "AveragePool": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "GlobalAveragePool": {},
    "ReduceMean": {"axes": [2, 3], "keepdims": 0},
    "SpaceToDepth": {"blocksize": 2},
}


@pytest.mark.parametrize("name", POOLS)
def test_images_are_pooled_as_the_executor_does(name, rng):
    width = {"AveragePool": 8, "SpaceToDepth": 32}.get(name, 2)
    constants = {
        **CONSTANTS, "K": rng.integers(-3, 4, (2, 1, 3, 3)) * 0.25,
        "U": rng.integers(-3, 4, (width, 3)) * 1.0,
    }  # fmt: skip
    nodes = [
        ("Quant", ["s", "zero", "four"], ROUND), ("Conv", ["K"], {"kernel_shape": [3, 3]}),
        ("Relu", [], {}), ("Quant", ["half", "zero", "four"], ROUND), (name, [], POOLS[name]),
        ("Flatten", [], {"axis": 1}), ("MatMul", ["U"], {}),
        ("Quant", ["two", "zero", "four"], ROUND),
    ]  # fmt: skip
    check_same(made(nodes, constants, shape=(1, 6, 6)), rows(shape=(1, 6, 6)))


def test_layers_that_are_too_large_say_how_large():
    constants = {**CONSTANTS, "K": np.ones((40, 1, 1, 1))}
    nodes = [INPUT, ("Conv", ["K"], {}), ("Flatten", [], {})]
    message = r"node n1 \(Conv\) is a layer of 2500 inputs and 100000 outputs, so of 250000000"
    with pytest.raises(UnsupportedModuleError, match=message):
        from_qonnx(made(nodes, constants, shape=(1, 50, 50), outputs=100000, batch=1))


def test_neurons_that_never_fire_widen_no_sum():
    constants = {**CONSTANTS, "b": [-100.0, 1.0, 1.0, 100.0, 1.0], "third": 0.375}
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Add", ["b"], {}), ("Relu", [], {}),
             ("Quant", ["third", "zero", "two"], {**ROUND, "signed": 0}),
             ("MatMul", ["V"], {})]  # fmt: skip
    predictor = check_same(made(nodes, constants), rows())
    assert predictor.graph.prove().layers[-1].bits <= 6


def test_values_that_are_no_codes_name_their_node():
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Sigmoid", [], {}), ("MatMul", ["V"], {})]
    with pytest.raises(UnsupportedModuleError, match=r"behind node n2 \(Sigmoid\), neuron 0"):
        from_qonnx(made(nodes, CONSTANTS))


def test_pruned_weights_count_as_zeros_of_signed_inputs():
    # The input is from -4 to 3.75, and what is pruned must be no constant of -4 times a weight.
    weights = np.array([[8.0, 8.0], [8.0, -8.0], [1.0, 1.0], [0.5, 0.5]])
    model = made([INPUT, ("MatMul", ["W"], {})], {**CONSTANTS, "W": weights}, outputs=2)
    X = rows()
    with pytest.warns(UserWarning, match="n_accum_bits=9"):
        pruned = from_qonnx(model, X, n_accum_bits=9)
    kept = np.where(np.abs(weights) >= 1, weights, 0.0)
    alone = made([INPUT, ("MatMul", ["W"], {})], {**CONSTANTS, "W": kept}, outputs=2)
    np.testing.assert_allclose(pruned.predict(X), executor(alone, X), atol=1e-6)


def test_linear_nodes_without_a_quantizer_between_them_are_told_from_weights_without_a_scale(rng):
    constants = {**CONSTANTS, "scales": rng.uniform(0.5, 1.0, 5)}
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Mul", ["scales"], {}), ("MatMul", ["V"], {})]
    message = (
        r"nodes n1 \(MatMul\) and n3 \(MatMul\) are linear, .* quantize what n1 \(MatMul\) gives"
    )
    with pytest.raises(UnsupportedModuleError, match=message):
        from_qonnx(made(nodes, constants))
    with pytest.raises(UnsupportedModuleError, match=r"node n1 \(MatMul\), neuron \d, .* by Quant"):
        from_qonnx(made(nodes[:2], {**constants, "W": rng.normal(size=(4, 5))}, outputs=5))
