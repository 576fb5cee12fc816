"""Networks of which only the last layer is trained: solved as the convex problem that this is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.base import is_classifier
from skorch import NeuralNet
from torch.nn import CrossEntropyLoss, MSELoss
from torch.optim import Adam

from cipherfit.estimators.datasets import encoded_rows
from cipherfit.estimators.sample_weight import features_of, weights_of
from cipherfit.estimators.training_loop import TrainingMixin
from cipherfit.training.aware import AwareNetwork
from cipherfit.training.head import (
    HeadSolution,
    is_all_that_is_trained,
    solve_cross_entropy,
    solve_squared_error,
)
from cipherfit.training.network import QuantNetwork

#: Fraction of what a linear model explains from which rounding its weights loses so much that
#: training goes on from there.
_MOST_LOST = 0.01


@dataclass
class Solving:
    """A training that may begin with a solution.

    Parameters
    ----------
    rows : Dataset, optional
        The rows to train on, once they are known.
    solution : HeadSolution, optional
        What was reached.
    state : dict, optional
        The module's parameters and buffers there.
    first_epoch : bool
        Whether the epoch that goes on is the one that solved.
    """

    rows: Any = None
    solution: HeadSolution | None = None
    state: dict[str, torch.Tensor] | None = None
    first_epoch: bool = False


class SolvingMixin(TrainingMixin):
    """Solve what is convex in `fit`: that is the first epoch, and mostly the last.

    Attributes
    ----------
    solving_now_ : Solving
        In a `fit`, how far solving is.
    """

    optimizer: Any

    @contextmanager
    def _solving(self) -> Iterator[None]:
        """Let a training begin with the solution, where there is one."""
        self.solving_now_ = Solving()
        try:
            yield
        finally:
            del self.solving_now_

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Skorch callback: solve in the first epoch; where that was enough, end at the second."""
        solving: Solving | None = vars(self).get("solving_now_")
        if solving is not None and self._is_convex():
            if solving.solution is None:
                solving.rows, solving.solution = dataset_train, self._solve(dataset_train)
                solving.state, solving.first_epoch = deepcopy(self.module_.state_dict()), True
            elif solving.solution.lost <= _MOST_LOST:
                raise KeyboardInterrupt  # by which skorch's callbacks end a training
            else:
                solving.first_epoch = False
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)  # type: ignore[misc]

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Skorch callback: go back to the solution where training on made it no better."""
        solving: Solving | None = vars(self).get("solving_now_")
        if solving is not None and solving.state is not None and not solving.first_epoch:
            trained, loss = deepcopy(self.module_.state_dict()), self._mean_loss(solving.rows)
            self.module_.load_state_dict(solving.state)
            if loss < self._mean_loss(solving.rows):
                self.module_.load_state_dict(trained)
        super().on_train_end(net, X=X, y=y, **kwargs)

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        """Take a step on a batch; in the epoch that has solved there is only the loss to tell."""
        solving: Solving | None = vars(self).get("solving_now_")
        if solving is not None and solving.first_epoch:
            return self.validation_step(batch, **fit_params)  # type: ignore[attr-defined]
        return super().train_step(batch, **fit_params)  # type: ignore[misc]

    def _is_convex(self) -> bool:
        """Tell whether training is a convex problem, and the user left the way to its optimum open.

        Options of the optimizer, and subclasses with steps of their own, ask for the loop.
        """
        kind = type(self)
        steps = {
            NeuralNet: ("train_step_single", "run_single_epoch", "fit_loop"),
            SolvingMixin: ("train_step",),
            TrainingMixin: ("get_loss", "infer"),
        }
        criterion = self.criterion_
        if is_classifier(self):
            is_solvable = type(criterion) is CrossEntropyLoss and criterion.ignore_index < 0
        else:
            is_solvable = type(criterion) is MSELoss
        return (
            is_solvable
            and self.optimizer is Adam
            and not any(name.startswith("optimizer__") for name in vars(self))
            and all(
                getattr(kind, name) is getattr(owner, name)
                for owner, names in steps.items()
                for name in names
            )
            and isinstance(self.module_, QuantNetwork)
            and not isinstance(self.module_, AwareNetwork)
            and is_all_that_is_trained(self.module_)
        )

    def _solve(self, rows: Any) -> HeadSolution:
        batches, codes = encoded_rows(rows)
        module, weights = self.module_, weights_of(batches)
        x = torch.as_tensor(features_of(batches)).to(module.output_scale.device)
        if not is_classifier(self):
            return solve_squared_error(module, x, codes, sample_weight=weights)
        by_class = self.criterion_.weight
        return solve_cross_entropy(
            module,
            x,
            codes,
            sample_weight=weights,
            class_weight=None if by_class is None else by_class.cpu().numpy(),
            label_smoothing=self.criterion_.label_smoothing,
            seed=int(torch.randint(2**31 - 1, ())),
        )

    def _mean_loss(self, rows: Any) -> float:
        total = 0.0
        for batch in self.get_iterator(rows, training=False):
            step = self.validation_step(batch)  # type: ignore[attr-defined]
            total += float(step["loss"]) * len(step["y_pred"])
        return total / len(rows)
