"""Loss weighting: weights from losses alone, one backward pass, the cost of plain training."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mtlrepro.balancers.base import Balancer, Step


class LossWeighting(Balancer):
    """Base of the methods whose gradient is sum_k w_k grad L_k, for shared parameters and heads alike."""

    @abstractmethod
    def task_weights(self, losses: Tensor) -> Tensor:
        """Weights of this step.

        Args:
            losses: [T] float64, detached, NaN for an absent task.

        Returns:
            [T] float64; the entries of absent tasks are ignored.
        """

    def _step(self, step: Step) -> Tensor:
        weights = step.present(self.task_weights(step.values))
        self._weighted_backward(step, weights)
        return step.spread(weights)


class EpochWeighting(LossWeighting):
    """Base of the methods whose weights change once per epoch; they start from 1/T each, LSB from its priorities.

    An epoch tells a method nothing about a task of which it had no label, or whose mean loss is 0: the task keeps its
    weight, and the others are weighted among themselves.
    """

    accumulates: ClassVar[bool] = True

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self._weights: Tensor
        self._previous: Tensor
        self.register_buffer("_weights", torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64))
        self.register_buffer("_previous", torch.zeros(n_tasks, dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """[T] float64, in force until the epoch ends."""
        return self._weights.clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the weights of this epoch."""
        return self._weights

    def _end_epoch(self, losses: Tensor) -> None:
        if bool((losses < 0).any()):
            raise ValueError(f"mean_losses is {losses.tolist()}; accepted: numbers of at least 0")
        self._update(losses)

    def _update(self, losses: Tensor) -> None:
        """Take the weights of the next period from this one's mean losses [T], NaN where there is none."""
        losses = torch.where(losses > 0, losses, torch.nan)
        told = ~losses.isnan()
        self._weights.copy_(torch.where(told, self.next_weights(losses), self._weights))
        self._previous.copy_(torch.where(told, losses, self._previous))

    def _waits_for_epochs(self) -> bool:
        return True

    @abstractmethod
    def next_weights(self, losses: Tensor) -> Tensor:
        """Weights of the next epoch.

        Args:
            losses: [T], this epoch's positive mean losses; NaN for a task that keeps its weight. `_previous` holds the
                last ones before them, 0 for a task that had none.

        Returns:
            [T] float64; the entries of tasks that keep their weight are ignored.
        """


def shares(name: str, values: list[float] | None, n_tasks: int) -> Tensor:
    """Scale T positive numbers to sum 1; None stands for equal ones.

    Raises:
        ValueError: They are not T positive numbers; names the argument.
    """
    numbers = torch.tensor([1.0] * n_tasks if values is None else list(values), dtype=torch.float64)
    if numbers.shape != (n_tasks,) or not bool((numbers.isfinite() & (numbers > 0)).all()):
        raise ValueError(f"{name} is {values!r}; accepted: {n_tasks} positive numbers")
    if not numbers.sum().isfinite():
        numbers = numbers / numbers.max()
    result = numbers / numbers.sum()
    if not bool((result > 0).all()):
        raise ValueError(f"{name} is {values!r}; accepted: {n_tasks} positive numbers, none vanishing beside another")
    return result
