"""What both estimators promise: life cycle, copies, scikit-learn's tools, clear errors."""

from __future__ import annotations

import copy
import inspect
import pickle

import joblib
import numpy as np
import pytest
import torch
from samples import fitted, load
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier as SkorchClassifier
from skorch import NeuralNetRegressor as SkorchRegressor
from skorch.callbacks import Callback

from cipherfit import CipherfitError, IntegerGraph, NeuralNetClassifier, NeuralNetRegressor

ESTIMATORS = {"iris": NeuralNetClassifier, "diabetes": NeuralNetRegressor}
METHODS = {"iris": ["predict", "predict_proba"], "diabetes": ["predict"]}
both = pytest.mark.parametrize("name", ESTIMATORS)


def estimator(name, **options):
    torch.manual_seed(0)
    return ESTIMATORS[name](**{"module__n_hidden_neurons": 4, "max_epochs": 3, **options})


@both
def test_names_and_defaults_of_methods_are_the_seeds(name):
    kind = ESTIMATORS[name]
    for method in METHODS[name]:
        parameters = inspect.signature(getattr(kind, method)).parameters
        assert list(parameters)[:3] == ["self", "X", "execute_in_fhe"]
        assert parameters["execute_in_fhe"].default is False
        assert parameters["fhe"].kind is inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(kind.compile).parameters
    assert list(parameters)[:7] == [
        "self", "X", "configuration", "compilation_artifacts", "show_mlir", "use_virtual_lib",
        "p_error",
    ]  # fmt: skip
    added = list(parameters.values())[7:]
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in added)


