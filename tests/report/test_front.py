"""The networks that a search has tried are told as the search has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import fitted

from cipherfit.report.front import MOST_ON_FRONT, front_of
from cipherfit.search.design import Design, DesignSearch


def design(seconds, score, **parameters):
    named = {f"module__{key}": value for key, value in parameters.items()}
    return Design(named, 0.01, score, 0.005, seconds, int(seconds * 100))


@pytest.fixture
def search():
    designs = [design(s, 0.9 + 0.01 * i, n_w_bits=i) for i, s in enumerate((0.5, 0.1, 0.3))]
    designs.append(design(0.3, 0.8, n_w_bits=5))
    return DesignSearch(fitted("iris"), designs[1], tuple(designs), 0.4)


def test_the_front_has_letters_fastest_first_and_others_numbers(search):
    front = front_of(search, fitted("iris").graph_)
    assert [(p.name, p.seconds, p.on_front) for p in front.points] == [
        ("A", 0.1, True),
        ("B", 0.3, True),
        ("1", 0.5, False),
        ("2", 0.3, False),
    ]
    assert [point.is_chosen for point in front.points] == [True, False, False, False]
    assert (front.n_designs, front.max_latency, front.is_this) == (4, 0.4, True)
    assert front.points[0].parameters == "n_w_bits=1, p_error=0.01"
    assert not front_of(search, fitted("wine").graph_).is_this


def test_of_many_networks_some_are_shown_and_the_chosen_one_always(search):
    many = [design(1 + i, i / 1000, n_w_bits=i) for i in range(400)]
    chosen = many[300]
    front = front_of(replace(search, designs=tuple(many), chosen=chosen), fitted("iris").graph_)
    assert sum(point.on_front for point in front.points) == MOST_ON_FRONT
    assert [point.score for point in front.points if point.is_chosen] == [0.3]
    assert len(front.points) < 200 < front.n_designs == 400
