"""A search's display draws what its own `plot` draws."""

from __future__ import annotations

import sys

import pytest

from cipherfit import (
    CertificateDisplay,
    Design,
    DesignSearch,
    EncryptedAccuracyDisplay,
    LatencyFrontDisplay,
    NeuralNetClassifier,
    NeuralNetRegressor,
)
from cipherfit.exceptions import MissingDependencyError

DESIGNS = tuple(
    Design({}, 0.01, score, 0.01, seconds, 4)
    for seconds, score in ((0.05, 0.9), (0.01, 0.7), (0.2, 0.95), (0.06, 0.8))
)


@pytest.fixture
def pyplot():
    plots = pytest.importorskip("matplotlib.pyplot")
    plots.switch_backend("Agg")
    yield plots
    plots.close("all")


def drawn(axes):
    lines = [(line.get_label(), line.get_xydata().tolist()) for line in axes.lines]
    points = [(each.get_label(), each.get_offsets().tolist()) for each in axes.collections]
    return lines, points, axes.get_ylabel(), axes.get_xscale()


@pytest.mark.parametrize("model", [NeuralNetClassifier(), NeuralNetRegressor()])
@pytest.mark.parametrize("max_latency", [None, 0.1])
def test_the_display_of_a_search_is_its_plot(pyplot, model, max_latency):
    search = DesignSearch(model, DESIGNS[0], DESIGNS, max_latency)
    display = LatencyFrontDisplay.from_search(search)
    assert drawn(display.ax_) == drawn(search.plot())
    assert [0.05, 0.9] in drawn(display.ax_)[1][-1][1]


def test_designs_alone_are_drawn_without_a_choice_or_a_limit(pyplot):
    figure, axes = pyplot.subplots()
    display = LatencyFrontDisplay(designs=DESIGNS).plot(axes)
    assert (display.ax_, display.figure_) == (axes, figure)
    (front,), (points,), *_ = drawn(axes)
    assert front == ("front", [[0.01, 0.7], [0.05, 0.9], [0.2, 0.95]])
    assert sorted(points[1]) == sorted([each.seconds_per_row, each.score] for each in DESIGNS)


@pytest.mark.parametrize(
    "display",
    [
        LatencyFrontDisplay(designs=DESIGNS),
        EncryptedAccuracyDisplay(trials=(), score=1.0, confidence=0.9),
        CertificateDisplay(low=[0], high=[1], n_bits=1),
    ],
    ids=lambda display: type(display).__name__,
)
def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, display):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = rf"{type(display).__name__} needs matplotlib: pip install 'cipherfit\[plot\]'"
    with pytest.raises(MissingDependencyError, match=message):
        display.plot()
