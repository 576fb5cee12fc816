"""Rows that memory need not hold: every container answers as the same rows in memory do."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from core_graphs import random_parts
from samples import fitted
from samples import load as iris
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from cipherfit import IntegerGraph, NeuralNetClassifier, Predictor, load, search_p_error
from cipherfit.exceptions import CipherfitError, InputTypeError, InvalidInputError
from cipherfit.predictor import arrow, chunks, encrypted, p_error
from cipherfit.predictor.postprocessing import Step
from cipherfit.predictor.saving import save as cipherfit_save
from cipherfit.predictor.targets import ClassTargets

pa = pytest.importorskip("pyarrow")
dask = pytest.importorskip("dask")
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


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 256 rows."""
    monkeypatch.setattr(chunks, "_VALUES", 1)


def container(kind, folder):
    names = NAMES if kind in WITH_NAMES else None
    return predictor(names), {**WITHOUT_NAMES, **WITH_NAMES}[kind](folder)


@pytest.mark.parametrize("kind", [*WITHOUT_NAMES, *WITH_NAMES])
def test_every_container_answers_as_its_rows_do_in_memory(kind, tmp_path):
    expected = predictor()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers, rows = container(kind, tmp_path)
        assert answers.predict(rows).tolist() == expected.predict(X.tolist()).tolist()
        answers, rows = container(kind, tmp_path)
        probabilities = answers.predict_proba(rows)
        assert np.array_equal(probabilities, expected.predict_proba(X.tolist()))
        answers, rows = container(kind, tmp_path)
        assert np.array_equal(answers.quantize_input(rows), GRAPH.quantize(X))


@pytest.mark.parametrize("kind", [*WITHOUT_NAMES, *WITH_NAMES])
def test_no_more_rows_than_a_chunk_are_features_at_once(kind, tmp_path, monkeypatch):
    answers, rows = container(kind, tmp_path)
    seen = []
    monkeypatch.setattr(
        answers.targets, "decode", lambda outputs: seen.append(len(outputs)) or outputs
    )
    answers.predict(rows)
    assert sum(seen) == N
    assert max(seen) <= (375 if kind == "dask data frame" else 256)


def test_a_block_of_dask_s_is_computed_while_the_one_before_is_answered_and_no_other():
    blocks, answered, begun = [], [], threading.Semaphore(0)
    answers = predictor()
    decode = answers.targets.decode

    def noted(outputs):
        begun.acquire()  # this block
        answered.append(len(outputs))
        if len(answered) < 6:
            assert begun.acquire(timeout=300)  # the next one, which is answered later
            begun.release()
        assert len(blocks) <= len(answered) + 1
        return decode(outputs)

    def computed(block):
        blocks.append(threading.get_ident())
        begun.release()
        return block

    answers.targets.decode = noted
    rows = da.from_array(X, chunks=(250, -1)).map_blocks(computed, meta=X[:0])
    assert answers.predict(rows).tolist() == predictor().predict(X).tolist()
    assert len(blocks) == 6


def test_small_blocks_of_dask_s_are_computed_together_up_to_a_chunk(monkeypatch):
    sizes, compute = [], dask.compute
    monkeypatch.setattr(dask, "compute", lambda *group: sizes.append(len(group)) or compute(*group))
    expected = predictor().predict(X).tolist()
    blocks = (100, 100, 56, 1, 255, 256, 300, 300, 132)
    rows = da.from_array(X, chunks=(blocks, -1))
    assert predictor().predict(rows).tolist() == expected
    assert sizes == [3, 2, 1, 1, 1, 1]
    sizes.clear()
    rows = da.from_array(X, chunks=(500, -1))
    unknown = rows[rows[:, 0] > -np.inf]
    assert predictor().predict(unknown).tolist() == expected
    assert sizes == [1, 1, 1]


def test_what_reading_raises_is_raised_and_nothing_is_read_after_the_last_answer(tmp_path):
    def broken(block):
        raise OSError("the disk is gone")

    rows = da.from_array(X, chunks=(250, -1)).map_blocks(broken, meta=X[:0])
    with pytest.raises(OSError, match="the disk is gone"):
        predictor().predict(rows)
    stream = table(with_value(np.nan, row=300)).to_reader(max_chunksize=256)
    with pytest.raises(InvalidInputError, match="NaN at row 300"):
        predictor(NAMES).predict(stream)
    left = stream.read_all().num_rows  # of 1500: two were answered, one was read ahead
    assert left == N - 3 * 256
    assert not [thread for thread in threading.enumerate() if "cipherfit-read" in thread.name]


def test_every_chunk_is_simulated_with_errors_of_its_own():
    answers = predictor()
    same = np.repeat(X[:1], 4096, axis=0)
    answers.circuit = Simulated(0.0)
    assert answers.predict(same, fhe="simulate").tolist() == answers.predict(same).tolist()
    answers.circuit = Simulated(0.3)
    noisy = answers.predict_proba(same, fhe="simulate").reshape(16, 256, -1)
    assert len({part.tobytes() for part in noisy}) == 16
    assert answers.predict(X[0], fhe="simulate").shape == (1,)
    assert answers.predict(da.from_array(X[0]), fhe="simulate").shape == (1,)
    with pytest.warns(UserWarning, match="fitted without feature names"):
        assert answers.predict(table(), fhe="simulate").shape == (N,)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        assert predictor(NAMES).predict(X).shape == (N,)


