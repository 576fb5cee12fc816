"""What `make wheel` refuses to build."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / ".ci/check_wheel.py"
GOOD = "cipherfit-0.1.0-cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"


@pytest.fixture
def check(tmp_path):
    """Return a function that checks a wheel of this name, whose library asks for these symbols."""
    specification = importlib.util.spec_from_file_location("check_wheel", CHECK)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def run(name: str, versions: str) -> str:
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            names = "".join(f"\0{version}" for version in versions.split())
            wheel.writestr("cipherfit/_core.abi3.so", f"\x7fELF{names}\0")
        return module.check_wheel(tmp_path / name)

    return run


def test_a_wheel_for_old_systems_passes(check):
    assert "glibc 2.17 on" in check(GOOD, "GLIBC_2.2.5 GLIBC_2.17 GLIBC_2.3.4")


@pytest.mark.parametrize(
    ("name", "versions", "why"),
    [
        (GOOD, "GLIBC_2.2.5 GLIBC_2.34", "asks for glibc 2.34"),
        (GOOD.replace("2_17", "2_34"), "GLIBC_2.17", "tagged for glibc 2.34"),
        (GOOD.replace("cp310-abi3", "cp311-cp311"), "GLIBC_2.17", "is not for Python 3.10"),
        ("cipherfit-0.1.0-cp310-abi3-linux_x86_64.whl", "GLIBC_2.17", "no manylinux tag"),
        (GOOD, "", "names its glibc"),
    ],
)
def test_a_wheel_that_asks_for_more_is_refused(check, name, versions, why):
    with pytest.raises(ValueError, match=why):
        check(name, versions)
