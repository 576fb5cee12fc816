from __future__ import annotations

import pytest
from page_demo import running_demo, save_evil_model
from service_process import Running

from cipherfit.serve import keystore


@pytest.fixture(autouse=True)
def _quick_scrypt(monkeypatch):
    """Derive keys in milliseconds; a file says by itself how its key was derived."""
    monkeypatch.setattr(keystore, "_LOG2_N", 4)
    monkeypatch.delenv("CIPHERFIT_PASSPHRASE", raising=False)


@pytest.fixture
def running(tmp_path):
    """Start services that end with the test."""
    started: list[Running] = []

    def start(*models: str, **options) -> Running:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Running(folder, list(models or ("small",)), **options))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="module")
def evil_model(tmp_path_factory):
    """Return the file of a model whose names are an attacker's."""
    path = tmp_path_factory.mktemp("evil") / "evil.cipherfit"
    save_evil_model(path)
    return path


@pytest.fixture(scope="module")
def evil(evil_model, tmp_path_factory):
    """Return a demonstration of it."""
    with running_demo(tmp_path_factory.mktemp("evil-demo"), str(evil_model)) as started:
        yield started
