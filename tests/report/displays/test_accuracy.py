"""What is drawn of errors is what simulation gave."""

from __future__ import annotations

import numpy as np
import pytest
from samples import fitted, load

from cipherfit import EncryptedAccuracyDisplay, search_p_error
from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor.p_error import NoisyScore, PErrorSearch, Trial

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")

TRIALS = (
    Trial(0.1, 0.05, 0.06, (0.8, 0.9)),
    Trial(0.001, 0.01, 0.015, (0.88, 0.9)),
    Trial(0.01, 0.02, 0.03, (0.86, 0.9)),
)
SEARCH = PErrorSearch(
    p_error=0.01, score=0.9, chosen=TRIALS[2], trials=TRIALS, max_accuracy_drop=0.03,
    confidence=0.9, n_rows=50, n_passes=30, score_name="R2",
)  # fmt: skip


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def intervals(display):
    (bars,) = display.points_.lines[2]
    return [segment[:, 1].tolist() for segment in bars.get_segments()]


def test_the_trials_of_a_search_are_drawn_by_their_probability_with_their_intervals():
    display = EncryptedAccuracyDisplay.from_search(SEARCH)
    line = display.points_.lines[0]
    assert line.get_xdata().tolist() == [0.001, 0.01, 0.1]
    assert line.get_ydata() == pytest.approx([0.89, 0.88, 0.85])
    assert np.array(intervals(display)) == pytest.approx(
        np.array([[0.88, 0.9], [0.86, 0.9], [0.8, 0.9]])
    )
    drawn = {each.get_label(): each for each in display.ax_.lines}
    assert list(drawn["without errors"].get_ydata()) == [0.9, 0.9]
    assert list(drawn["allowed"].get_ydata()) == pytest.approx([0.87, 0.87])
    assert list(drawn["chosen: 0.01"].get_xdata()) == [0.01, 0.01]
    assert "measured, encrypted" not in drawn
    assert display.ax_.get_ylabel() == "R2"
    assert display.points_.get_label() == "simulated: mean, and 90% of passes"


def test_a_measured_score_is_a_point_of_its_own():
    display = EncryptedAccuracyDisplay.from_search(SEARCH, measured=(0.02, 0.84))
    (point,) = [line for line in display.ax_.lines if line.get_label() == "measured, encrypted"]
    assert point.get_xydata().tolist() == [[0.02, 0.84]]


@pytest.mark.parametrize(("name", "score_name"), [("wine", "accuracy"), ("diabetes", "R2")])
def test_an_estimator_is_simulated_at_the_probabilities_that_are_asked_for(name, score_name):
    (X, y), model = load(name), fitted(name)
    display = EncryptedAccuracyDisplay.from_estimator(model, X, y, p_errors=[0.5, 1e-6])
    judge = NoisyScore(model.predictor_, X, y)
    assert display.trials == tuple(judge.trial(model.graph_, p_error) for p_error in (1e-6, 0.5))
    rare, often = (high - low for low, high in intervals(display))
    assert rare < often
    assert display.score == pytest.approx(model.score(X, y))
    assert display.ax_.get_ylabel() == score_name


def test_a_search_says_what_its_score_is():
    X, y = load("wine")
    found = search_p_error(fitted("wine"), X, y, max_accuracy_drop=0.2)
    assert found.score_name == "accuracy"
    display = EncryptedAccuracyDisplay.from_search(found)
    assert {trial.p_error for trial in display.trials} == {t.p_error for t in found.trials}


def test_it_draws_where_the_caller_says():
    figure, axes = pyplot.subplots()
    display = EncryptedAccuracyDisplay.from_search(SEARCH, ax=axes)
    assert (display.ax_, display.figure_) == (axes, figure)
    assert display.plot() is display
    assert display.ax_ is not axes


@pytest.mark.parametrize("p_errors", [[0.0], [0.1, 1.5], ["many"]])
def test_probabilities_that_are_none_are_named(p_errors):
    X, y = load("wine")
    with pytest.raises(InvalidParameterError, match=r"p_errors=.* must be a number in \(0, 1\)"):
        EncryptedAccuracyDisplay.from_estimator(fitted("wine"), X, y, p_errors=p_errors)


def test_no_probability_at_all_is_refused():
    X, y = load("wine")
    with pytest.raises(InvalidParameterError, match=r"p_errors=\(\) must hold"):
        EncryptedAccuracyDisplay.from_estimator(fitted("wine"), X, y, p_errors=())
