"""Soft optimal uncertainty weighting."""

from typing import ClassVar

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import LossWeighting


@register("uw-so")
class UWSO(LossWeighting):
    """Soft optimal uncertainty weighting (Kirchdorfer et al., GCPR 2024, arXiv 2408.07985): w = softmax((1/L) / T).

    L_k / sigma_k + log sigma_k, the uncertainty weighting of an L1 loss, is least at sigma_k = L_k, where the weight is
    1/L_k; the softmax normalises these. L_k is the loss of the batch, and no gradient passes through the weights. The
    paper's text was not available, so that its equations are not cited by number. Scale: the mean, sum w = 1; with
    absent tasks the softmax runs over the present ones, and their weights sum to their share of all tasks. Factor to
    the paper: 1. Departures: losses are clamped at 1e-30, and negative ones refused.

    The temperature belongs to the unit of the losses: c times all losses at c times the temperature gives the same
    weights. Towards 0 all weight goes to the smallest loss, and towards infinity weights become equal. The paper tunes
    it for each data set; 1 is no value of the paper.

    Args:
        n_tasks: Number of tasks.
        temperature: The paper's T, above 0.

    Raises:
        ValueError: `temperature` is not a number above 0.
    """

    accepts: ClassVar[str] = "a finite number, at least 0 for uw-so"

    def __init__(self, n_tasks: int, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}; accepted: a number above 0")
        super().__init__(n_tasks)
        self.temperature = temperature

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return softmax((1/L) / temperature) over the present tasks, times their share of all."""
        absent = losses.isnan()
        inverse = 1 / losses.clamp_min(1e-30)
        share = 1 - absent.double().mean()
        return torch.where(absent, -torch.inf, inverse / self.temperature).softmax(0) * share

    def _acceptable(self, values: Tensor) -> Tensor:
        return values.isfinite() & (values >= 0)
