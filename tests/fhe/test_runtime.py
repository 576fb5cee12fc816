"""Concrete in a process of the user's: statuses, signals, forks and directories stay the user's.

Each test is a program of its own, since it is about how programs end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

pytestmark = pytest.mark.fhe

PREAMBLE = """
import os, signal, sys, threading, time
import numpy as np
from cipherfit import IntegerGraph, compile_graph, run_encrypted
from cipherfit.exceptions import ForkedProcessError

def graph(n_bits=2):
    unit, zeros = np.eye(4, dtype=np.int64), np.zeros(4, dtype=np.int64)
    return IntegerGraph.from_layers(
        {"scale": np.ones(4), "zero_point": zeros, "n_bits": n_bits},
        [
            {"kind": "linear", "weights": unit, "offset": zeros},
            {"kind": "lookup", "low": zeros, "lsbs": 0, "exact": True,
             "tables": [np.arange(2**n_bits)[::-1]] * 4},
            {"kind": "linear", "weights": unit, "offset": zeros},
        ],
        {"scale": np.ones(4), "offset": np.zeros(4)},
    )

CODES = np.array([[0, 1, 2, 3]], dtype=np.uint16)
EXPECTED = [[3, 2, 1, 0]]

def encrypted(**options):
    circuit = compile_graph(graph(), p_error=1e-9, **options)
    assert run_encrypted(circuit, CODES, progress=False).tolist() == EXPECTED
    return circuit
"""


def started(program: str, tmp_path, preamble: str = PREAMBLE) -> subprocess.Popen:
    path = tmp_path / "program.py"
    path.write_text(preamble + textwrap.dedent(program))
    directories = tmp_path / "temporary"
    directories.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(directories)},
    )


def ended(program: str, tmp_path, preamble: str = PREAMBLE) -> tuple[int, str, str]:
    """Run a program after the preamble; returns its status, output and errors."""
    process = started(program, tmp_path, preamble)
    out, errors = process.communicate(timeout=600)
    return process.returncode, out, errors


def test_a_program_ends_with_the_status_that_it_asks_for_and_runs_its_exit_handlers(tmp_path):
    status, out, errors = ended(
        """
        import atexit
        atexit.register(print, "the user's handler")
        encrypted()
        sys.exit(3)
        """,
        tmp_path,
    )
    assert (status, out) == (3, "the user's handler\n"), errors


def test_an_uncaught_exception_is_told_and_no_success_with_dataflow_on(tmp_path):
    status, _, errors = ended(
        """
        from cipherfit.fhe.runtime import fhe
        encrypted(configuration=fhe.Configuration(dataflow_parallelize=True))
        raise LookupError("the user's mistake")
        """,
        tmp_path,
    )
    assert status == 1
    assert "LookupError: the user's mistake" in errors


def test_encrypted_rows_need_no_torch_and_the_operators_that_do_still_work(tmp_path):
    status, out, errors = ended(
        """
        from cipherfit.fhe.runtime import fhe
        encrypted()
        assert "torch" not in sys.modules
        row = np.arange(6).reshape(1, 1, 6)
        for _ in range(2):
            print(fhe.maxpool(row, kernel_shape=(2,)).tolist())
            print(fhe.conv(row, np.ones((1, 1, 2), dtype=np.int64)).tolist())
        assert "torch" in sys.modules
        """,
        tmp_path,
    )
    assert status == 0, errors
    assert out.splitlines() == ["[[[1, 2, 3, 4, 5]]]", "[[[1, 3, 5, 7, 9]]]"] * 2


def test_a_failing_test_makes_pytest_fail(tmp_path):
    (tmp_path / "test_program.py").write_text(
        PREAMBLE
        + textwrap.dedent("""
        def test_that_fails():
            encrypted()
            assert False
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_program.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert run.returncode == 1, run.stdout
    assert "1 failed" in run.stdout


def test_workers_report_what_they_raise_and_the_status_of_their_end(tmp_path):
    status, out, errors = ended(
        """
        import multiprocessing
        import joblib

        def fails():
            encrypted()
            raise LookupError("a worker's mistake")

        if __name__ == "__main__":
            worker = multiprocessing.get_context("spawn").Process(target=fails)
            worker.start()
            worker.join()
            print(worker.exitcode)
            try:
                joblib.Parallel(n_jobs=2)(joblib.delayed(fails)() for _ in range(2))
            except LookupError as error:
                print(error)
            sys.exit(4)
        """,
        tmp_path,
    )
    assert (status, out) == (4, "1\na worker's mistake\n"), errors


CTRL_C = """
import subprocess

pid = os.getpid()

def interrupted(work):
    # From another process, as the GIL is held while keys are made, which waits until told to start:
    # on a busy machine it can take longer to make than the rest.
    killer = ["sh", "-c", f"read go; sleep 0.3; kill -INT {pid}"]
    told = subprocess.Popen(killer, stdin=subprocess.PIPE).stdin
    try:
        os.write(told.fileno(), b"\\n")
        work()
        time.sleep(300)
    except KeyboardInterrupt:
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return False
"""