class Simulated:
    """What stands for a circuit that only simulates."""

    def __init__(self, p_error: float) -> None:
        self.p_error, self.configuration = p_error, self
        self.fhe_execution = False


def with_value(value, row=1234, column=2):
    changed = X.astype(np.asarray(value).dtype)
    changed[row, column] = value
    return changed


def with_null():
    columns = {name: list(map(float, X[:, index])) for index, name in enumerate(NAMES)}
    columns["f2"][1234] = None
    return pa.table(columns)


BAD = {
    "NaN": (lambda: with_value(np.nan), "NaN at row 1234, column 2"),
    "infinity": (lambda: with_value(np.float32(np.inf)), "infinity at row 1234, column 2"),
    "NaN in a block": (
        lambda: da.from_array(with_value(np.nan), chunks=(500, 1)), "NaN at row 1234, column 2",
    ),
    "large integer": (
        lambda: with_value(np.int64(2**24 + 1)), r"X\[1234, 2\] = 16777217 can't be held",
    ),
    "NaN in a sparse matrix": (
        lambda: sparse.csr_matrix(with_value(np.nan)), "at row 1234, column 2",
    ),
    "null": (with_null, "null at row 1234, column 'f2'; impute"),
    "null in a stream": (lambda: with_null().to_reader(100), "null at row 1234, column 'f2'"),
    "other names": (
        lambda: table(names=["f0", "other", *NAMES[2:]]), "names unseen at fit time:\n- other",
    ),
    "a column twice": (
        lambda: table().append_column("f0", pa.array(X[:, 0])), "more than one column 'f0'",
    ),
    "no rows": (lambda: table(X[:0]), "this Table gives no rows"),
    "no rows in a block": (
        lambda: da.from_array(X, chunks=(500, -1))[da.from_array(X[:, 0]) > 99], "gives no rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_errors_name_rows_from_the_start_of_the_data(kind):
    rows, message = BAD[kind]
    rows = rows()
    answers = predictor(NAMES if type(rows).__module__.startswith("pyarrow") else None)
    with pytest.raises(InvalidInputError, match=message) as error:
        answers.predict(rows)
    assert error.value.row == (1234 if "1234" in message else None)


def test_columns_of_no_numbers_are_named():
    words = table().set_column(1, "f1", pa.array(["word"] * N))
    with pytest.raises(InputTypeError, match="column 'f1' of X has type string"):
        predictor(NAMES).predict(words)
    answers = table().set_column(1, "f1", pa.array(X[:, 1] > 0))
    as_numbers = X.copy()
    as_numbers[:, 1] = X[:, 1] > 0
    assert np.array_equal(predictor(NAMES).predict(answers), predictor().predict(as_numbers))


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "uint64", "halffloat", "double"]
)
def test_columns_of_arrow_s_may_have_any_type_of_numbers(dtype):
    values = np.abs(np.rint(X)).astype(np.int8)
    if dtype == "bool":
        values = values > 0
    kind = {"halffloat": "float16", "double": "float64"}.get(dtype, dtype)
    columns = [pa.array(column.astype(kind)) for column in values.T]
    columns[1] = columns[1].dictionary_encode() if dtype != "halffloat" else columns[1]
    rows = pa.table(dict(zip(NAMES, columns, strict=True)))
    given = values.astype(np.float32).tolist()
    assert predictor(NAMES).predict(rows).tolist() == predictor().predict(given).tolist()
    mixed = rows.set_column(0, "f0", pa.array(X[:, 0]))
    given = np.column_stack([X[:, 0], values[:, 1:]])
    assert predictor(NAMES).predict(mixed).tolist() == predictor().predict(given).tolist()
    part = rows.slice(700, 300)
    assert predictor(NAMES).predict(part).tolist() == predictor().predict(values[700:1000]).tolist()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "i1", "i8", "u4", ">f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_type_and_order_are_what_they_are_in_single_precision(dtype, order):
    given = np.asarray(np.abs(X) * 3, order=order).astype(dtype)
    expected = GRAPH.quantize(given.astype(np.float32))
    assert np.array_equal(predictor().quantize_input(given), expected)
    assert np.array_equal(predictor().quantize_input(given[::2]), expected[::2])
    frame = pd.DataFrame(given.astype(given.dtype.newbyteorder("=")), columns=NAMES)
    if dtype not in ("f2", "g"):  # which pandas' own methods don't take everywhere
        assert np.array_equal(predictor(NAMES).quantize_input(frame), expected)


