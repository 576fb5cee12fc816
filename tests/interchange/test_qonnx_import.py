"""QONNX models become graphs that compute what QONNX's own executor computes."""

from __future__ import annotations

import sys
from importlib import resources

import numpy as np
import onnx
import pytest

import cipherfit
from cipherfit import from_qonnx
from cipherfit.exceptions import (
    CipherfitWarning,
    InvalidInputError,
    InvalidParameterError,
    MissingDependencyError,
    ProofError,
    UnsupportedModuleError,
)

pytest.importorskip("qonnx")
pytest.importorskip("brevitas")

from qonnx_models import BATCH, executor, exported, made, n_differing

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("error::cipherfit.exceptions.CipherfitWarning"),
]


def perceptron(fixed_point):
    import brevitas.nn as qnn
    from brevitas.quant import (
        Int8ActPerTensorFixedPoint,
        Int8ActPerTensorFloat,
        Int8WeightPerChannelFloat,
        Int8WeightPerTensorFixedPoint,
        Uint8ActPerTensorFixedPoint,
        Uint8ActPerTensorFloat,
    )
    from torch import nn

    signed, unsigned, weights = (
        (Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint)
        if fixed_point
        else (Int8ActPerTensorFloat, Uint8ActPerTensorFloat, Int8WeightPerChannelFloat)
    )
    return nn.Sequential(
        qnn.QuantIdentity(bit_width=5, act_quant=signed, return_quant_tensor=True),
        qnn.QuantLinear(7, 9, bias=True, weight_bit_width=3, weight_quant=weights),
        *([] if fixed_point else [nn.BatchNorm1d(9)]),
        qnn.QuantReLU(bit_width=4, act_quant=unsigned, return_quant_tensor=True),
        qnn.QuantLinear(9, 6, bias=True, weight_bit_width=4, weight_quant=weights),
        qnn.QuantTanh(bit_width=3, return_quant_tensor=True),
        qnn.QuantLinear(6, 3, bias=True, weight_bit_width=4, weight_quant=weights),
    )


def convolutional():
    import brevitas.nn as qnn
    from torch import nn

    return nn.Sequential(
        qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(1, 3, 3, padding=1, bias=True, weight_bit_width=3),
        nn.BatchNorm2d(3),
        qnn.QuantReLU(bit_width=3, return_quant_tensor=False),
        nn.AvgPool2d(2),
        qnn.QuantConv2d(3, 4, 3, groups=1, bias=False, weight_bit_width=4),
        qnn.QuantHardTanh(bit_width=4, min_val=-1.0, max_val=1.0, return_quant_tensor=False),
        nn.Flatten(),
        qnn.QuantLinear(4, 5, bias=True, weight_bit_width=4),
        nn.Softmax(dim=1),
    )


def test_a_brevitas_network_of_powers_of_two_gives_the_same_integers(tmp_path):
    path = exported(perceptron(fixed_point=True), (7,), tmp_path / "model.onnx")
    predictor = from_qonnx(path)
    X = (2 * np.random.default_rng(0).normal(size=(20 * BATCH, 7))).astype(np.float32)
    assert n_differing(predictor, X, executor(path, X)) == 0
    assert predictor.graph.n_lookups == 15
    assert predictor.predict(X).shape == (len(X), 3)


@pytest.mark.parametrize("name", ["perceptron", "convolutional"])
def test_a_brevitas_network_of_any_scales_gives_the_same_integers_where_it_is_imported(
    name, tmp_path
):
    module, shape = (
        (perceptron(fixed_point=False), (7,))
        if name == "perceptron"
        else (convolutional(), (1, 6, 6))
    )
    path = exported(module, shape, tmp_path / "model.onnx")
    predictor = from_qonnx(path)
    rows = (2 * np.random.default_rng(0).normal(size=(10 * BATCH, *shape))).astype(np.float32)
    outputs = predictor.predict(rows)
    # One code less or more moves an output by far more.
    expected = executor(path, rows)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    if name == "convolutional":
        assert [step.name for step in predictor.post_processing] == ["softmax"]


