"""The demonstration: every figure of its table is what it says, and rows are really encrypted."""

from __future__ import annotations

import re
import sys

import pytest
from report_samples import report_on
from sklearn.datasets import load_iris

from cipherfit.report import demo
from cipherfit.report.demo import float_twin, format_table, run_demo, run_task
from cipherfit.report.task_report import Task

SMALL = Task("iris", load_iris, 2)


@pytest.fixture(scope="module")
def report():
    """Return the report of a real run, with keys."""
    return run_task(SMALL, 3)


def cells(table):
    """Return the table's cells by name, one per data set."""
    lines = [[cell.strip() for cell in line.split("  ") if cell] for line in table.splitlines()]
    return {line[0]: line[1:] for line in lines[1:]}


def test_the_table_has_one_column_per_report_and_its_figures_in_the_right_lines():
    wine, digits = report_on("wine", wrong=3), report_on("digits", n_rows=10)
    table = format_table([wine, digits])
    assert table.splitlines()[0].split() == ["wine", "digits"]
    found = cells(table)
    assert found["hidden neurons"] == ["8", "8"]
    assert found["accuracy, float32 twin"] == ["0.987", "0.987"]
    accuracies = [f"{each.accuracy:.3f}" for each in (wine, digits)]
    assert found["accuracy, integers in clear"] == accuracies
    assert found["accuracy, encrypted rows"] == [
        f"{wine.encrypted_accuracy:.3f} of 20", f"{digits.encrypted_accuracy:.3f} of 10"
    ]  # fmt: skip
    assert found["encrypted = clear"] == ["85.0%", "100.0%"]
    bits = [[layer.bits for layer in each.model.graph_.prove().layers] for each in (wine, digits)]
    assert found["proven accumulator bits"] == [f"{first} then {last}" for first, last in bits]
    assert found["lookups per row"] == [str(each.model.graph_.n_lookups) for each in (wine, digits)]
    seconds = ["training", "compilation", "key generation", "one encrypted row"]
    assert [found[name][0] for name in seconds] == ["1.25 s", "2.50 s", "3.75 s", "0.062 s"]


def test_the_columns_of_the_table_are_aligned():
    lines = format_table([report_on("wine"), report_on("digits")]).splitlines()
    last = {line.rindex(re.split(" {2,}", line)[-1]) for line in lines}
    assert last == {lines[0].index("digits")}


def test_the_float_twin_has_the_same_neurons_in_float32():
    report = report_on("wine")
    twin = float_twin(report.task, report.X_test, report.y_test)
    shapes = [tuple(p.shape) for p in twin[-1].module_.parameters() if p.ndim == 2]
    assert shapes == [(8, 13), (3, 8)]
    assert {str(p.dtype) for p in twin[-1].module_.parameters()} == {"torch.float32"}
    assert twin.score(report.X_test, report.y_test) > 0.9


@pytest.mark.fhe
def test_a_run_encrypts_as_many_rows_as_it_is_asked_for_and_tells_what_it_took(report):
    assert report.encrypted.shape == (3,)
    assert set(report.encrypted) <= set(report.model.classes_)
    # Lookups err at p_error, which moves a hidden code by a step: seldom another class.
    assert report.agreement >= 2 / 3
    assert len(report.X_test) == len(report.y_test) == 38
    assert report.model.fhe_circuit.p_error <= demo.P_ERROR
    assert report.float_accuracy > 0.8
    times = (report.fit_seconds, report.compile_seconds, report.key_seconds, report.row_seconds)
    assert min(times) > 1e-4


@pytest.mark.fhe
def test_the_demonstration_prints_its_table_and_saves_its_picture(
    report, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(demo, "TASKS", (SMALL, SMALL))
    monkeypatch.setattr(demo, "run_task", lambda task, n_rows: report)
    folder = tmp_path / "not" / "yet"
    assert run_demo(folder, 3) == [report, report]
    printed = capsys.readouterr().out
    assert format_table([report, report]) in printed
    assert f"Picture: {folder / 'demo.png'}" in printed
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_table_comes_all_the_same(monkeypatch, tmp_path, capsys):
    report = report_on("wine")
    monkeypatch.setattr(demo, "TASKS", (report.task,))
    monkeypatch.setattr(demo, "run_task", lambda task, n_rows: report)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "cipherfit.report.picture", raising=False)
    assert run_demo(tmp_path / "output", 20) == [report]
    printed = capsys.readouterr().out
    assert format_table([report]) in printed
    assert "No picture: matplotlib is missing; pip install 'cipherfit[plot]'" in printed
    assert not (tmp_path / "output").exists()