@both
def test_an_unfitted_model_says_what_it_needs(name):
    model = estimator(name)
    X, _ = load(name)
    calls = [
        model.compile,
        lambda: model.compile(X),
        lambda: model.predict(X),
        lambda: model.predict(X, execute_in_fhe=True),
        lambda: model.predict(X, fhe="simulate"),
        lambda: model.quantize_input(X),
        lambda: model.dequantize_output([[0]]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r".* needs to be calibrated .*") as error:
            call()
        assert isinstance(error.value, NotFittedError)
        assert isinstance(error.value, CipherfitError)


@both
def test_n_bits_quant_is_known_only_after_training(name):
    with pytest.raises(ValueError, match=r".* must be trained .*"):
        _ = estimator(name).n_bits_quant
    assert fitted(name).n_bits_quant == 3
    assert fitted(name, n_a_bits=2).n_bits_quant == 2


@both
@pytest.mark.parametrize("how", [{"execute_in_fhe": True}, {"fhe": "execute"}, {"fhe": "simulate"}])
def test_a_model_that_is_not_compiled_says_so(name, how):
    model = fitted(name)
    assert model.fhe_circuit is None
    for method in METHODS[name]:
        with pytest.raises(ValueError, match=r".* not yet compiled .*") as error:
            getattr(model, method)(load(name)[0][:1], **how)
        assert isinstance(error.value, CipherfitError)


@both
def test_contradicting_or_unknown_fhe_modes_are_refused(name):
    model, X = fitted(name), load(name)[0]
    for mode in ("disable", "simulate"):
        with pytest.raises(ValueError, match=f"contradicts fhe='{mode}'"):
            model.predict(X, execute_in_fhe=True, fhe=mode)
    for mode in ("yes", "", "EXECUTE", True):
        with pytest.raises(ValueError, match="disable, simulate, execute"):
            model.predict(X, fhe=mode)


@both
def test_clear_prediction_does_not_depend_on_how_it_is_asked_for(name):
    model, X = fitted(name), load(name)[0]
    assert np.array_equal(model.predict(X), model.predict(X, fhe="disable"))
    assert np.array_equal(model.predict(X), model.predict(X, False))


@both
@pytest.mark.parametrize(
    ("option", "phrase"),
    [({"n_w_bits": 0}, "quantization bitwidth"), ({"n_a_bits": 17}, "quantization bitwidth"),
     ({"n_accum_bits": 4}, "accumulator bitwidth"), ({"n_accum_bits": 60}, "accumulator bitwidth"),
     ({"n_layers": 0}, "number of layers")],
)  # fmt: skip
def test_widths_out_of_range_are_refused_through_the_estimator(name, option, phrase):
    options = {f"module__{key}": value for key, value in option.items()}
    with pytest.raises(ValueError, match=phrase):
        estimator(name, **options).fit(*load(name))


@both
def test_input_dim_can_be_given_right_and_not_wrong(name):
    X, y = load(name)
    right = estimator(name, module__input_dim=X.shape[1]).fit(X, y)
    assert right.graph_.n_features == X.shape[1]
    with pytest.raises(ValueError, match=f"module__input_dim=77.*{X.shape[1]} features"):
        estimator(name, module__input_dim=77).fit(X, y)


@both
def test_params_are_complete_but_for_the_fixed_module(name):
    model = estimator(name, module__n_a_bits=2)
    params = model.get_params()
    assert "module" not in params
    assert params["module__n_a_bits"] == 2
    assert params["max_epochs"] == 3
    model.set_params(module__n_a_bits=4, lr=0.5)
    assert model.get_params()["module__n_a_bits"] == 4
    assert model.get_params()["lr"] == 0.5
    assert model.fit(*load(name)).n_bits_quant == 4


@both
def test_unknown_params_are_refused(name):
    with pytest.raises((TypeError, ValueError), match="bogus"):
        estimator(name, bogus=1).fit(*load(name))
    with pytest.raises(ValueError, match="bogus"):
        estimator(name).set_params(bogus=1)


@both
def test_a_clone_has_the_params_and_no_training(name):
    copied = clone(fitted(name))
    mine, theirs = fitted(name).get_params(), copied.get_params()
    assert mine.keys() == theirs.keys()
    assert theirs["module__n_hidden_neurons"] == mine["module__n_hidden_neurons"]
    with pytest.raises(NotFittedError):
        copied.predict(load(name)[0])
    torch.manual_seed(0)
    assert copied.fit(*load(name)).graph_ == fitted(name).graph_


def joblib_round_trip(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


COPIES = {
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": joblib_round_trip,
    "deepcopy": lambda model, path: copy.deepcopy(model),
}


@both
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_predicts_the_same_and_can_train_on(name, how, tmp_path):
    model, (X, y) = fitted(name), load(name)
    other = COPIES[how](model, tmp_path / "model.joblib")
    assert other.graph_ == model.graph_
    for method in METHODS[name]:
        assert np.array_equal(getattr(other, method)(X), getattr(model, method)(X))
    torch.manual_seed(1)
    assert other.fit(X, y).graph_ != model.graph_


@both
def test_an_unfitted_model_can_be_copied(name):
    for how in ("pickle", "deepcopy"):
        assert COPIES[how](estimator(name), None).get_params()["max_epochs"] == 3


@both
def test_same_seed_same_graph(name):
    first, second = (estimator(name).fit(*load(name)) for _ in range(2))
    assert first.graph_ == second.graph_
    assert first.graph_.digest == second.graph_.digest
    torch.manual_seed(1)
    assert first.fit(*load(name)).graph_ != second.graph_


@both
def test_a_refit_starts_anew_and_forgets_graph_and_circuit(name):
    X, y = load(name)
    model = estimator(name).fit(X, y)
    graph, epochs = model.graph_, len(model.history)
    model.fhe_circuit = object()
    torch.manual_seed(0)
    model.fit(X, y)
    assert model.fhe_circuit is None
    assert model.graph_ == graph
    assert len(model.history) == epochs
    model.fit(X[:, :3], y)
    assert model.n_features_in_ == model.graph_.n_features == 3


class Failing(Callback):
    """Let training fail at its end, once armed."""

    armed = False

    def on_epoch_end(self, net, **kwargs):
        if Failing.armed:
            raise RuntimeError("power cut")


@both
def test_a_refit_that_fails_leaves_no_stale_graph(name, monkeypatch):
    X, y = load(name)
    model = estimator(name, callbacks=[Failing]).fit(X, y)
    monkeypatch.setattr(Failing, "armed", True)
    with pytest.raises(RuntimeError, match="power cut"):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


@both
def test_params_that_cannot_work_are_refused_as_soon_as_they_are_set(name):
    model = estimator(name).fit(*load(name))
    with pytest.raises(ValueError, match="quantization bitwidth"):
        model.set_params(module__n_a_bits=99)


@both
def test_a_warm_start_trains_on(name):
    X, y = load(name)
    model = estimator(name, warm_start=True).fit(X, y)
    weights = model.module_.linear_layers[0].weight
    model.fit(X, y)
    assert model.module_.linear_layers[0].weight is weights
    assert len(model.history) == 6


@both
def test_partial_fit_leaves_a_graph_of_what_it_learned(name):
    X, y = load(name)
    model = estimator(name).partial_fit(X, y)
    stale = model.graph_
    weights = model.module_.linear_layers[0].weight
    model.partial_fit(X, y)
    assert model.module_.linear_layers[0].weight is weights
    assert model.graph_ != stale
    with torch.no_grad():
        outputs = model.module_(torch.tensor(X).double()).numpy()
    np.testing.assert_allclose(model.graph_.run(X), outputs, rtol=1e-12, atol=1e-9)


@both
def test_trained_modules_are_exposed_with_exact_zeros(name):
    model = fitted(name, 3)
    assert model.base_module_to_compile is model.module_
    assert not model.module_.pruned_layers
    assert not model.module_.training
    for layer in model.module_.linear_layers:
        assert (layer.weight[~layer.mask()] == 0).all()


def test_kinds_are_what_scikit_learn_and_skorch_call_them():
    assert is_classifier(NeuralNetClassifier())
    assert is_regressor(NeuralNetRegressor())
    assert NeuralNetClassifier().base_estimator_type is SkorchClassifier
    assert NeuralNetRegressor().base_estimator_type is SkorchRegressor


@both
def test_they_work_in_pipelines_and_searches(name):
    X, y = load(name)
    pipeline = make_pipeline(StandardScaler(), estimator(name, max_epochs=8, lr=0.05))
    step = list(pipeline.named_steps)[-1]
    grid = {f"{step}__module__n_a_bits": [2, 3], f"{step}__max_epochs": [4, 8]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > {"iris": 0.8, "diabetes": 0.3}[name]
    best = search.best_estimator_.named_steps[step]
    assert best.n_bits_quant == search.best_params_[f"{step}__module__n_a_bits"]
    assert isinstance(best.graph_, IntegerGraph)
    assert search.predict(X).shape == y.shape
    assert len(cross_val_score(estimator(name), X, y, cv=2, error_score="raise")) == 2


@both
def test_the_switch_of_torch_compile_is_refused(name):
    with pytest.raises(ValueError, match=r"torch\.compile"):
        estimator(name, compile=True)
    assert callable(estimator(name, compile=False).compile)


def test_printing_a_model_works_at_every_stage():
    assert "NeuralNetClassifier" in repr(estimator("iris"))
    assert "NeuralNetClassifier" in repr(fitted("iris"))
