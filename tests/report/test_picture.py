"""The demonstration's picture: a file that is no blank, and what its axes hold."""

from __future__ import annotations

import numpy as np
import pytest
from report_samples import report_on

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")

from matplotlib.colors import to_rgb  # noqa: E402 - where matplotlib is installed

from cipherfit.report import picture  # noqa: E402
from cipherfit.stages import stages_of  # noqa: E402

RED, PROVEN, SEEN, ENCRYPTED = "#c2452d", "#c9d6e8", "#2f5d8c", "#2a9d8f"


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draw reports; returns the picture's pixels and the axes of each report."""

    def draw(*reports):
        figures = []
        with monkeypatch.context() as patched:
            patched.setattr(picture.plt, "close", figures.append)
            picture.save_picture(list(reports), tmp_path / "picture.png")
        (figure,) = figures
        pyplot.close(figure)
        axes = [row.axes for row in figure.subfigs]
        return pyplot.imread(tmp_path / "picture.png"), axes

    return draw


def bars(axes, colour):
    return [bar for bar in axes.patches if np.allclose(bar.get_facecolor()[:3], to_rgb(colour))]


def test_the_file_shows_every_report_in_a_row_of_its_own(drawn):
    wine, digits = report_on("wine"), report_on("digits")
    one, axes = drawn(wine)
    both, more = drawn(wine, digits)
    assert [len(row) for row in axes] == [3]
    assert [len(row) for row in more] == [3, 3]
    assert both.shape[0] == pytest.approx(2 * one.shape[0], rel=0.1)
    assert one.std() > 0.05, "blank"
    for half in np.array_split(both, 2):
        assert half.std() > 0.05, "blank"


def test_no_figure_stays_open(tmp_path):
    before = pyplot.get_fignums()
    picture.save_picture([report_on("wine")], tmp_path / "picture.png")
    assert pyplot.get_fignums() == before


def test_accuracies_are_those_of_the_report_in_its_order(drawn):
    report = report_on("wine", wrong=5)
    _, ((accuracy, *_),) = drawn(report)
    expected = [
        report.float_accuracy,
        report.accuracy,
        report.same_rows_accuracy,
        report.encrypted_accuracy,
    ]
    assert [bar.get_width() for bar in accuracy.patches] == pytest.approx(expected)
    assert report.encrypted_accuracy < report.same_rows_accuracy


def test_seen_accumulators_lie_within_the_proven_ones_neuron_by_neuron(drawn):
    report = report_on("wine")
    _, ((_, intervals, _),) = drawn(report)
    proof = stages_of(report.model.graph_)[0].proof
    proven, seen = bars(intervals, PROVEN), bars(intervals, SEEN)
    assert [bar.get_height() for bar in proven] == (proof.high - proof.low).tolist()
    assert len(seen) == len(proven)
    for outer, inner in zip(proven, seen, strict=True):
        assert 0 <= inner.get_y() < inner.get_y() + inner.get_height() <= outer.get_height()
        middle = inner.get_x() + inner.get_width() / 2
        assert middle == pytest.approx(outer.get_x() + outer.get_width() / 2)
    budget = [line.get_ydata()[0] for line in intervals.lines]
    assert budget == [2**report.model.module_.n_accum_bits - 1]


@pytest.mark.parametrize("wrong", [0, 5])
def test_encrypted_rows_of_a_wrong_class_are_red(drawn, wrong):
    for name in ("wine", "digits"):
        report = report_on(name, wrong=wrong)
        n_wrong = int((report.encrypted != report.y_test[: len(report.encrypted)]).sum())
        _, ((*_, samples),) = drawn(report)
        if name == "wine":
            assert len(bars(samples, RED)) == n_wrong
            assert len(bars(samples, ENCRYPTED)) == len(report.encrypted) - n_wrong
        else:
            colours = [text.get_color() for text in samples.texts]
            assert colours.count(RED) == n_wrong
            assert [text.get_text() for text in samples.texts] == list(map(str, report.encrypted))


def test_square_images_are_shown_and_other_rows_as_bars(drawn):
    _, ((*_, images), (*_, other)) = drawn(report_on("digits"), report_on("wine"))
    assert len(images.images) == 20
    assert not images.patches
    assert not other.images
    assert len(other.patches) == 20
