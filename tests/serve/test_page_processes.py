"""The two processes behind the page to try a model on: how they start and how they end."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from page_demo import COMMAND, answer_of, running_demo
from processes import LONG, lives, wait_until
from service_process import predictor

from cipherfit.exceptions import InvalidParameterError
from cipherfit.serve import demo
from cipherfit.serve.page.processes import free_port, listening


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_both_processes_and_leaves_nothing(evil_model, tmp_path, number):
    with running_demo(tmp_path / "demo", str(evil_model)) as started:
        started.process.send_signal(number)
        assert started.process.wait(LONG) == 0
        assert started.is_over()
        assert "Traceback" not in started.said


def test_the_service_ends_with_a_client_that_is_killed(evil_model, tmp_path):
    with running_demo(tmp_path / "demo", str(evil_model)) as started:
        started.kill()
        wait_until(started.is_over)


def test_a_service_that_ends_is_told(evil_model, tmp_path):
    with running_demo(tmp_path / "demo", str(evil_model)) as started:
        os.kill(started.processes[1], signal.SIGKILL)
        wait_until(lambda: not lives(started.processes[1]))
        status, said = started.answer([60, "cook"])
        assert (status, said["error"]) == (502, "service")
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(LONG) == 0
        assert started.is_over()


@pytest.mark.fhe
def test_a_network_with_lookups_is_tried_the_same_way(tmp_path, page):
    model = predictor("lookups")
    model.save(tmp_path / "lookups.cipherfit")
    with running_demo(tmp_path / "demo", str(tmp_path / "lookups.cipherfit")) as started:
        status, said = started.answer([1, 3])
        assert status == 200
        assert said["answer"] == model.predict([[1, 3]])[0].tolist()
        assert said["probabilities"] is None
        shown = page(started.url)
        assert "2 encrypted lookups" in shown.page.inner_text("main")
        assert "p_error" in shown.page.inner_text("main")
        shown.page.click("#ask")
        assert answer_of(shown)
        assert shown.errors == []


def arguments(*given: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, "serve", *given], capture_output=True, text=True, timeout=LONG)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "serve needs models and --keys; or --demo"),
        (["model"], "serve needs models and --keys; or --demo"),
        (["--demo", "--keys", "keys"], "--keys doesn't go with --demo"),
        (["--demo", "--tokens", "tokens"], "--tokens doesn't go with --demo"),
        (["--demo", "one", "two"], "--demo takes one model, and 2 are given"),
        (["model", "--keys", "keys", "--page-port", "1"], "--page-port is for --demo"),
        (["model", "--keys", "keys", "--open"], "--open is for --demo"),
        (["--demo", "model", "--host", "0.0.0.0"], "host='0.0.0.0' must be a loopback address"),
    ],
)
def test_arguments_that_do_not_go_together_are_named(given, message):
    done = arguments(*given)
    assert done.returncode == 2
    assert done.stderr.startswith(f"cipherfit: {message}")


def test_a_port_that_is_taken_is_named_or_the_next_is_used():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidParameterError, match=f"page_port={port} is taken"):
            demo(predictor("small"), page_port=port)
        assert port < free_port("port", "127.0.0.1", None, port) <= port + 100
    with pytest.raises(InvalidParameterError, match="port=70000"):
        free_port("port", "127.0.0.1", 70000, 8000)