def test_classes_and_files(tmp_path):
    path = exported(convolutional(), (1, 6, 6), tmp_path / "model.onnx")
    predictor = from_qonnx(path, classes=list("abcde"))
    rows = np.random.default_rng(1).normal(size=(BATCH, 1, 6, 6)).astype(np.float32)
    expected = executor(path, rows)
    assert predictor.predict(rows).tolist() == np.array(list("abcde"))[expected.argmax(1)].tolist()
    np.testing.assert_allclose(predictor.predict_proba(rows), expected, atol=1e-5)
    cipherfit.save(predictor, tmp_path / "m")
    loaded = cipherfit.load(tmp_path / "m")
    assert np.array_equal(loaded.predict_proba(rows), predictor.predict_proba(rows))
    with pytest.raises(InvalidParameterError, match="has 2 labels, and the model's outputs stand"):
        from_qonnx(path, classes=[0, 1])
    with pytest.raises(InvalidInputError, match=r"Expected 2D array|give rows of shape"):
        predictor.predict(rows[..., 1:])
    rows[3, 0, 1, 2] = np.nan
    with pytest.raises(InvalidInputError, match="row 3"):
        predictor.predict(rows)


RNG = np.random.default_rng(0)
CONSTANTS = {
    "s": 0.25, "half": 0.5, "zero": 0.0, "two": 2.0, "four": 4.0, "eight": 8.0,
    "W": RNG.integers(-3, 4, (4, 5)) * 0.125, "V": RNG.integers(-3, 4, (5, 3)) * 0.5,
    "b": RNG.normal(size=5),
}  # fmt: skip
SIGNED = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
UNSIGNED = {"signed": 0, "narrow": 0, "rounding_mode": "ROUND"}
INPUT = ("Quant", ["s", "zero", "four"], SIGNED)


def rows(n=4 * BATCH, width=4):
    return (1.5 * np.random.default_rng(2).normal(size=(n, width))).astype(np.float32)


def check_same(model, X):
    predictor = from_qonnx(model)
    assert n_differing(predictor, X, executor(model, X)) == 0
    return predictor.graph


@pytest.mark.parametrize(
    "mode", ["ROUND", "HALF_EVEN", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]
)
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
def test_every_rounding_mode_and_range_of_a_hidden_quantizer(mode, narrow, signed):
    hidden = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    check_same(
        made(
            [
                INPUT, ("MatMul", ["W"], {}), ("Add", ["b"], {}),
                ("Quant", ["half", "zero", "four"], hidden), ("MatMul", ["V"], {}),
            ],
            CONSTANTS,
        ),
        rows(),
    )  # fmt: skip


