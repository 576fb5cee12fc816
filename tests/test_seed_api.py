"""The seed API, member by member: before fit, after fit, after compile, after refit."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
import skorch
import torch
from concrete import fhe
from samples import load
from torch import nn

import cipherfit
from cipherfit import qnn

NAMES = {
    "MAXIMUM_TLU_BIT_WIDTH",
    "SparseQuantNeuralNetImpl",
    "QuantizedSkorchEstimatorMixin",
    "FixedTypeSkorchNeuralNet",
    "NeuralNetClassifier",
    "NeuralNetRegressor",
}
ESTIMATORS = {"iris": qnn.NeuralNetClassifier, "diabetes": qnn.NeuralNetRegressor}
both = pytest.mark.parametrize("name", ESTIMATORS)


def codes_of_two_rows(quantize, graph):
    """Return how far the codes of a low and a high row are from the least and the largest."""
    rows = np.outer([-1e9, 1e9], np.ones(graph.n_features))
    return np.abs(quantize(rows) - np.outer([0, 2**graph.n_bits - 1], rows[1] > 0)).max(1).tolist()


#: Members that a fitted graph gives, and what each tells of the graph then.
OF_THE_GRAPH = {
    "base_module_to_compile": lambda module, graph: cipherfit.lower(module) == graph,
    "input_quantizers": lambda all_, graph: [q.n_bits for q in all_] == [graph.n_bits],
    "output_quantizers": lambda all_, graph: [len(q.scale) for q in all_] == [graph.n_outputs],
    "onnx_model": lambda model, graph: graph.digest in str(model.metadata_props),
    "quantize_input": lambda method, graph: codes_of_two_rows(method, graph) == [0, 0],
}


def estimator(name, **options):
    torch.manual_seed(0)
    return ESTIMATORS[name](
        **{"module__n_hidden_neurons": 2, "module__n_accum_bits": 6, "max_epochs": 2, **options}
    )


def test_the_module_has_all_names_and_the_root_re_exports_them():
    assert set(qnn.__all__) == NAMES
    for name in NAMES:
        assert getattr(qnn, name) is getattr(cipherfit, name)


def test_the_widest_lookup_is_concretes():
    assert qnn.MAXIMUM_TLU_BIT_WIDTH == fhe.MAXIMUM_TLU_BIT_WIDTH == 16


def test_constructors_have_the_documented_parameters_and_defaults():
    parameters = inspect.signature(qnn.SparseQuantNeuralNetImpl).parameters
    documented = {
        "input_dim": inspect.Parameter.empty,
        "n_layers": inspect.Parameter.empty,
        "n_outputs": inspect.Parameter.empty,
        "n_hidden_neurons_multiplier": 4,
        "n_w_bits": 3,
        "n_a_bits": 3,
        "n_accum_bits": 8,
        "activation_function": nn.ReLU,
    }
    assert {key: parameters[key].default for key in documented} == documented
    assert list(parameters)[: len(documented)] == list(documented)
    classifier = inspect.signature(qnn.NeuralNetClassifier).parameters
    assert classifier["args"].kind is inspect.Parameter.VAR_POSITIONAL
    assert classifier["criterion"].default is nn.CrossEntropyLoss
    assert classifier["classes"].default is None
    for kind in ESTIMATORS.values():
        assert inspect.signature(kind).parameters["optimizer"].default is torch.optim.Adam


def test_the_classes_derive_from_skorchs():
    assert issubclass(qnn.NeuralNetClassifier, skorch.NeuralNetClassifier)
    assert issubclass(qnn.NeuralNetRegressor, skorch.NeuralNetRegressor)
    for kind in ESTIMATORS.values():
        assert issubclass(kind, qnn.FixedTypeSkorchNeuralNet)
        assert issubclass(kind, qnn.QuantizedSkorchEstimatorMixin)


@both
@pytest.mark.parametrize("member", OF_THE_GRAPH)
def test_before_fit_members_of_the_graph_ask_for_it(name, member):
    with pytest.raises(ValueError, match=r".* needs to be calibrated .*"):
        getattr(estimator(name), member)


@both
def test_before_fit_there_is_no_circuit_and_the_rest_is_known(name):
    model = estimator(name)
    assert model.fhe_circuit is None
    assert model.base_estimator_type in (skorch.NeuralNetClassifier, skorch.NeuralNetRegressor)
    assert "module" not in model.get_params()
    assert "module" not in model.get_params_for_benchmark()
    assert not model.history


@both
@pytest.mark.parametrize("member", OF_THE_GRAPH)
def test_after_fit_members_of_the_graph_are_there(name, member):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    assert OF_THE_GRAPH[member](getattr(model, member), model.graph_)


@both
def test_after_fit_quantizers_say_what_the_graph_does(name):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    assert len(model.input_quantizers) == len(model.output_quantizers) == 1
    codes = model.quantize_input(X)
    assert np.array_equal(codes, model.graph_.quantize(X))
    assert np.array_equal(codes, model.input_quantizers[0].quant(X))
    accumulators = model.graph_.simulate(codes)
    outputs = model.dequantize_output(accumulators)
    assert np.array_equal(outputs, model.graph_.run(X))
    np.testing.assert_allclose(model.output_quantizers[0].dequant(accumulators), outputs)
    answers = model.post_processing(outputs)
    if name == "iris":
        np.testing.assert_allclose(answers.sum(axis=1), 1)
        assert np.array_equal(model.classes_[answers.argmax(axis=1)], model.predict(X))
    else:
        assert np.array_equal(answers[:, 0], model.predict(X))


@both
def test_after_fit_a_batch_can_be_inferred(name):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    batch = torch.tensor(X[:5])
    with torch.no_grad():
        assert torch.equal(model.infer(batch), model.module_(batch))


@pytest.mark.fhe
@both
def test_after_compile_the_circuit_is_returned_kept_and_can_be_set(name):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    circuit = model.compile(X, use_virtual_lib=True)
    assert isinstance(circuit, fhe.Circuit)
    assert model.fhe_circuit is circuit
    assert model.n_bits_quant == 3
    model.fhe_circuit = circuit
    assert model.fhe_circuit is circuit


@pytest.mark.fhe
@both
def test_after_a_refit_the_old_circuit_is_gone(name):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    model.compile(use_virtual_lib=True)
    model.fit(X, y)
    assert model.fhe_circuit is None
    with pytest.raises(ValueError, match=r".* not yet compiled .*"):
        model.predict(X[:1], execute_in_fhe=True)


@pytest.mark.fhe
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_compiled_model_runs_encrypted_rows_with_keys_of_its_own(copied):
    X, y = load("iris")
    model = estimator("iris").fit(X, y)
    circuit = model.compile(p_error=1e-7)
    # Copies of copies too, whether or not their circuit was needed meanwhile.
    other = copied(copied(model))
    assert other.predict(X[:2], fhe="execute").tolist() == model.predict(X[:2]).tolist()
    assert other.fhe_circuit is not circuit
    assert copied(other).fhe_circuit.p_error == circuit.p_error
    assert model.fhe_circuit is circuit


@pytest.mark.fhe
def test_a_copy_knows_what_it_was_compiled_for_and_forgets_it_when_trained_or_told():
    X, y = load("iris")
    model = estimator("iris").fit(X, y)
    model.compile(use_virtual_lib=True)
    refitted, told = copy.deepcopy(model), copy.deepcopy(model)
    with pytest.raises(ValueError, match=r".* only for simulation.*"):
        copy.deepcopy(model).predict(X[:1], fhe="execute")
    told.fhe_circuit = None
    assert told.fhe_circuit is None
    assert refitted.fit(X, y).fhe_circuit is None
    assert model.prune(X, y, 0.0).fhe_circuit is None


@pytest.mark.fhe
def test_one_row_alone_can_be_encrypted():
    X, y = load("iris")
    model = estimator("iris").fit(X, y)
    model.compile(p_error=1e-7)
    assert model.predict(X[0], execute_in_fhe=True).tolist() == model.predict(X[:1]).tolist()


@both
def test_a_benchmark_compares_the_same_weights_in_float(name):
    X, y = load(name)
    model, net = estimator(
        name,
        module__n_w_bits=16,
        module__n_a_bits=16,
        module__n_accum_bits=40,
        module__n_hidden_neurons=8,
        max_epochs=20,
    ).fit_benchmark(X, y)
    assert type(net) is model.base_estimator_type
    ours, floats = model.predict(X), np.asarray(net.predict(X))
    if name == "iris":
        # All that differs is what activations beyond their learned range are clamped to.
        assert (ours == floats).mean() > 0.95
    else:
        residual = np.square(ours - floats.ravel()).sum()
        assert residual < 0.01 * np.square(floats - floats.mean()).sum()


@both
def test_pruning_is_made_permanent_once_and_for_all(name):
    X, y = load(name)
    module = estimator(name).fit(X, y).module_
    weights = [layer.weight.clone() for layer in module.linear_layers]
    module.make_pruning_permanent()
    module.on_train_end()
    assert all(torch.equal(a, b.weight) for a, b in zip(weights, module.linear_layers, strict=True))
    module.enable_pruning()
    module.enable_pruning()
    assert module.pruned_layers == set(module.linear_layers)
