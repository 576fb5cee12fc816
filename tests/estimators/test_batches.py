"""Batches: every row once per pass, evenly shared out, and enough of them in an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import load
from skorch.dataset import Dataset
from torch.utils.data import Subset, TensorDataset

from cipherfit import NeuralNetClassifier
from cipherfit.estimators.batches import BatchLoader


def rows(n):
    return Dataset(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n))


@given(
    n=st.integers(1, 90),
    batch_size=st.integers(1, 100),
    min_batches=st.integers(1, 12),
    shuffle=st.booleans(),
)
def test_each_pass_gives_every_row_once_in_batches_of_even_size(
    n, batch_size, min_batches, shuffle
):
    loader = BatchLoader(rows(n), batch_size, min_batches=min_batches, shuffle=shuffle)
    batches = list(loader)
    sizes = [len(y) for _, y in batches]
    assert len(batches) == len(loader) >= min_batches
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    seen = torch.cat([y for _, y in batches])
    assert torch.equal(seen.bincount(), torch.full((n,), len(seen) // n))
    assert all(torch.equal(x[:, 0], 2.0 * y) for x, y in batches)


def test_no_more_passes_are_made_than_the_least_number_of_batches_needs():
    assert len(BatchLoader(rows(100), 10, min_batches=10)) == 10
    assert len(BatchLoader(rows(100), 10, min_batches=11)) == 20
    assert len(BatchLoader(rows(100), 10)) == 10


def test_rows_come_in_order_unless_they_are_shuffled():
    ordered = torch.cat([y for _, y in BatchLoader(rows(40), 7, min_batches=1)])
    assert torch.equal(ordered, torch.arange(40))
    shuffled = torch.cat([y for _, y in BatchLoader(rows(40), 7, min_batches=1, shuffle=True)])
    assert not torch.equal(shuffled, ordered)


def test_subsets_and_weighted_rows_are_batched_as_well():
    data = rows(30)
    data.X = {"X": data.X, "sample_weight": np.arange(30, dtype=np.float32)}
    loader = BatchLoader(Subset(data, range(5, 25)), 8, min_batches=1)
    x, y = next(iter(loader))
    assert torch.equal(x["sample_weight"], y.float())
    assert sorted(int(i) for _, y in loader for i in y) == list(range(5, 25))


def test_other_data_sets_are_left_to_torch():
    data = TensorDataset(torch.arange(25.0))
    assert [len(x) for (x,) in BatchLoader(data, 10)] == [10, 10, 5]
    assert len(BatchLoader(data, 10)) == 3


@pytest.mark.parametrize("min_batches", [0, -1, 2.5, None])
def test_a_least_number_of_batches_that_is_no_count_is_refused(min_batches):
    with pytest.raises(ValueError, match="min_batches"):
        BatchLoader(rows(5), 2, min_batches=min_batches)


def test_few_rows_train_as_many_steps_as_the_epoch_promises():
    X, y = load("iris")
    model = NeuralNetClassifier(module__n_hidden_neurons=3, max_epochs=2).fit(X, y)
    assert model.history[:, "train_batch_count"] == [10, 10]
