"""What the documents show works as it stands there."""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from processes import LONG, free_port

import cipherfit
from cipherfit.estimators import classifier, regressor

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benches/README.md",
    "examples/fhe-benchmark/README.md",
]


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


#: Pages whose examples run from top to bottom, and how often each searches for a network. Two pages
#: that are also held to their results have tests of their own below.
PAGES = {
    "README.md": 0,
    "docs/getting-started.md": 0,
    "docs/choosing-a-network.md": 1,
    "docs/integer-graph.md": 0,
    "docs/client.md": 0,
    "docs/importing.md": 0,
    "docs/report.md": 0,
}
TESTED_ELSEWHERE = {
    "docs/command-line.md",
    "docs/deployment.md",
    "docs/format.md",
    "docs/migration.md",
    "docs/scaling.md",
}


@pytest.mark.fhe
@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run_in_order(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = python_blocks(page)
    assert len(blocks) >= 2
    assert sum("n_trials=40" in block for block in blocks) == PAGES[page]
    for block in blocks:
        # Forty networks take many minutes, and full training is not what is tested here.
        block = block.replace("n_trials=40", "n_trials=2, n_folds=1, max_neurons=8")
        exec(block.replace("NeuralNetClassifier(", "NeuralNetClassifier(max_epochs=10, "), names)
    if "certificate" in names:
        assert names["certificate"].max_accumulator_bits <= 8
    else:
        assert capsys.readouterr().out


def test_the_examples_of_every_page_are_run():
    pages = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    with_examples = {page for page in pages if python_blocks(page)}
    assert with_examples == {*PAGES, *TESTED_ELSEWHERE} & with_examples


def anchors(document: Path) -> set[str]:
    """Headings as the names that links to them use."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*DOCUMENTS, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_links_between_documents_lead_somewhere(page):
    document = ROOT / page
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page} links to {target}"


def test_the_site_shows_every_page_and_every_public_name():
    listed = set()
    for page in (ROOT / "docs").rglob("*.md"):
        for tree in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL):
            folder = page.relative_to(ROOT / "docs").parent
            listed |= {
                str(folder / line)
                for line in tree.splitlines()
                if line[:1] not in ("", ":") and not line.startswith("gallery/")
            }
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert {page.removesuffix(".md") for page in pages} == {"index", *listed}
    reference = (ROOT / "docs/api/index.md").read_text()
    for name in {*cipherfit.__all__} - {"__version__"}:
        assert re.search(rf"\b{name}\b", reference), f"{name} is missing in docs/api/index.md"


SCRIPT = """#!/bin/sh
exec {python} -c 'import sys; from cipherfit.cli import main; sys.exit(main())' "$@"
"""


@pytest.mark.fhe
def test_the_deployment_guide_goes_the_whole_way(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = tmp_path / "bin/cipherfit"
    command.parent.mkdir()
    command.write_text(SCRIPT.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    port = free_port()
    text = (ROOT / "docs/deployment.md").read_text()
    names: dict[str, Any] = {}
    services = []
    try:
        for kind, block in re.findall(r"```(python|sh)\n(.*?)```", text, re.DOTALL):
            if "cipherfit serve" in block:
                started = f"exec {block.strip()} --port {port}"
                services.append(subprocess.Popen(["sh", "-ec", started]))
                wait_until_ready(port, services[0])
            elif kind == "sh":
                subprocess.run(["sh", "-ec", block], check=True, capture_output=True)
            else:
                block = block.replace("https://predict.example.org", f"http://127.0.0.1:{port}")
                # Without errors and approximate rounding, so that answers are equal.
                block = block.replace("compile(\n", "compile(\n    p_error=1e-7,\n")
                exact = "random_state=0, max_epochs=10, module__rounding='exact'"
                exec(block.replace("random_state=0", exact), names)
    finally:
        for service in services:
            service.terminate()
    assert [service.wait(LONG) for service in services] == [0]
    expected = names["model"].predict(names["X"][:3])
    assert capsys.readouterr().out.strip() == str(expected)


def wait_until_ready(port: int, service: subprocess.Popen[bytes]) -> None:
    while True:
        assert service.poll() is None
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready")
            return
        time.sleep(0.1)


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
