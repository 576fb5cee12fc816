"""The search for a network within a latency."""

import inspect
import sys

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, design_network
from cipherfit.exceptions import InvalidInputError, InvalidParameterError, MissingDependencyError
from cipherfit.fhe.latency import reference_seconds
from cipherfit.search.network import SPACE, _Study

pytest.importorskip("optuna")
X, Y = load_iris(return_X_y=True)
QUICK = {
    "estimator": NeuralNetClassifier(max_epochs=20), "machine": 1.0, "n_folds": 1,
    "client_layers": ("none",), "space": {"n_layers": (2,)},
}  # fmt: skip


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("search") / "designs.log"


@pytest.fixture(scope="module")
def search(storage):
    return design_network(X, Y, max_latency=0.1, n_trials=6, storage=storage, **QUICK)


def test_the_network_is_within_the_latency_and_the_best_of_those(search):
    circuit = search.model.compile(p_error=search.p_error)
    assert reference_seconds(circuit) <= 0.1
    within = [design for design in search.designs if design.seconds_per_row <= 0.1]
    assert search.chosen.score == max(design.score for design in within)
    assert len(search.designs) == 6
    assert search.model.score(X, Y) > 0.5


def test_kinds_are_weighed_that_the_caller_allows():
    found = design_network(
        X, Y, n_trials=5, machine=1.0, n_folds=1, max_neurons=3,
        estimator=NeuralNetClassifier(max_epochs=2),
        client_layers=["none", "random", "learned"], space={"n_layers": (1, 2)},
    )  # fmt: skip
    kinds = {design.kind for design in found.designs}
    # The fastest of each kind comes first.
    assert [design.kind for design in found.designs[:3]] == [
        "linear", "random client layer, linear", "learned client layer, linear",
    ]  # fmt: skip
    assert any("lookups" in kind for kind in kinds)
    linear = [design for design in found.designs if design.n_lookups == 0]
    assert max(design.seconds_per_row for design in linear) < 0.01
    assert all(design.seconds_per_row > 0.01 for design in found.designs if design.n_lookups)
    assert found.model.compile().encrypt_run_decrypt is not None
    by_default = inspect.signature(design_network).parameters["client_layers"].default
    assert by_default == ("none", "random")


def test_nothing_on_the_front_is_dominated(search):
    front = search.front
    for design in search.designs:
        assert any(
            other.seconds_per_row <= design.seconds_per_row and other.score >= design.score
            for other in front
        )
    scores = [design.score for design in front]
    assert scores == sorted(set(scores))


def test_what_was_interrupted_goes_on_to_the_same_end(search, tmp_path):
    storage = tmp_path / "designs.log"
    begun = design_network(X, Y, max_latency=0.1, n_trials=2, storage=storage, **QUICK)
    assert len(begun.designs) == 2
    resumed = design_network(X, Y, max_latency=0.1, n_trials=6, storage=storage, **QUICK)
    assert [d.parameters for d in resumed.designs] == [d.parameters for d in search.designs]
    assert [d.score for d in resumed.designs] == [d.score for d in search.designs]
    other = design_network(X, Y, max_latency=0.05, n_trials=1, storage=storage, **QUICK)
    assert len(other.designs) == 1


def study(y, x=X):
    estimator = NeuralNetClassifier(max_epochs=3)
    return _Study(
        x, y, estimator, {**SPACE, "client_layers": ("none",)},
        max_latency=None, max_neurons=8, n_folds=1, machine=1.0, random_state=0,
    )  # fmt: skip


def test_a_storage_knows_equal_data_from_changed_ones_whatever_objects_hold_them():
    words = ["no", "yes", "perhaps"]
    shared = study(np.array([words[label] for label in Y], dtype=object))
    built = study(np.array(["".join(list(words[label])) for label in Y], dtype=object))
    assert built.y[0] is not built.y[1]
    assert shared.y[0] is shared.y[1]
    # Both are alive, so that nothing in them has the same address by chance.
    assert shared.name() == built.name()
    other = built.y.copy()
    other[0] = "never"
    assert study(other).name() != built.name()
    assert study(built.y, X + 1).name() != built.name()
    assert study(built.y, np.asfortranarray(X)).name() == built.name()
    assert study(np.array(Y, dtype=object)).name() != study(Y.astype(str).astype(object)).name()


def test_the_fastest_within_a_tolerance_is_taken_of_the_networks_that_were_tried(search, storage):
    relaxed = design_network(
        X, Y, max_latency=0.1, n_trials=6, tolerance=1.0, storage=storage, **QUICK
    )
    assert [d.score for d in relaxed.designs] == [d.score for d in search.designs]
    assert relaxed.chosen.parameters != search.chosen.parameters
    assert relaxed.chosen.seconds_per_row == min(d.seconds_per_row for d in search.designs)


def test_a_regressor_is_designed_without_a_limit():
    x, y = load_diabetes(return_X_y=True)
    found = design_network(
        x, y, n_trials=2, n_folds=2, machine=1.0, max_neurons=6,
        estimator=NeuralNetRegressor(max_epochs=2), space={"n_layers": (2,)},
    )  # fmt: skip
    assert isinstance(found.model, NeuralNetRegressor)
    assert all(1 <= design.n_lookups <= 6 for design in found.designs)
    assert all(np.isfinite(design.score_error) for design in found.designs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_latency": 0}, "max_latency=0"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"n_folds": 6}, "n_folds=6"),
        ({"tolerance": -1}, "tolerance=-1"),
        ({"space": {"depth": (1,)}}, "'depth'"),
        ({"space": {"n_layers": ()}}, "n_layers"),
        ({"client_layers": ("secret",)}, r"client_layers=\('secret',\)"),
        ({"client_layers": ()}, r"client_layers=\(\)"),
        ({"max_latency": 1e-9, "n_trials": 1, "space": {"n_layers": (2,)}}, "the fastest takes"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(InvalidParameterError, match=message):
        design_network(X, Y, **{**QUICK, **options})


def test_rows_must_match():
    with pytest.raises(InvalidInputError, match="150 rows and y 149"):
        design_network(X, Y[:-1], **QUICK)


def test_without_optuna_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"cipherfit\[design\]"):
        design_network(X, Y, **QUICK)
