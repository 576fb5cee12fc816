"""Pieces of HTML: what is given is text, and pictures draw the numbers that they are given."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_reading import HOSTILE, Piece

from cipherfit.pages import fragments
from cipherfit.pages.fragments import Html, Point


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_is_given_is_text(text):
    read = Piece(
        fragments.panel(
            text,
            fragments.paragraph(text),
            fragments.code(text),
            fragments.facts([(text, text)]),
            fragments.table(["name", text], [[text, 1]]),
            fragments.bars([1.0], 1.0, text),
            fragments.points([Point(1.0, 1.0, text)], text, text, text),
        )
    )
    assert read.facts == {text: text}
    assert read.rows == [{"name": text, text: "1"}]
    assert read.labels == [text, text]
    assert read.titles == [text]
    assert read.text.count(text) == 7


def test_pieces_in_pieces_stay_as_they_are():
    inner = fragments.code("<a>")
    assert inner == "<code>&lt;a&gt;</code>"
    assert inner in fragments.facts([("name", inner)])
    assert str(inner) not in fragments.facts([("name", f"{inner}")])
    assert isinstance(fragments.panel("title", inner), Html)


def test_numbers_and_their_headings_stand_at_the_right():
    html = fragments.table(["a", "b", "c"], [["1", 1, np.int64(2)]])
    sides = re.findall(r"text-align:(\w+)[^>]*>(\w)", html)
    assert sides == [
        ("left", "a"), ("right", "b"), ("right", "c"), ("left", "1"), ("right", "1"), ("right", "2")
    ]  # fmt: skip
    assert Piece(fragments.table(["a"], [])).rows == []


def test_lists_end_where_they_get_long():
    assert fragments.listed("abc") == "a, b, c"
    assert fragments.listed(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert fragments.listed(range(9)) == "0, 1, 2, 3, 4, 5, 6, 7, ... (9 in all)"


def heights(html):
    drawn, line = Piece(html).paths
    found = [32 - float(top) for top in re.findall(r"V([\d.]+)", drawn)]
    return np.array(found), 32 - float(line.partition(",")[2].partition("H")[0])


def test_bars_are_as_high_as_their_numbers_are_to_the_limit():
    found, limit = heights(fragments.bars([0, 5, 10, 20], 20.0, "widths"))
    assert found / limit == pytest.approx([0, 0.25, 0.5, 1], abs=1e-3)
    over, limit = heights(fragments.bars([40.0], 20.0, "widths"))
    assert over / limit == pytest.approx([2], abs=1e-3)
    assert (over <= 32).all()
    assert heights(fragments.bars([0, 0], 0, "constant"))[0].tolist() == [0, 0]


def test_of_many_numbers_the_highest_of_neighbours_are_drawn():
    values = np.random.default_rng(0).integers(0, 100, 1000).tolist()
    found, limit = heights(fragments.bars(values, 100, "widths"))
    assert len(found) <= 64
    expected = [max(values[first : first + 16]) for first in range(0, 1000, 16)]
    assert found / limit * 100 == pytest.approx(expected, abs=0.1)


def test_points_stand_where_their_numbers_are():
    marks = [
        Point(0.01, 0.0, "a"), Point(0.1, 0.5, "b", is_filled=True),
        Point(1.0, 1.0, "c", low=0.5, high=1.0), Point(1.0, float("nan"), "not drawn"),
    ]  # fmt: skip
    html = fragments.points(marks, "seconds", "score", "three points")
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="4" fill="(\w+)"', html)
    x, y = np.array([circle[:2] for circle in circles], float).T
    assert np.diff(x)[0] == pytest.approx(np.diff(x)[1], abs=0.2)
    assert np.diff(y)[0] == pytest.approx(np.diff(y)[1], abs=0.2)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) < 0).all()
    assert [fill for *_, fill in circles] == ["none", "currentColor", "none"]
    read = Piece(html)
    assert read.titles == ["a", "b", "c"]
    (span, _axes) = read.paths
    at, low, high = map(float, re.findall(r"[\d.]+", span))
    assert (at, low, high) == (x[2], y[1], y[2])
    for tick in ("0.01", "1", "0", "seconds", "score"):
        assert f">{tick}</text>" in html


def test_one_point_alone_is_drawn_and_none_is_no_picture():
    assert "circle" in fragments.points([Point(0.1, 0.5, "a")], "x", "y", "one")
    assert fragments.points([Point(0.1, float("inf"), "a")], "x", "y", "none") == ""


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_a_share_is_as_long_as_it_is(part):
    read = Piece(fragments.share(part))
    assert read.paths == [f"M0,6H{100 * part:g}"]
    assert read.labels == [f"{part:.0%}"]