def test_integers_that_single_precision_rounds_are_only_refused_where_all_are_integers():
    large = np.full((N, len(NAMES)), 2**24 + 1)
    with pytest.raises(InvalidInputError, match="can't be held in float32"):
        predictor().predict(large)
    frame = pd.DataFrame(large, columns=NAMES)
    with pytest.raises(InvalidInputError, match="can't be held in float32"):
        predictor(NAMES).predict(frame)
    frame["f0"] = 0.5  # now pandas' own array of it is of floats
    assert len(predictor(NAMES).predict(frame)) == N


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A saved pipeline of a category and two numbers, and its raw rows."""
    random = np.random.default_rng(0)
    raw = np.column_stack([random.integers(0, 3, N), random.normal(size=(N, 2))])
    network = NeuralNetClassifier(module__n_hidden_neurons=4, max_epochs=2)
    model = make_pipeline(OrdinalEncoder(), StandardScaler(), network)
    rows = np.column_stack([raw[:, 0], np.round(raw[:, 1:])])
    model.fit(rows, (raw[:, 1] > 0).astype(int))
    path = tmp_path_factory.mktemp("prepared") / "model.cipherfit"
    cipherfit_save(model, path)
    return load(path), rows, model.predict(rows)


@pytest.mark.parametrize("form", [np.asarray, table, lambda rows: da.from_array(rows, chunks=400)])
def test_saved_pipelines_prepare_chunk_by_chunk(prepared, form):
    answers, rows, expected = prepared
    given = form(rows) if form is not table else table(rows, NAMES[:3])
    assert np.array_equal(answers.predict(given), expected)
    changed = rows.copy()
    changed[1234, 0] = 7
    with pytest.raises(CipherfitError, match=r"X holds 7\.0 at row 1234, in the encoder"):
        answers.predict(form(changed) if form is not table else table(changed, NAMES[:3]))


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_memory_does_not_grow_with_the_rows_of_a_map(dtype, tmp_path, monkeypatch):
    monkeypatch.undo()  # chunks as large as they are
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
def test_memory_does_not_grow_with_the_rows_of_files(kind, tmp_path, monkeypatch):
    monkeypatch.undo()
    peaks = []
    for n_groups in (40, 120):
        path = in_groups(tmp_path, n_groups)
        answers, before, held = predictor(NAMES), pa.total_allocated_bytes(), []
        answers.targets.decode = lambda outputs, held=held: (
            held.append(pa.total_allocated_bytes()) or time.sleep(0.001) or outputs[:, 0]
        )
        answers.predict(PARTLY[kind](path))
        peaks.append(max(held) - before)
    # How far the thread that reads ahead has come, whenever it is looked, is chance.
    assert peaks[1] < peaks[0] + 4 * GROUP_BYTES
    assert peaks[1] < 12e6


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


def test_a_large_row_group_is_decoded_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "_DECODED", 1)
    parquet.write_table(table(), tmp_path / "X.parquet", row_group_size=1100)
    expected = predictor().predict(X).tolist()
    for rows in (
        parquet.ParquetFile(tmp_path / "X.parquet"), datasets.dataset(tmp_path / "X.parquet"),
    ):  # fmt: skip
        assert predictor(NAMES).predict(rows).tolist() == expected


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


def test_data_sets_in_folders_and_behind_filters_give_all_their_rows(tmp_path):
    names = NAMES[:-1]
    half = (np.arange(N) % 2).astype(np.int64)
    rows = table(X[:, :-1], names).append_column(NAMES[-1], pa.array(half))
    kind = datasets.partitioning(pa.schema([(NAMES[-1], pa.int64())]), flavor="hive")
    datasets.write_dataset(rows, tmp_path, format="parquet", partitioning=kind)
    found = datasets.dataset(tmp_path, partitioning=kind)
    expected = np.column_stack([X[:, :-1], half])
    order = np.argsort(half, kind="stable")
    assert np.array_equal(predictor(NAMES).predict(found), predictor().predict(expected[order]))
    filtered = found.filter(datasets.field(NAMES[-1]) == 1)
    assert np.array_equal(
        predictor(NAMES).predict(filtered), predictor().predict(expected[half == 1])
    )


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


def test_an_estimator_takes_what_its_predictor_takes(tmp_path):
    model, rows = fitted("iris", n_hidden=4), iris("iris")[0]
    expected = model.predict(rows)
    np.save(tmp_path / "X.npy", rows)
    given = np.load(tmp_path / "X.npy", mmap_mode="r")
    for form in (given, da.from_array(given, chunks=(40, 2))):
        assert np.array_equal(model.predict(form), expected)
        assert np.array_equal(model.predict_proba(form), model.predict_proba(rows))
    with pytest.warns(UserWarning, match="fitted without feature names"):
        assert np.array_equal(model.predict(table(rows, list("abcd"))), expected)
    assert model.score(given, expected) == 1


def test_the_examples_of_the_guide_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    blocks = re.findall(
        r"```python\n(.*?)```", page.partition("## Data larger than memory")[2], re.DOTALL
    )
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
        rows = names["X"] if hasattr(names["model"], "feature_names_in_") else names["rows"]
        assert np.array_equal(names["labels"], names["model"].predict(rows))
    assert np.array_equal(names["probabilities"].argmax(axis=1), names["labels"])
