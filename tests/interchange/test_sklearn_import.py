"""Fitted models of scikit-learn's answer encrypted as they do there, but for rounding."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import load
from sklearn import discriminant_analysis, linear_model, neural_network, preprocessing, svm
from sklearn.decomposition import PCA, KernelPCA
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from tables import NAMES
from tables import load as table

import cipherfit
from cipherfit import from_sklearn
from cipherfit.exceptions import (
    CipherfitWarning,
    InvalidInputError,
    InvalidParameterError,
    NotFittedError,
    ProofError,
    UnsupportedModuleError,
)
from cipherfit.interchange.losses import lost_variance

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

X, Y = load("wine")
WORDS = np.array(["barolo", "grignolino", "barbera"])[Y]
TWO = WORDS == "barolo"
HOUSES, PRICES = load("diabetes")

CLASSIFIERS = {
    "logistic": linear_model.LogisticRegression(),
    "logistic_cv": linear_model.LogisticRegressionCV(Cs=3, cv=2),
    "support_vectors": svm.LinearSVC(),
    "ridge": linear_model.RidgeClassifier(),
    "sgd": linear_model.SGDClassifier(random_state=0),
    "sgd_logistic": linear_model.SGDClassifier(loss="log_loss", alpha=0.3, random_state=0),
    "sgd_huber": linear_model.SGDClassifier(loss="modified_huber", alpha=0.1, random_state=0),
    "perceptron": linear_model.Perceptron(random_state=0),
    "discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
    "no_intercept": linear_model.LogisticRegression(fit_intercept=False),
}
REGRESSORS = {
    "least_squares": linear_model.LinearRegression(),
    "ridge": linear_model.Ridge(),
    "lasso": linear_model.Lasso(),
    "elastic_net": linear_model.ElasticNet(),
    "support_vectors": svm.LinearSVR(),
    "sgd": linear_model.SGDRegressor(random_state=0),
    "huber": linear_model.HuberRegressor(),
}


def scaled(model):
    return make_pipeline(StandardScaler(), model)


@pytest.mark.parametrize("labels", [WORDS, TWO], ids=["three_words", "two_booleans"])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_linear_classifier_gives_its_labels_and_probabilities(kind, labels):
    fitted = scaled(CLASSIFIERS[kind]).fit(X, labels)
    predictor = from_sklearn(fitted, X)
    assert predictor.graph.n_lookups == 0
    predicted = predictor.predict(X)
    assert predicted.dtype == labels.dtype
    assert (predicted == fitted.predict(X)).mean() > 0.99
    if hasattr(fitted, "predict_proba"):
        probabilities = predictor.predict_proba(X)
        np.testing.assert_allclose(probabilities, fitted.predict_proba(X), atol=0.03)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    else:
        with pytest.raises(InvalidParameterError, match="scores only, so call predict"):
            predictor.predict_proba(X)


@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
def test_labels_are_those_of_scores_where_probabilities_of_several_classes_are_the_same(
    loss, tmp_path
):
    model = linear_model.SGDClassifier(loss=loss, random_state=0, alpha=1e-6)
    fitted = scaled(model).fit(X, WORDS)
    rows = 100 * (X - X.mean(axis=0))
    predictor = from_sklearn(fitted, rows)
    expected, probabilities = fitted.predict(rows), fitted.predict_proba(rows)
    same = np.sort(probabilities, axis=1)[:, -1] == np.sort(probabilities, axis=1)[:, -2]
    assert (fitted.classes_[probabilities.argmax(axis=1)] != expected)[same].any()
    assert (predictor.predict(rows) == expected).mean() > 0.98
    cipherfit.save(predictor, tmp_path / "m")
    assert np.array_equal(cipherfit.load(tmp_path / "m").predict(rows), predictor.predict(rows))
    predictor.compile()
    sums = predictor.graph.simulate(predictor.graph.quantize(rows.astype(np.float32)))
    assert np.array_equal(predictor.client_model().answer(sums), predictor.predict(rows))
    assert np.array_equal(predictor.answer(sums), predictor.predict(rows))


@pytest.mark.parametrize("kind", REGRESSORS)
def test_a_linear_regressor_gives_its_predictions(kind):
    fitted = scaled(REGRESSORS[kind]).fit(HOUSES, PRICES)
    predictor = from_sklearn(fitted, HOUSES)
    expected = fitted.predict(HOUSES)
    assert predictor.predict(HOUSES).shape == expected.shape
    assert r2_score(expected, predictor.predict(HOUSES)) > 1 - 1e-4
    with pytest.raises(InvalidParameterError, match="real values"):
        predictor.predict_proba(HOUSES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "fashion_mnist"])
def test_linear_models_score_as_the_real_ones_on_every_table(name):
    data = table(name)
    train, test, y, y_test = data.split
    model = (
        linear_model.LogisticRegression(max_iter=300) if data.is_classes else linear_model.Ridge()
    )
    fitted = scaled(model).fit(train, y)
    predicted = from_sklearn(fitted, train).predict(test)
    score = (predicted == y_test).mean() if data.is_classes else r2_score(y_test, predicted)
    assert abs(score - fitted.score(test, y_test)) <= 0.002


def test_a_class_whose_score_never_varies_leaves_the_others_their_bits():
    fitted = linear_model.LogisticRegression(max_iter=1000).fit(X[:, :1], WORDS)
    fitted.coef_[1], fitted.intercept_[1] = 0.0, 1.2201646  # whose mean, rounded, is another number
    assert np.full(len(X), fitted.intercept_[1]).var() > 0
    predictor = from_sklearn(fitted, X[:, :1])
    assert predictor.graph.n_bits > 8
    assert (predictor.predict(X[:, :1]) == fitted.predict(X[:, :1])).mean() > 0.999
    assert lost_variance(np.full((99, 1), 1e8 + 1), np.full((99, 1), 1e8)) < 1e-15
    assert lost_variance(np.full((99, 1), 0.5), np.zeros((99, 1))) == 0.25


@pytest.mark.parametrize("targets", [PRICES[:, None], np.stack([PRICES, -PRICES], axis=1)])
def test_columns_of_targets_stay_columns(targets):
    fitted = linear_model.LinearRegression().fit(HOUSES, targets)
    predicted = from_sklearn(fitted, HOUSES).predict(HOUSES)
    assert predicted.shape == targets.shape
    assert r2_score(fitted.predict(HOUSES), predicted) > 1 - 1e-4


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_perceptron_classifies_as_it_does_in_scikit_learn(activation):
    options = {"hidden_layer_sizes": (12,), "activation": activation, "random_state": 0}
    fitted = scaled(neural_network.MLPClassifier(max_iter=200, **options)).fit(X, WORDS)
    predictor = from_sklearn(fitted, X)
    assert predictor.graph.n_lookups <= 12
    assert (predictor.predict(X) == fitted.predict(X)).mean() > 0.98
    assert np.abs(predictor.predict_proba(X) - fitted.predict_proba(X)).mean() < 0.02


def test_a_perceptron_of_two_classes_and_one_of_several_targets():
    options = {"hidden_layer_sizes": (8, 6), "random_state": 0, "max_iter": 200}
    fitted = scaled(neural_network.MLPClassifier(**options)).fit(X, TWO)
    predictor = from_sklearn(fitted, X)
    assert np.abs(predictor.predict_proba(X) - fitted.predict_proba(X)).mean() < 0.02
    targets = (X[:, :2] - X[:, :2].mean(axis=0)) / X[:, :2].std(axis=0)
    fitted = scaled(neural_network.MLPRegressor(**options)).fit(X, targets)
    predicted = from_sklearn(fitted, X).predict(X)
    assert r2_score(fitted.predict(X), predicted) > 0.98


@pytest.mark.parametrize(
    "scaler", [StandardScaler(), MinMaxScaler((-1, 2)), RobustScaler(), MaxAbsScaler()], ids=str
)
def test_scalers_fold_into_the_input_quantizer(scaler):
    fitted = make_pipeline(scaler, linear_model.LogisticRegression()).fit(X, WORDS)
    predictor = from_sklearn(fitted, X)
    assert predictor.preparation is None
    low, high = X.min(axis=0), X.max(axis=0)
    parts = predictor.graph.to_dict()["input"]
    first = -parts["zero_point"] * parts["scale"]
    last = first + (2 ** parts["n_bits"] - 1) * parts["scale"]
    np.testing.assert_allclose(first, low, atol=0.51 * parts["scale"].max())
    assert (np.abs(last - high) <= 1.01 * parts["scale"]).all()


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["standard", "min_max", "robust", "max_abs"]), max_size=3))
def test_any_row_of_scalers_is_what_scikit_learn_computes(kinds):
    known = {
        "standard": StandardScaler(with_mean=False),
        "min_max": MinMaxScaler((-3, 1)),
        "robust": RobustScaler(with_scaling=False),
        "max_abs": MaxAbsScaler(),
    }
    scalers = [known[kind] for kind in kinds]
    fitted = make_pipeline(*scalers, linear_model.LinearRegression()).fit(HOUSES, PRICES)
    predictor = from_sklearn(fitted, HOUSES, n_w_bits=14, n_in_bits=14)
    expected = fitted.predict(HOUSES)
    np.testing.assert_allclose(predictor.predict(HOUSES), expected, atol=0.02 * expected.std())


def test_other_steps_run_at_the_client_and_the_scaler_behind_them_folds():
    missing = X.copy()
    missing[::7, 2] = np.nan
    fitted = make_pipeline(SimpleImputer(), StandardScaler(), linear_model.LogisticRegression())
    fitted.fit(missing, WORDS)
    predictor = from_sklearn(fitted, missing)
    kinds = [step.kind for step in predictor.preparation.transform.parameters["steps"]]
    assert kinds == ["impute"]
    assert (predictor.predict(missing) == fitted.predict(missing)).mean() > 0.99


@pytest.mark.parametrize(
    "step",
    [
        PCA(4),
        SelectKBest(k=5),
        preprocessing.PolynomialFeatures(2, include_bias=False),
        preprocessing.FunctionTransformer(np.log1p),
        make_union(PCA(3), SelectKBest(k=3)),
    ],
    ids=str,
)
@pytest.mark.fhe
def test_what_mixes_columns_runs_at_the_client_which_holds_it(step, tmp_path):
    model = linear_model.LogisticRegression(max_iter=2000)
    fitted = make_pipeline(StandardScaler(), MinMaxScaler(), step, StandardScaler(), model)
    fitted.fit(X, WORDS)
    predictor = from_sklearn(fitted, X)
    assert (predictor.predict(X) == fitted.predict(X)).mean() > 0.99
    predictor.compile()
    cipherfit.save(predictor, tmp_path / "m.cipherfit")
    cipherfit.load(tmp_path / "m.cipherfit").save_client(tmp_path / "m.client")
    client = cipherfit.load_client(tmp_path / "m.client")
    np.testing.assert_array_equal(client.encode(X), predictor.quantize_input(X))
    assert (predictor.predict(X[:5], fhe="execute") == predictor.predict(X[:5])).all()


def test_a_scaler_that_clamps_does_not_fold():
    fitted = make_pipeline(MinMaxScaler(clip=True), linear_model.LogisticRegression()).fit(X, Y)
    beyond = 3 * X
    predictor = from_sklearn(fitted, X)
    assert predictor.preparation is not None
    np.testing.assert_allclose(
        predictor.predict_proba(beyond), fitted.predict_proba(beyond), atol=0.02
    )


def test_names_of_features_are_kept_and_checked():
    frame = pd.DataFrame(X, columns=[f"feature {i}" for i in range(X.shape[1])])
    for fitted in (
        linear_model.RidgeClassifier().fit(frame, WORDS),
        scaled(linear_model.RidgeClassifier()).fit(frame, WORDS),
    ):
        predictor = from_sklearn(fitted, frame)
        assert predictor.features.names == tuple(frame.columns)
        assert (predictor.predict(frame) == fitted.predict(frame)).mean() > 0.99
        with pytest.raises(InvalidInputError, match="unseen at fit time"):
            predictor.predict(frame.rename(columns={"feature 3": "other"}))


def test_a_fitted_search_is_imported_as_its_best_estimator():
    grid = GridSearchCV(scaled(linear_model.RidgeClassifier()), {"ridgeclassifier__alpha": [1, 10]})
    predicted = from_sklearn(grid.fit(X, WORDS), X).predict(X)
    assert (predicted == grid.predict(X)).mean() > 0.99


def test_what_is_saved_answers_the_same(tmp_path):
    for model in (linear_model.Perceptron(), linear_model.SGDClassifier(loss="log_loss")):
        predictor = from_sklearn(scaled(model).fit(X, WORDS), X)
        cipherfit.save(predictor, tmp_path / "m")
        loaded = cipherfit.load(tmp_path / "m")
        assert np.array_equal(loaded.predict(X), predictor.predict(X))
        assert loaded.post_processing[-1].name == predictor.post_processing[-1].name


@pytest.mark.fhe
def test_encrypted_rows_of_a_linear_model_are_the_clear_ones():
    fitted = scaled(svm.LinearSVC()).fit(X, TWO)
    predictor = from_sklearn(fitted, X)
    predictor.compile()
    assert np.array_equal(predictor.predict(X[:20], fhe="execute"), predictor.predict(X[:20]))
    with pytest.raises(InvalidParameterError, match="scores only"):
        predictor.client_model().answer_proba(np.zeros((1, 1), dtype=np.int64))


def test_accumulators_are_held_to_what_is_asked_for_and_what_that_loses_is_told():
    digits, y = load("digits")
    options = {"hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 30}
    fitted = make_pipeline(MinMaxScaler(), neural_network.MLPClassifier(**options)).fit(digits, y)
    told = r"n_accum_bits=7, \d+ of 1\d+ weights are pruned, and \d+\.\d\d% of the rows of X get"
    with pytest.warns(CipherfitWarning, match=told) as caught:
        predictor = from_sklearn(fitted, digits, n_accum_bits=7)
    assert caught[0].filename == __file__
    assert predictor.graph.prove().max_accumulator_bits <= 7
    moved = (predictor.predict(digits) != fitted.predict(digits)).mean()
    assert 0.001 < moved < 0.5
    with pytest.warns(CipherfitWarning, match="of the outputs' variance on X is lost"):
        narrow = from_sklearn(linear_model.Ridge().fit(HOUSES, PRICES), HOUSES, n_accum_bits=9)
    assert narrow.graph.prove().max_accumulator_bits <= 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_sklearn(linear_model.Ridge().fit(HOUSES, PRICES), HOUSES, n_accum_bits=30)


def test_a_perceptron_of_scikit_learns_default_size_fits_as_it_is():
    digits, y = load("digits")
    fitted = neural_network.MLPClassifier(max_iter=10, random_state=0).fit(digits, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = from_sklearn(fitted, digits).graph
    assert graph.n_bits == 6
    assert graph.prove().max_accumulator_bits <= 16


@pytest.fixture(scope="module")
def wide():
    """A perceptron of so many features that 6-bit weights and inputs need more than 16 bits."""
    rows, y = load("digits")
    rows = np.tile(rows[:600] / 16, 6)
    options = {"hidden_layer_sizes": (10,), "max_iter": 60, "random_state": 0}
    return neural_network.MLPClassifier(**options).fit(rows, y[:600]), rows


def test_sums_of_many_features_get_fewer_bits_rather_than_pruned_weights(wide):
    fitted, rows = wide
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = from_sklearn(fitted, rows)
    assert predictor.graph.n_bits < 6
    assert predictor.graph.prove().max_accumulator_bits <= 16
    assert (predictor.predict(rows) == fitted.predict(rows)).mean() > 0.95


def test_sums_too_wide_for_lookups_are_an_error_unless_pruning_is_asked_for(wide):
    fitted, rows = wide
    with pytest.raises(
        ProofError, match=r"n_w_bits=6, .* layer coefs_\[0\] need 1\d bits"
    ) as raised:
        from_sklearn(fitted, rows, n_w_bits=6, n_in_bits=6)
    assert "give n_accum_bits=16, and weights are pruned until they do" in str(raised.value)
    assert raised.value.bits_needed > raised.value.bits_allowed == 16
    with pytest.warns(CipherfitWarning, match=r"16, [1-9]\d+ of 3\d\d\d weights are pruned"):
        predictor = from_sklearn(fitted, rows, n_w_bits=6, n_in_bits=6, n_accum_bits=16)
    assert predictor.graph.prove().max_accumulator_bits <= 16


def test_named_bits_that_lose_much_are_told():
    fitted = scaled(neural_network.MLPClassifier((6,), random_state=0, max_iter=300)).fit(X, Y)
    with pytest.warns(CipherfitWarning, match=r"^\d+\.\d\d% of the rows of X .*; more bits"):
        from_sklearn(fitted, X, n_w_bits=1, n_in_bits=1)


def several_labels():
    labels = np.stack([TWO, ~TWO], axis=1)
    return linear_model.RidgeClassifier().fit(X, labels)


def several_labels_of_a_network():
    labels = np.stack([TWO, ~TWO], axis=1)
    return neural_network.MLPClassifier((3,), max_iter=5).fit(X, labels)


class Own(linear_model.Ridge):
    """One that may predict anything."""


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: svm.SVC().fit(X, Y), UnsupportedModuleError, "a sklearn.svm.* can't be imported"),
        (lambda: Own().fit(X, Y), UnsupportedModuleError, "Own can't be imported"),
        (linear_model.Ridge, NotFittedError, "this Ridge is not fitted"),
        (several_labels, UnsupportedModuleError, "several labels"),
        (several_labels_of_a_network, UnsupportedModuleError, "several labels"),
        (
            lambda: make_pipeline(KernelPCA(3), linear_model.Ridge()).fit(X, Y),
            UnsupportedModuleError,
            "the step 'kernelpca' is a sklearn",
        ),
        (
            lambda: make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()),
            UnsupportedModuleError,
            "the step 'standardscaler' is not fitted",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(make, error, message):
    with pytest.raises(error, match=message):
        from_sklearn(make(), X)


def test_rows_and_widths_that_cannot_be_used_are_named():
    fitted = linear_model.Ridge().fit(X, Y)
    with pytest.raises(InvalidInputError, match="X holds 1 row; give representative rows"):
        from_sklearn(fitted, X[:1])
    with pytest.raises(InvalidInputError, match="X has 12 features, but Predictor is expecting 13"):
        from_sklearn(fitted, X[:, 1:])
    with pytest.raises(InvalidParameterError, match=r"n_w_bits=17 must be an integer in \[1, 16\]"):
        from_sklearn(fitted, X, n_w_bits=17)
