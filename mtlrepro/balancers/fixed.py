"""Fixed weights."""

from typing import ClassVar

from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import LossWeighting, shares


@register("fixed")
class Fixed(LossWeighting):
    """Fixed weights, the comparison of LSB's Figure S-6: sum_k w_k L_k with w given.

    Scale: the mean, weights are scaled to sum 1; equal ones give `equal`.

    Args:
        n_tasks: Number of tasks T.
        weights: T positive numbers; equal if not given.

    Raises:
        ValueError: `weights` is out of range.
    """

    accumulates: ClassVar[bool] = True

    def __init__(self, n_tasks: int, weights: list[float] | None = None) -> None:
        super().__init__(n_tasks)
        self._weights: Tensor
        self.register_buffer("_weights", shares("weights", weights, n_tasks))

    @property
    def weights(self) -> Tensor:
        """[T] float64, sum 1."""
        return self._weights.clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the weights."""
        return self._weights
