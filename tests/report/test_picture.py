"""The demonstration's picture, by its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from report_samples import report_on

pyplot = pytest.importorskip("matplotlib.pyplot")
pyplot.switch_backend("Agg")

from cipherfit.report.picture import save_picture  # noqa: E402 - where matplotlib is installed

RED, PROVEN, SEEN = (194, 69, 45), (201, 214, 232), (47, 93, 140)


def pixels(path):
    return np.rint(255 * pyplot.imread(path)[..., :3]).astype(int)


def count(image, colour):
    return int((np.abs(image - colour).max(axis=-1) <= 1).sum())


@pytest.fixture
def picture_of(tmp_path):
    def draw(*reports):
        save_picture(list(reports), tmp_path / "picture.png")
        return pixels(tmp_path / "picture.png")

    return draw


def test_every_report_gets_a_row_of_the_same_height(picture_of):
    wine, digits = report_on("wine"), report_on("digits")
    assert picture_of(wine).shape == (462, 1320, 3)
    both = picture_of(wine, digits)
    assert both.shape == (924, 1320, 3)
    for half in (both[:462], both[462:]):
        # Bars of what is proven, and within them of what was seen; the budget's line.
        assert count(half, PROVEN) > 5000
        assert count(half, SEEN) > 2000
        assert count(half[:, 330:900], RED) > 300


def test_no_figure_stays_open(picture_of):
    before = pyplot.get_fignums()
    picture_of(report_on("wine"))
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize("name", ["wine", "digits"])
def test_encrypted_rows_of_a_wrong_class_are_red(picture_of, name):
    samples = np.s_[:, 900:]
    right, wrong = (picture_of(report_on(name, wrong=wrong)) for wrong in (0, 5))
    assert count(wrong[samples], RED) > count(right[samples], RED)


def test_square_images_are_shown_and_other_rows_as_bars(picture_of):
    images, bars = (picture_of(report_on(name))[:, 900:] for name in ("digits", "wine"))
    greys = [int((np.ptp(each, axis=-1) == 0).sum() - count(each, (255, 255, 255)))
             for each in (images, bars)]  # fmt: skip
    assert greys[0] > 4 * greys[1]
    assert count(bars, SEEN) > 4 * count(images, SEEN)


def tops_and_bottoms(column_group, colour):
    rows = np.flatnonzero((np.abs(column_group - colour).max(axis=-1) <= 1).any(axis=1))
    return rows.min(), rows.max()


def test_seen_accumulators_lie_within_the_proven_ones_neuron_by_neuron(picture_of):
    middle = picture_of(report_on("wine"))[:, 330:900]
    is_red = np.abs(middle - RED).max(axis=-1) <= 1
    budget = np.flatnonzero(is_red.sum(axis=1) > 200).max()
    above = np.flatnonzero(is_red.sum(axis=1) > 200).min()
    assert not count(middle[above - 12 : above - 2], SEEN)
    bars = middle[budget + 1 :]
    inside = (np.abs(bars - PROVEN).max(axis=-1) <= 1).sum(axis=0) > 2
    inside |= (np.abs(bars - SEEN).max(axis=-1) <= 1).sum(axis=0) > 2
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]])))
    groups = [np.s_[:, start:end] for start, end in edges.reshape(-1, 2)]
    assert len(groups) == 8
    for group in groups:
        (top, bottom), (seen_top, seen_bottom) = (
            tops_and_bottoms(bars[group], colour) for colour in (PROVEN, SEEN)
        )
        assert top - 1 <= seen_top < seen_bottom <= bottom + 1
