"""The same seed gives the same numbers, and nobody else's seed or threads are touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cipherfit.estimators.reproducibility import check_device, choose_threads, own_threads, seeded
from cipherfit.exceptions import InvalidParameterError


def fail_after(action, *arguments):
    action(*arguments)
    raise LookupError


def drawn(random_state):
    with seeded(random_state):
        return torch.rand(4).tolist()


def test_a_block_under_the_same_seed_draws_the_same_numbers():
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_a_seeded_block_leaves_the_state_around_it_even_when_it_fails():
    before = torch.random.get_rng_state()
    drawn(3)
    with pytest.raises(LookupError), seeded(3):
        fail_after(torch.rand, 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_generator_gives_the_next_seed_each_time_and_the_same_when_it_is_made_anew():
    generator = np.random.RandomState(0)
    first, second = drawn(generator), drawn(generator)
    assert first != second
    assert drawn(np.random.RandomState(0)) == first


def test_without_a_seed_the_numbers_are_those_of_torchs_own_state():
    torch.manual_seed(7)
    expected = torch.rand(8).tolist()
    torch.manual_seed(7)
    assert drawn(None) + drawn(None) == expected


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_threads")
def test_a_small_network_gets_one_thread_and_a_large_one_those_that_there_are():
    choose_threads(nn.Linear(1000, 1000))
    assert torch.get_num_threads() == 2
    choose_threads(nn.Linear(10, 10))
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_is_given_back_even_when_a_block_fails():
    with pytest.raises(LookupError), own_threads():
        fail_after(torch.set_num_threads, 1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_cuda_device_needs_one_to_be_there(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidParameterError, match=r"cuda.*use device='cpu'"):
        check_device(device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device(device)


def test_the_cpu_is_always_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cpu", torch.device("cpu"), None):
        check_device(device)
