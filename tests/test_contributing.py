"""The table of where things live names all that there is, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things live")[2]
PLACES = [
    place
    for line in TABLE.partition("\n## ")[0].splitlines()
    for place in re.findall(r"`([^`]+)`", line.split("|")[1] if line.startswith("|") else "")
]
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "python/cipherfit").rglob("*.py")
)
CRATES = sorted(
    path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "rust").glob("*/Cargo.toml")
)


def test_there_is_something_to_check():
    assert "python/cipherfit/training" in PLACES
    assert "python/cipherfit/training/network.py" in MODULES
    assert "rust/core" in CRATES


@pytest.mark.parametrize("place", PLACES)
def test_every_place_of_the_table_exists(place):
    assert (ROOT / place).exists()


@pytest.mark.parametrize("path", [*MODULES, *CRATES])
def test_the_table_says_what_every_module_and_crate_is_for(path):
    assert any(path == place or path.startswith(f"{place}/") for place in PLACES)


def test_the_table_names_no_place_twice_and_no_package_as_a_whole():
    assert len(set(PLACES)) == len(PLACES)
    # It would cover every module without a word about any.
    assert not {"python", "python/cipherfit", "rust"} & set(PLACES)
