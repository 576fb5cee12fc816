"""Batches of rows that lie in memory, without a Python call per row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torch.utils.data.sampler import RandomSampler, SequentialSampler

from cipherfit.estimators.datasets import TrainingDataset
from cipherfit.parameters import integer

Features = Tensor | dict[str, Tensor]


class BatchLoader(DataLoader[Any]):
    """Torch's data loader for small data in memory: quick, and with enough batches in an epoch.

    Rows are shared out evenly, so that no batch is much smaller than the others. Where a data set
    has fewer batches than `min_batches`, an epoch goes through it several times, each time in
    another order. Data sets, samplers or workers of other kinds are left to torch.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        What to load; quick for skorch's, around arrays.
    batch_size : int, default=1
        Most rows in a batch.
    min_batches : int, default=10
        Least number of batches in an epoch.
    **options : dict
        Passed on to torch's data loader.
    """

    def __init__(
        self, dataset: Any, batch_size: int = 1, *, min_batches: int = 10, **options: Any
    ) -> None:
        min_batches = integer("min_batches", min_batches, 1, what="number of batches")
        super().__init__(dataset, batch_size, **options)
        self.min_batches = min_batches
        self._arrays = _arrays(dataset) if self._is_plain() else None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        if self._arrays is None:
            return super().__len__()
        per_pass = self._batches_per_pass()
        return per_pass * math.ceil(self.min_batches / max(1, per_pass))

    def __iter__(self) -> Any:
        """Iterate over the batches of an epoch."""
        return super().__iter__() if self._arrays is None else self._batches(*self._arrays)

    def _batches(self, features: Features, targets: Tensor) -> Iterator[tuple[Features, Tensor]]:
        n_rows, per_pass = len(targets), self._batches_per_pass()
        for _ in range(len(self) // max(1, per_pass)):
            shuffled = isinstance(self.sampler, RandomSampler)
            order = torch.randperm(n_rows) if shuffled else torch.arange(n_rows)
            for rows in order.tensor_split(per_pass):
                yield _pick(features, rows), targets[rows]

    def _batches_per_pass(self) -> int:
        return math.ceil(len(self.dataset) / (self.batch_size or 1))  # type: ignore[arg-type]

    def _is_plain(self) -> bool:
        known = type(self.sampler) in (RandomSampler, SequentialSampler)
        replaced = getattr(self.sampler, "replacement", False) or self.generator is not None
        return (
            known
            and not (replaced or self.num_workers or self.drop_last)
            and (self.batch_size is not None)
        )


def _arrays(dataset: Any) -> tuple[Features, Tensor] | None:
    """Return features and targets of a data set that holds plain arrays, else None."""
    if isinstance(dataset, Subset):
        whole = _arrays(dataset.dataset)
        rows = torch.as_tensor(np.asarray(dataset.indices))
        return None if whole is None else (_pick(whole[0], rows), whole[1][rows])
    if type(dataset) not in (Dataset, TrainingDataset) or not len(dataset):
        return None
    targets = getattr(dataset, "codes", dataset.y)
    held = dataset.X if isinstance(dataset.X, dict) else {"": dataset.X}
    if not all(isinstance(array, (np.ndarray, Tensor)) for array in (*held.values(), targets)):
        return None
    tensors = {name: torch.as_tensor(array) for name, array in held.items()}
    features = tensors if isinstance(dataset.X, dict) else tensors[""]
    return features, torch.as_tensor(targets)


def _pick(features: Features, rows: Tensor) -> Features:
    if isinstance(features, dict):
        return {name: values[rows] for name, values in features.items()}
    return features[rows]
