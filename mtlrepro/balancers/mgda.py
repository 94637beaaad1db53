"""MGDA: the multiple-gradient descent algorithm."""

from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.gradient_balancing import GramianWeighting
from mtlrepro.balancers.solvers import min_norm_point


@register("mgda")
class MGDA(GramianWeighting):
    """Multiple-gradient descent (Desideri, 2012; Sener and Koltun, NeurIPS 2018, arXiv 1810.04650, Eq. 3).

    The combined gradient is the point of least norm in the convex hull of the task gradients,
    min_a |sum_k a_k g_k| subject to a >= 0, sum a = 1. It conflicts with no task; it is zero where the tasks
    are Pareto-stationary. Scale: the mean, sum a = 1; factor to the paper: 1 (some codes multiply by T).
    For T = 2 it is a_1 = ((g_2 - g_1) . g_2 / |g_1 - g_2|^2) clipped to [0, 1] (Eq. 4). Departure: solved
    exactly, by enumerating the faces of the simplex, for up to 12 tasks; the paper iterates Frank-Wolfe steps
    (Algorithm 2). Gradients are not normalised.
    """

    def forward(self, gramian: Tensor) -> Tensor:
        """Map the Gramian [t, t] to the convex coefficients [t] of the least norm."""
        return min_norm_point(gramian)
