"""Geometric loss strategy: of each batch's losses, and of the mean losses of the epoch before."""

from typing import ClassVar

from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import EpochWeighting, LossWeighting


@register("gls")
class GLS(LossWeighting):
    """Geometric loss strategy (Chennupati et al., MultiNet++, CVPR-W 2019, arXiv 1904.08492).

    L = (prod_k L_k)^(1/T), so w_k = dL/dL_k = L / (T L_k); all weighted losses are equal. Computed in log
    space.
    Scale: equal losses give 1/T each, the mean; in general w_k L_k = L/T. Factor to the paper: 1. Losses have
    to be at least zero; they are clamped at 1e-30 inside the logarithm. With absent tasks the geometric mean
    runs over the present ones and the divisor stays T.
    """

    accepts: ClassVar[str] = "a finite number, at least 0 for gls"

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return L / (T L_k)."""
        log = losses.clamp_min(1e-30).log()
        return (log.nanmean() - log).exp() / self.n_tasks

    def _acceptable(self, values: Tensor) -> Tensor:
        return values.isfinite() & (values >= 0)


@register("lagged_gls")
class LaggedGLS(EpochWeighting):
    """GLS with the mean losses of the epoch before: w_k(t) = (prod_j l_j(t-1))^(1/T) / (T l_k(t-1)).

    Ours, to tell what loss scale balancing owes to the epoch as period: at beta = 0 and equal priorities LSB gives the
    same direction of the gradient.
    Scale: equal losses give 1/T each, the mean; 1/T each in the first epoch. With tasks that keep their weight, see
    `EpochWeighting`, the geometric mean runs over the others and the divisor stays T.

    Raises:
        ValueError: An epoch's mean loss is negative.
    """

    def next_weights(self, losses: Tensor) -> Tensor:
        """Return weights that give equal loss scales to the losses of this epoch."""
        log = losses.log()
        return (log.nanmean() - log).exp() / self.n_tasks
