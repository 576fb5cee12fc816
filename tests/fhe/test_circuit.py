"""Concrete's circuits: as wide as proven, and what decrypts is what was simulated."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from concrete import fhe
from samples import fitted, load

from cipherfit import IntegerGraph, NeuralNetClassifier, compile_graph, run_encrypted
from cipherfit.exceptions import CompilationError, InvalidParameterError
from cipherfit.fhe.circuit import check_widths

pytestmark = pytest.mark.fhe

# Exact lookups of at most 6 bits, which are quick to run.
EXACT = {"n_a_bits": 2, "n_w_bits": 3, "n_accum_bits": 6}


def model_on(name, n_layers=2, **options):
    """Return a model that the test may change."""
    return copy.deepcopy(fitted(name, n_layers, n_hidden=4, **{**EXACT, **options}))


def graph_of(*layers, n_bits=2):
    """Build a graph from (weights, offset, lookup) by hand; a lookup's low may be left out."""
    n_features = np.shape(layers[0][0])[1]
    parts = []
    for weights, offset, lookup in layers:
        linear = {"kind": "linear", "weights": np.array(weights), "offset": np.array(offset)}
        parts.append(linear)
        if lookup is not None:
            parts.append({"kind": "lookup", "lsbs": 0, "exact": True, **lookup})
    n_outputs = len(layers[-1][0])
    return IntegerGraph.from_layers(
        {"scale": np.ones(n_features), "zero_point": np.zeros(n_features, int), "n_bits": n_bits},
        parts,
        {"scale": np.ones(n_outputs), "offset": np.zeros(n_outputs)},
    )


def tables(*rows):
    return [np.array(row) for row in rows]


def adversarial(graph, n=40):
    """Return witnesses of the first layer, corners of the input's cube, and random codes."""
    rng = np.random.default_rng(0)
    top = 2**graph.n_bits - 1
    shape = (n, graph.n_features)
    rows = [*graph.prove().witnesses(), top * rng.integers(0, 2, shape)]
    return np.concatenate([*rows, rng.integers(0, top + 1, shape)]).astype(np.uint16)


