"""Weights that are known before a step and may be drawn for it."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mtlrepro.balancers.base import Step
from mtlrepro.balancers.loss_weighting import LossWeighting
from mtlrepro.balancers.random_state import RandomState


class DrawnWeighting(RandomState, LossWeighting):
    """Base of the methods whose weights of a step do not depend on its batch, but on a draw.

    One draw serves all micro-batches of a step. It is of all T tasks, and an absent task's weight is left out: the
    others keep theirs, as if its loss were 0.

    Args:
        n_tasks: Number of tasks T.
        seed: Of the draws; the stream is the balancer's own and part of `state_dict`.
    """

    accumulates: ClassVar[bool] = True

    def __init__(self, n_tasks: int, seed: int = 0) -> None:
        super().__init__(n_tasks)
        self.seed = seed
        self._drawn: Tensor | None = None

    @abstractmethod
    def draw_weights(self, device: torch.device) -> Tensor:
        """Weights [T] float64 of the next step, on a device."""

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the weights drawn for this step."""
        if self._drawn is None:
            self._drawn = self.draw_weights(losses.device)
        return self._drawn

    def _step(self, step: Step) -> Tensor:
        try:
            return super()._step(step)
        finally:
            if step.last:
                self._drawn = None
