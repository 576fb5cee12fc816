from __future__ import annotations

import pytest

from cipherfit.serve import keystore


@pytest.fixture(autouse=True)
def _quick_scrypt(monkeypatch):
    """Derive keys in milliseconds; a file says by itself how its key was derived."""
    monkeypatch.setattr(keystore, "_LOG2_N", 4)
    monkeypatch.delenv("CIPHERFIT_PASSPHRASE", raising=False)
