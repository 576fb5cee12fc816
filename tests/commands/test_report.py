"""`cipherfit report` on real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_samples import LABELS, NAMES, ROWS, X
from samples import load

import cipherfit
from cipherfit import NeuralNetClassifier, NeuralNetRegressor
from cipherfit.cli import main
from cipherfit.report.html import gather

pytestmark = pytest.mark.usefixtures("folder")

WITH_LABELS = ROWS.assign(species=LABELS[::30])


@pytest.fixture
def scored(monkeypatch):
    """What the report that a command makes says of the score."""
    found = []

    def keep(*arguments, **options):
        found.append(gather(*arguments, **options))
        return found[-1]

    monkeypatch.setattr("cipherfit.report.html.gather", keep)

    def run(*arguments):
        assert main(["report", *arguments, "-o", "report.html"]) == 0
        return found[-1].quality.score.score.value

    return run


def test_a_model_alone_is_reported_on(capsys):
    assert main(["report", "model.cipherfit", "-o", "report.html", "--title", "Iris"]) == 0
    text = Path("report.html").read_text()
    assert "<h1>Iris</h1>" in text
    assert cipherfit.load("model.cipherfit").graph.digest in text
    assert "128 bits against classical computers" in text
    assert capsys.readouterr().err == ""


def test_a_page_goes_to_standard_output(capsysbinary):
    assert main(["report", "model.cipherfit", "-o", "-"]) == 0
    assert capsysbinary.readouterr().out.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("order", [1, -1])
def test_labels_are_a_column_of_the_data(scored, trained, order, capsys):
    WITH_LABELS[WITH_LABELS.columns[::order]].to_csv("data.csv", index=False)
    score = scored("model.cipherfit", "data.csv", "--label", "species", "--encrypted-rows", "2")
    assert score == trained.score(ROWS, LABELS[::30])
    assert "2 rows were run encrypted" in Path("report.html").read_text()
    assert capsys.readouterr().err == ""


def test_labels_are_a_table_of_their_own(scored, trained):
    pd.Series(LABELS[::30], name="species").to_csv("labels.csv", index=False)
    score = scored("model.cipherfit", "rows.csv", "--labels", "labels.csv")
    assert score == trained.score(ROWS, LABELS[::30])


@pytest.mark.parametrize("kind", [int, bool, str])
def test_labels_of_other_kinds_are_found_in_files(kind, scored):
    labels = (np.arange(len(X)) % 2).astype(kind)
    model = NeuralNetClassifier(module__n_layers=1, max_epochs=2, random_state=0).fit(X, labels)
    model.save("other.cipherfit")  # without names of features
    pd.DataFrame(X, columns=NAMES).assign(label=labels).to_csv("data.csv", index=False)
    score = scored("other.cipherfit", "data.csv", "--label", "label")
    assert score == model.score(X, labels)


def test_targets_are_numbers_of_one_column_or_several(scored):
    rows, y = load("diabetes")
    both = np.column_stack([y, -y])
    for number, targets in enumerate((y, both)):
        model = NeuralNetRegressor(module__n_layers=1, max_epochs=2, random_state=0)
        model.fit(rows, targets).save("values.cipherfit")
        np.save("rows.npy", rows)
        np.savetxt("targets.csv", targets, delimiter=",")
        score = scored("values.cipherfit", "rows.npy", "--labels", "targets.csv")
        assert score == pytest.approx(model.score(rows, targets), abs=1e-6), number


def test_pipelines_take_texts_and_their_labels(scored):
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame(X, columns=NAMES).astype(float)
    frame["colour"] = np.where(np.arange(len(X)) % 3, "blue", "red")
    prepared = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    model = make_pipeline(
        prepared, NeuralNetClassifier(module__n_layers=1, max_epochs=5, random_state=0)
    ).fit(frame, LABELS)
    cipherfit.save(model, "mixed.cipherfit")
    frame.assign(species=LABELS).to_csv("mixed.csv", index=False)
    assert scored("mixed.cipherfit", "mixed.csv", "--label", "species") == model.score(
        frame, LABELS
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--label", "species"], 2, "DATA, which is not given"),
        (["rows.csv", "--label", "species"], 4, "no column 'species'"),
        (["data.csv", "--label", "species", "--encrypted-rows", "-1"], 2, "encrypted_rows"),
        (["rows.csv", "--labels", "short.csv"], 4, "there are 2 labels and 5 rows"),
        (["rows.csv", "--labels", "other.csv"], 4, "row 1 is labelled 'tulip'"),
        (["rows.csv", "--labels", "wide.csv"], 4, "2 columns, and must have one"),
        (["rows.csv", "--labels", "none.csv"], 5, "No such file"),
    ],
)
def test_what_doesnt_fit_is_one_line_and_no_page(error, arguments, status, message):
    WITH_LABELS.to_csv("data.csv", index=False)
    pd.Series(["setosa"] * 2, name="species").to_csv("short.csv", index=False)
    pd.Series(["setosa", "tulip", *["setosa"] * 3], name="kind").to_csv("other.csv", index=False)
    pd.DataFrame({"a": ["setosa"] * 5, "b": ["setosa"] * 5}).to_csv("wide.csv", index=False)
    found, line = error("report", "model.cipherfit", *arguments, "-o", "report.html")
    assert (found, message in line) == (status, True), line
    assert not Path("report.html").exists()


def test_targets_must_be_numbers(error):
    rows, y = load("diabetes")
    model = NeuralNetRegressor(module__n_layers=1, max_epochs=2, random_state=0).fit(rows, y)
    model.save("values.cipherfit")
    np.save("rows.npy", rows[:2])
    Path("targets.csv").write_text("target\nsmall\nlarge\n")
    asked = ["report", "values.cipherfit", "rows.npy", "--labels", "targets.csv", "-o", "r.html"]
    status, line = error(*asked)
    assert (status, "targets must be numbers" in line) == (4, True)


def test_without_what_encrypts_the_page_is_written_and_a_line_says_so(monkeypatch, capsys):
    def missing(*_, **__):
        raise cipherfit.exceptions.MissingDependencyError("encrypted lookups need concrete-python")

    monkeypatch.setattr("cipherfit.predictor.predictor.Predictor.compile", missing)
    monkeypatch.setattr("cipherfit.report.html.circuit_of", missing)
    assert main(["report", "model.cipherfit", "-o", "report.html"]) == 0
    assert "costs and security are left out" in capsys.readouterr().err
    assert "not known here: encrypted lookups need" in Path("report.html").read_text()
