"""Memory does not grow with rows that it need not hold."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from core_graphs import random_parts
from row_containers import GRAPH, NAMES, N, Simulated, X, mapped, predictor, table

from cipherfit import IntegerGraph, Predictor, search_p_error
from cipherfit.predictor import arrow, chunks, encrypted, p_error
from cipherfit.predictor.targets import ClassTargets

pa = pytest.importorskip("pyarrow")
datasets = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_memory_does_not_grow_with_the_rows_of_a_map(dtype, tmp_path):
    peaks = []
    for n_values in (2_000_000, 12_000_000):
        shape = n_values // len(NAMES), len(NAMES)
        rows = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", dtype, shape)
        answers = predictor()
        answers.targets.decode = lambda _: np.empty(0)  # what is measured is the way there
        answers.circuit = Simulated(0.1)
        tracemalloc.start()
        try:
            answers.predict(rows)
            answers.predict(rows, fhe="simulate")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


GROUP_ROWS = 20_000
GROUP_BYTES = GROUP_ROWS * len(NAMES) * 4


def in_groups(folder, n_groups):
    """Write a file of row groups; 120 are 58 MB."""
    shape = GROUP_ROWS, len(NAMES)
    part = table(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    with parquet.ParquetWriter(folder / "X.parquet", part.schema) as file:
        for _ in range(n_groups):
            file.write_table(part)
    return folder / "X.parquet"


PARTLY = {
    "data set": datasets.dataset,
    "file": parquet.ParquetFile,
    "filtered": lambda path: datasets.dataset(path).filter(datasets.field("f0") > -99),
    "stream": lambda path: pa.RecordBatchReader.from_batches(
        parquet.ParquetFile(path).schema_arrow, parquet.ParquetFile(path).iter_batches(4096)
    ),
}


@pytest.mark.parametrize("kind", PARTLY)
def test_memory_does_not_grow_with_the_rows_of_files(kind, tmp_path):
    peaks = []
    for n_groups in (40, 120):
        path = in_groups(tmp_path, n_groups)
        answers, before, held = predictor(NAMES), pa.total_allocated_bytes(), []
        answers.targets.decode = lambda outputs, held=held: (
            held.append(pa.total_allocated_bytes()) or time.sleep(0.001) or outputs[:, 0]
        )
        answers.predict(PARTLY[kind](path))
        peaks.append(max(held) - before)
    # How far the thread that reads ahead has come, whenever it is looked, is chance: a quarter of
    # the 80 groups more would be growth, and so would a third of the file.
    assert peaks[1] < peaks[0] + 20 * GROUP_BYTES
    assert peaks[1] < 20e6


PROGRAM = """
import resource, sys
import numpy as np, pyarrow.dataset as datasets
from cipherfit import IntegerGraph, Predictor
from cipherfit.predictor.targets import RealTargets
graph = IntegerGraph.from_bytes(open(sys.argv[1], "rb").read())
names = [f"f{i}" for i in range(graph.n_features)]
predictor = Predictor(graph, RealTargets(graph.n_outputs, flat=True), feature_names=names)
rows = datasets.dataset(sys.argv[2])
for given in (rows, rows.filter(datasets.field("f0") > -99)):
    answers = predictor.predict(given)
print(len(answers), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_process_needs_no_more_memory_for_more_rows(tmp_path):
    (tmp_path / "graph").write_bytes(GRAPH.to_bytes())
    peaks = []
    for n_groups in (10, 210):
        path = in_groups(tmp_path, n_groups)  # up to 101 MB, and 34 MB of answers
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "graph", path],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        n_rows, kilobytes = map(int, run.stdout.split())
        assert n_rows == n_groups * 20_000
        peaks.append(kilobytes * 1024 - 8 * n_rows)
    assert peaks[1] - peaks[0] < 50e6


@pytest.mark.usefixtures("small_chunks")
def test_a_large_row_group_is_decoded_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "_DECODED", 1)
    parquet.write_table(table(), tmp_path / "X.parquet", row_group_size=1100)
    expected = predictor().predict(X).tolist()
    for rows in (
        parquet.ParquetFile(tmp_path / "X.parquet"), datasets.dataset(tmp_path / "X.parquet"),
    ):  # fmt: skip
        assert predictor(NAMES).predict(rows).tolist() == expected


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("n_client_layers", [0, 1])
def test_codes_to_encrypt_lie_in_a_file_if_they_are_many(n_client_layers, tmp_path, monkeypatch):
    graph = IntegerGraph.from_layers(**random_parts(3, n_client_layers=n_client_layers))
    client = graph.split()[0].simulate(graph.quantize(X)) if n_client_layers else graph.quantize(X)
    given = []

    def run(circuit, codes, **options):
        given.append(codes)
        return np.zeros((len(codes), graph.n_outputs), np.int64)

    monkeypatch.setattr(encrypted, "run_encrypted", run)
    monkeypatch.setattr(chunks, "_HELD_BYTES", 1000)
    answers = Predictor(graph, ClassTargets(np.arange(graph.n_outputs)))
    answers.circuit = Simulated(0.1)
    answers.circuit.fhe_execution = True
    assert len(answers.predict(mapped(tmp_path), fhe="execute")) == N
    assert isinstance(given[0], np.memmap)
    assert given[0].dtype == np.uint16
    assert np.array_equal(given[0], client)


@pytest.mark.usefixtures("small_chunks")
def test_the_largest_p_error_is_the_same_of_a_map_of_rows_in_memory_and_from_a_file(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(p_error, "_ROWS_PER_TRIAL", 1)
    expected = search_p_error(predictor(), X, max_accuracy_drop=0.3)
    assert search_p_error(predictor(), mapped(tmp_path), max_accuracy_drop=0.3) == expected
    monkeypatch.setattr(chunks, "_HELD_BYTES", 1000)
    codes = chunks.stored(predictor().code_chunks(X))
    assert isinstance(codes, np.memmap)
    assert np.array_equal(codes, GRAPH.quantize(X))
    stream = table().to_reader(100)
    assert search_p_error(predictor(NAMES), stream, max_accuracy_drop=0.3) == expected


@pytest.mark.usefixtures("small_chunks")
def test_rows_simulated_after_the_first_err_otherwise(monkeypatch):
    monkeypatch.setattr(p_error, "_ROWS_AT_ONCE", 256)
    seeds = []

    class Noted:
        dequantize = staticmethod(GRAPH.dequantize)

        def simulate(self, codes, *, p_error, seed):
            seeds.append(seed)
            return GRAPH.simulate(codes, p_error=p_error, seed=seed)

    judge = p_error.NoisyScore(predictor(), X)
    judge._answers(Noted(), 0.1, 5)
    assert len({*seeds}) == 6
