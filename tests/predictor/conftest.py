from __future__ import annotations

import pytest

from cipherfit.predictor import chunks


@pytest.fixture
def small_chunks(monkeypatch):
    """Have chunks of 256 rows."""
    monkeypatch.setattr(chunks, "_VALUES", 1)
