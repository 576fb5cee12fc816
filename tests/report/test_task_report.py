"""A report's accuracies, by the rows that they count."""

from __future__ import annotations

import numpy as np
from report_samples import report_on


def test_accuracies_count_the_rows_that_they_name():
    report = report_on("wine", n_rows=20, wrong=3)
    X, y = report.X_test, report.y_test
    in_clear = report.model.predict(X)
    assert np.array_equal(report.clear, in_clear[:20])
    assert report.accuracy == np.mean(in_clear == y)
    assert report.same_rows_accuracy == np.mean(in_clear[:20] == y[:20])
    assert report.encrypted_accuracy == np.mean(report.encrypted == y[:20])
    assert report.agreement == 17 / 20
