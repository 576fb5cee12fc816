"""Networks that a search has tried: their front, their text and their drawing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from html_reading import HOSTILE, Piece

from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.exceptions import MissingDependencyError
from cipherfit.search.design import KINDS, Design, DesignSearch


def design(seconds, score, **parameters):
    return Design(parameters, 0.01, score, float("nan"), seconds, 4)


FAST, GOOD, BEST = design(0.01, 0.7), design(0.05, 0.9), design(0.2, 0.95)
DOMINATED = design(0.06, 0.8), design(0.3, 0.95), design(0.05, 0.85), design(0.01, 0.65)


def searched(*designs, model=None, max_latency=0.1):
    return DesignSearch(model or NeuralNetClassifier(), designs[0], designs, max_latency)


@pytest.mark.parametrize("order", [1, -1])
def test_the_front_holds_what_is_not_dominated_fastest_first(order):
    found = searched(*[GOOD, *DOMINATED, BEST, FAST][::order])
    assert found.front == (FAST, GOOD, BEST)


def test_of_equally_fast_and_accurate_designs_the_front_has_one():
    twin = design(0.05, 0.9, n_layers=3)
    assert searched(GOOD, twin).front == (GOOD,)
    assert searched(twin, GOOD).front == (twin,)


def test_the_error_probability_is_that_of_the_chosen_design():
    chosen = Design({}, 0.03, 0.9, 0.01, 0.05, 4)
    assert DesignSearch(None, chosen, (FAST, chosen), None).p_error == 0.03


def test_a_design_is_told_in_one_line_of_its_numbers_and_parameters():
    told = str(design(0.0512, 0.98765, module__n_layers=2, lr=0.1))
    assert told == (
        "score 0.9877 at 0.0512 s per row, 4 lookups: n_layers=2, lr=0.1, p_error=0.01; "
        "secret: all weights"
    )


@pytest.mark.parametrize(
    ("client", "n_lookups", "kind", "secret"),
    [
        (None, 4, "lookups", "all weights"),
        (None, 0, "linear", "all weights"),
        ("random", 0, "random client layer, linear", "all that was trained"),
        ("learned", 2, "learned client layer, lookups", "all weights behind the client layer, wh"),
    ],
)
def test_a_design_says_what_stays_secret(client, n_lookups, kind, secret):
    parameters = {} if client is None else {"module__client_layers": client}
    found = Design(parameters, 0.01, 0.9, float("nan"), 0.1, n_lookups)
    assert found.kind == kind
    assert kind in KINDS
    assert found.secret.startswith(secret)
    assert ("p_error" in str(found)) == (n_lookups > 0)


def test_a_search_is_told_by_what_it_chose_and_its_front():
    lines = str(searched(GOOD, BEST, DOMINATED[0])).splitlines()
    assert lines == [f"chosen: {GOOD}", "front:", f"  {GOOD}", f"  {BEST}"]


def test_in_a_notebook_the_front_is_a_table_and_every_design_a_point():
    hostile = Design({"module__<b>": HOSTILE[0]}, 0.01, 0.99, 0.1, 0.5, 4)
    found = searched(GOOD, FAST, BEST, *DOMINATED, hostile)
    html = found._repr_html_()
    read = Piece(html)
    assert read.titles == [str(each) for each in found.designs]
    assert html.count('r="4" fill="currentColor"') == len(found.front) == 4
    assert [float(row["accuracy"]) for row in read.rows] == [0.7, 0.9, 0.95, 0.99]
    assert [row["s per row"] for row in read.rows] == ["0.01", "0.05", "0.2", "0.5"]
    assert [row[""] for row in read.rows] == ["", "chosen", "", ""]
    assert read.rows[-1]["parameters"] == f"<b>={HOSTILE[0]!r}, p_error=0.01"
    assert {row["secret"] for row in read.rows} == {"all weights"}


def test_in_a_notebook_a_choice_off_the_front_comes_first():
    read = Piece(searched(DOMINATED[0], GOOD, model=NeuralNetRegressor())._repr_html_())
    assert [(row[""], row["R2"]) for row in read.rows] == [("chosen", "0.8000"), ("", "0.9000")]


@pytest.fixture
def pyplot():
    plots = pytest.importorskip("matplotlib.pyplot")
    plots.switch_backend("Agg")
    yield plots
    plots.close("all")


@pytest.mark.parametrize(
    ("kind", "score"), [(NeuralNetClassifier, "accuracy"), (NeuralNetRegressor, "R2")]
)
def test_the_drawing_has_every_design_the_front_the_choice_and_the_limit(pyplot, kind, score):
    linear = Design({"module__client_layers": "random"}, 0.01, 0.6, 0.1, 0.001, 0)
    axes = searched(GOOD, FAST, BEST, *DOMINATED, linear, model=kind()).plot()
    tried, without, chosen = axes.collections
    assert without.get_offsets().tolist() == [[0.001, 0.6]]
    assert sorted(map(tuple, tried.get_offsets())) == sorted(
        (each.seconds_per_row, each.score) for each in (GOOD, FAST, BEST, *DOMINATED)
    )
    assert chosen.get_offsets().tolist() == [[0.05, 0.9]]
    front, limit = axes.lines
    assert front.get_xydata().tolist() == [[0.001, 0.6], [0.01, 0.7], [0.05, 0.9], [0.2, 0.95]]
    assert list(limit.get_xdata()) == [0.1, 0.1]
    assert (axes.get_ylabel(), axes.get_xscale()) == (score, "log")
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(named) == [
        "chosen", "front", "lookups (secret: all weights)", "max_latency",
        "random client layer, linear (secret: all that was trained)",
    ]  # fmt: skip


def test_the_picture_shows_the_chosen_design_where_the_caller_draws(pyplot):
    figure, axes = pyplot.subplots(figsize=(4, 3), dpi=100)
    assert searched(GOOD, FAST, max_latency=None).plot(axes) is axes
    assert len(axes.lines) == 1
    figure.canvas.draw()
    image = np.asarray(figure.canvas.buffer_rgba())
    assert image.shape == (300, 400, 4)
    star = (image[..., :3].max(axis=-1) < 3).nonzero()
    x, y = axes.transData.transform((0.05, 0.9))
    near = np.hypot(star[1] - x, 300 - star[0] - y) < 8
    assert near.sum() > 50


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cipherfit\[plot\]'"):
        searched(GOOD).plot()
