"""Prediction over data that need not be in memory, against `graph.run` on the same rows in memory.

Run with `python benches/chunks.py`. Contenders take turns on the same rows; what they predict is
checked before it is timed. Files are read from the page cache, so that it is not the disk that is
measured.
"""

from __future__ import annotations

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
VALUES, TURNS = 40_000_000, 9
BLOCK = 65_536


def contenders(name: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what predicts the same rows, by the container that they are in."""
    graph = network(name)
    shape = VALUES // graph.n_features, graph.n_features
    X = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(folder / "X.npy", X)
    rows = np.load(folder / "X.npy", mmap_mode="r")
    table = pa.table({f"f{index}": column for index, column in enumerate(X.T)})
    parquet.write_table(table, folder / "X.parquet", row_group_size=BLOCK)
    predict = Predictor(graph, RealTargets(graph.n_outputs, flat=False)).predict
    given = {
        "array in memory": X,
        "memory map": rows,
        "memory map by Dask": array.from_array(rows, chunks=(BLOCK, -1)),
        "Arrow table": table,
        "Parquet": datasets.dataset(folder / "X.parquet"),
    }
    calls = {
        kind: lambda container=container: predict(container) for kind, container in given.items()
    }
    for kind, call in calls.items():
        assert np.array_equal(call(), graph.run(X)), kind
    return {"`graph.run`": lambda: graph.run(X), **calls}


def main() -> None:
    warnings.simplefilter("ignore")  # these networks have no names of features
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            calls = contenders(name, Path(folder))
            seconds: dict[str, list[float]] = {kind: [] for kind in calls}
            for _ in range(TURNS):
                for kind, call in calls.items():
                    start = time.perf_counter()
                    call()
                    seconds[kind].append(time.perf_counter() - start)
        medians = {kind: float(np.median(taken)) for kind, taken in seconds.items()}
        n_rows = VALUES // network(name).n_features
        for kind, median in medians.items():
            ratio = median / medians["`graph.run`"]
            print(f"| {name} | {kind} | {n_rows / median / 1e6:.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
