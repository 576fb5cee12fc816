"""Gather what the benchmarks of simulation measure, and print it as ratios in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from peers import PEERS

Key = tuple[str, int, int]
TIMES = pytest.StashKey[dict[Key, dict[str, float]]]()
COLUMNS = (*PEERS[1:], "Concrete")


def pytest_configure(config):
    config.stash[TIMES] = defaultdict(dict)


@pytest.fixture
def record(pytestconfig) -> Callable[..., None]:
    """Keep the median time per row of a network, a number of rows and of threads."""

    def keep(key: Key, name: str, benchmark, rows: int) -> None:
        if benchmark.stats is not None:
            pytestconfig.stash[TIMES][key][name] = benchmark.stats.stats.median / rows

    return keep


def pytest_terminal_summary(terminalreporter, config):
    times = config.stash[TIMES]
    write = terminalreporter.write_line
    header = ("network", "threads", "rows", "million rows/s", *COLUMNS, "of roofline")
    if times:
        terminalreporter.section("times as long as cipherfit")
        write(line(header) + "\n" + "|---" * len(header) + "|")
    for (name, rows, n_threads), taken in sorted(times.items(), key=lambda item: item[0][::-1]):
        if mine := taken.get("cipherfit"):
            cells = [f"{taken[column] / mine:.3g}" if column in taken else "" for column in COLUMNS]
            roofline = f"{taken['reading'] / mine:.0%}" if "reading" in taken else ""
            write(line((name, n_threads, rows, f"{1e-6 / mine:.3g}", *cells, roofline)))
    for (name, _, _), taken in times.items():
        if {"p_error 0.0", "p_error 0.01"} <= taken.keys():
            ratio = taken["p_error 0.01"] / taken["p_error 0.0"]
            write(f"{name}: simulation with p_error 0.01 takes {ratio:.2f} times as long as exact")


def line(cells) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