def test_ctrl_c_is_a_keyboard_interrupt_whatever_concrete_does_and_once_more(tmp_path):
    status, out, errors = ended(
        """
        circuit = compile_graph(graph(), p_error=1e-7)
        rows = np.repeat(CODES, 1000, axis=0)
        print(interrupted(circuit.keygen))
        print(interrupted(lambda: run_encrypted(circuit, rows)))
        threads = [
            threading.Thread(target=run_encrypted, args=(circuit, rows[:8])) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        print(interrupted(lambda: [thread.join() for thread in threads]))
        for thread in threads:
            thread.join()
        print(interrupted(lambda: run_encrypted(circuit, rows)))
        print(interrupted(lambda: None))
        """,
        tmp_path,
        PREAMBLE + CTRL_C,
    )
    assert (status, out) == (0, "True\n" * 5), errors


def test_an_interrupt_that_nobody_catches_ends_the_program_as_python_does(tmp_path):
    process = started(
        """
        circuit = compile_graph(graph(), p_error=1e-7)
        run_encrypted(circuit, CODES)
        print("ready", flush=True)
        run_encrypted(circuit, np.repeat(CODES, 10_000, axis=0))
        """,
        tmp_path,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors


def test_signals_are_those_of_the_user_before_and_after(tmp_path):
    status, out, errors = ended(
        """
        import ctypes, faulthandler
        faulthandler.enable()
        signal.signal(signal.SIGTERM, lambda *_: print("drained"))
        handler = ctypes.create_string_buffer(512)

        def actions():
            found = {}
            for number in signal.valid_signals():
                ctypes.CDLL(None).sigaction(int(number), None, handler)
                found[number] = handler.raw[:8]
            return found

        before = actions()
        encrypted()
        print(actions() == before)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        tmp_path,
    )
    assert (status, out) == (0, "True\ndrained\n"), errors


@pytest.mark.parametrize("compressed", [False, True])
def test_a_forked_child_neither_hangs_nor_has_its_parents_keys(tmp_path, compressed):
    status, out, errors = ended(
        f"""
        from cipherfit.fhe.runtime import fhe

        def forked(action):
            child = os.fork()
            if child == 0:
                signal.alarm(300)
                try:
                    action()
                except ForkedProcessError as error:
                    print("spawn" in str(error), flush=True)
                os._exit(0)
            print(os.waitpid(child, 0)[1], flush=True)

        options = fhe.Configuration(compress_evaluation_keys={compressed})
        circuit = compile_graph(graph(), p_error=1e-7, configuration=options)
        forked(encrypted)  # nothing was made yet, so the child is free
        circuit.keygen()
        forked(lambda: print(circuit.keys.are_generated, flush=True))
        forked(lambda: run_encrypted(circuit, CODES))
        forked(encrypted)
        print(run_encrypted(circuit, CODES).tolist() == EXPECTED)
        """,
        tmp_path,
    )
    assert (status, out) == (0, "0\nFalse\n0\nTrue\n0\nTrue\n0\nTrue\n"), errors


def test_no_temporary_directory_stays_behind(tmp_path):
    program = """
    circuit = encrypted()
    print(len(os.listdir(os.environ["TMPDIR"])))
    del circuit
    import gc
    gc.collect()
    print(len(os.listdir(os.environ["TMPDIR"])))
    from cipherfit.fhe.runtime import fhe
    try:  # this strategy has no parameters for so wide lookups
        options = fhe.Configuration(
            parameter_selection_strategy="v0", dump_artifacts_on_unexpected_failures=False
        )
        compile_graph(graph(12), p_error=1e-7, configuration=options)
    except Exception as error:
        print(type(error).__name__)
    kept = encrypted()
    {}
    """
    for end, expected in (("", 0), ("sys.exit(5)", 5), ("raise LookupError", 1)):
        status, out, errors = ended(program.format(end), tmp_path)
        assert (status, out) == (expected, "1\n0\nCompilationError\n"), errors
        assert os.listdir(tmp_path / "temporary") == []


def test_a_closed_pipe_is_a_broken_pipe_and_no_crash_report(tmp_path):
    process = started(
        """
        encrypted()
        print("ready", flush=True)
        for _ in range(100_000):
            print("more", flush=True)
        """,
        tmp_path,
    )
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(60) == 1
    assert errors.splitlines()[-1].startswith("BrokenPipeError"), errors
    assert len(errors.splitlines()) < 10


def test_concrete_imported_before_us_is_tamed_too(tmp_path):
    status, out, errors = ended(
        """
        encrypted()
        print(interrupted(lambda: None))
        sys.exit(6)
        """,
        tmp_path,
        "import warnings\nwarnings.simplefilter('ignore')\nimport concrete.fhe\n"
        + PREAMBLE
        + CTRL_C,
    )
    assert (status, out) == (6, "True\n"), errors


def test_numpy_2_is_refused_at_compilation_by_name_and_serves_for_all_else(tmp_path):
    status, out, errors = ended(
        """
        made = graph()
        print(made.simulate(CODES).tolist() == EXPECTED)
        np.__version__ = "2.4.1"
        compile_graph(made)
        """,
        tmp_path,
        PREAMBLE.replace(", compile_graph, run_encrypted", "").replace(
            "\ndef graph",
            "\ndef compile_graph(graph):\n    import cipherfit as it\n    it.compile_graph(graph)\n"
            "\ndef graph",
        ),
    )
    assert (status, out) == (1, "True\n"), errors
    assert "MissingDependencyError: encryption needs NumPy 1, and 2.4.1" in errors
