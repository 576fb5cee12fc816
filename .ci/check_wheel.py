"""Check that a wheel serves every supported Python, and systems as old as promised; say its size.

Usage: python .ci/check_wheel.py dist/*.whl
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

#: The newest glibc that a wheel may ask for: that of manylinux2014.
OLDEST_GLIBC = (2, 17)


def check_wheel(path: Path) -> str:
    """Return what is to be said of a good wheel; raise ValueError on another."""
    with zipfile.ZipFile(path) as wheel:
        libraries = {name: wheel.read(name) for name in wheel.namelist() if name.endswith(".so")}
    if "-cp310-abi3-" not in path.name:
        raise ValueError(f"{path.name} is not for Python 3.10 and all that follow (cp310-abi3)")
    tagged = [(int(a), int(b)) for a, b in re.findall(r"manylinux_(\d+)_(\d+)_", path.name)]
    asked = [
        (int(major), int(minor))
        for library in libraries.values()
        for major, minor in re.findall(rb"\0GLIBC_(\d+)\.(\d+)[.\d]*(?=\0)", library)
    ]
    if not tagged or not asked:
        raise ValueError(f"{path.name} has no manylinux tag, or no library that names its glibc")
    for what, newest in (("is tagged", max(tagged)), ("asks", max(asked))):
        if newest > OLDEST_GLIBC:
            raise ValueError(f"{path.name} {what} for glibc {newest[0]}.{newest[1]}, not 2.17")
    newest = max(asked)
    size = path.stat().st_size
    return f"{path}: {size / 1000:.0f} kB, Python 3.10 on, glibc {newest[0]}.{newest[1]} on"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("no wheel to check")
    try:
        for argument in sys.argv[1:]:
            print(check_wheel(Path(argument)))
    except ValueError as error:
        sys.exit(str(error))
