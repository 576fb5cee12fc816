"""What `design_network` has tried, for a report."""

from __future__ import annotations

from itertools import count
from string import ascii_uppercase

from cipherfit._core import IntegerGraph
from cipherfit.report.data import Front, FrontPoint
from cipherfit.report.words import shown
from cipherfit.search.design import Design, DesignSearch

#: Networks of the front, and others, that are shown.
MOST_ON_FRONT, _MOST_OTHERS = len(ascii_uppercase), 150


def front_of(search: DesignSearch, graph: IntegerGraph) -> Front:
    """Return the networks that a search has tried, the front's first.

    Parameters
    ----------
    search : DesignSearch
        As `design_network` returns it.
    graph : IntegerGraph
        The graph of the model that is reported on.
    """
    front = search.front[:MOST_ON_FRONT]
    others = [design for design in search.designs if design not in front][:_MOST_OTHERS]
    if search.chosen not in front and search.chosen not in others:
        others = [search.chosen, *others]
    numbers = (str(number) for number in count(1))
    named = [*zip(ascii_uppercase, front, strict=False), *((next(numbers), one) for one in others)]
    points = tuple(_point(name, design, search, name.isalpha()) for name, design in named)
    is_this = search.model.predictor_.graph == graph
    return Front(points, len(search.designs), search.max_latency, is_this)


def _point(name: str, design: Design, search: DesignSearch, on_front: bool) -> FrontPoint:
    return FrontPoint(
        name=name,
        seconds=design.seconds_per_row,
        score=design.score,
        score_error=design.score_error,
        n_lookups=design.n_lookups,
        kind=design.kind,
        secret=design.secret,
        parameters=shown(design.told_parameters, 400),
        on_front=on_front,
        is_chosen=design == search.chosen,
    )
