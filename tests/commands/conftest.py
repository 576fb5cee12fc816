"""A model of each kind that commands are tried on, saved as whoever trained it would."""

from __future__ import annotations

import pandas as pd
import pytest
from command_samples import LABELS, NAMES, ROWS, X

from cipherfit import NeuralNetClassifier
from cipherfit.cli import main


@pytest.fixture(scope="session")
def trained():
    """A linear network with names of features and classes: it runs encrypted in milliseconds."""
    frame = pd.DataFrame(X, columns=NAMES)
    model = NeuralNetClassifier(module__n_layers=1, random_state=0, max_epochs=5)
    return model.fit(frame, LABELS)


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A working directory with a model, its client's file, and rows."""
    monkeypatch.chdir(tmp_path)
    trained.save("model.cipherfit")
    ROWS.to_csv("rows.csv", index=False)
    assert main(["client", "model.cipherfit", "-o", "model.client"]) == 0
    return tmp_path


@pytest.fixture
def answers(trained):
    """What the model predicts of the rows, as the commands write it."""
    return "prediction\n" + "".join(f"{label}\n" for label in trained.predict(ROWS))


@pytest.fixture
def error(capsys):
    """Run a command that fails: returns its status, and its one line on standard error."""

    def run(*arguments):
        status = main([*arguments])
        (line,) = capsys.readouterr().err.splitlines()
        return status, line.removeprefix("cipherfit: ")

    return run
