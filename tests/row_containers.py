"""Rows in every container that predictors take, and a predictor of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from core_graphs import random_parts
from scipy import sparse

from cipherfit import IntegerGraph, Predictor
from cipherfit.predictor.postprocessing import Step
from cipherfit.predictor.targets import ClassTargets

pa = pytest.importorskip("pyarrow")
da = pytest.importorskip("dask.array")
datasets = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")

N = 1500
GRAPH = IntegerGraph.from_layers(**random_parts(3))
NAMES = [f"f{i}" for i in range(GRAPH.n_features)]
X = np.random.default_rng(0).normal(size=(N, GRAPH.n_features)).astype(np.float32)


def predictor(names: list[str] | None = None) -> Predictor:
    labels = [f"class {i}" for i in range(max(2, GRAPH.n_outputs))]
    return Predictor(
        GRAPH, ClassTargets(np.array(labels)), post_processing=[Step("softmax")],
        feature_names=names,
    )  # fmt: skip


def mapped(folder, dtype="f4"):
    np.save(folder / "X.npy", X.astype(dtype))
    return np.load(folder / "X.npy", mmap_mode="r")


def table(rows=X, names=NAMES):
    return pa.table({name: rows[:, index] for index, name in enumerate(names)})


def in_files(folder):
    parquet.write_table(table(), folder / "X.parquet", row_group_size=400)
    return folder / "X.parquet"


def data_frame(_):
    dask = pytest.importorskip("dask.dataframe", exc_type=ImportError)
    return dask.from_pandas(pd.DataFrame(X, columns=NAMES), npartitions=4)


WITHOUT_NAMES = {
    "map": mapped,
    "map of float64": lambda folder: mapped(folder, "f8"),
    "map by columns": lambda folder: np.asfortranarray(X),
    "sparse": lambda _: sparse.csc_matrix(X),
    "dask blocks": lambda _: da.from_array(X, chunks=(700, -1)),
    "dask blocks of columns": lambda _: da.from_array(X, chunks=(400, 2)),
    "dask blocks of unknown size": lambda _: (
        lambda made: made[made[:, 0] > -np.inf]
    )(da.from_array(X, chunks=(400, -1))),
}  # fmt: skip
WITH_NAMES = {
    "table": lambda _: table(),
    "record batch": lambda _: table().to_batches()[0],
    "reader": lambda _: table().to_reader(max_chunksize=333),
    "data set": lambda folder: datasets.dataset(in_files(folder)),
    "scanner": lambda folder: datasets.dataset(in_files(folder)).scanner(),
    "Parquet file": lambda folder: parquet.ParquetFile(in_files(folder)),
    "dask data frame": data_frame,
}


def container(kind, folder):
    names = NAMES if kind in WITH_NAMES else None
    return predictor(names), {**WITHOUT_NAMES, **WITH_NAMES}[kind](folder)


class Simulated:
    """What stands for a circuit that only simulates."""

    def __init__(self, p_error: float) -> None:
        self.p_error, self.configuration = p_error, self
        self.fhe_execution = False


def with_value(value, row=1234, column=2):
    changed = X.astype(np.asarray(value).dtype)
    changed[row, column] = value
    return changed
