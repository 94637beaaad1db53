"""Loss weighting: weights from losses alone, one backward pass, the cost of plain training."""

from abc import abstractmethod

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
    """Base of the methods whose weights change once per epoch; they start from 1/T each."""

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self._weights: Tensor
        self._previous: Tensor
        self.register_buffer("_weights", torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64))
        self.register_buffer("_previous", torch.ones(n_tasks, dtype=torch.float64))

    @property
    def weights(self) -> Tensor:
        """[T] float64, in force until the epoch ends."""
        return self._weights.clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the weights of this epoch."""
        return self._weights

    def _end_epoch(self, losses: Tensor) -> None:
        self._weights.copy_(self.next_weights(losses))
        self._previous.copy_(losses)

    @abstractmethod
    def next_weights(self, losses: Tensor) -> Tensor:
        """Weights [T] of the next epoch from this epoch's mean losses [T] and the `_previous` epoch's."""


def shares(name: str, values: list[float] | None, n_tasks: int) -> Tensor:
    """Scale T positive numbers to sum 1; None stands for equal ones.

    Raises:
        ValueError: They are not T positive numbers; names the argument.
    """
    numbers = torch.tensor([1.0] * n_tasks if values is None else list(values), dtype=torch.float64)
    if numbers.shape != (n_tasks,) or not bool((numbers.isfinite() & (numbers > 0)).all()):
        raise ValueError(f"{name} is {values!r}; accepted: {n_tasks} positive numbers")
    return numbers / numbers.sum()


def log_losses(losses: Tensor, method: str) -> Tensor:
    """Take the logarithm of an epoch's mean losses, clamped at 1e-30.

    Raises:
        ValueError: A loss is negative; names the method.
    """
    if bool((losses < 0).any()):
        raise ValueError(f"mean_losses is {losses.tolist()}; accepted: numbers of at least 0 for {method}")
    return losses.clamp_min(1e-30).log()
