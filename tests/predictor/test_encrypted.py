"""How many workers, and where answers are kept: what is asked of a predictor reaches its rows."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from circuits import linear, network
from samples import fitted, load

from cipherfit import Predictor
from cipherfit.exceptions import InvalidParameterError
from cipherfit.predictor import chunks
from cipherfit.predictor.targets import ClassTargets, RealTargets

X = np.random.default_rng(0).integers(0, 4, (8, 4)).astype(np.float32)


@pytest.mark.fhe
def test_encrypted_rows_are_run_by_workers_and_kept(tmp_path, monkeypatch):
    from cipherfit.fhe import jobs
    from cipherfit.fhe.part import run_task

    monkeypatch.setattr(chunks, "_HELD_BYTES", 8)  # so codes are in a file
    made = Predictor(network(), RealTargets(2, flat=False))
    made.compile(p_error=1e-7)
    tasks = []
    monkeypatch.setattr(jobs, "run_task", lambda *task: tasks.append(task[0]) or run_task(*task))
    with joblib.parallel_config("threading"):
        answers = made.predict(X, fhe="execute", n_jobs=2, storage=tmp_path / "rows.sqlite")
    assert sorted(tasks) == [0, 1]
    assert np.array_equal(answers, made.predict(X))
    monkeypatch.setattr(made.circuit.rows, "run", lambda *rows: pytest.fail("ran a row again"))
    again = made.predict(X, fhe="execute", storage=tmp_path / "rows.sqlite")
    assert np.array_equal(again, answers)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_an_estimator_asks_its_predictor_for_the_same(method, monkeypatch):
    asked = {}
    monkeypatch.setattr(Predictor, method, lambda self, X, **options: asked.update(options))
    model = fitted("iris", n_hidden=4)
    getattr(model, method)(load("iris")[0], fhe="execute", n_jobs=3, storage="rows.sqlite")
    assert asked == {"fhe": "execute", "n_jobs": 3, "storage": "rows.sqlite"}


@pytest.mark.parametrize("mode", ["disable", "simulate"])
def test_only_encrypted_rows_are_stored(mode, tmp_path):
    made = Predictor(network(), ClassTargets(np.arange(2)))
    for method in (made.predict, made.predict_proba):
        with pytest.raises(InvalidParameterError, match="is for fhe='execute'"):
            method(X, fhe=mode, storage=tmp_path / "rows.sqlite")
    assert not list(tmp_path.iterdir())


def test_rows_without_lookups_take_no_storage_and_no_workers(tmp_path):
    made = Predictor(linear(4), RealTargets(3, flat=False))
    made.compile()
    assert np.array_equal(made.predict(X, fhe="execute", n_jobs=2), made.predict(X))
    with pytest.raises(InvalidParameterError, match="is for rows with lookups"):
        made.predict(X, fhe="execute", storage=tmp_path / "rows.sqlite")
