"""What a form asks for is what the model takes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from cipherfit import IntegerGraph, Predictor
from cipherfit.exceptions import InvalidInputError
from cipherfit.predictor.fields import FieldError, fields_of, row_of
from cipherfit.predictor.pipelines import preparation_of
from cipherfit.predictor.preparation import Preparation, Transform
from cipherfit.predictor.targets import RealTargets

RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "age": RNG.uniform(20, 80, 200),
        "income": RNG.lognormal(8, 0.5, 200),
        "job": RNG.choice(["cook", "nurse", "smith"], 200),
        "rooms": RNG.integers(1, 5, 200),
    }
)


def network(low, high, n_bits=8):
    """Return a network whose features range from `low` to `high`."""
    low, high = np.asarray(low, float), np.asarray(high, float)
    scale = (high - low) / (2**n_bits - 1)
    return IntegerGraph.from_layers(
        {"scale": scale, "zero_point": np.rint(-low / scale).astype(int), "n_bits": n_bits},
        [{"kind": "linear", "weights": np.ones((1, len(low)), int), "offset": np.zeros(1, int)}],
        {"scale": np.ones(1), "offset": np.zeros(1)},
    )


def predictor(steps, table=TABLE):
    """Return a predictor behind fitted steps, whose network takes what they make of a table."""
    made = steps.fit_transform(table)
    made = np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=float)
    low, high = np.nanmin(made, axis=0), np.nanmax(made, axis=0)
    graph = network(low, np.where(high > low, high, low + 1))
    return Predictor(
        graph, RealTargets(1, flat=True), preparation=preparation_of([("steps", steps)])
    )


def test_without_steps_ranges_are_the_quantizers():
    graph = network([0, -4, 1], [16, 4, 2])
    named = Predictor(graph, RealTargets(1, flat=True), feature_names=["a", "b", "c"])
    fields = fields_of(named)
    assert [field.name for field in fields] == ["a", "b", "c"]
    assert [field.low for field in fields] == pytest.approx([0, -4, 1], abs=0.02)
    assert [field.high for field in fields] == pytest.approx([16, 4, 2], abs=0.02)
    assert [field.default for field in fields] == pytest.approx([8, 0, 1.5], abs=0.02)
    assert all(field.choices is None and field.missing is None for field in fields)
    bare = Predictor(graph, RealTargets(1, flat=True))
    assert [field.name for field in fields_of(bare)] == ["feature 1", "feature 2", "feature 3"]
    # Names go with the row, so that nothing warns of their absence.
    for one in (named, bare):
        row = row_of(one, fields_of(one), [1, "2.5", 1.5])
        assert one.predict(row).shape == (1,)


NUMBERS = {
    "standardized": preprocessing.StandardScaler(),
    "into [0, 1]": preprocessing.MinMaxScaler(),
    "into [-1, 1]": preprocessing.MaxAbsScaler(),
    "robustly": preprocessing.RobustScaler(),
    "twice": make_pipeline(preprocessing.StandardScaler(), preprocessing.MinMaxScaler((1, 5))),
    "bins": preprocessing.KBinsDiscretizer(5, encode="ordinal", strategy="uniform"),
    "bins as columns": preprocessing.KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform"),
    "splines": preprocessing.SplineTransformer(),
    "splines without one": preprocessing.SplineTransformer(include_bias=False),
    "periodic splines": preprocessing.SplineTransformer(extrapolation="periodic"),
    "quantiles": preprocessing.QuantileTransformer(n_quantiles=50),
    "nothing": "passthrough",
}


@pytest.mark.parametrize("how", NUMBERS)
def test_ranges_of_numbers_are_those_of_training_whatever_scales_them(how):
    columns = TABLE[["age", "income"]]
    # A step of one column before and one after: a wrong count of columns would shift the ranges.
    steps = ColumnTransformer(
        [("first", NUMBERS[how], ["age"]), ("then", preprocessing.StandardScaler(), ["income"])]
    )
    fields = fields_of(predictor(steps, columns))
    for field, name in zip(fields, columns, strict=True):
        low, high = columns[name].min(), columns[name].max()
        margin = 0.01 * (high - low)
        assert field.name == name
        assert field.low == pytest.approx(low, abs=margin)
        assert field.high == pytest.approx(high, abs=margin)
        assert low <= field.default <= high


def test_a_power_says_no_range_and_shifts_no_others():
    steps = ColumnTransformer(
        [
            ("power", preprocessing.PowerTransformer(), ["income"]),
            ("then", preprocessing.StandardScaler(), ["age"]),
        ]
    )
    age, income = fields_of(predictor(steps, TABLE[["age", "income"]]))
    assert (income.low, income.high) == (None, None)
    assert age.high == pytest.approx(TABLE["age"].max(), abs=0.5)


@pytest.mark.parametrize("encoder", [preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder])
def test_categories_are_choices_of_their_own_type(encoder):
    steps = ColumnTransformer(
        [("codes", encoder(), ["job", "rooms"]), ("rest", preprocessing.MinMaxScaler(), ["age"])]
    )
    table = TABLE[["age", "job", "rooms"]]
    made = predictor(steps, table)
    age, job, rooms = fields_of(made)
    assert job.choices == {"cook": "cook", "nurse": "nurse", "smith": "smith"}
    assert rooms.choices == {"1": 1, "2": 2, "3": 3, "4": 4}
    assert age.choices is None
    for _, row in table.head(10).iterrows():
        given = [row["age"], row["job"], str(row["rooms"])]
        own = row_of(made, fields_of(made), given)
        assert made.predict(own) == made.predict(row.to_frame().T)


def test_missing_values_may_be_left_out_where_a_step_fills_them():
    table = TABLE[["age", "income", "job"]].copy()
    table.loc[0, "age"] = table.loc[1, "job"] = np.nan
    numbers = make_pipeline(SimpleImputer(strategy="median"), preprocessing.StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="most_frequent"), preprocessing.OneHotEncoder(sparse_output=False)
    )
    steps = ColumnTransformer(
        [
            ("numbers", numbers, ["age"]),
            ("texts", texts, ["job"]),
            ("rest", preprocessing.StandardScaler(), ["income"]),
        ]
    )
    made = predictor(steps, table)
    age, income, job = fields = fields_of(made)
    assert age.default == pytest.approx(table["age"].median(), rel=1e-3)
    assert job.default == table["job"].mode()[0]
    assert math.isnan(age.value(None))
    assert "or nothing" in age.allowed
    assert "or nothing" in job.allowed
    filled = row_of(made, fields, [table["age"].median(), 1000, job.default])
    assert made.predict(row_of(made, fields, [None, 1000, None])) == made.predict(filled)
    with pytest.raises(FieldError, match="income = None must be a finite number"):
        row_of(made, fields, [30, None, "cook"])
    assert income.missing is None


def test_a_step_that_scales_before_it_fills_is_seen_through():
    table = TABLE[["age"]].copy()
    table.loc[0, "age"] = np.nan
    steps = make_pipeline(preprocessing.StandardScaler(), SimpleImputer(strategy="median"))
    (age,) = fields_of(predictor(steps, table))
    assert age.missing is not None
    assert age.default == pytest.approx(table["age"].median(), rel=1e-3)


@pytest.mark.parametrize(
    "given", ["x", "", "nan", "inf", 1e39, -1e39, math.nan, True, [1], b"1", 10**400]
)
def test_what_is_no_number_is_named(given):
    made = Predictor(network([0], [1]), RealTargets(1, flat=True), feature_names=["weight"])
    with pytest.raises(FieldError, match=r"weight = .* must be a finite number") as caught:
        row_of(made, fields_of(made), [given])
    assert caught.value.feature == "weight"
    assert caught.value.allowed == "a finite number"


def test_what_is_no_choice_or_no_row_is_named():
    steps = ColumnTransformer([("codes", preprocessing.OneHotEncoder(), ["job"])])
    made = predictor(steps, TABLE[["job"]])
    fields = fields_of(made)
    for given in ("baker", 0, None, ["cook"]):
        with pytest.raises(FieldError, match="must be one of 'cook', 'nurse', 'smith'"):
            row_of(made, fields, [given])
    with pytest.raises(InvalidInputError, match="the row has 2 values, and must have 1"):
        row_of(made, fields, ["cook", "cook"])


def test_values_beyond_the_range_are_told():
    made = Predictor(network([0], [16]), RealTargets(1, flat=True))
    (field,) = fields_of(made)
    assert [field.is_beyond(value) for value in (-1.0, 0.0, 16.0, 17.0)] == [
        True,
        False,
        False,
        True,
    ]


def test_choices_of_the_same_name_are_told_apart():
    values = np.array([1, "1", None], dtype=object)
    parameters = {"categories": [values], "codes": [np.arange(3.0)], "unknown": None}
    made = Predictor(
        network([0], [2]),
        RealTargets(1, flat=True),
        preparation=Preparation(1, None, Transform("ordinal", parameters)),
    )
    (field,) = fields_of(made)
    assert field.choices == {"1": 1, "1 (2)": "1"}
    assert field.value("1 (2)") == "1"
    assert field.value(None) is None


def test_steps_that_do_not_fit_each_other_are_an_error():
    parameters = {"categories": [np.array(["a"])] * 2, "codes": [np.zeros(1)] * 2, "unknown": None}
    made = Predictor(
        network([0], [2]),
        RealTargets(1, flat=True),
        preparation=Preparation(1, None, Transform("ordinal", parameters)),
    )
    with pytest.raises(InvalidInputError, match="steps before the network don't fit"):
        fields_of(made)
