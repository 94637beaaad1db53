"""A linear ramp of the plain mean step."""

import math
from typing import ClassVar

from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import LossWeighting


@register("warmup")
class Warmup(LossWeighting):
    """The plain mean step times a factor that rises from 1/n to 1: w_k(t) = min(t/n, 1) / T in step t = 1, 2, ...

    From another start s the factor goes to 1 likewise, s + (1 - s) min(t/n, 1), and falls if s is above 1.

    The control of methods that take shorter or longer steps at first, such as `mclgs`: the linear ramp of a learning
    rate's gradual warm-up (Goyal et al., arXiv 1706.02677), put where the gate of `mclgs` acts, on the gradients of
    shared parameters and heads. Only for SGD without momentum and decay is that the same as a ramp of the learning
    rate; Adam nearly cancels a slowly changing factor, this one as well as the gate's. Over N >= n steps the mean of
    the factor is 1 - (1 - s) (n - 1) / (2 N). `RunConfig` takes `length`, a share of the run, or `run`, the hash of a
    stored run whose mean gate it shall have, in the place of `steps` and `start`, see `training.controls`.

    Scale: the mean from step n on; before, T equal gradients g give the factor times g.

    Args:
        n_tasks: Number of tasks T.
        steps: n, the steps of the ramp, at least 1; with 1 there is none.
        start: s, from which the factor comes, at least 0; it is that of a step before the first one.

    Raises:
        ValueError: `steps` is not a whole number of at least 1, or `start` no number of at least 0.
    """

    accumulates: ClassVar[bool] = True

    def __init__(self, n_tasks: int, steps: int = 1, start: float = 0.0) -> None:
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"steps is {steps!r}; accepted: a whole number of at least 1")
        if not 0 <= start < math.inf:
            raise ValueError(f"start is {start!r}; accepted: a number of at least 0")
        super().__init__(n_tasks)
        self.ramp, self.start = steps, start

    @property
    def weights(self) -> Tensor:
        """[T] float64, of the next step; counted on the device, so that a CUDA graph goes on with the ramp."""
        share = ((self._count + 1).double() / self.ramp).clamp_max(1)
        factor = self.start + (1 - self.start) * share
        return (factor / self.n_tasks).expand(self.n_tasks).clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return the factor of the step over T for each."""
        return self.weights
