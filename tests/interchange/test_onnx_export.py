"""Export to ONNX: ONNX Runtime computes the graph's own integers, on every row."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from core_graphs import graph_parts, random_features, random_parts
from hypothesis import given
from hypothesis import strategies as st
from samples import fitted, load

from cipherfit import IntegerGraph
from cipherfit.exceptions import (
    CipherfitError,
    InvalidParameterError,
    MissingDependencyError,
    ProofError,
)
from cipherfit.interchange.onnx_export import MINIMUM_OPSET, to_onnx

DATA = ["iris", "wine", "breast_cancer", "digits", "diabetes"]
ALL_OPTIMIZATIONS = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
NO_OPTIMIZATIONS = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
PARTS = random_parts(0)
GRAPH = IntegerGraph.from_layers(**PARTS)
X = random_features(PARTS, 50).astype(np.float32)


def run_onnx(model, features, optimizations=ALL_OPTIMIZATIONS):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = optimizations
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["outputs", "accumulators"], {"X": features})


def assert_onnx_is_graph(graph, features, **options):
    """Outputs and accumulators are the same numbers, optimized by the runtime or not."""
    features = np.asarray(features, dtype=np.float32)
    model = to_onnx(graph, **options)
    onnx.checker.check_model(model, full_check=True)
    expected = graph.simulate(graph.quantize(features))
    for optimizations in (ALL_OPTIMIZATIONS, NO_OPTIMIZATIONS):
        outputs, accumulators = run_onnx(model, features, optimizations)
        assert (outputs.dtype, accumulators.dtype) == (np.float64, np.int64)
        np.testing.assert_array_equal(accumulators, expected)
        np.testing.assert_array_equal(outputs, graph.run(features))


def linear_graph(scale, zero_point, n_bits, weights=None, offset=None):
    """One linear layer, by default one that hands its codes on."""
    n_features = len(scale)
    weights = np.eye(n_features, dtype=np.int64) if weights is None else np.array(weights)
    n_outputs = len(weights)
    offset = np.zeros(n_outputs, dtype=np.int64) if offset is None else np.array(offset)
    return IntegerGraph.from_layers(
        input={"scale": scale, "zero_point": zero_point, "n_bits": n_bits},
        layers=[{"kind": "linear", "weights": weights, "offset": offset}],
        output={"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def wide_parts(bits, seed=0):
    """16-bit codes, and accumulators of that many bits before and after a rounding lookup."""
    parts = random_parts(seed, (5, 4, 3), n_bits=16, weight=2 ** (bits - 19), lsbs=bits - 12)
    rng = np.random.default_rng(seed)
    for layer in parts["layers"]:
        if layer["kind"] == "lookup":
            layer["tables"] = [rng.integers(0, 2**16, len(table)) for table in layer["tables"]]
    return parts


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("name", DATA)
def test_onnx_is_the_graph_on_every_row_of_real_data(name, n_layers):
    assert_onnx_is_graph(fitted(name, n_layers).graph_, load(name)[0])


@given(graph_parts(), st.sampled_from([1, 2, 65]))
def test_onnx_is_the_graph_for_any_graph(parts, rows):
    graph = IntegerGraph.from_layers(**parts)
    assert_onnx_is_graph(graph, random_features(parts, rows))


@given(graph_parts())
def test_onnx_is_each_half_of_a_graph_that_is_cut(parts):
    graph = IntegerGraph.from_layers(**parts)
    X = random_features(parts, 65)
    for n in range(1, len(parts["layers"]) // 2 + 1):
        client, server = graph.split(n)
        assert_onnx_is_graph(client, X)
        assert_onnx_is_graph(server, client.run(X))
        assert_onnx_is_graph(server, np.linspace(-3, 20, 7)[:, None].repeat(server.n_features, 1))


@pytest.mark.parametrize("bits", [20, 32, 40, 50, 56, 59])
@pytest.mark.parametrize("seed", range(3))
def test_onnx_is_the_graph_for_wide_codes_and_accumulators(bits, seed):
    parts = wide_parts(bits, seed)
    graph = IntegerGraph.from_layers(**parts)
    assert graph.prove().max_accumulator_bits >= bits - 3
    assert_onnx_is_graph(graph, random_features(parts, 200, seed))


def sum_type(graph):
    (weights,) = (tensor for tensor in to_onnx(graph).graph.initializer if tensor.name == "weights")
    return weights.data_type


def test_sums_are_integers_just_where_doubles_would_round():
    rows = np.array([[0, 0], [65535, 65535], [65534, 1], [1, 65535]])
    for bits, dtype in [(36, onnx.TensorProto.DOUBLE), (37, onnx.TensorProto.INT64)]:
        odd = 2**bits + 1
        graph = linear_graph([1.0, 1.0], [0, 0], 16, [[odd, 1], [-odd, -1]], [-7, 7])
        assert sum_type(graph) == dtype
        assert_onnx_is_graph(graph, rows)
    # Doubles can't hold these accumulators, which differ in their last bit.
    accumulators = run_onnx(to_onnx(graph), np.float32([[65535, 0], [65535, 1]]))[1]
    assert accumulators[1, 0] - accumulators[0, 0] == 1


def test_accumulators_may_reach_61_bits_of_either_sign():
    graph = linear_graph([1.0, 1.0], [0, 0], 1, [[2**61, 0], [-(2**60), -(2**60)]], [0, 0])
    assert_onnx_is_graph(graph, [[0, 0], [0, 1], [1, 0], [1, 1]])


def test_a_large_offset_may_bring_large_sums_back():
    graph = linear_graph([1.0], [0], 1, [[2**62 - 1]], [-(2**61) + 1])
    assert_onnx_is_graph(graph, [[0], [1]])


def test_partial_sums_beyond_64_bits_are_refused():
    parts = random_parts(0, (1, 1, 1), lsbs=0)
    lookup, head = parts["layers"][1:]
    lookup["tables"] = [np.full_like(table, 4) for table in lookup["tables"]]
    head.update(weights=np.array([[2**61]]), offset=np.array([-(2**63)]))
    graph = IntegerGraph.from_layers(**parts)
    with pytest.raises(ProofError, match=r"layer 2, neuron 0: partial sums .* 9\.22e\+18") as info:
        to_onnx(graph)
    assert (info.value.layer, info.value.neuron) == (2, 0)


@pytest.mark.parametrize("n_bits", [1, 3, 8, 16])
def test_features_at_ties_round_half_to_even(n_bits):
    halves = np.arange(-9, 2 ** min(n_bits + 1, 10) + 9) / 2
    features = np.stack([halves, halves * 0.25, halves * 3], axis=1)
    features = np.concatenate([np.nextafter(np.float32(features), s) for s in (-1e9, 1e9)])
    for rows in (features, np.stack([halves, halves * 0.25, halves * 3], axis=1)):
        for zero_point in ([0, 0, 0], [1, -1, 2], [-5, 6, 7]):
            assert_onnx_is_graph(linear_graph([1.0, 0.25, 3.0], zero_point, n_bits), rows)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
       st.floats(0, exclude_min=True, allow_infinity=False),
       st.integers(-(2**50), 2**50), st.integers(1, 16))  # fmt: skip
def test_any_feature_scale_and_zero_point_give_the_code(values, scale, zero_point, n_bits):
    graph = linear_graph([scale], [zero_point], n_bits)
    assert_onnx_is_graph(graph, np.reshape(values, (-1, 1)))


@pytest.mark.parametrize("scale", [1.0, 0.1, 5e-324, 1e-300, 1e30, 1e300])
@pytest.mark.parametrize("zero_point", [0, 3, -3, 2**40, 2**50, -(2**50)])
def test_huge_features_and_zero_points_saturate_alike(scale, zero_point):
    largest = float(np.finfo(np.float32).max)
    values = [0.0, -0.0, 1e-45, 1e30, -1e30, largest, -largest, 65535.5, -0.5, 2.0**50, -(2.0**50)]
    assert_onnx_is_graph(linear_graph([scale], [zero_point], 16), np.reshape(values, (-1, 1)))


def test_single_codes_are_told_apart_at_the_largest_zero_point():
    steps = 2.0**50 - np.linspace(0, 65535, 64)
    graph = linear_graph(2.0**20 / steps, np.full(64, 2**50), 16)
    features = np.full((1, 64), -(2.0**20))
    assert len(np.unique(graph.quantize(features))) == 64
    assert_onnx_is_graph(graph, features)


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_any_number_of_rows_is_taken(rows):
    assert_onnx_is_graph(GRAPH, random_features(PARTS, rows))


def test_opsets_from_the_oldest_on_give_the_same():
    # ONNX Runtime learns a new operator set months after onnx defines it.
    for opset in range(MINIMUM_OPSET, min(onnx.defs.onnx_opset_version(), 23) + 1):
        model = to_onnx(GRAPH, opset=opset)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
        assert_onnx_is_graph(GRAPH, X, opset=opset)


def test_every_opset_of_the_installed_onnx_is_valid():
    for opset in range(MINIMUM_OPSET, onnx.defs.onnx_opset_version() + 1):
        onnx.checker.check_model(to_onnx(GRAPH, opset=opset), full_check=True)


@pytest.mark.parametrize("opset", [MINIMUM_OPSET - 1, 0, -1, 10**6, 17.5, "17", None])
def test_other_opsets_are_refused(opset):
    with pytest.raises(InvalidParameterError, match=rf"opset={opset!r} must be .* \[13, \d+\]"):
        to_onnx(GRAPH, opset=opset)


def test_all_operators_are_standard_ones():
    model = to_onnx(IntegerGraph.from_layers(**wide_parts(40)))
    assert model.opset_import[0].version == 17
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {node.op_type for node in model.graph.node} <= standard


def test_the_model_names_its_graph_its_maker_and_its_shapes():
    model = to_onnx(GRAPH)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "cipherfit_digest": GRAPH.digest
    }
    assert (model.producer_name, bool(model.producer_version)) == ("cipherfit", True)
    assert model.doc_string
    session = onnxruntime.InferenceSession(model.SerializeToString())
    described = [*session.get_inputs(), *session.get_outputs()]
    assert [(value.name, value.type, value.shape) for value in described] == [
        ("X", "tensor(float)", ["n_samples", 6]),
        ("outputs", "tensor(double)", ["n_samples", 3]),
        ("accumulators", "tensor(int64)", ["n_samples", 3]),
    ]
    assert session.get_modelmeta().custom_metadata_map["cipherfit_digest"] == GRAPH.digest


def test_equal_graphs_give_equal_files():
    copy = IntegerGraph.from_bytes(GRAPH.to_bytes())
    assert to_onnx(GRAPH).SerializeToString() == to_onnx(copy).SerializeToString()


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cipherfit\[onnx\]'") as info:
        to_onnx(GRAPH)
    assert isinstance(info.value, CipherfitError)
    assert isinstance(info.value, ImportError)
