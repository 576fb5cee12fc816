from __future__ import annotations

import pytest
from service_process import Running


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
