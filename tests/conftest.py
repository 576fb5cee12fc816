"""What all tests share: seeds, hypothesis profiles, and data sets by name."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from browser import browser, page  # noqa: F401 - fixtures
from hypothesis import HealthCheck, settings
from samples import load

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
# The same examples each time: who changed nothing finds nothing new. `make fuzz` draws others.
settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=True, suppress_health_check=SLOW
)
settings.register_profile("fuzz", max_examples=5000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# The networks are so small that threads cost more than they bring.
torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """Give each worker one thread, as each has one core: Concrete takes all of them for a row."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    """Start every fixture from the same random state, whatever ran before it."""
    _seed()


@pytest.fixture(autouse=True)
def _seeded():
    """Start every test from the same random state."""
    _seed()


def _seed():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - skorch and scikit-learn draw from it


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def iris():
    return load("iris")


@pytest.fixture
def digits():
    return load("digits")


@pytest.fixture
def diabetes():
    return load("diabetes")
