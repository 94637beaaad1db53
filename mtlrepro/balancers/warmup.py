"""A linear warm-up of the plain mean step."""

from typing import ClassVar

from torch import Tensor

from mtlrepro.balancers.base import register
from mtlrepro.balancers.loss_weighting import LossWeighting


@register("warmup")
class Warmup(LossWeighting):
    """The plain mean step times a factor that rises from 1/n to 1: w_k(t) = min(t/n, 1) / T in step t = 1, 2, ...

    The control of methods that take short steps at first, such as `mclgs`: the linear ramp of a learning rate's gradual
    warm-up (Goyal et al., arXiv 1706.02677), put where the gate of `mclgs` acts, on the gradients of shared parameters
    and heads. Only for SGD without momentum and decay is that the same as a ramp of the learning rate; Adam nearly
    cancels a slowly changing factor, this one as well as the gate's. Over N >= n steps the mean of the factor is
    1 - (n - 1) / (2 N). `RunConfig` takes `length`, a share of the run, or `run`, the hash of a stored run whose mean
    gate it shall have, in the place of `steps`, see `training.controls`.

    Scale: the mean from step n on; before, T equal gradients g give (t/n) g.

    Args:
        n_tasks: Number of tasks T.
        steps: n, the steps of the ramp, at least 1; with 1 there is none.

    Raises:
        ValueError: `steps` is not a whole number of at least 1.
    """

    accumulates: ClassVar[bool] = True

    def __init__(self, n_tasks: int, steps: int = 1) -> None:
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"steps is {steps!r}; accepted: a whole number of at least 1")
        super().__init__(n_tasks)
        self.ramp = steps

    @property
    def weights(self) -> Tensor:
        """[T] float64, of the next step; counted on the device, so that a CUDA graph goes on with the ramp."""
        factor = ((self._count + 1).double() / self.ramp).clamp_max(1)
        return (factor / self.n_tasks).expand(self.n_tasks).clone()

    def task_weights(self, losses: Tensor) -> Tensor:
        """Return min(t/n, 1) / T each."""
        return self.weights
