"""Rows that memory need not hold: every container answers as the same rows in memory do."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from row_containers import (
    GRAPH,
    NAMES,
    WITH_NAMES,
    WITHOUT_NAMES,
    N,
    Simulated,
    X,
    container,
    predictor,
    table,
)
from samples import fitted
from samples import load as iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from cipherfit import NeuralNetClassifier, load
from cipherfit.exceptions import CipherfitError
from cipherfit.predictor.saving import save as cipherfit_save

pa = pytest.importorskip("pyarrow")
dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
datasets = pytest.importorskip("pyarrow.dataset")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.usefixtures("small_chunks")


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
