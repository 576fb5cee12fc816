"""A predictor answers as the estimator that made it, without what the estimator was made with."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from core_graphs import random_parts
from samples import fitted, load

from cipherfit import IntegerGraph, Predictor, search_p_error, search_rounding, twin
from cipherfit.exceptions import InvalidParameterError, NotCompiledError
from cipherfit.predictor.postprocessing import Step
from cipherfit.predictor.targets import ClassTargets, RealTargets

SMALL = {"n_a_bits": 2, "n_w_bits": 3, "n_accum_bits": 6}


def predictor(name="iris", **options):
    """Return a predictor that the test may change."""
    return copy.deepcopy(fitted(name, n_hidden=4, **{**SMALL, **options}).predictor_)


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_an_estimator_answers_with_its_predictor(name):
    model = fitted(name, n_hidden=4, **SMALL)
    X = load(name)[0]
    assert model.graph_ is model.predictor_.graph
    assert np.array_equal(model.predict(X), model.predictor_.predict(X))
    if name == "iris":
        assert np.array_equal(model.predict_proba(X), model.predictor_.predict_proba(X))


def test_predictions_are_those_of_the_twin_with_labels_of_any_kind():
    graph = IntegerGraph.from_layers(**random_parts(3))
    X = np.random.default_rng(0).normal(size=(50, graph.n_features)).astype(np.float32)
    outputs = twin.run(graph.to_dict(), X)
    words = np.array([f"class {i}" for i in range(max(2, graph.n_outputs))])
    answers = Predictor(graph, ClassTargets(words), post_processing=[Step("softmax")])
    assert answers.predict(X).tolist() == words[outputs.argmax(axis=1)].tolist()
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers.predict_proba(X), expected)
    reals = Predictor(graph, RealTargets(graph.n_outputs, flat=False))
    np.testing.assert_allclose(reals.predict(X), outputs)


def test_a_regressor_has_no_probabilities():
    with pytest.raises(InvalidParameterError, match="call predict"):
        predictor("diabetes").predict_proba(load("diabetes")[0])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_answers_the_same_and_keeps_how_it_was_compiled(copied):
    made, X = predictor(), load("iris")[0]
    made.compile(use_virtual_lib=True, p_error=0.02)
    other = copied(made)
    assert np.array_equal(other.predict(X), made.predict(X))
    assert other.circuit is not made.circuit
    assert other.circuit.p_error == made.circuit.p_error
    other.circuit = None
    assert other.circuit is None
    assert made.circuit is not None


def test_before_compile_encryption_is_refused_and_says_what_to_call():
    with pytest.raises(NotCompiledError, match=r"call compile\(\)"):
        predictor().predict(load("iris")[0], fhe="execute")
    with pytest.raises(InvalidParameterError, match="'encrypt' must be one of disable"):
        predictor().predict(load("iris")[0], fhe="encrypt")


@pytest.mark.fhe
def test_a_predictor_compiles_runs_encrypted_and_is_searched_without_its_estimator():
    made = pickle.loads(pickle.dumps(predictor()))
    X, y = load("iris")
    made.compile(p_error=1e-7)
    assert made.predict(X[::50], fhe="execute").tolist() == made.predict(X[::50]).tolist()
    assert made.estimate_fhe().n_lookups == made.graph.n_lookups
    score = np.mean(made.predict(X) == y)
    assert search_p_error(made, X, y, max_accuracy_drop=0.2).score == pytest.approx(score)


@pytest.mark.fhe
def test_the_rounding_of_a_predictor_is_searched_by_its_graph():
    made = predictor("breast_cancer", n_accum_bits=8, n_lookup_bits=8)
    X, y = load("breast_cancer")
    found = search_rounding(made, X, y, max_accuracy_drop=0.03)
    assert isinstance(found.model, Predictor)
    assert found.chosen.seconds_per_row < found.before.seconds_per_row
    assert found.model.graph.to_dict()["layers"][1]["lsbs"] > 0
    assert np.mean(found.model.predict(X) == y) > np.mean(made.predict(X) == y) - 0.03
    with pytest.raises(InvalidParameterError, match="can't train"):
        search_rounding(made, X, y, fine_tune_on=(X, y))


def test_features_keep_the_names_that_training_saw():
    X = load("iris")[0]
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = fitted("iris", n_hidden=4, **SMALL)
    named = Predictor(model.graph_, model.targets_, feature_names=frame.columns)
    assert np.array_equal(named.predict(frame), model.predict(X))
    with pytest.raises(ValueError, match=r"same order as they were in fit"):
        named.predict(frame[list("dcba")])
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- e\n.*now missing:\n- d"):
        named.predict(frame.rename(columns={"d": "e"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        named.predict(X)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        model.predictor_.predict(frame)


ANSWER_WITHOUT = """
import sys
blocked = {"torch", "skorch", "sklearn", "concrete", "pandas", "scipy"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import numpy as np
from cipherfit import IntegerGraph, Predictor
from cipherfit.exceptions import NotFittedError
from cipherfit.predictor.postprocessing import Step
from cipherfit.predictor.targets import ClassTargets

graph = IntegerGraph.from_bytes(open(sys.argv[1], "rb").read())
made = Predictor(graph, ClassTargets(np.arange(3)), post_processing=[Step("softmax")])
print(made.predict(np.load(sys.argv[2])).tolist())
try:
    made.predict(np.load(sys.argv[2]) * np.nan)
except ValueError as error:
    print(type(error).__name__)
print(issubclass(NotFittedError, ValueError), issubclass(NotFittedError, AttributeError))
"""


def test_a_predictor_answers_where_nothing_but_numpy_is_installed(tmp_path):
    model, X = fitted("iris", n_hidden=4, **SMALL), load("iris")[0]
    (tmp_path / "graph").write_bytes(model.graph_.to_bytes())
    np.save(tmp_path / "X.npy", X)
    command = [sys.executable, "-c", ANSWER_WITHOUT, tmp_path / "graph", tmp_path / "X.npy"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    expected = f"{model.predict(X).tolist()}\nInvalidInputError\nTrue True\n"
    assert ran.stdout == expected, ran.stderr


LOADED = """
import sys
HEAVY = ("torch", "skorch", "sklearn", "concrete", "mlir", "scipy", "matplotlib", "optuna", "onnx")

def loaded():
    return [name for name in HEAVY if name in sys.modules]

import cipherfit
print(loaded())
dir(cipherfit)
graph = cipherfit.IntegerGraph.from_bytes(open(sys.argv[1], "rb").read())
graph.run(__import__("numpy").ones((2, graph.n_features), "float32"))
print(loaded())
circuit = cipherfit.compile_graph(graph)
cipherfit.run_encrypted(circuit, graph.quantize([[1.0] * graph.n_features]))
print([name for name in loaded() if name in ("concrete", "mlir", "skorch", "sklearn")])
"""


@pytest.mark.fhe
def test_importing_and_simulating_load_numpy_and_encrypting_loads_concrete_alone(tmp_path):
    path = tmp_path / "graph"
    path.write_bytes(fitted("iris", n_hidden=4, **SMALL).graph_.to_bytes())
    command = [sys.executable, "-c", textwrap.dedent(LOADED), path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.stdout.splitlines() == ["[]", "[]", "['concrete', 'mlir']"], ran.stderr
