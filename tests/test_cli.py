"""The `cipherfit` command: what it takes, what it says, and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import cipherfit
from cipherfit import exceptions
from cipherfit.cli import main
from cipherfit.commands.statuses import MEANINGS, Status, status_of
from cipherfit.exceptions import CipherfitError
from cipherfit.report import demo
from cipherfit.report.task_report import Task


def ended(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


COMMAND = [sys.executable, "-c", "import sys; from cipherfit.cli import main; sys.exit(main())"]


def test_the_command_itself_ends_with_its_status():
    run = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, timeout=600)
    assert (run.returncode, run.stdout) == (0, cipherfit.__version__ + "\n"), run.stderr


def test_a_reader_who_has_had_enough_ends_it_without_a_word(tmp_path):
    command = [*COMMAND, "demo", "--rows", "1", "--output", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 128 + signal.SIGPIPE, errors
    assert "Traceback" not in errors
    assert "BrokenPipeError" not in errors


def test_the_version_is_the_packages(capsys):
    assert ended(["--version"]) == 0
    assert capsys.readouterr().out == cipherfit.__version__ + "\n"


@pytest.mark.parametrize("arguments", [[], ["train"], ["demo", "--columns", "3"]])
def test_what_it_does_not_know_is_a_usage_error(arguments, capsys):
    assert ended(arguments) == 2
    assert "usage: cipherfit" in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["0", "-1", "2.5", "many", ""])
def test_rows_that_are_no_positive_number_are_named(rows, capsys):
    assert ended(["demo", f"--rows={rows}"]) == 2
    assert f"{rows!r} is not a positive number of rows" in capsys.readouterr().err


@pytest.mark.fhe
def test_the_demonstration_leaves_a_picture_in_the_folder_and_ends_well(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(demo, "TASKS", (Task("iris", load_iris, 1),))
    assert main(["demo", "--output", str(tmp_path / "here"), "--rows", "2"]) == 0
    printed = capsys.readouterr().out
    assert " of 2" in printed
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["demo.png"]


def test_an_error_of_ours_is_one_line_and_a_status_that_says_its_kind(
    monkeypatch, tmp_path, capsys
):
    def load_broken(**_):
        X, y = load_iris(return_X_y=True)
        return np.where(X > 7.5, np.nan, X), y

    monkeypatch.setattr(demo, "TASKS", (Task("broken", load_broken, 1),))
    assert main(["demo", "--output", str(tmp_path)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cipherfit: Input X contains NaN at row ")


COMMANDS = [
    "inspect", "verify", "client", "predict", "keygen", "encrypt", "templates", "run", "decrypt",
]  # fmt: skip
COMMANDS += ["serve", "demo"]


def test_help_teaches_the_way_through_and_says_what_statuses_mean(capsys):
    assert ended(["--help"]) == 0
    printed = capsys.readouterr().out
    for part in (*COMMANDS, "exit status:", "cipherfit keygen model.client"):
        assert part in printed
    for status in Status:
        assert f"\n  {status.value}  " in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_it(command, capsys):
    assert ended([command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"usage: cipherfit {command}" in printed
    assert command in ("serve", "demo") or f"example:\n  cipherfit {command} " in printed
    assert "--debug" in printed


def test_the_page_of_the_command_line_has_the_same_statuses():
    page = (Path(__file__).parents[1] / "docs/command-line.md").read_text()
    rows = re.findall(r"^\| (\d) \| (.*) \|$", page, re.MULTILINE)
    assert {int(status) for status, _ in rows} == {status.value for status in Status}
    assert all(f"{status}  {meaning}" in MEANINGS for status, meaning in rows)


def test_every_error_has_a_status():
    kinds = [getattr(exceptions, name) for name in exceptions.__all__]
    for kind in kinds:
        if issubclass(kind, CipherfitError):
            assert status_of(kind("wrong")) in Status


def test_nothing_heavy_is_imported_for_help():
    code = (
        "import sys; from cipherfit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'sklearn', 'concrete', 'fastapi', 'tqdm'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert run.stdout.endswith("set()\n"), run.stdout + run.stderr


def test_serve_says_what_it_takes_and_names_what_cannot_be(tmp_path, capsys):
    assert ended(["serve", "--help"]) == 0
    assert "--tenant-mb" in capsys.readouterr().out
    arguments = ["serve", "missing.cipherfit", "--keys", str(tmp_path / "keys")]
    assert main([*arguments, "--host", "0.0.0.0"]) == 2
    assert "name a file of tokens" in capsys.readouterr().err
    assert main([*arguments, "--queue", "0"]) == 2
    assert "queue=0" in capsys.readouterr().err
