"""Uncertainty weighting."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mtlrepro.balancers.base import Step, register
from mtlrepro.balancers.loss_weighting import LossWeighting


@register("uncertainty")
class Uncertainty(LossWeighting):
    """Uncertainty weighting (Kendall, Gal, Cipolla, CVPR 2018, arXiv 1705.07115, Eq. 7).

    Minimises sum_k L_k / (2 sigma_k^2) + log sigma_k over the network and over s_k = log sigma_k^2.
    Weights w_k = 1 / (2 exp s_k). Starts at s_k = log(T/2), where w_k = 1/T: the mean. Factor to the paper:
    1. The paper's form for classification, L / sigma^2 (Eq. 10), is not used: all tasks have the same form, as
    in the MTAN code. `log_variance` is a parameter: give `balancer.parameters()` to the optimizer, without
    weight decay. Its gradient, 1/2 - w_k L_k, is written by `backward`; an absent task's is zero. In a step that is
    accumulated over micro-batches the term log sigma_k, whose gradient is the 1/2, counts once.
    """

    accumulates: ClassVar[bool] = True

    def __init__(self, n_tasks: int) -> None:
        super().__init__(n_tasks)
        self._met: Tensor
        self.register_buffer("_met", torch.zeros(n_tasks, dtype=torch.bool))
        start = torch.tensor(n_tasks / 2, dtype=torch.float64).log()
        self.log_variance = nn.Parameter(start.repeat(n_tasks))

    @property
    def weights(self) -> Tensor:
        """[T] float64, 1 / (2 exp s_k)."""
        return 0.5 * (-self.log_variance.detach()).exp()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return 1 / (2 exp s_k)."""
        return self.weights

    def _abandon(self) -> None:
        self._met.zero_()

    def _step(self, step: Step) -> Tensor:
        weights = super()._step(step)
        here = ~step.values.isnan()
        self._met |= here
        gradient = torch.where(here, -weights * step.values, 0.0)
        if step.last:
            gradient = gradient + 0.5 * self._met
            self._met.zero_()
        if step.scale is not None:
            gradient = gradient * step.scale
        self.log_variance.grad = gradient if self.log_variance.grad is None else self.log_variance.grad + gradient
        return weights
