"""What the documents show works as it stands there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cipherfit
from cipherfit.estimators import classifier, regressor

ROOT = Path(__file__).parents[1]


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


@pytest.mark.fhe
def test_the_readmes_examples_run_in_order(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = python_blocks("README.md")
    assert len(blocks) >= 2
    assert sum("n_trials=40" in block for block in blocks) == 1
    for block in blocks:
        # Forty networks take many minutes, large ones on three folds many seconds.
        quick = block.replace("n_trials=40", "n_trials=2, n_folds=1, max_neurons=8")
        exec(quick, names)
    printed = capsys.readouterr().out
    assert "layer" in printed
    assert names["certificate"].max_accumulator_bits <= 8


@pytest.mark.fhe
def test_client_and_server_of_the_deployment_guide_agree_with_the_graph(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in python_blocks("docs/deployment.md"):
        # Without errors and approximate rounding, so that integers are equal.
        block = block.replace("compile()", "compile(p_error=1e-6)")
        exec(block.replace("random_state=0", "random_state=0, module__rounding='exact'"), names)
    graph, parts = names["model"].graph_, names["parts"]
    codes = graph.quantize([names["row"]])
    assert names["accumulators"].tolist() == graph.simulate(codes)[0].tolist()
    assert names["outputs"].tolist() == graph.run([names["row"]])[0].tolist()
    assert capsys.readouterr().out.strip() == "0"
    of_the_input, of_the_output = {*parts["input"]}, {"output_scale", "output_offset", "classes"}
    assert {*np.load("client.npz")} == of_the_input | of_the_output


@pytest.mark.parametrize("module", [classifier, regressor])
def test_the_examples_in_docstrings_hold(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_names_that_the_migration_table_promises_exist():
    blocks = python_blocks("docs/migration.md")
    assert blocks
    for block in blocks:
        exec(block, {})
    table = (ROOT / "docs/migration.md").read_text()
    names = re.findall(r"`cipherfit\.(\w+)`", table)
    assert {"NeuralNetClassifier", "NeuralNetRegressor"} <= set(names)
    for name in names:
        assert hasattr(cipherfit, name) or name == "qnn"
    members = re.findall(r"`(\w+)\([^`]*\)`[^|]*\| the same", table)
    assert {"fit", "predict", "quantize_input"} <= set(members)
    for name in members:
        assert hasattr(cipherfit.NeuralNetClassifier, name)
