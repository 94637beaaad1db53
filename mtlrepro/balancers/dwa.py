"""Dynamic weight average."""

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import EpochWeighting


@register("dwa")
class DWA(EpochWeighting):
    """Dynamic weight average (Liu, Johns, Davison, CVPR 2019, arXiv 1803.10704, Eq. 7).

    r_k = L_k(t-1) / L_k(t-2) with epoch-mean losses, w = softmax(r / temperature); equal in the first two
    epochs, as in the authors' code (the text sets r_k(t) = 1 for t = 1, 2, which read with Eq. 7's r_k(t-1)
    would make it three).
    Scale: the mean, sum w = 1; with tasks that keep their weight, see `EpochWeighting`, the others share the rest.
    The paper's weights sum to T: factor 1/T.

    Args:
        n_tasks: Number of tasks T.
        temperature: The paper's T, above 0; large values give equal weights.

    Raises:
        ValueError: `temperature` is not positive.
    """

    def __init__(self, n_tasks: int, temperature: float = 2.0) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}; accepted: a number above 0")
        super().__init__(n_tasks)
        self.temperature = temperature

    def next_weights(self, losses: Tensor) -> Tensor:
        """Return softmax(r / temperature); r is 1 for a task that has no loss of an epoch before."""
        told = ~losses.isnan()
        change = torch.where(self._previous == 0, 1.0, losses / self._previous)
        change = change.clamp(max=1e300)  # the softmax of inf is NaN
        shares = torch.where(told, change / self.temperature, -torch.inf).softmax(0)
        return shares * (1 - torch.where(told, 0.0, self._weights).sum())
