"""Commands of who holds the model, on real files."""

from __future__ import annotations

import io
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from samples import load
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import cipherfit
from cipherfit import NeuralNetClassifier
from cipherfit.cli import main
from cipherfit.exceptions import CipherfitError, CipherfitWarning

pytestmark = pytest.mark.usefixtures("folder")


class TestInspect:
    def test_it_tells_people_what_the_model_is(self, capsys):
        assert main(["inspect", "model.cipherfit"]) == 0
        printed = capsys.readouterr().out
        for part in ("takes 4 features: sepal length", "3 classes: setosa", "secret:", "bfv: N="):
            assert part in printed

    def test_it_tells_programs_the_same(self, capsys):
        assert main(["inspect", "model.cipherfit", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["digest"] == cipherfit.load_client("model.client").digest
        assert told["predicts"]["classes"] == ["setosa", "versicolor", "virginica"]
        assert told["costs"]["public_key_bytes"] > 1000


class TestVerify:
    def test_what_belongs_together_is_fine(self, capsys):
        digest = cipherfit.load_client("model.client").digest
        asked = ["--digest", digest, "--client", "model.client"]
        assert main(["verify", "model.cipherfit", *asked]) == 0
        assert capsys.readouterr().out.startswith("whole, and proven to fit accumulators of ")

    def test_another_digest_is_a_no(self, capsys):
        assert main(["verify", "model.cipherfit", "--digest", "0" * 64]) == 1
        assert f"and not {'0' * 64}" in capsys.readouterr().out

    def test_the_clients_file_of_another_model_is_a_no(self, capsys):
        other = NeuralNetClassifier(module__n_layers=1, max_epochs=2, random_state=1)
        X, y = load("wine")
        other.fit(X, y).save("other.cipherfit")
        assert main(["verify", "other.cipherfit", "--client", "model.client"]) == 1
        assert "the client's file is for the model" in capsys.readouterr().out

    def test_a_clients_file_of_other_parameters_is_a_no(self, trained, capsys):
        predictor = cipherfit.load("model.cipherfit")
        predictor.compile(flooding_bits=40)
        predictor.save_client("other.client")
        assert main(["verify", "model.cipherfit", "--client", "other.client"]) == 1
        assert "not what this model gives clients" in capsys.readouterr().out

    @pytest.mark.parametrize("kind", ["cut", "changed", "client", "empty"])
    def test_a_damaged_file_is_no_model(self, kind, error):
        path = Path("model.cipherfit")
        data = path.read_bytes()
        place = len(data) // 2
        path.write_bytes(
            {
                "cut": data[:-1],
                "changed": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
                "client": Path("model.client").read_bytes(),
                "empty": b"",
            }[kind]
        )
        status, _ = error("verify", "model.cipherfit")
        assert status == 3


def test_the_clients_file_holds_no_weights(trained):
    data = Path("model.client").read_bytes()
    weights = trained.graph_.to_dict()["layers"][0]["weights"]
    assert cipherfit.load_client("model.client").n_features == 4
    for kind in (np.int8, np.int16, np.int32, np.int64):
        assert weights[0].astype(kind).tobytes() not in data


class TestPredict:
    @pytest.mark.parametrize("mode", ["disable", "simulate", "execute"])
    def test_every_mode_gives_the_models_answers(self, mode, answers, capsys):
        assert main(["predict", "model.cipherfit", "rows.csv", "--fhe", mode]) == 0
        captured = capsys.readouterr()
        assert captured.out == answers
        assert captured.err == ""

    def test_probabilities_are_a_column_for_each_class(self, trained, capsys):
        assert main(["predict", "model.cipherfit", "rows.csv", "--proba"]) == 0
        frame = pd.read_csv(io.StringIO(capsys.readouterr().out), float_precision="round_trip")
        assert frame.columns.tolist() == trained.classes_.tolist()
        rows = pd.read_csv("rows.csv")
        np.testing.assert_array_equal(frame.to_numpy(), trained.predict_proba(rows))

    def test_columns_are_found_by_name_and_others_left_out_aloud(self, answers, capsys):
        rows = pd.read_csv("rows.csv")
        rows.insert(0, "species", "unknown")
        numbers = rows[rows.columns[::-1]].assign(species=7)
        numbers.to_csv("shuffled.csv", index=False)
        assert main(["predict", "model.cipherfit", "shuffled.csv"]) == 0
        captured = capsys.readouterr()
        assert captured.out == answers
        assert captured.err == (
            "cipherfit: columns that the model doesn't take are left out: species\n"
        )

    @pytest.mark.parametrize("kind", ["npy", "parquet", "csv without header"])
    def test_every_kind_of_table_is_read(self, kind, answers, capsys):
        rows = pd.read_csv("rows.csv")
        if kind == "npy":
            np.save("rows.npy", rows.to_numpy())
        elif kind == "parquet":
            __import__("polars").from_dict(rows.to_dict("list")).write_parquet("rows.npy")
        else:
            rows.to_csv("rows.npy", index=False, header=False)
        assert main(["predict", "model.cipherfit", "rows.npy", "-o", "answers.csv"]) == 0
        assert Path("answers.csv").read_text() == answers
        assert capsys.readouterr() == ("", "")

    def test_standard_input_is_a_table_too(self, answers, capsys, monkeypatch):
        stream = SimpleNamespace(buffer=io.BytesIO(Path("rows.csv").read_bytes()))
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["predict", "model.cipherfit", "-"]) == 0
        assert capsys.readouterr().out == answers

    def test_steps_before_the_network_take_texts_and_empty_cells(self, capsys):
        X, y = load("iris")
        frame = pd.DataFrame({"long": X[:, 2], "town": np.where(X[:, 3] > 1, "Bern", "Basel")})
        frame.loc[::7, "long"] = np.nan
        steps = make_column_transformer(
            (SimpleImputer(), ["long"]), (OneHotEncoder(sparse_output=False), ["town"])
        )
        network = NeuralNetClassifier(module__n_layers=1, max_epochs=5, random_state=0)
        whole = make_pipeline(steps, network).fit(frame, y)
        cipherfit.predictor.saving.save(whole, "whole.cipherfit")
        frame[::10].to_csv("towns.csv", index=False)
        assert main(["predict", "whole.cipherfit", "towns.csv"]) == 0
        expected = whole.predict(frame[::10])
        assert capsys.readouterr().out.split()[1:] == [str(label) for label in expected]

    def test_several_targets_are_a_column_each(self, capsys):
        X, _ = load("iris")
        model = cipherfit.NeuralNetRegressor(module__n_layers=1, max_epochs=2, random_state=0)
        model.fit(X[:, :2], X[:, 2:]).save("two.cipherfit")
        np.save("two.npy", X[:2, :2])
        assert main(["predict", "two.cipherfit", "two.npy"]) == 0
        assert capsys.readouterr().out.startswith("prediction_0,prediction_1\n")
        assert main(["predict", "two.cipherfit", "two.npy", "--proba"]) == 2


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "status", "message"),
        [
            ("a,b\n1,2\n", 4, "the data have no column 'sepal length'"),
            ("1,2,3\n", 4, "the data have 3 columns without names, and the model takes 4"),
            ("1,2,3,four\n", 4, "line 1 of rows.csv holds numbers and words"),
            ("1,2,3,4\n1,2,3,\n", 4, "Input X contains NaN at row 1"),
        ],
    )
    def test_data_that_do_not_fit_say_why(self, text, status, message, error):
        Path("rows.csv").write_text(text)
        found, line = error("predict", "model.cipherfit", "rows.csv")
        assert (found, message in line) == (status, True), line

    def test_a_file_that_is_not_there_is_named(self, error):
        for arguments in (["missing", "rows.csv"], ["model.cipherfit", "missing"]):
            assert error("predict", *arguments) == (5, "missing: No such file or directory")

    def test_a_folder_that_can_not_be_written_to_is_named(self, error):
        status, line = error("client", "model.cipherfit", "-o", "missing/model.client")
        assert status == 5
        assert "No such file or directory" in line

    def test_debug_shows_where_it_came_from(self, capsys):
        assert main(["verify", "missing", "--debug"]) == 5
        assert "Traceback" in capsys.readouterr().err

    def test_nothing_is_written_where_something_fails(self):
        Path("answers.csv").write_text("old")
        assert main(["predict", "model.cipherfit", "missing", "-o", "answers.csv"]) == 5
        assert Path("answers.csv").read_text() == "old"
        assert not list(Path().glob(".*"))


def test_an_interrupt_ends_it_with_its_status(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cipherfit, "load", interrupted, raising=False)
    assert main(["verify", "model.cipherfit"]) == 130


def test_what_is_impossible_for_another_reason_is_a_no(monkeypatch, error):
    def impossible(_):
        raise CipherfitError("this\ncan't be")

    monkeypatch.setattr(cipherfit, "load", impossible, raising=False)
    assert error("verify", "model.cipherfit") == (1, "this can't be")


def test_warnings_are_one_line_too(trained, monkeypatch, capsys):
    def load(_):
        warnings.warn("slow\nbut right", CipherfitWarning, stacklevel=1)
        return trained.predictor_

    monkeypatch.setattr(cipherfit, "load", load, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["verify", "model.cipherfit"]) == 0
    assert capsys.readouterr().err == "cipherfit: warning: slow but right\n"
