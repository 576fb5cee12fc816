"""The search for the error probability that a model bears, held to encrypted runs."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split

from cipherfit import NeuralNetClassifier, NeuralNetRegressor, search_p_error
from cipherfit.exceptions import InvalidInputError, InvalidParameterError

X, Y = load_breast_cancer(return_X_y=True)
SEEN, UNSEEN, Y_SEEN, Y_UNSEEN = train_test_split(X, Y, stratify=Y, random_state=0)


@pytest.fixture(scope="module")
def model():
    return NeuralNetClassifier(
        module__n_hidden_neurons=[4], module__n_lookup_bits=5, random_state=0, verbose=0
    ).fit(SEEN, Y_SEEN)


def test_the_bound_is_met_and_a_larger_allowance_never_gives_a_smaller_probability(model):
    results = [
        search_p_error(model, UNSEEN, Y_UNSEEN, max_accuracy_drop=drop)
        for drop in (0.01, 0.02, 0.1)
    ]
    for result in results:
        assert 0 < result.p_error <= 0.1
        assert result.chosen.p_error == result.p_error
        assert result.chosen.drop <= result.chosen.drop_bound <= result.max_accuracy_drop
        assert result.score == model.score(UNSEEN, Y_UNSEEN)
        assert f"p_error={result.p_error:.2g}" in str(result)
    found = [result.p_error for result in results]
    assert found == sorted(found)


def test_the_drop_is_that_of_noisy_predictions_counted_one_by_one(model):
    result = search_p_error(model, UNSEEN, Y_UNSEEN, max_accuracy_drop=0.1)
    codes = model.quantize_input(UNSEEN)
    scores = []
    for seed in range(1000, 1300):
        accumulators = model.graph_.simulate(codes, p_error=result.p_error, seed=seed)
        outputs = model.graph_.dequantize(accumulators)
        scores.append(np.mean(outputs.argmax(axis=1) == Y_UNSEEN))
    assert result.score - np.mean(scores) == pytest.approx(result.chosen.drop, abs=2e-3)
    low, high = result.chosen.score_interval
    assert 0.9 <= np.mean([low <= score <= high for score in scores]) <= 1.0


def test_results_repeat(model):
    results = [search_p_error(model, UNSEEN, Y_UNSEEN) for _ in range(2)]
    assert results[0] == results[1]


def test_without_labels_the_clear_predictions_stand_for_them(model):
    result = search_p_error(model, UNSEEN)
    assert result.score == 1.0


def test_a_regressor_is_judged_by_r2():
    x, y = load_diabetes(return_X_y=True)
    model = NeuralNetRegressor(module__n_hidden_neurons=[4], random_state=0, verbose=0).fit(x, y)
    result = search_p_error(model, x, y, max_accuracy_drop=0.05)
    assert result.score == pytest.approx(model.score(x, y), abs=1e-6)
    assert result.chosen.drop_bound <= 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_accuracy_drop": 0}, "max_accuracy_drop=0"),
        ({"max_accuracy_drop": "much"}, "max_accuracy_drop='much'"),
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"max_accuracy_drop": 1e-12}, "even at p_error=1e-09"),
    ],
)
def test_options_that_cannot_be_met_are_named(model, options, message):
    with pytest.raises(InvalidParameterError, match=message):
        search_p_error(model, UNSEEN, Y_UNSEEN, **options)


def test_bad_data_is_named(model):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        search_p_error(model, UNSEEN, Y_UNSEEN[:-1])
    with pytest.raises(InvalidInputError, match="shape"):
        search_p_error(model, UNSEEN, np.stack([Y_UNSEEN, Y_UNSEEN], axis=1))
    with pytest.raises(NotFittedError):
        search_p_error(NeuralNetClassifier(), UNSEEN, Y_UNSEEN)


def test_auto_asks_for_rows(model):
    with pytest.raises(InvalidParameterError, match="give X"):
        model.compile(p_error="auto")
    with pytest.raises(InvalidParameterError, match="'fast' must be a number or 'auto'"):
        model.compile(UNSEEN, p_error="fast")


@pytest.mark.fhe
def test_encrypted_accuracy_lies_in_the_predicted_interval(model):
    rows, labels = UNSEEN[:60], Y_UNSEEN[:60]
    circuit = model.compile(UNSEEN, p_error="auto", y=Y_UNSEEN, max_accuracy_drop=0.02)
    largest = search_p_error(model, UNSEEN, Y_UNSEEN, max_accuracy_drop=0.02).p_error
    assert circuit.p_error <= largest
    codes = model.quantize_input(rows)
    scores = []
    for seed in range(300):
        accumulators = model.graph_.simulate(codes, p_error=circuit.p_error, seed=seed)
        scores.append(np.mean(model.graph_.dequantize(accumulators).argmax(axis=1) == labels))
    encrypted = np.mean(model.predict(rows, fhe="execute") == labels)
    # Keys and ciphertexts are other ones each time: of a million runs, hardly one shall fail.
    assert abs(encrypted - np.mean(scores)) <= 5 * np.std(scores) + 1 / len(rows)