HANDMADE = {
    "signed outputs": graph_of(([[1, -2], [-3, 1]], [0, 2], None)),
    "outputs far from zero": graph_of(([[1, 1]], [-40], None)),
    "lookups whose accumulators are signed": graph_of(
        ([[1, -1], [-1, -1]], [5, -7], {
            "low": np.array([2, -13]), "tables": tables(range(7), range(6, -1, -1)),
        }),
        ([[2, -1]], [-3], None),
    ),
    "a lookup that rounds past its top": graph_of(
        # 0..15 in steps of 4, half up: 15 rounds to 16, a fifth step.
        ([[3, 2]], [0], {"low": np.array([0]), "lsbs": 2, "tables": tables([0, 3, 1, 2, 0])}),
        ([[1], [-1]], [0, 0], None),
    ),
    "a lookup that rounds signed accumulators past its top": graph_of(
        ([[-3, -2], [3, 2]], [4, -9], {
            "low": np.array([-11, -9]), "lsbs": 1, "tables": tables(
                [7, 0, 6, 1, 5, 2, 4, 3, 7], [0, 1, 2, 3, 3, 2, 1, 0, 7],
            ),
        }),
        ([[1, 1]], [0], None),
    ),
    "three layers with a table per neuron": graph_of(
        ([[1, 1], [1, -1]], [0, 3], {
            "low": np.array([0, 0]), "tables": tables([3, 0, 2, 0, 1, 0, 3], [0, 1, 2, 3, 2, 1, 0]),
        }),
        ([[1, 2], [-1, 1], [0, 1]], [0, 0, 0], {
            "low": np.array([0, -3, 0]),
            "tables": tables([0, 1, 2, 3, 0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 1, 2, 3], [1, 1, 0, 2]),
        }),
        ([[1, 1, 1], [1, -1, 2]], [0, 0], None),
    ),
    "a neuron without weights": graph_of(
        ([[0, 0], [1, 1]], [3, 0], {"low": np.array([3, 0]), "tables": tables([2], range(7))}),
        ([[1, 1]], [0], None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDMADE)
def test_every_input_of_a_handmade_graph_decrypts_to_its_simulation(name):
    graph = HANDMADE[name]
    codes = np.array(list(product(range(4), repeat=2)), dtype=np.uint16)
    circuit = compile_graph(graph, p_error=1e-7)
    assert np.array_equal(run_encrypted(circuit, codes), graph.simulate(codes))


@pytest.mark.parametrize(
    ("name", "n_layers"), [("iris", 1), ("iris", 3), ("wine", 2), ("diabetes", 2)]
)
def test_decrypted_results_are_the_simulated_integers_on_every_row(name, n_layers):
    model = model_on(name, n_layers)
    X = load(name)[0][::8][:10]
    model.compile(p_error=1e-7, backend="concrete")
    codes = model.quantize_input(X)
    decrypted = run_encrypted(model.fhe_circuit, codes)
    assert np.array_equal(decrypted, model.graph_.simulate(codes))
    assert np.array_equal(model.predict(X[:2], fhe="execute"), model.predict(X[:2]))
    if name != "diabetes":
        assert np.array_equal(model.predict_proba(X[:2], True), model.predict_proba(X[:2]))


def showing_its_lookups(graph):
    """Return the first layer of a graph with tables that tell every index, and those as outputs."""
    parts = graph.to_dict()
    linear, lookup = parts["layers"][:2]
    n_neurons = len(lookup["tables"])
    rng = np.random.default_rng(0)
    lookup["tables"] = [rng.permutation(len(table)) for table in lookup["tables"]]
    shown = {"kind": "linear", "weights": np.eye(n_neurons, dtype=int)}
    return IntegerGraph.from_layers(
        parts["input"],
        [linear, lookup, {**shown, "offset": np.zeros(n_neurons, int)}],
        {"scale": np.ones(n_neurons), "offset": np.zeros(n_neurons)},
    )


@pytest.mark.parametrize("rounding", ["exact", "approximate"])
def test_a_rounded_lookup_reads_its_entry_or_where_it_may_the_one_across_the_threshold(rounding):
    model = model_on("wine", n_accum_bits=7, n_lookup_bits=4, rounding=rounding)
    graph = showing_its_lookups(model.graph_)
    linear, lookup, _ = graph.to_dict()["layers"]
    codes = model.quantize_input(load("wine")[0][::18])
    decrypted = run_encrypted(compile_graph(graph, p_error=1e-7), codes)
    index = np.stack([np.argsort(t)[c] for t, c in zip(lookup["tables"], decrypted.T, strict=True)])
    # How far each accumulator lies above the threshold to the entry below its own.
    steps = codes.astype(int) @ linear["weights"].T + linear["offset"] - lookup["low"]
    assert lookup["lsbs"] == 3
    expected, above = np.divmod(steps + 4, 8)
    moved = index.T - expected
    if rounding == "exact":
        assert not moved.any()
    assert np.isin(moved[above < 4], [-1, 0]).all()
    assert np.isin(moved[above >= 4], [0, 1]).all()
    assert not moved[(above >= 2) & (above < 6)].any()


def test_approximate_rounding_keeps_the_predicted_digit():
    model = copy.deepcopy(fitted("digits", n_hidden=10, epochs=40))
    assert not model.graph_.to_dict()["layers"][1]["exact"]
    X, y = load("digits")
    assert model.score(X, y) > 0.93
    model.compile(p_error=1e-3)  # so that hardly anything but rounding differs, which is by chance
    rows = X[::72]
    assert len(rows) == 25
    assert np.mean(model.predict(rows, fhe="execute") == model.predict(rows)) >= 0.9


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_concretes_own_simulation_is_ours_on_adversarial_rows(n_layers):
    for name in ("iris", "digits"):
        model = model_on(name, n_layers, n_accum_bits=7, n_lookup_bits=5, rounding="exact")
        graph = model.graph_
        circuit = model.compile(use_virtual_lib=True, p_error=1e-12)
        codes = adversarial(graph)
        simulated = np.array([circuit.simulate(row) for row in codes.astype(np.int64)])
        assert np.array_equal(simulated, graph.simulate(codes))


@pytest.mark.parametrize(("name", "n_layers"), [("iris", 1), ("digits", 2), ("wine", 3)])
def test_circuits_are_as_wide_as_proven_whatever_concrete_saw(name, n_layers):
    model = model_on(name, n_layers)
    circuit = model.compile(use_virtual_lib=True)
    widths = {}
    for node in circuit.graph.graph.nodes:
        if node.properties.get("name") == "add":
            widths[node.tag] = node.output.dtype.bit_width - node.output.dtype.is_signed
    proofs = model.graph_.prove().layers
    assert sorted(widths) == [f"layer{index}" for index in range(len(proofs))]
    for index, proof in enumerate(proofs):
        span = int((np.asarray(proof.high) - np.asarray(proof.low)).max())
        assert 2 ** widths[f"layer{index}"] - 1 >= span


NARROW = graph_of(([[1, 1]], [0], None))


@pytest.mark.parametrize(
    ("wide", "message"),
    [
        (graph_of(([[9, 9]], [0], None)), "3 bits at layer0, where the proof asks for 6"),
        (graph_of(([[1, 1]], [0], None), n_bits=5), "at input, where the proof asks for 5"),
        (graph_of(([[1, -1]], [0], None)), "unsigned integers at layer0"),
        (HANDMADE["three layers with a table per neuron"], "0 bits at layer1"),
    ],
    ids=["accumulator", "input", "sign", "missing layer"],
)
def test_a_circuit_narrower_than_the_proof_is_refused(wide, message):
    circuit = compile_graph(NARROW, simulation_only=True)
    check_widths(circuit, NARROW)
    with pytest.raises(CompilationError, match=message):
        check_widths(circuit, wide)


@pytest.mark.parametrize("p_error", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_p_error_must_be_a_probability_strictly_between_0_and_1(p_error):
    with pytest.raises(InvalidParameterError, match="p_error"):
        compile_graph(NARROW, p_error=p_error)
    with pytest.raises(ValueError, match="p_error"):
        model_on("iris").compile(p_error=p_error)


def test_wide_accumulators_are_refused_with_what_would_fit():
    wide = {"n_w_bits": 8, "n_a_bits": 8, "n_accum_bits": 20}
    model = model_on("digits", **wide)
    assert model.graph_.prove().max_accumulator_bits > 16
    assert np.isfinite(model.predict_proba(load("digits")[0])).all()
    with pytest.raises(CompilationError, match="module__n_accum_bits at most 16"):
        model.compile()
    assert model.fhe_circuit is None


def summing(bits, n_bits=8):
    """Return a graph without lookups whose widest sum has so many bits."""
    largest = (2**bits - 1) // (4 * (2**n_bits - 1))
    weights = np.array([[1, 1, 1, 1], [-1, 1, -1, 0], [-1, -1, -1, -1]]) * largest
    weights[1, 3] = 1 - largest
    offset = -np.minimum(weights, 0).sum(axis=1) * (2**n_bits - 1)
    return graph_of((weights, offset, None), n_bits=n_bits)


@pytest.mark.parametrize("bits", [17, 20, 25, 33])
@pytest.mark.parametrize("p_error", [None, 0.1])
def test_sums_that_no_lookup_reads_may_be_wide_and_are_exact(bits, p_error):
    graph = summing(bits)
    assert graph.prove().max_accumulator_bits == bits
    circuit = compile_graph(graph, p_error=p_error)
    codes = np.concatenate([adversarial(graph, 10), np.full((1, 4), 255, dtype=np.uint16)])
    assert np.array_equal(run_encrypted(circuit, codes), graph.simulate(codes))
    with pytest.raises(CompilationError, match="where the proof asks"):
        check_widths(compile_graph(summing(bits - 1)), graph)


@pytest.mark.parametrize("bits", [34, 48])
def test_sums_that_are_too_wide_for_concrete_are_told_what_fits(bits):
    with pytest.raises(CompilationError, match=rf"layer 0, whose sums have {bits} bits.*bits=33"):
        compile_graph(summing(bits))


def test_outputs_behind_narrow_lookups_may_be_a_little_wider_than_lookups():
    first = ([[1, 1]], [0], {"low": np.array([0]), "tables": tables([0, 5, 1, 7, 2, 3, 4])})
    fits = graph_of(first, ([[2**14], [-(2**14)]], [0, 7 << 14], None))
    assert fits.prove().max_accumulator_bits == 17
    compile_graph(fits, simulation_only=True)
    with pytest.raises(CompilationError, match=r"layer 1, whose sums have 21 bits.*=17"):
        compile_graph(graph_of(first, ([[2**18]], [0], None)))


def test_a_linear_classifier_at_its_defaults_answers_encrypted_rows_exactly():
    X, y = load("digits")
    model = NeuralNetClassifier(module__n_layers=1, random_state=0).fit(X, y)
    assert model.graph_.prove().max_accumulator_bits > 16
    model.compile()
    assert np.array_equal(model.predict_proba(X[:10], fhe="execute"), model.predict_proba(X[:10]))


def test_every_way_to_ask_for_encrypted_predictions_agrees():
    model = model_on("iris")
    X = load("iris")[0][::30]
    circuit = model.compile(p_error=1e-7)
    assert model.fhe_circuit is circuit
    clear = model.predict(X)
    assert np.array_equal(model.predict(X, execute_in_fhe=True), clear)
    assert np.array_equal(model.predict(X, fhe="execute"), clear)
    assert np.array_equal(model.predict(X, True, fhe="execute"), clear)
    assert np.array_equal(model.predict(X[0], execute_in_fhe=True), clear[:1])
    assert np.array_equal(model.predict(X[0].tolist(), fhe="execute"), clear[:1])
    # Errors are too rare at this p_error to be seen in a few rows.
    assert np.array_equal(model.predict(X, fhe="simulate"), clear)


def test_simulated_predictions_err_as_often_as_the_circuit_may():
    model = model_on("digits")
    X = load("digits")[0]
    clear = model.predict_proba(X)
    model.compile(p_error=0.4, use_virtual_lib=True)
    often = np.mean(model.predict_proba(X, fhe="simulate") != clear)
    model.compile(p_error=0.02, use_virtual_lib=True)
    seldom = np.mean(model.predict_proba(X, fhe="simulate") != clear)
    assert 0 < seldom < 0.1 < often


def test_a_circuit_for_simulation_only_says_that_it_cannot_execute():
    model = model_on("iris")
    X = load("iris")[0]
    model.compile(use_virtual_lib=True)
    assert model.predict(X, fhe="simulate").shape == (150,)
    with pytest.raises(ValueError, match=r".* not yet compiled .*simulation"):
        model.predict(X[:1], fhe="execute")


def test_data_are_not_needed_but_checked_where_given():
    model = model_on("iris")
    X = load("iris")[0]
    bare, seen = (model.compile(data, use_virtual_lib=True) for data in (None, X[:2]))
    assert bare.mlir == seen.mlir
    with pytest.raises(ValueError, match="3 features"):
        model.compile(X[:, :3])


CONFIGURATIONS = {
    "p_error": ({"p_error": 0.03}, None, 0.03),
    "global_p_error": ({"global_p_error": 0.05}, None, 0.05),
    "neither": ({}, None, 0.01),
    "an argument beside": ({}, 0.02, 0.02),
    "an argument over it": ({"p_error": 0.03}, 0.001, 0.001),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_the_configuration_is_respected(case):
    options, argument, expected = CONFIGURATIONS[case]
    configuration = fhe.Configuration(dataflow_parallelize=False, **options)
    model = model_on("iris")
    circuit = model.compile(configuration=configuration, p_error=argument, use_virtual_lib=True)
    reached = circuit.p_error
    if "global_p_error" in options:
        reached = 1 - (1 - circuit.p_error) ** model.graph_.n_lookups
    assert 0.3 * expected < reached <= expected
    assert circuit.configuration.dataflow_parallelize is False
    assert configuration.fhe_execution is True, "the caller's configuration was changed"


def test_artifacts_and_mlir_are_passed_on(tmp_path, capsys):
    model = model_on("iris")
    artifacts = fhe.DebugArtifacts(tmp_path / "artifacts")
    model.compile(compilation_artifacts=artifacts, show_mlir=True, use_virtual_lib=True)
    assert "FHELinalg" in capsys.readouterr().out
    artifacts.export()
    assert any((tmp_path / "artifacts").iterdir())


def compiled_for_simulation(model):
    return model.compile(use_virtual_lib=True)


@pytest.mark.parametrize("again", [lambda copied: copied.fhe_circuit, compiled_for_simulation])
def test_a_copy_of_a_compiled_model_has_the_same_circuit_in_any_thread(again):
    model = model_on("iris")
    compiled_for_simulation(model)
    copied = copy.deepcopy(model)
    assert model.fhe_circuit is not None
    with ThreadPoolExecutor(1) as thread:
        circuit = thread.submit(again, copied).result()
    assert circuit is copied.fhe_circuit is not model.fhe_circuit
    assert circuit.mlir == model.fhe_circuit.mlir


def test_a_refit_forgets_the_circuit():
    model = model_on("iris")
    model.compile(use_virtual_lib=True)
    model.fit(*load("iris"))
    assert model.fhe_circuit is None


def wide_graph(n_bits, n_lookup_bits):
    unit, zeros = np.eye(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    lsbs = n_bits - n_lookup_bits
    n_entries = (2**n_bits - 1 + (2**lsbs >> 1) >> lsbs) + 1
    return IntegerGraph.from_layers(
        {"scale": np.ones(2), "zero_point": zeros, "n_bits": n_bits},
        [
            {"kind": "linear", "weights": unit, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": lsbs, "exact": lsbs == 0,
             "tables": [np.arange(n_entries) % 2] * 2},
            {"kind": "linear", "weights": unit, "offset": zeros},
        ],
        {"scale": np.ones(2), "offset": np.zeros(2)},
    )  # fmt: skip


def test_without_crypto_parameters_the_error_names_the_layer_and_what_compiles():
    # This strategy of Concrete's has no parameters for wide lookups.
    options = {
        "configuration": fhe.Configuration(
            parameter_selection_strategy="v0", dump_artifacts_on_unexpected_failures=False
        ),
        "p_error": 1e-6,
        "warn_of_size": False,
    }
    with pytest.raises(CompilationError, match="layer 0, whose lookups read 12 bits") as caught:
        compile_graph(wide_graph(12, 12), **options)
    named = int(str(caught.value).rpartition("nearest that compiles is module__n_accum_bits=")[2])
    assert 1 <= named < 12
    compile_graph(wide_graph(named, named), **options)
    with pytest.raises(CompilationError, match="nearest"):
        compile_graph(wide_graph(named + 1, named + 1), **options)
