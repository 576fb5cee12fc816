"""Rows with names of columns and classes, as commands find them in files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
from samples import load

X, Y = load("iris")
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
LABELS = np.array(["setosa", "versicolor", "virginica"])[Y]
ROWS = pd.DataFrame(X[::30], columns=NAMES)

#: What an installed `cipherfit` runs.
COMMAND = "import sys; from cipherfit.cli import main; sys.exit(main())"


def in_a_shell(script, folder):
    """Run a script with the command on its path, as an installed one would be."""
    commands = folder / "bin"
    commands.mkdir()
    command = commands / "cipherfit"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{COMMAND}' \"$@\"\n")
    command.chmod(0o755)
    lines = f'PATH="{commands}:$PATH"\n{script}'
    return subprocess.run(
        ["bash", "-c", lines], cwd=folder, capture_output=True, text=True, timeout=600
    )
