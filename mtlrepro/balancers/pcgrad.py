"""PCGrad: projecting conflicting gradients."""

from typing import Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import GramianWeighting
from mtlrepro.balancers.random_state import RandomState


@register("pcgrad")
class PCGrad(RandomState, GramianWeighting):
    """Gradient surgery (Yu et al., NeurIPS 2020, arXiv 2001.06782, Algorithm 1).

    Each task's gradient in turn, against every other task j in random order: where g_i^PC . g_j < 0,
    g_i^PC <- g_i^PC - (g_i^PC . g_j / |g_j|^2) g_j, with the others' gradients as they were. The results are
    averaged. Scale: the mean; the paper sums: factor 1/T. For T = 2 the order plays no part and, in conflict,
    the coefficients are c_k = (1 - g_1 . g_2 / |g_k|^2) / 2. Computed on the Gramian; departures: none.

    Args:
        n_tasks: Number of tasks T.
        seed: Of the random order; the stream is the balancer's own and part of `state_dict`.
        at: See `GramianWeighting`.
    """

    def __init__(self, n_tasks: int, seed: int = 0, at: Literal["parameters", "representation"] = "parameters") -> None:
        super().__init__(n_tasks, at)
        self.seed = seed

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [t, t] to coefficients [t]; every call draws a new order."""
        n, device = len(gramian), gramian.device
        gramian = gramian.double()
        surgery = torch.eye(n, dtype=torch.float64, device=device)  # row i: g_i^PC in terms of the gradients
        tasks = torch.arange(n, device=device)
        length2 = gramian.diagonal()
        for other in self._orders(n, device).unbind(1):
            product = (surgery * gramian[other]).sum(1)
            conflict = (product < 0) & (other != tasks) & (length2[other] > 0)
            shift = torch.where(conflict, product / length2[other], 0.0)
            surgery[tasks, other] -= shift
        return surgery.mean(0)

    def _orders(self, n: int, device: torch.device) -> Tensor:
        """Draw the orders in which each task meets the others, [n, n]: row i is task i's, with itself anywhere."""
        return torch.rand(n, n, generator=self.generator(device), device=device).argsort(1)
