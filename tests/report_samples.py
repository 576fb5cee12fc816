"""Reports of the demonstration as a run would give them, without keys: small, and known by hand."""

from __future__ import annotations

import numpy as np
from samples import fitted, load

from cipherfit.report.task_report import Task, TaskReport
from cipherfit.search.design import Design, DesignSearch


def report_on(name: str, n_rows: int = 20, wrong: int = 0) -> TaskReport:
    """Return a report whose last `wrong` encrypted rows got another class than in clear."""
    X, y = load(name)
    rows = np.random.default_rng(0).permutation(len(X))[:60]
    model = fitted(name)
    encrypted = model.predict(X[rows[:n_rows]])
    if wrong:
        encrypted[-wrong:] = (encrypted[-wrong:] + 1) % len(model.classes_)
    return TaskReport(
        task=Task(name, lambda **_: (X, y), 8),
        model=model,
        X_test=X[rows],
        y_test=y[rows],
        encrypted=encrypted,
        float_accuracy=0.987,
        fit_seconds=1.25,
        compile_seconds=2.5,
        key_seconds=3.75,
        row_seconds=0.0625,
    )


def searched(marked: str = "") -> DesignSearch:
    """Return a search's result whose front has three networks; one more was tried."""
    designs = tuple(
        Design(
            {"module__n_w_bits": bits, "lr": marked}, 0.01, score, 0.01, seconds, int(seconds * 40)
        )
        for bits, score, seconds in ((2, 0.9, 0.1), (3, 0.95, 0.3), (4, 0.97, 0.9), (5, 0.8, 0.5))
    )
    return DesignSearch(fitted("iris"), designs[1], designs, 0.5)
