"""CAGrad: conflict-averse gradient descent."""

from typing import Literal

import torch
from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import GramianWeighting
from mtlrepro.balancers.solvers import conflict_averse

LARGEST = 1000.0
"""Largest radius, in that of the mean gradient: from 1 on nothing changes but the length."""


@register("cagrad")
class CAGrad(GramianWeighting):
    """Conflict-averse gradient descent (Liu et al., NeurIPS 2021, arXiv 2110.14048, Eq. 3 and Algorithm 1).

    d = argmax min_k <g_k, d> subject to |d - g_0| <= c |g_0|, with g_0 the mean gradient. The paper takes c
    in [0, 1); from c = 1 on d conflicts with no task. Scale: not the mean: T equal gradients g give (1 + c)
    g, and (1 + c)/(1 + c^2) g with `rescale`. Factor to the paper's Algorithm 1: 1 without `rescale`; its
    published code multiplies by T.
    Departures: the inner problem is solved exactly, by enumerating the faces of the simplex, for up to 12
    tasks (the published code calls SLSQP); at Pareto-stationary points, where Algorithm 1 divides zero by zero, d
    is the point nearest to g_0 that conflicts with no task, which attains the maximum too; where gradients cancel up
    to the rounding of their products, the step is the shorter for what is unknown and stays in the ball.

    Args:
        n_tasks: Number of tasks T.
        c: Radius of the ball relative to |g_0|, from 0 to `LARGEST`; 0.4 in the paper on NYUv2.
        rescale: Divide by 1 + c^2, as the published code does in its experiments; Algorithm 1 does not print
            it.
        at: See `GramianWeighting`.

    Raises:
        ValueError: `c` is negative.
    """

    def __init__(
        self,
        n_tasks: int,
        c: float = 0.4,
        rescale: bool = True,
        at: Literal["parameters", "representation"] = "parameters",
    ) -> None:
        if not 0 <= c <= LARGEST:
            raise ValueError(f"c is {c!r}; accepted: a number from 0 to {LARGEST:g}")
        super().__init__(n_tasks, at)
        self.c = c
        self.rescale = rescale

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [t, t] to the coefficients [t] of d."""
        return self.coefficients(gramian, gramian.dtype)

    def coefficients(self, gramian: Tensor, precision: torch.dtype) -> Tensor:
        """Map the Gramian [t, t] of products taken in `precision` to the coefficients [t] of d."""
        coefficients = conflict_averse(gramian, self.c, precision)
        return coefficients / (1 + self.c**2) if self.rescale else coefficients
