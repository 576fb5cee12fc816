"""Drawn digits look like those that people wrote."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from cipherfit.report import strokes
from cipherfit.report.digits import train_digit_reader

LINE = [np.array([[0.5, 0.1], [0.5, 0.9]])]


def square(picture):
    return picture.reshape(8, 8)


def test_there_are_ten_digits_of_points_within_the_paper():
    assert len(strokes.digits()) == 10
    for ways in strokes.digits():
        for way in ways:
            points = np.concatenate(way)
            assert points.min() >= 0
            assert points.max() <= 1


def test_a_picture_is_as_high_as_the_paper_and_in_the_middle():
    for ways in strokes.digits():
        for way in ways:
            moved = [0.3 * stroke + [0.6, 0.1] for stroke in way]
            picture = square(strokes.picture(moved))
            np.testing.assert_allclose(picture, square(strokes.picture(way)), atol=1.5)
            assert picture[0].max() > 2
            assert picture[-1].max() > 2
            assert picture[:, 0].max() == picture[:, -1].max() == 0
            assert picture.min() >= 0
            assert picture.max() <= 16


def test_what_leans_is_made_to_stand():
    lean = [stroke @ np.array([[1, 0], [-0.4, 1]]) for stroke in LINE]
    np.testing.assert_allclose(strokes.picture(lean), strokes.picture(LINE), atol=1e-6)


@pytest.mark.parametrize(
    "points", [[[0.2, 0.7]], [[0.2, 0.7], [0.2, 0.7]], [[0.1, 0.5], [0.9, 0.5]]]
)
def test_a_dot_and_a_dash_are_pictures_too(points):
    picture = strokes.picture([np.array(points)])
    assert np.isfinite(picture).all()
    assert picture.sum() > 0


def test_a_broader_pen_leaves_more_ink():
    thin, broad = (strokes.picture(LINE, width).sum() for width in (0.09, 0.16))
    assert broad > 1.3 * thin


def test_drawn_digits_are_like_written_ones():
    X, y = load_digits(return_X_y=True)
    neighbours = KNeighborsClassifier(5).fit(X, y)
    rng = np.random.default_rng(0)
    drawn = [
        strokes.picture(strokes.varied(ways[index % len(ways)], rng))
        for ways in strokes.digits()
        for index in range(20)
    ]
    truth = np.repeat(np.arange(10), 20)
    right = neighbours.predict(drawn) == truth
    # Of 200; nearest neighbours know one way to write most digits.
    assert right.mean() > 0.6
    assert np.mean(drawn) == pytest.approx(X.mean(), rel=0.35)


def test_a_reader_is_trained_that_reads_digits_held_out_and_drawn():
    reader = train_digit_reader(max_epochs=8, n_hidden_neurons=64, n_drawn=30)
    assert reader.accuracy > 0.9
    assert reader.n_held_out == 450
    assert [name for name, _ in reader.samples] == list("0123456789")
    labels = reader.predictor.predict(np.array([row for _, row in reader.samples]))
    assert (labels.astype(str) == list("0123456789")).mean() > 0.7
    assert reader.predictor.circuit is not None
    assert reader.predictor.client_layers == "random"
    assert reader.predictor.graph.n_lookups == 0
    rng = np.random.default_rng(1)
    drawn = [strokes.picture(strokes.varied(ways[0], rng)) for ways in strokes.digits()]
    assert (reader.predictor.predict(drawn) == np.arange(10)).sum() >= 8
