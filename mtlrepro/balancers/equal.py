"""Equal weighting."""

from typing import ClassVar

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import LossWeighting


@register("equal")
class Equal(LossWeighting):
    """Equal weighting: the mean of the losses, w_k = 1/T.

    Scale: papers that sum the losses take steps T times as long at the same learning rate.
    """

    accumulates: ClassVar[bool] = True

    @property
    def weights(self) -> Tensor:
        """[T] float64, 1/T each."""
        return torch.full((self.n_tasks,), 1 / self.n_tasks, dtype=torch.float64, device=self._first_bad.device)

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return 1/T each."""
        return self.weights