HIDDEN = {
    "bipolar": [("BipolarQuant", ["half"], {})],
    "thresholds": [
        ("MultiThreshold", ["T"], {"out_dtype": "UINT2", "out_scale": 0.5, "out_bias": -1.0})
    ],
    "truncated": [
        ("Quant", ["s", "zero", "eight"], SIGNED),
        ("Trunc", ["s", "zero", "eight", "four"], {"rounding_mode": "FLOOR"}),
    ],
    "scaled afterwards": [("Quant", ["half", "zero", "four"], SIGNED), ("Mul", ["channels"], {})],
    "not monotone": [("Abs", [], {}), ("Quant", ["half", "zero", "two"], UNSIGNED)],
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_lies_between_two_layers_is_a_table(name, rng):
    constants = {
        **CONSTANTS,
        "T": np.sort(rng.normal(size=(5, 3)), axis=1),
        "channels": [0.5, 0.25, 1.0, 2.0, 0.5],
    }
    nodes = [INPUT, ("MatMul", ["W"], {}), ("Add", ["b"], {}), *HIDDEN[name], ("MatMul", ["V"], {})]
    graph = check_same(made(nodes, constants), rows())
    assert graph.n_lookups == 5


def test_an_input_of_integers_needs_no_quantizer():
    nodes = [
        ("MatMul", ["W"], {}), ("Quant", ["half", "zero", "four"], SIGNED), ("MatMul", ["V"], {}),
    ]  # fmt: skip
    X = np.random.default_rng(0).integers(-8, 8, (BATCH, 4)).astype(np.float32)
    check_same(made(nodes, CONSTANTS, input_type="INT4"), X)


def test_shapes_pooling_and_convolutions_are_linear(rng):
    constants = {
        **CONSTANTS, "K": rng.integers(-3, 4, (2, 1, 3, 3)) * 0.25, "k": [0.5, -0.25],
        "shape": [BATCH, 1, 6, 6], "U": rng.integers(-3, 4, (8, 3)) * 1.0,
    }  # fmt: skip
    nodes = [
        ("Quant", ["s", "zero", "four"], SIGNED), ("Reshape", ["shape"], {}),
        ("Conv", ["K", "k"], {"pads": [1, 1, 0, 0], "strides": [1, 1], "dilations": [1, 1]}),
        ("Relu", [], {}), ("Quant", ["half", "zero", "four"], UNSIGNED),
        ("AveragePool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Flatten", [], {"axis": 1}), ("MatMul", ["U"], {}), ("Mul", ["two"], {}),
    ]  # fmt: skip
    graph = check_same(made(nodes, constants, shape=(36,)), rows(width=36))
    assert graph.n_lookups == 2 * 25


REFUSED = {
    "float input": ([("MatMul", ["W"], {})], r"the input goes to n0 \(MatMul\)"),
    "float weights": ([INPUT, ("MatMul", ["F"], {})], r"of node n1 \(MatMul\), neuron \d, are"),
    "no quantizer": (
        [INPUT, ("MatMul", ["W"], {}), ("Sigmoid", [], {}), ("MatMul", ["V"], {})],
        r"values behind node n2 \(Sigmoid\), neuron 0",
    ),
    "other functions": (
        [INPUT, ("MatMul", ["W"], {}), ("Softmax", [], {}), ("MatMul", ["V"], {})],
        r"node n2 \(Softmax\) can't be imported: Softmax can only be the last node",
    ),
    "largest of a window": (
        [INPUT, ("Reshape", ["shape"], {}), ("MaxPool", [], {"kernel_shape": [2, 2]}),
         ("Flatten", [], {}), ("MatMul", ["V"], {})],
        r"node n2 \(MaxPool\) can't be imported: pool by AveragePool",
    ),
    "weights first": (
        [INPUT, ("MatMul", ["F", "@"], {})],
        r"node n1 \(MatMul\) has no constant, v0, where weights belong",
    ),
    "padded by ones": (
        [INPUT, ("Pad", ["shape", "one"], {}), ("MatMul", ["V"], {})],
        r"up to n2 \(MatMul\) are not linear: they mix rows, or pad",
    ),
    "infinite": (
        [INPUT, ("MatMul", ["W"], {}), ("Log", [], {}), ("Quant", ["s", "zero", "four"], SIGNED),
         ("MatMul", ["V"], {})],
        r"n3 \(Quant\) gives behind node n1 \(MatMul\) is NaN or infinity",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_integers_reproduce_is_named(name, rng):
    nodes, message = REFUSED[name]
    constants = {**CONSTANTS, "one": 1.0, "F": rng.normal(size=(4, 5))}
    constants["shape"] = [0, 0, 0, 1] if "Pad" in str(nodes) else [BATCH, 1, 2, 2]
    with pytest.raises(UnsupportedModuleError, match=message):
        from_qonnx(made(nodes, constants, outputs=5))


SHIPPED = {
    "bsd300x3-espcn/nn_resize/quant_model.onnx": r"node Resize_42 \(Resize\) can't be imported",
    "bsd300x3-espcn/subpixel/quant_model.onnx": "the input goes to Conv_5",
    "eltwise_chanlast_testcase.onnx": "the input has 150528 values",
    "floatquant_exec/qonnx_act_weight_fp8.onnx": r"\(FloatQuant\) can't be imported: quantize to",
    "matmul_update/sdp.onnx": "the model has 3 inputs and 1 outputs",
    "mnist-conv/model.onnx": r"node Pooling66 \(MaxPool\) can't be imported: pool by AveragePool",
    "residual_block_clean.onnx": r"node Add_0 \(Add\) joins branches, .* without skip",
}


@pytest.mark.parametrize("name", SHIPPED)
def test_models_that_qonnx_ships_are_refused_by_what_is_in_the_way(name):
    with pytest.raises(UnsupportedModuleError, match=SHIPPED[name]):
        from_qonnx(resources.files("qonnx") / "data" / "onnx" / name)


def test_accumulators_are_pruned_on_request_and_what_that_loses_is_told():
    nodes = [
        INPUT, ("MatMul", ["W"], {}), ("Relu", [], {}),
        ("Quant", ["half", "zero", "four"], UNSIGNED), ("MatMul", ["V"], {}),
    ]  # fmt: skip
    model, X = made(nodes, CONSTANTS), rows(BATCH)
    whole = from_qonnx(model)
    assert whole.graph.prove().max_accumulator_bits > 6
    with pytest.warns(
        CipherfitWarning, match=r"=6, \d+ of \d+ weights .* outputs' variance"
    ) as told:
        pruned = from_qonnx(model, X, n_accum_bits=6)
    assert told[0].filename == __file__
    assert pruned.graph.prove().max_accumulator_bits <= 6
    with pytest.warns(CipherfitWarning, match="of the rows of X get another label"):
        from_qonnx(model, X, n_accum_bits=6, classes=["a", "b", "c"])
    assert from_qonnx(model, X, n_accum_bits=20).graph == whole.graph
    with pytest.raises(InvalidParameterError, match="give rows X"):
        from_qonnx(model, n_accum_bits=6)


def test_what_pruning_loses_is_told_behind_a_preparation_too():
    nodes = [
        ("Quant", ["third", "zero", "four"], SIGNED), ("MatMul", ["W"], {}), ("MatMul", ["V"], {}),
    ]  # fmt: skip
    model, X = made(nodes, {**CONSTANTS, "third": 1 / 3}), rows(BATCH)
    whole = from_qonnx(model, X, n_accum_bits=20)
    assert whole.preparation is not None
    with pytest.warns(CipherfitWarning, match="of the outputs' variance on X is lost") as told:
        pruned = from_qonnx(model, X, n_accum_bits=7)
    real, found = executor(model, X), pruned.predict(X)
    lost = (((found - real) ** 2).mean(axis=0) / real.var(axis=0)).max()
    assert f"{lost:.2%}" in str(told[0].message)


def test_lookups_that_would_be_too_wide_say_how_wide(rng):
    constants = {**CONSTANTS, "W": rng.integers(2**10, 2**12, (4, 5)), "V": np.ones((5, 3))}
    nodes = [INPUT, ("MatMul", ["W"], {}), ("BipolarQuant", ["half"], {}), ("MatMul", ["V"], {})]
    with pytest.raises(ProofError, match=r"behind node n1 \(MatMul\) accumulators have 1[78] bits"):
        from_qonnx(made(nodes, constants))


def test_without_qonnx_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "qonnx.core.modelwrapper", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cipherfit\[qonnx\]'"):
        from_qonnx("model.onnx")


def test_a_model_proto_and_its_path_are_the_same(tmp_path):
    nodes = [INPUT, ("MatMul", ["W"], {})]
    model = made(nodes, CONSTANTS, outputs=5)
    onnx.save(model.model, tmp_path / "m.onnx")
    graphs = [from_qonnx(each).graph for each in (model, model.model, tmp_path / "m.onnx")]
    assert graphs[0] == graphs[1] == graphs[2]


def test_a_network_of_convolutions_that_qonnx_ships_is_imported_for_small_images():
    from qonnx.core.datatype import DataType
    from qonnx.core.modelwrapper import ModelWrapper

    path = resources.files("qonnx") / "data/onnx/bsd300x3-espcn/subpixel/quant_model.onnx"
    model = ModelWrapper(str(path))
    shape = (100, 3, 2, 2)
    del model.graph.value_info[:]
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(
        UnsupportedModuleError, match=r"Conv_5 \(Conv\) without a quantizer; .*set_tensor_dat"
    ):
        from_qonnx(model)
    model.set_tensor_datatype(model.graph.input[0].name, DataType["UINT4"])
    predictor = from_qonnx(model, ties="nearest")
    X = np.random.default_rng(0).integers(0, 16, shape).astype(np.float32)
    expected = executor(model, X)
    assert len(np.unique(expected)) > 50
    assert n_differing(predictor, X, expected) == 0
