"""Prediction over data that need not be in memory, against `graph.run` on the same rows in memory.

Run with `python benches/chunks.py`. Contenders take turns on the same rows; what they predict is
checked before it is timed. What others take for their part is timed beside: Dask for computing its
blocks, and pyarrow for decoding the same Parquet file. Files are read from the page cache, so that
it is not the disk that is measured. CPU time is of all threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as datasets
from dask import array
from peers import network
from pyarrow import parquet

from cipherfit import Predictor
from cipherfit.predictor.targets import RealTargets

NAMES = ("30-16-2", "64-32-10")
VALUES = 40_000_000
BLOCK = 65_536

Calls = dict[str, Callable[[], Any]]


def contenders(name: str, folder: Path) -> Calls:
    """Return what predicts the same rows, by the container that they are in."""
    graph = network(name)
    shape = VALUES // graph.n_features, graph.n_features
    X = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(folder / "X.npy", X)
    rows = np.load(folder / "X.npy", mmap_mode="r")
    table = pa.table({f"f{index}": column for index, column in enumerate(X.T)})
    parquet.write_table(table, folder / "X.parquet", row_group_size=BLOCK)
    files = datasets.dataset(folder / "X.parquet")
    doubles = X.astype(np.float64)
    blocks = array.from_array(rows, chunks=(BLOCK, -1))
    predict = Predictor(graph, RealTargets(graph.n_outputs, flat=False)).predict
    given = {
        "array in memory": X,
        "memory map": rows,
        "array of float64": doubles,
        f"Dask, {BLOCK:,} rows a block": blocks,
        "Arrow table": table,
        "Arrow table of float64": table.cast(
            pa.schema([(name, pa.float64()) for name in table.column_names])
        ),
        f"Parquet, {BLOCK:,} rows a row group": files,
        "the same behind a filter": files.filter(datasets.field("f0") > -99),
    }
    calls = {
        kind: lambda container=container: predict(container) for kind, container in given.items()
    }
    for kind, call in calls.items():
        assert np.array_equal(call(), graph.run(X)), kind
    return {
        "`graph.run`": lambda: graph.run(X),
        "`graph.run` of float64": lambda: graph.run(doubles),
        "Dask alone": lambda: computed(blocks),
        "pyarrow alone, Parquet": lambda: decoded(folder / "X.parquet"),
        **calls,
    }


def computed(blocks: array.Array) -> None:
    """Compute the blocks of a Dask array one by one, and nothing of them."""
    for block in np.ravel(blocks.to_delayed()):
        block.compute()


def decoded(path: Path) -> None:
    """Decode the row groups of a Parquet file one by one, and compute nothing of them."""
    file = parquet.ParquetFile(path)
    for group in range(file.num_row_groups):
        file.read_row_group(group)


def timed(calls: Calls, turns: int) -> dict[str, np.ndarray]:
    """Return wall and CPU seconds (turns, 2) of calls that take turns."""
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in calls}
    for _ in range(turns):
        for kind, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            taken[kind].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {kind: np.array(seconds) for kind, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # these networks have no names of features
    print("| network | container | million rows/s | time, `graph.run` = 1 | CPU time |")
    print("|---|---|---|---|---|")
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            taken = timed(contenders(name, Path(folder)), options.turns)
        medians = {kind: np.median(seconds, axis=0) for kind, seconds in taken.items()}
        n_rows = VALUES // network(name).n_features
        for kind, (wall, cpu) in medians.items():
            times, cpu_times = (wall, cpu) / medians["`graph.run`"]
            print(
                f"| {name} | {kind} | {n_rows / wall / 1e6:.0f} | {times:.2f} | {cpu_times:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
